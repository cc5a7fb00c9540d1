//! `GET /admin/v1/statistics`.

use schemars::JsonSchema;
use serde::Serialize;

/// What the log says of each policy and model.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct StatisticsReply<'a> {
    #[schemars(extend("const" = "list"))]
    pub(crate) object: &'static str,
    /// sequence number of the last event counted
    pub(crate) high_water: u64,
    pub(crate) data: Vec<PolicyStatistics<'a>>,
}

/// Figures of one policy.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct PolicyStatistics<'a> {
    pub(crate) policy: &'a str,
    pub(crate) models: Vec<ModelStatistics<'a>>,
}

/// Figures of one model.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct ModelStatistics<'a> {
    pub(crate) model: &'a str,
    /// decisions for it, deferred ones once active
    pub(crate) decisions: u64,
    /// what they were predicted to cost
    pub(crate) predicted_usd: f64,
    /// what they cost: the bill where there is one, else the prediction
    pub(crate) spend_usd: f64,
    /// mean of the reports
    pub(crate) latency_ms: Option<f64>,
    pub(crate) metrics: Vec<MetricBody<'a>>,
}

/// Figures of one metric.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct MetricBody<'a> {
    pub(crate) metric: &'a str,
    pub(crate) count: u64,
    pub(crate) mean: Option<f64>,
}
