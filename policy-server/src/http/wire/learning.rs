//! `GET /admin/v1/learning`.

use schemars::JsonSchema;
use serde::Serialize;

/// The policies that learn.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct LearningReply<'a> {
    #[schemars(extend("const" = "list"))]
    pub(crate) object: &'static str,
    pub(crate) data: Vec<PolicyLearning<'a>>,
}

/// One policy that learns.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct PolicyLearning<'a> {
    pub(crate) policy: &'a str,
    pub(crate) version: &'a str,
    /// rewards learned from
    pub(crate) updates: u64,
    /// outcomes that could not be learned from
    pub(crate) refused: u64,
    /// decisions seen
    pub(crate) decisions: u64,
    pub(crate) spend: SpendBody,
    pub(crate) keys: Vec<KeySpendBody>,
    pub(crate) reporters: Vec<ReporterBody>,
    pub(crate) drift: Vec<DriftBody>,
    /// decisions before the last alarm
    pub(crate) last_alarm: Option<u64>,
    /// share of calls made at random since
    pub(crate) epsilon: f64,
}

/// What is spent, and the price of money that follows.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Spend", deny_unknown_fields)]
pub(crate) struct SpendBody {
    /// score given up to save one US dollar
    pub(crate) lambda: f64,
    /// mean price of a call, US dollars, where that is paced
    pub(crate) mean_usd: Option<f64>,
    /// spent today (UTC), US dollars, where a day has a budget
    pub(crate) day_usd: Option<f64>,
}

/// What a key with a budget spends.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct KeySpendBody {
    pub(crate) key: String,
    pub(crate) spend: SpendBody,
}

/// Who reports, and how much each reporter is trusted.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct ReporterBody {
    /// key and source
    pub(crate) reporter: String,
    pub(crate) reports: u64,
    /// how far it is believed, from 0 to 1
    pub(crate) trust: f64,
    /// weight of its reports that was left out
    pub(crate) withheld: f64,
}

/// One monitor.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct DriftBody {
    #[schemars(extend("enum" = ["features", "reward", "price"]))]
    pub(crate) kind: &'static str,
    pub(crate) alarms: u64,
    /// distance of what was seen last, standard errors
    pub(crate) z: f64,
}
