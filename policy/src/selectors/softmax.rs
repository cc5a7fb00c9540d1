//! Arms with probabilities in proportion to `exp(score / temperature)` (Boltzmann exploration).

use super::{Selector, SelectorError, SelectorRow, SelectorSpec};
use crate::PredictionRow;
use serde::{Deserialize, Serialize};

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "softmax",
    title: "in proportion to exp(score / temperature)",
    build: |settings, _| {
        let softmax: Softmax = super::settings(ROW.name, settings)?;
        if !(softmax.temperature.is_finite() && softmax.temperature > 0.0) {
            let reason = format!("`temperature` is `{}`, expected a number above 0", softmax.temperature);
            return Err(SelectorError::Settings { name: ROW.name, reason });
        }
        Ok(Box::new(softmax))
    },
};

/// Draws in proportion to `exp(score / temperature)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {
    /// Difference of score at which probabilities differ by a factor of `e`, above 0.
    pub temperature: f64,
}

impl Selector for Softmax {
    fn spec(&self) -> SelectorSpec {
        let settings = serde_json::json!({ "temperature": self.temperature });
        SelectorSpec { name: ROW.name.to_owned(), settings }
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let scores = || row.score.iter().map(|score| f64::from(*score)).zip(eligible);
        let best = scores().filter(|(_, ok)| **ok).map(|(score, _)| score).fold(f64::NEG_INFINITY, f64::max);
        // Less the best, so that no weight overflows and one of them is 1.
        let weigh = |(score, ok): (f64, &bool)| match ok {
            true => ((score - best) / self.temperature).exp(),
            false => 0.0,
        };
        let weights: Vec<f64> = scores().map(weigh).collect();
        super::normalized(&weights)
    }

    fn explore(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Option<Vec<f32>> {
        Some(self.distribution(row, eligible))
    }
}
