//! The greatest upper confidence bound (LinUCB, arXiv 1003.0146, with a form whose standard error is
//! `sqrt(x' A^-1 x)`; UCB1 with a table that states that spread).

use super::{Selector, SelectorRow, SelectorSpec, share_best};
use crate::PredictionRow;
use serde::{Deserialize, Serialize};

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "ucb",
    title: "greatest score + alpha * standard error",
    build: |settings, _| {
        let ucb: Ucb = super::settings(ROW.name, settings)?;
        super::finite_at_least(ROW.name, "alpha", ucb.alpha, 0.0)?;
        Ok(Box::new(ucb))
    },
};

/// Chooses the greatest `score + alpha * score_se`. Without standard errors it is `argmax`.
///
/// All mass lies on one arm (or on exact ties): a log of it cannot be evaluated off-policy. Wrap it in
/// `epsilon-greedy` where that matters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ucb {
    /// Standard errors of optimism, at least 0.
    pub alpha: f64,
}

impl Selector for Ucb {
    fn spec(&self) -> SelectorSpec {
        SelectorSpec { name: ROW.name.to_owned(), settings: serde_json::json!({ "alpha": self.alpha }) }
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let bound = |(arm, score): (usize, &f32)| f64::from(*score) + super::spread(row, arm, self.alpha);
        let bounds: Vec<f64> = row.score.iter().enumerate().map(bound).collect();
        share_best(&bounds, row, eligible)
    }

    fn explore(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Option<Vec<f32>> {
        Some(self.distribution(row, eligible))
    }
}
