//! What is in service: the policies, who decides a request, and the machinery that runs a decision.

pub(crate) mod arm_table;
pub(crate) mod assignment;
pub(crate) mod batcher;
pub(crate) mod cache;
pub(crate) mod deadline;
pub(crate) mod exploration;
pub(crate) mod fusion;
mod in_service;
pub(crate) mod metrics;
pub(crate) mod query;
pub(crate) mod quota;
pub(crate) mod report;
pub(crate) mod rollouts;
mod served;
pub(crate) mod shadow;
pub(crate) mod slot;
pub(crate) mod stages;

pub(crate) use in_service::{InService, Live};
pub(crate) use served::Served;
