//! `POST /v1/feedback`.

use crate::http::wire::ErrorObject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of `value`, `preference`, `ranking`, `cost_usd`, `latency_ms` and `activation` is needed. As
/// `application/x-ndjson` the body has one object a line; the reply is a FeedbackLine a line.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [
    { "allOf": [
        { "properties": { "value": { "type": "number" } }, "required": ["value"] },
        { "properties": { "metric": { "type": "string" } }, "required": ["metric"] },
    ] },
    { "properties": { "preference": { "type": "object" } }, "required": ["preference"] },
    { "properties": { "ranking": { "type": "array" } }, "required": ["ranking"] },
    { "properties": { "cost_usd": { "type": "number" } }, "required": ["cost_usd"] },
    { "properties": { "latency_ms": { "type": "number" } }, "required": ["latency_ms"] },
    { "properties": { "activation": { "const": true } }, "required": ["activation"] },
]))]
pub(crate) struct FeedbackRequest {
    /// `id` of the decision
    #[schemars(length(min = 1, max = 256))]
    pub(crate) decision_id: String,
    /// declared in [metrics.NAME]; not needed with `preference`, `ranking`, or a bare report
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    pub(crate) metric: Option<String>,
    /// measured value, in the range of the metric
    #[serde(default)]
    pub(crate) value: Option<f64>,
    /// one model's answer was preferred to another's
    #[serde(default)]
    pub(crate) preference: Option<PreferenceBody>,
    /// models from best to worst
    #[serde(default)]
    #[schemars(length(min = 2), extend("uniqueItems" = true))]
    pub(crate) ranking: Option<Vec<String>>,
    /// who measured: user, agent, judge, system, test
    #[serde(default)]
    #[schemars(length(min = 1, max = 256), extend("default" = "user"))]
    pub(crate) source: Option<String>,
    /// the same key counts once; default: hash of decision_id, metric and source
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    pub(crate) idempotency_key: Option<String>,
    /// when it happened, milliseconds since 1970
    #[serde(default)]
    pub(crate) occurred_at: Option<i64>,
    /// what was billed, US dollars; the latest bill of a decision counts
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(crate) cost_usd: Option<f64>,
    /// time from request to last token, milliseconds
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(crate) latency_ms: Option<f64>,
    /// a deferred decision was acted upon
    #[serde(default)]
    pub(crate) activation: bool,
}

/// One model's answer was preferred to another's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Preference")]
pub(crate) struct PreferenceBody {
    pub(crate) winner: String,
    pub(crate) loser: String,
}

/// What became of feedback.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct FeedbackReply<'a> {
    #[schemars(extend("const" = "feedback"))]
    pub(crate) object: &'static str,
    /// `accepted` (202) or `duplicate` (200)
    #[schemars(extend("enum" = ["accepted", "duplicate"]))]
    pub(crate) status: &'static str,
    pub(crate) decision_id: &'a str,
    pub(crate) idempotency_key: &'a str,
    /// whether it came after the reward window; absent for a duplicate
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) late: Option<bool>,
}

/// Result of one line of a batch.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct FeedbackLine<'a> {
    /// status that a request of its own would have had
    pub(crate) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reply: Option<&'a FeedbackReply<'a>>,
    /// error object, as in Error.error
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ErrorObject>,
}
