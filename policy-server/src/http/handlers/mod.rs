//! One file a route: its endpoint, and the handler that reads the request, calls the logic and writes the reply.

pub(crate) mod admin_arms;
pub(crate) mod admin_budgets;
pub(crate) mod admin_learning;
pub(crate) mod admin_policies;
pub(crate) mod admin_promote;
pub(crate) mod admin_registry;
pub(crate) mod admin_reload;
pub(crate) mod admin_statistics;
pub(crate) mod answers;
pub(crate) mod completions;
pub(crate) mod fallback;
pub(crate) mod feedback;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod openapi;
pub(crate) mod ready;
pub(crate) mod route;
pub(crate) mod route_batch;
pub(crate) mod route_plain;
pub(crate) mod step;
pub(crate) mod weights;
