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
        let masked = || row.score.iter().zip(eligible).filter(|(_, ok)| **ok).map(|(score, _)| *score);
        let best = masked().fold(f32::NEG_INFINITY, f32::max);
        let weigh = |(score, ok): (&f32, &bool)| match ok {
            true => (f64::from(score - best) / self.temperature).exp(),
            false => 0.0,
        };
        let weights: Vec<f64> = row.score.iter().zip(eligible).map(weigh).collect();
        super::normalized(&weights)
    }

    fn explorer(&self) -> Option<&dyn Selector> {
        Some(self)
    }
}
