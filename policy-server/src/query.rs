//! One query as the server holds it: owned, so that it can cross to a worker.

use crate::wire::Explain;
use routewright_data::features::FeatureInput;
use routewright_policy::{Constraints, Objective, Request};

/// What a request asks, free of HTTP.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) text: String,
    pub(crate) vector: Option<Vec<f32>>,
    pub(crate) source: Option<String>,
    pub(crate) candidates: Option<Vec<String>>,
    pub(crate) objective: Option<Objective>,
    pub(crate) constraints: Constraints,
    pub(crate) seed: u64,
    /// Score its key gives up to save one US dollar, beside what the policy does.
    pub(crate) price: f64,
    pub(crate) session_id: Option<String>,
    pub(crate) explain: Explain,
    pub(crate) dry_run: bool,
    /// Whether the decision counts only once feedback says that it was acted upon.
    pub(crate) deferred: bool,
    /// Whether the features are handed out with the decision, for the log.
    pub(crate) keep_features: bool,
}

impl Query {
    /// The query as a policy reads it.
    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            input: FeatureInput { text: &self.text, vector: self.vector.as_deref() },
            source: self.source.as_deref(),
            candidates: self.candidates.as_deref(),
            objective: self.objective,
            constraints: self.constraints.clone(),
            price: self.price,
            seed: self.seed,
        }
    }
}
