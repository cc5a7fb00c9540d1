//! Decisions over HTTP.
//!
//! A server holds policies, each an immutable artifact, and answers `POST /v1/route` with a decision: the
//! model to call, the probability it was drawn with, and why. To decide it never calls a model; where the configuration
//! has sections `[models.NAME]`, `POST /v1/chat/completions` decides and then calls the one chosen.
//!
//! The files stand on floors, each of which uses the ones below it and none above: `dialect` (the formats on the wire,
//! bytes in and bytes out), `settings` (the configuration), `upstream` (calls of models), `registry` (versions of a
//! policy), `ledger` (the durable log), `live` (what is in service), `decide` (how a decision is made and acted upon),
//! `upkeep` (reload, learning, canaries), `http`, and the composition in `app` and `server`. ARCHITECTURE.md follows a
//! request through them.
//!
//! The reply carries the whole distribution, so that every decision can be evaluated off-policy later; with a `[store]`
//! it is on disk before it is replied, and feedback is joined to it exactly once.
//!
//! Invariants: one request sees one version of a policy (`live` is swapped whole, through one door); nothing is counted
//! or shown to a shadow before it is in the log; every error has the shape of OpenAI's; a panic is a 500, never a dead
//! server; no route of the data listener changes what is served, but a policy that learns learns from its feedback.
//!
//! ```no_run
//! # async fn serve() -> Result<(), routewright_policy_server::ServeError> {
//! use routewright_policy_server::{ServerConfig, run};
//!
//! let config = ServerConfig::for_policies(["policies/knn".into()]);
//! let listener = tokio::net::TcpListener::bind(config.listen).await.map_err(|source| {
//!     routewright_policy_server::ServeError::Listen { address: config.listen.to_string(), source }
//! })?;
//! let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
//! run(listener, None, config, shutdown).await
//! # }
//! ```

mod app;
mod caller;
mod clock;
pub mod collect;
mod decide;
pub mod dialect;
mod error;
mod exposition;
mod fingerprint;
mod http;
mod ids;
pub mod ledger;
mod lifecycle;
mod live;
mod log;
pub mod registry;
mod serve_error;
mod server;
mod settings;
#[cfg(test)]
mod testing;
mod upkeep;
mod upstream;

pub use http::routes::openapi_document;
pub use log::{Sink, Stderr};
pub use serve_error::ServeError;
pub use server::{Server, run};
pub use settings::keys;
pub use settings::listen::resolve as resolve_address;
pub use settings::{
    ArmSettings, Budget, Capability, ConfigError, Direction, Durability, Execution, LearningConfig, Limits,
    MetricConfig, ModelConfig, ModelDialect, Observations, PolicyEntry, Secret, ServerConfig, StoreConfig,
};
pub use upkeep::learning::check_arms_file;
