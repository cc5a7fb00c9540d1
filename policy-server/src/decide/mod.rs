//! Deciding: from a query to a decision that is made, logged and counted. Listens to nobody: how a
//! request came and how its reply goes is the business of `http`.

pub(crate) mod answer;
mod decision_id;
mod episode;
mod pending;
mod record;
mod service;

pub(crate) use decision_id::DecisionId;
pub(crate) use episode::{Progress, Stepped};
pub(crate) use service::{Ask, Decided, Failure, Service};
