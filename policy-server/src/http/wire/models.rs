//! `GET /v1/models`.

use schemars::JsonSchema;
use serde::Serialize;

/// Everything that has a name here.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ModelList<'a> {
    #[schemars(extend("const" = "list"))]
    pub(crate) object: &'static str,
    /// policies, then arms, then fused models
    pub(crate) data: Vec<ModelBody<'a>>,
}

/// The same names as the Anthropic API lists models, for requests with the header `anthropic-version`.
#[derive(Debug, Serialize)]
pub(crate) struct AnthropicList {
    pub(crate) data: Vec<AnthropicModel>,
    pub(crate) has_more: bool,
    pub(crate) first_id: Option<String>,
    pub(crate) last_id: Option<String>,
}

/// A model as the Anthropic API lists it.
#[derive(Debug, Serialize)]
pub(crate) struct AnthropicModel {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) display_name: String,
    /// RFC 3339
    pub(crate) created_at: String,
}

/// A policy, an arm or a fused model.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Model", extend("additionalProperties" = true))]
pub(crate) struct ModelBody<'a> {
    pub(crate) id: String,
    #[schemars(extend("const" = "model"))]
    pub(crate) object: &'static str,
    /// seconds since 1970
    pub(crate) created: u64,
    pub(crate) owned_by: &'a str,
    #[serde(flatten)]
    pub(crate) kind: ModelKind<'a>,
}

/// What else is known, by kind.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum ModelKind<'a> {
    Policy {
        version: &'a str,
        method: &'a str,
        /// whether it decides requests that name no policy
        default: bool,
        /// models it chooses among
        arms: Vec<&'a str>,
        /// whether this server calls what it chooses
        called: bool,
    },
    Arm {
        /// policies that choose among it and others
        policies: Vec<&'a str>,
        /// mean price of a call on the training log, US dollars
        mean_cost_usd: Option<f64>,
        input_usd_per_mtok: Option<f64>,
        output_usd_per_mtok: Option<f64>,
        /// mean latency on the training log, milliseconds
        mean_latency_ms: Option<f64>,
        tags: &'a [String],
        /// whether this server calls it
        called: bool,
        /// prompt and answer together, tokens
        context_tokens: Option<u64>,
    },
    Fusion {
        /// how its members make one answer
        system: &'a str,
        members: Vec<&'a str>,
    },
}
