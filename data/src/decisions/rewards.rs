//! One reward a decision: its outcome, less what its cost is worth.

use super::Outcomes;
use crate::log::DecisionRow;

/// How an outcome becomes a reward.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RewardRule {
    /// Value of decisions without feedback; they are left out when `None`.
    pub default: Option<f64>,
    /// Score given up to save one US dollar; 0 takes no notice of costs.
    pub cost_weight: f64,
}

/// What became of one decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rewarded {
    /// Its reward.
    Reward(f64),
    /// It had no feedback and there is no default.
    NoFeedback,
    /// Its cost counts, but is not known.
    NoCost,
}

impl RewardRule {
    /// The reward `value - cost_weight * cost_usd` of a decision.
    pub fn apply(&self, row: &DecisionRow, outcomes: &Outcomes) -> Rewarded {
        let Some(value) = outcomes.value(&row.decision_id).or(self.default) else {
            return Rewarded::NoFeedback;
        };
        if self.cost_weight == 0.0 {
            return Rewarded::Reward(value);
        }
        match outcomes.cost_usd(&row.decision_id) {
            Some(cost) => Rewarded::Reward(value - self.cost_weight * cost),
            None => Rewarded::NoCost,
        }
    }
}
