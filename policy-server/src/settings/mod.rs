//! `server.toml`: every section as a type, read once and checked before anything starts.

mod allowance;
pub(crate) mod arms;
pub mod keys;
mod learning;
mod limits;
pub(crate) mod listen;
mod models;
mod network;
mod policies;
pub(crate) mod private;
pub(crate) mod registry;
mod server;
mod store;
mod values;

pub use arms::ArmSettings;
pub use learning::{Budget, LearningConfig, Observations};
pub use limits::Limits;
pub(crate) use models::{BaseUrl, FUSION_PREFIX};
pub use models::{Capability, ModelConfig, ModelDialect};
pub(crate) use network::{Network, is_public};
pub use policies::{Execution, PolicyEntry};
pub use server::ServerConfig;
pub(crate) use server::{secret, syntax};
pub use store::{Direction, Durability, MetricConfig, StoreConfig};
pub use values::{ConfigError, Secret};
pub(crate) use values::{NAME_RULE, is_name};
