//! A price limit per call, then the greatest score.

use super::{Selector, SelectorRow, SelectorSpec};
use crate::PredictionRow;
use serde::{Deserialize, Serialize};

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "budget",
    title: "greatest predicted score among arms within max_cost_usd; the cheapest arm when none is",
    build: |settings, _| {
        let budget: Budget = super::settings("budget", settings)?;
        super::finite_at_least("budget", "max_cost_usd", budget.max_cost_usd, 0.0)?;
        Ok(Box::new(budget))
    },
};

/// Chooses the greatest score among the arms whose predicted cost is within the limit.
///
/// When none is, the cheapest eligible arm is chosen: a router must answer. An arm of unknown cost is not
/// within any limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Greatest predicted price of a call, US dollars.
    pub max_cost_usd: f64,
}

impl Selector for Budget {
    fn spec(&self) -> SelectorSpec {
        SelectorSpec {
            name: ROW.name.to_owned(),
            settings: serde_json::json!({ "max_cost_usd": self.max_cost_usd }),
        }
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let within: Vec<bool> = row
            .cost_usd
            .iter()
            .zip(eligible)
            .map(|(&cost, &ok)| ok && f64::from(cost) <= self.max_cost_usd)
            .collect();
        if within.contains(&true) {
            return super::Argmax.distribution(row, &within);
        }
        super::Cheapest.distribution(row, eligible)
    }
}
