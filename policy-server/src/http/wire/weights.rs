//! `POST /v1/weights`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A state of an ensemble whose members are to be weighed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WeightsRequest {
    /// whose arms are the members; the default policy where nothing is said
    #[serde(default)]
    pub(crate) policy: Option<String>,
    pub(crate) prompt: String,
    /// the answer so far
    #[serde(default)]
    pub(crate) text: String,
    /// spans written before
    #[serde(default)]
    pub(crate) span: usize,
}

/// How much each member counts for what follows.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Weights {
    pub(crate) policy: String,
    pub(crate) version: String,
    pub(crate) models: Vec<String>,
    /// one a model, sum 1
    pub(crate) weights: Vec<f32>,
    /// where a span ends by the policy: `units` at most, or at one of `marks`
    pub(crate) span: Option<Value>,
}
