//! Decisions: `POST /v1/route`, `POST /v1/route/batch` and the plain bodies under `/route/v1`.

use crate::error::{ApiError, Code};
use crate::http::conversation::{self, InputFormat};
use crate::http::wire::ErrorBody;
use crate::live::query::{Explain, Query};
use routewright_data::names;
use routewright_policy::{Constraints, Objective};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How much a decision says about itself.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, rename = "Explain")]
pub(crate) enum ExplainBody {
    None,
    #[default]
    Summary,
    Full,
}

/// One of `input`, `request` and `vector` is needed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "properties": { "input": { "type": "string" } }, "required": ["input"] },
    { "properties": { "request": { "type": "object" } }, "required": ["request"] },
    { "allOf": [
        { "properties": { "vector": { "type": "array" } }, "required": ["vector"] },
        { "not": { "properties": { "input": { "type": "string" } }, "required": ["input"] } },
        { "not": { "properties": { "request": { "type": "object" } }, "required": ["request"] } },
    ] },
]))]
pub(crate) struct RouteRequest {
    /// shape of `request`
    #[serde(default)]
    #[schemars(extend("default" = "openai_chat"))]
    pub(crate) input_format: Option<InputFormat>,
    /// body of that API; which of its turns are routed on is the policy's rule (`query_text` of its manifest); unknown
    /// fields are accepted
    #[serde(default)]
    #[schemars(extend("type" = ["object", "null"], "additionalProperties" = true))]
    pub(crate) request: Option<Value>,
    /// plain text to route on, instead of `request`
    #[serde(default)]
    pub(crate) input: Option<String>,
    /// precomputed features, for policies trained on an embedding column
    #[serde(default)]
    pub(crate) vector: Option<Vec<f32>>,
    /// policy, as `name` or `name@version`; default: the server's default policy
    #[serde(default)]
    pub(crate) policy: Option<String>,
    /// models the caller can call; default: all of the policy
    #[serde(default)]
    pub(crate) candidates: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) objective: Option<ObjectiveBody>,
    #[serde(default)]
    pub(crate) constraints: Option<ConstraintsBody>,
    /// id of the conversation, returned as given
    #[serde(default)]
    pub(crate) session_id: Option<String>,
    /// source (task) of the query, as in the training log
    #[serde(default)]
    pub(crate) source: Option<String>,
    /// seed of the draw: the same seed, request and policy version give the same decision
    #[serde(default)]
    #[schemars(extend("minimum" = 0, "maximum" = u64::MAX))]
    pub(crate) seed: Option<u64>,
    /// how much the decision says about itself
    #[serde(default)]
    pub(crate) explain: ExplainBody,
    /// decide without counting or logging the decision
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// the decision counts only once feedback says that it was acted upon
    #[serde(default)]
    pub(crate) deferred: bool,
}

/// Replaces the policy's selector by the greatest quality * score - cost * cost_usd - latency * seconds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Objective")]
pub(crate) struct ObjectiveBody {
    /// weight of the predicted score
    #[serde(default = "one")]
    #[schemars(range(min = 0))]
    quality: f64,
    /// score given up to save one US dollar
    #[serde(default)]
    #[schemars(range(min = 0))]
    cost: f64,
    /// score given up to save one second of mean latency
    #[serde(default)]
    #[schemars(range(min = 0))]
    latency: f64,
}

fn one() -> f64 {
    1.0
}

/// What the model must be like.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Constraints")]
pub(crate) struct ConstraintsBody {
    /// greatest predicted price of the call, US dollars; a model of unknown price is excluded
    #[serde(default)]
    #[schemars(range(min = 0))]
    max_cost_usd: Option<f64>,
    /// greatest mean latency of the model, milliseconds; a model of unknown latency is excluded
    #[serde(default)]
    #[schemars(range(min = 0))]
    max_latency_ms: Option<f64>,
    /// tags the model must all have
    #[serde(default)]
    tags: Vec<String>,
    /// one more tag the model must have, such as `eu`
    #[serde(default)]
    residency: Option<String>,
}

impl From<ConstraintsBody> for Constraints {
    /// `residency` is a tag like any other: an arm that lacks it is not eligible.
    fn from(body: ConstraintsBody) -> Self {
        let mut tags = body.tags;
        tags.extend(body.residency);
        Self { max_cost_usd: body.max_cost_usd, max_latency_ms: body.max_latency_ms, tags }
    }
}

impl From<ExplainBody> for Explain {
    fn from(body: ExplainBody) -> Self {
        match body {
            ExplainBody::None => Self::None,
            ExplainBody::Summary => Self::Summary,
            ExplainBody::Full => Self::Full,
        }
    }
}

impl RouteRequest {
    /// The query to decide on; `fresh_seed` is used where the caller gave none.
    ///
    /// # Errors
    /// If it has no input, two inputs, or no text can be extracted.
    pub(crate) fn into_query(self, fresh_seed: u64) -> Result<Query, ApiError> {
        let refuse = |reason: &str, param: &str| {
            Err(ApiError::new(Code::InvalidRequest, reason.to_owned()).param(param))
        };
        if let Some(Err(why)) = self.source.as_deref().map(names::check) {
            return refuse(&format!("`source` {why}"), "source");
        }
        let (text, conversation) = match (self.input, self.request) {
            (Some(_), Some(_)) => return refuse("give either `input` or `request`, not both", "input"),
            (Some(text), None) if text.is_empty() && self.vector.is_none() => {
                return refuse("`input` is empty, expected a text", "input");
            }
            (Some(text), None) => (text, None),
            (None, Some(body)) => {
                let format = self.input_format.unwrap_or_default();
                (String::new(), Some(conversation::read(format, &body)?))
            }
            (None, None) if self.vector.is_some() => (String::new(), None),
            (None, None) => {
                return refuse(
                    "nothing to route on: give `input` (text), `request` (a body with its \
                     `input_format`) or `vector` (numbers)",
                    "input",
                );
            }
        };
        let objective =
            self.objective.map(|o| Objective { quality: o.quality, cost: o.cost, latency: o.latency });
        Ok(Query {
            text,
            conversation,
            vector: self.vector,
            source: self.source,
            candidates: self.candidates,
            objective,
            constraints: self.constraints.map(Constraints::from).unwrap_or_default(),
            seed: self.seed.unwrap_or(fresh_seed),
            session_id: self.session_id,
            explain: self.explain.into(),
            dry_run: self.dry_run,
            deferred: self.deferred,
            ..Query::default()
        })
    }
}

/// body of the API of that path; `model` picks the policy as `routewright/<policy>` or `router-<policy>`, any other
/// name means the default policy
#[derive(Debug, JsonSchema)]
#[schemars(extend("additionalProperties" = true))]
pub(crate) struct PlainChat {
    #[schemars(rename = "model")]
    _model: Option<String>,
    #[schemars(length(min = 1))]
    #[schemars(rename = "messages")]
    _messages: Vec<OpenObject>,
}

/// body of the API of that path; `model` picks the policy as `routewright/<policy>` or `router-<policy>`, any other
/// name means the default policy
#[derive(Debug, JsonSchema)]
#[schemars(extend("additionalProperties" = true))]
pub(crate) struct PlainResponses {
    #[schemars(rename = "model")]
    _model: Option<String>,
    #[schemars(extend("type" = ["string", "array"], "minLength" = 1))]
    #[schemars(rename = "input")]
    _input: Value,
}

/// body of the API of that path; `model` picks the policy as `routewright/<policy>` or `router-<policy>`, any other
/// name means the default policy
#[derive(Debug, JsonSchema)]
#[schemars(extend("additionalProperties" = true))]
pub(crate) struct PlainMessages {
    #[schemars(rename = "model")]
    _model: Option<String>,
    #[schemars(length(min = 1))]
    #[schemars(rename = "messages")]
    _messages: Vec<OpenObject>,
}

/// An object of which some fields are read.
#[derive(Debug, JsonSchema)]
#[schemars(inline, extend("additionalProperties" = true))]
struct OpenObject {}

/// Queries to be decided together.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRequest {
    /// queries, at most limits.batch_max
    // Each entry is read on its own, so that one bad entry fails alone.
    #[schemars(with = "Vec<RouteRequest>")]
    pub(crate) requests: Vec<Value>,
}

/// Results of a batch.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct BatchReply<'a> {
    #[schemars(extend("const" = "list"))]
    pub(crate) object: &'static str,
    /// result of each query, in the order asked
    pub(crate) data: Vec<BatchItem<'a>>,
    pub(crate) summary: BatchSummary,
}

/// Result of one query of a batch.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(crate) enum BatchItem<'a> {
    Decision(Box<DecisionBody<'a>>),
    Error(ErrorBody),
}

/// How many entries of a batch came to what.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct BatchSummary {
    /// queries asked
    pub(crate) entries: usize,
    /// those the policy decided
    pub(crate) decided: usize,
    /// those the default arm answered
    pub(crate) deadline_default: usize,
    /// those that have an error
    pub(crate) failed: usize,
}

/// A decision.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Decision", deny_unknown_fields)]
pub(crate) struct DecisionBody<'a> {
    #[schemars(extend("const" = "routing.decision"))]
    pub(crate) object: &'static str,
    /// on /route/v1/..., to clients that expect a completion: that this is none
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) notice: Option<&'static str>,
    /// `dec_` and a UUIDv7
    pub(crate) id: &'a str,
    /// seconds since 1970
    pub(crate) created: u64,
    pub(crate) policy: VersionOfPolicy<'a>,
    pub(crate) action: ActionBody<'a>,
    /// other eligible models, best first
    pub(crate) fallbacks: Vec<&'a str>,
    /// every model of the policy; absent with explain none
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) candidates: Option<Vec<CandidateBody<'a>>>,
    /// probability the model was drawn with
    #[schemars(range(min = 0, max = 1))]
    pub(crate) propensity: f32,
    pub(crate) exploration: ExplorationBody<'a>,
    /// seed of the draw
    pub(crate) seed: u64,
    /// why this model
    #[schemars(extend("enum" = [
        "selected", "objective", "only_eligible", "deadline_default", "no_text_default",
    ]))]
    pub(crate) reason: &'static str,
    /// why, in a sentence, of policies that keep a baseline without evidence; absent with explain none
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) explanation: Option<String>,
    /// the figures of that sentence
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evidence: Option<EvidenceBody<'a>>,
    /// absent where no price of money changes the choice, and with explain none
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flip: Option<FlipBody<'a>>,
    /// training rows the prediction rests on, nearest first; with explain full, where the policy has them
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) neighbors: Option<Vec<NeighborBody<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<SessionBody<'a>>,
    pub(crate) dry_run: bool,
    pub(crate) timings: TimingsBody,
}

/// Which policy decided.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "VersionOfPolicy", inline, deny_unknown_fields)]
pub(crate) struct VersionOfPolicy<'a> {
    pub(crate) name: &'a str,
    /// first 12 hex digits of the digest; `+n` after `n` rewards were learned from, `.m` after `m` changes of arms
    pub(crate) version: &'a str,
    /// blake3 of the manifest
    pub(crate) digest: &'a str,
    /// which side of a rollout decided, where a registry names versions
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["active", "canary"]))]
    pub(crate) state: Option<&'static str>,
}

/// What to do.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct ActionBody<'a> {
    #[schemars(extend("const" = "model"))]
    pub(crate) kind: &'static str,
    /// the model to call
    pub(crate) model: &'a str,
}

/// One arm as the decision saw it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Candidate", deny_unknown_fields)]
pub(crate) struct CandidateBody<'a> {
    pub(crate) model: &'a str,
    /// predicted score; null where the default arm answered
    pub(crate) score: Option<f32>,
    /// 95 % interval of the score, where the standard error is known
    pub(crate) score_interval: Option<[f32; 2]>,
    /// predicted price of the call, US dollars
    pub(crate) cost_usd: Option<f32>,
    /// mean latency on the training log, milliseconds
    pub(crate) latency_ms: Option<f64>,
    /// probability it had
    #[schemars(range(min = 0, max = 1))]
    pub(crate) propensity: f32,
    pub(crate) eligible: bool,
    #[schemars(extend("enum" = [
        "not_candidate", "tags", "max_cost_usd", "max_latency_ms", "removed", null,
    ]))]
    pub(crate) excluded_by: Option<&'static str>,
}

/// Where the distribution comes from.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct ExplorationBody<'a> {
    /// selector the distribution comes from, or `default_arm`
    pub(crate) strategy: &'a str,
    /// whether propensities are exact
    pub(crate) exact: bool,
}

/// Paired evidence for a model against the baseline that a policy keeps without it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct EvidenceBody<'a> {
    /// the model that is kept without evidence
    pub(crate) baseline: &'a str,
    /// task whose training queries are the evidence; null where they are the nearest ones
    pub(crate) source: Option<&'a str>,
    /// probability of that task where the request named none
    #[schemars(range(min = 0, max = 1))]
    pub(crate) source_probability: Option<f32>,
    /// the model taken, or the one that came nearest to replacing the baseline; null where nothing speaks for any
    pub(crate) model: Option<&'a str>,
    /// its mean score less that of the baseline, shrunk
    pub(crate) gain: Option<f32>,
    /// standard error of the gain
    #[schemars(range(min = 0))]
    pub(crate) standard_error: Option<f32>,
    /// standard errors that the gain must exceed
    #[schemars(range(min = 0))]
    pub(crate) needed: Option<f32>,
}

/// Where the choice would change.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct FlipBody<'a> {
    /// score per US dollar above which the choice changes
    pub(crate) lambda: f64,
    /// the model then chosen
    pub(crate) model: &'a str,
}

/// A training row the prediction rests on.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct NeighborBody<'a> {
    /// query id in the training log
    pub(crate) id: &'a str,
    /// cosine similarity
    pub(crate) similarity: f32,
}

/// The session, as given.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct SessionBody<'a> {
    pub(crate) id: &'a str,
}

/// Microseconds of each stage.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct TimingsBody {
    /// waiting for a worker
    pub(crate) queue_us: f64,
    /// text to features
    pub(crate) features_us: f64,
    /// features to predictions
    pub(crate) score_us: f64,
    /// constraints, selector, draw
    pub(crate) constraints_us: f64,
    /// queries decided together; 0 where the default arm answered
    pub(crate) batch: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::parse;

    #[test]
    fn residency_is_one_more_tag() {
        let body = br#"{"input":"x","constraints":{"tags":["tools"],"residency":"eu"}}"#;
        let query = parse::<RouteRequest>(body).unwrap().into_query(0).unwrap();
        assert_eq!(query.constraints.tags, ["tools", "eu"]);
    }
}
