//! The one number a bandit learns from, made of score, price and latency.
//!
//! Stored with the method's parameters, so that a log can be rescored for another trade-off.

use serde::{Deserialize, Serialize};

/// How the terms of a reward are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardForm {
    /// `score * a - cost * c - latency * l`.
    #[default]
    Sum,
    /// `score * a - (cost * c) * (latency * l)`: as a summary of PickLLM (arXiv 2412.12170) prints it.
    Product,
}

/// Weights of the terms of a reward.
///
/// `a` is the score in `[0, 1]`, `c` the price of the call over `cost_unit_usd`, `l` the decimal logarithm
/// of the latency over `latency_unit_ms`, not below 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reward {
    /// How the terms are joined.
    pub form: RewardForm,
    /// Weight of the score.
    pub score: f64,
    /// Weight of the price.
    pub cost: f64,
    /// Weight of the latency.
    pub latency: f64,
    /// Price that counts as 1, US dollars.
    pub cost_unit_usd: f64,
    /// Latency whose logarithm counts as 0, milliseconds.
    pub latency_unit_ms: f64,
}

impl Default for Reward {
    fn default() -> Self {
        Self {
            form: RewardForm::Sum,
            score: 1.0,
            cost: 0.0,
            latency: 0.0,
            cost_unit_usd: 1.0,
            latency_unit_ms: 1.0,
        }
    }
}

impl Reward {
    /// Whether the price matters.
    pub fn needs_cost(&self) -> bool {
        self.cost != 0.0
    }

    /// The reward of one call; a price or latency that is not known counts as 0.
    pub fn of(&self, score: f64, cost_usd: Option<f64>, latency_ms: Option<f64>) -> f64 {
        let cost = self.cost * cost_usd.unwrap_or(0.0) / self.cost_unit_usd;
        let decades = latency_ms.map_or(0.0, |ms| (ms / self.latency_unit_ms).max(1.0).log10());
        let latency = self.latency * decades;
        let penalty = match self.form {
            RewardForm::Sum => cost + latency,
            RewardForm::Product => cost * latency,
        };
        self.score * score - penalty
    }

    /// The reward on the scale `[0, 1]` that a learning automaton needs: 1 for the best a call can be, 0
    /// for a score of 0 at the unit price (and one decade over the unit of latency), or worse.
    pub fn normalized(&self, reward: f64) -> f64 {
        let worst = match self.form {
            RewardForm::Sum => -(self.cost + self.latency),
            RewardForm::Product => -(self.cost * self.latency),
        };
        let span = self.score - worst;
        if span > 0.0 { ((reward - worst) / span).clamp(0.0, 1.0) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_follow_their_formulas() {
        let sum = Reward {
            cost: 0.5,
            latency: 0.1,
            cost_unit_usd: 0.01,
            latency_unit_ms: 10.0,
            ..Reward::default()
        };
        // 0.8 - 0.5 * 0.4 - 0.1 * 2
        assert!((sum.of(0.8, Some(0.004), Some(1000.0)) - 0.4).abs() < 1e-12);
        let product = Reward { form: RewardForm::Product, ..sum };
        // 0.8 - (0.5 * 0.4) * (0.1 * 2)
        assert!((product.of(0.8, Some(0.004), Some(1000.0)) - 0.76).abs() < 1e-12);
        // Below the unit the logarithm would turn into a prize.
        assert!((sum.of(0.8, None, Some(1.0)) - 0.8).abs() < 1e-12);
        assert_eq!(sum.normalized(1.0), 1.0);
        assert!((sum.normalized(-0.6) - 0.0).abs() < 1e-12 && (sum.normalized(0.2) - 0.5).abs() < 1e-12);
    }
}
