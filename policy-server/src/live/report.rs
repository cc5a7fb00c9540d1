//! What a policy has learned, in figures: for `/metrics` and for `GET /admin/v1/learning`.

use routewright_policy::drift::DriftKind;
use routewright_policy::trust::Reputation;

/// The figures of one policy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    /// Rewards learned from.
    pub(crate) updates: u64,
    /// Outcomes that could not be learned from.
    pub(crate) refused: u64,
    /// Decisions seen.
    pub(crate) decisions: u64,
    /// What all requests spend.
    pub(crate) spend: Spend,
    /// What those of each key with a budget spend, by its name.
    pub(crate) keys: Vec<(String, Spend)>,
    /// Who reports.
    pub(crate) reporters: Vec<Reputation>,
    /// What is watched; empty where nothing is.
    pub(crate) drift: Vec<DriftFigure>,
    /// Decision of the last alarm.
    pub(crate) last_alarm: Option<u64>,
    /// Share of calls made at random since.
    pub(crate) epsilon: f64,
}

/// The figures of one account.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spend {
    /// Score given up for a US dollar; 0 where spend is not paced.
    pub(crate) lambda: f64,
    /// Mean price of a call, US dollars, where that is paced.
    pub(crate) mean_usd: Option<f64>,
    /// Spent today, US dollars, where a day has a budget.
    pub(crate) day_usd: Option<f64>,
}

/// The figures of one monitor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct DriftFigure {
    pub(crate) kind: DriftKind,
    pub(crate) alarms: u64,
    /// Distance of the last block, standard errors.
    pub(crate) z: f64,
}
