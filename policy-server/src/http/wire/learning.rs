//! Reply of `GET /admin/v1/learning`.

use serde::Serialize;

/// The policies that learn.
#[derive(Debug, Serialize)]
pub(crate) struct LearningReply<'a> {
    pub(crate) object: &'static str,
    pub(crate) data: Vec<LearningBody<'a>>,
}

/// One policy that learns.
#[derive(Debug, Serialize)]
pub(crate) struct LearningBody<'a> {
    pub(crate) policy: &'a str,
    pub(crate) version: &'a str,
    pub(crate) updates: u64,
    pub(crate) refused: u64,
    pub(crate) decisions: u64,
    pub(crate) spend: SpendBody,
    pub(crate) keys: Vec<KeySpendBody>,
    pub(crate) reporters: Vec<ReporterBody>,
    pub(crate) drift: Vec<DriftBody>,
    pub(crate) last_alarm: Option<u64>,
    pub(crate) epsilon: f64,
}

/// What is spent, and the price of money that follows.
#[derive(Debug, Serialize)]
pub(crate) struct SpendBody {
    pub(crate) lambda: f64,
    pub(crate) mean_usd: Option<f64>,
    pub(crate) day_usd: Option<f64>,
}

/// What a key with a budget spends.
#[derive(Debug, Serialize)]
pub(crate) struct KeySpendBody {
    pub(crate) key: String,
    pub(crate) spend: SpendBody,
}

/// Who reports, and how far that is believed.
#[derive(Debug, Serialize)]
pub(crate) struct ReporterBody {
    pub(crate) reporter: String,
    pub(crate) reports: u64,
    pub(crate) trust: f64,
    pub(crate) withheld: f64,
}

/// One monitor.
#[derive(Debug, Serialize)]
pub(crate) struct DriftBody {
    pub(crate) kind: &'static str,
    pub(crate) alarms: u64,
    pub(crate) z: f64,
}
