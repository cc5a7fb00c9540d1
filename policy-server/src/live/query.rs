//! One query as the server holds it: owned, so that it can cross to a worker.

use crate::error::{ApiError, Code};
use routewright_data::QueryText;
use routewright_data::features::FeatureInput;
use routewright_data::query_text::Conversation;
use routewright_policy::{Constraints, Objective, Policy, Request};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How much a decision says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Explain {
    /// The decision and its propensity.
    None,
    /// Every candidate and the flip as well.
    #[default]
    Summary,
    /// The nearest training rows as well.
    Full,
}

/// The models that may answer a request, for those who call them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reachable {
    pub(crate) models: BTreeSet<String>,
    /// Those that are chosen where a policy has none of `models`: by our count they may have no room, or they are left
    /// alone after failures, so that the caller is told until when.
    pub(crate) resting: BTreeSet<String>,
    /// What is said where a policy has none of either.
    pub(crate) why: String,
}

impl Reachable {
    /// Whether a model may answer.
    pub(crate) fn has(&self, model: &str) -> bool {
        self.models.contains(model) || self.resting.contains(model)
    }

    /// The arms of a policy that may answer.
    ///
    /// # Errors
    /// If there is none.
    fn among(&self, policy: &Policy) -> Result<Vec<String>, ApiError> {
        let arms = || policy.arms.iter().filter(|arm| !arm.retired).map(|arm| &arm.model);
        for models in [&self.models, &self.resting] {
            let found: Vec<String> = arms().filter(|model| models.contains(*model)).cloned().collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(ApiError::new(Code::NoEligibleCandidate, self.why.clone()).param("model"))
    }
}

/// What a request asks, free of HTTP.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// What the policy reads: a plain text as it came, of a request what [`Query::read_by`] made of it.
    pub(crate) text: String,
    /// The request, where one was given.
    pub(crate) conversation: Option<Conversation>,
    /// The rule `text` was made by.
    pub(crate) rule: Option<QueryText>,
    /// Whether the request has nothing its policy reads, such as an image alone: the default arm answers.
    pub(crate) has_no_text: bool,
    pub(crate) vector: Option<Vec<f32>>,
    pub(crate) source: Option<String>,
    pub(crate) candidates: Option<Vec<String>>,
    /// The models that may answer, where the server itself calls them; `None` leaves that to the caller.
    pub(crate) reachable: Option<Arc<Reachable>>,
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
    /// What the reply tells clients that may take it for something else.
    pub(crate) notice: Option<&'static str>,
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

    /// Makes the text that `policy` reads, by its own rule; `name` is the one it is served under.
    ///
    /// # Errors
    /// If the policy reads text and a vector was given.
    pub(crate) fn read_by(&mut self, name: &str, policy: &Policy) -> Result<(), ApiError> {
        let reads_vector = policy.reads_vector();
        if self.vector.is_some() && !reads_vector {
            let message =
                format!("policy `{name}` reads text, not a vector: give `input` or `request` alone");
            return Err(ApiError::new(Code::InvalidRequest, message).param("vector"));
        }
        if let Some(reachable) = &self.reachable {
            self.candidates = Some(reachable.among(policy)?);
        }
        let Some(conversation) = &self.conversation else { return Ok(()) };
        let rule = policy.query_text();
        let text = rule.text(conversation);
        self.rule = Some(rule);
        self.has_no_text = text.is_none() && self.vector.is_none();
        self.text = text.unwrap_or_default();
        Ok(())
    }

    /// Whether `policy` reads the same text as the policy that decided.
    pub(crate) fn is_read_alike(&self, policy: &Policy) -> bool {
        self.rule.is_none_or(|rule| rule == policy.query_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::policy;

    #[test]
    fn each_policy_reads_the_request_by_its_own_rule() {
        let turns =
            serde_json::json!([{ "role": "user", "content": "one" }, { "role": "user", "content": "two" }]);
        let conversation = routewright_data::query_text::stored(&turns).unwrap();
        let mut query = Query { conversation, vector: Some(Vec::new()), ..Query::default() };
        let (users, mut older) = (policy("users"), policy("older"));
        older.manifest.query_text = None;
        query.read_by("users", &users).unwrap();
        assert_eq!(query.text, "one\n\ntwo");
        assert!(query.is_read_alike(&users) && !query.is_read_alike(&older));
        query.read_by("older", &older).unwrap();
        assert_eq!(query.text, "two");
        let mut plain = Query { text: "x".to_owned(), vector: Some(Vec::new()), ..Query::default() };
        plain.read_by("users", &users).unwrap();
        assert!(plain.text == "x" && plain.is_read_alike(&older), "a plain text is read alike by all");
    }
}
