//! Weights that a policy server is asked for at every span (`POST /v1/weights`).

use crate::backend::Stop;
use crate::client::{Client, Patience, Tape};
use routewright_policy::env::{Choice, Chooser, SpanRule, State};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// Patience with a server that only multiplies a few matrices.
const PATIENCE: Patience = Patience { timeout: Duration::from_secs(5), attempts: 3 };

/// A policy behind HTTP whose arms are the members.
#[derive(Debug, Clone)]
pub struct ServedWeights {
    client: Client,
    url: String,
    policy: Option<String>,
    members: Vec<String>,
    span: Option<SpanRule>,
    stop: Stop,
}

/// What the server replies.
#[derive(Debug, Deserialize)]
struct Reply {
    models: Vec<String>,
    weights: Vec<f32>,
    span: Option<SpanRule>,
}

impl ServedWeights {
    /// Asks `url` once, for the members the policy has and where its spans end.
    ///
    /// `policy` is its name there, the default policy where `None`; `key` is sent as a bearer token.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses, or its policy has other arms than `members`.
    pub fn connect(
        url: &str,
        policy: Option<String>,
        key: Option<String>,
        members: Vec<String>,
    ) -> Result<Self, String> {
        let url = format!("{}/v1/weights", url.trim_end_matches('/').trim_end_matches("/v1/weights"));
        let client = Client::new("policy", key, PATIENCE, Tape::Off);
        let mut served = Self { client, url, policy, members, span: None, stop: Stop::default() };
        served.span = served.ask(&State { prompt: "", text: "", span: 0 })?.span;
        Ok(served)
    }

    /// Where spans ended in training, where the policy says so.
    pub fn span(&self) -> Option<&SpanRule> {
        self.span.as_ref()
    }

    /// The same, giving up when `stop` says so.
    pub fn until(&self, stop: Stop) -> Self {
        Self { stop, ..self.clone() }
    }

    fn ask(&self, state: &State<'_>) -> Result<Reply, String> {
        let mut body = json!({"prompt": state.prompt, "text": state.text, "span": state.span});
        if let Some(policy) = &self.policy {
            body["policy"] = json!(policy);
        }
        let reply = self.client.ask(&self.url, &body, &self.stop).map_err(|error| error.to_string())?;
        let reply: Reply = serde_json::from_value(reply)
            .map_err(|error| format!("`{}` replied with what are no weights: {error}", self.url))?;
        if reply.models != self.members {
            let (arms, members) = (reply.models.join(", "), self.members.join(", "));
            return Err(format!(
                "the policy at `{}` has the arms {arms}; the members are {members}, in this order",
                self.url
            ));
        }
        Ok(reply)
    }
}

impl Chooser for ServedWeights {
    fn choose(&mut self, state: &State<'_>) -> Result<Choice, String> {
        let weights = self.ask(state)?.weights;
        let sum: f32 = weights.iter().sum();
        if weights.iter().any(|weight| !(weight.is_finite() && *weight >= 0.0)) || (sum - 1.0).abs() > 1e-3 {
            return Err(format!(
                "`{}` replied with weights {weights:?}; they sum to 1, each at least 0",
                self.url
            ));
        }
        Ok(Choice { weights, log_density: None })
    }
}
