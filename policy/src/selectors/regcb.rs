//! Every arm that may still be the best, equally often (RegCB by elimination, arXiv 1803.01088).

use super::{Selector, SelectorRow, SelectorSpec, Uniform};
use crate::PredictionRow;
use serde::{Deserialize, Serialize};

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "regcb",
    title: "equally among arms whose upper bound reaches the greatest lower bound",
    build: |settings, _| {
        let regcb: RegCb = super::settings(ROW.name, settings)?;
        super::finite_at_least(ROW.name, "alpha", regcb.alpha, 0.0)?;
        Ok(Box::new(regcb))
    },
};

/// Draws uniformly among the eligible arms with `score + alpha se >= max (score - alpha se)`.
///
/// The optimistic variant of the paper is `ucb`. The confidence ranges are those of the form's standard
/// errors instead of a search for the least loss that fits the data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegCb {
    /// Half the width of an arm's range in standard errors, at least 0.
    pub alpha: f64,
}

impl Selector for RegCb {
    fn spec(&self) -> SelectorSpec {
        SelectorSpec { name: ROW.name.to_owned(), settings: serde_json::json!({ "alpha": self.alpha }) }
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let width = |arm: usize| super::spread(row, arm, self.alpha);
        let score = |arm: usize| f64::from(row.score[arm]);
        let arms = 0..row.score.len();
        let eligible_arms = arms.clone().filter(|arm| eligible[*arm]);
        let least = eligible_arms.map(|arm| score(arm) - width(arm)).fold(f64::NEG_INFINITY, f64::max);
        let plausible: Vec<bool> =
            arms.map(|arm| eligible[arm] && score(arm) + width(arm) >= least).collect();
        Uniform.distribution(row, &plausible)
    }

    fn explore(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Option<Vec<f32>> {
        Some(self.distribution(row, eligible))
    }
}
