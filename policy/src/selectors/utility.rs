//! Score minus lambda times cost: one number trades quality for money.

use super::{Selector, SelectorRow, SelectorSpec, share_best};
use crate::PredictionRow;
use serde::{Deserialize, Serialize};

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "utility",
    title: "greatest predicted score - lambda * predicted cost",
    build: |settings, _| {
        let utility: Utility = super::settings("utility", settings)?;
        super::finite_at_least("utility", "lambda", utility.lambda, 0.0)?;
        Ok(Box::new(utility))
    },
};

/// Chooses the greatest `score - lambda * cost_usd`.
///
/// An arm of unknown cost is chosen only when `lambda` is 0 or no eligible arm has a known cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Utility {
    /// Score given up to save one US dollar, at least 0.
    pub lambda: f64,
}

impl Utility {
    /// Utility of each arm; an unknown cost counts as infinite when money matters.
    fn values(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f64> {
        let priced = row.cost_usd.iter().zip(eligible).any(|(cost, &ok)| ok && !cost.is_nan());
        row.score
            .iter()
            .zip(row.cost_usd)
            .map(|(&score, &cost)| match (self.lambda > 0.0 && priced, cost.is_nan()) {
                (false, _) => f64::from(score),
                (true, true) => f64::NEG_INFINITY,
                (true, false) => f64::from(score) - self.lambda * f64::from(cost),
            })
            .collect()
    }
}

impl Selector for Utility {
    fn spec(&self) -> SelectorSpec {
        SelectorSpec { name: ROW.name.to_owned(), settings: serde_json::json!({ "lambda": self.lambda }) }
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        share_best(&self.values(row, eligible), row, eligible)
    }

    fn lambda(&self) -> f64 {
        self.lambda
    }
}
