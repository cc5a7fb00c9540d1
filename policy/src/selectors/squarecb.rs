//! Inverse gap weighting (SquareCB, arXiv 2002.04926, algorithm 1).

use super::{Selector, SelectorRow, SelectorSpec, share_best};
use crate::PredictionRow;
use serde::{Deserialize, Serialize};

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "squarecb",
    title: "inverse gap weighting: 1 / (n_arms + gamma * gap to the best)",
    build: |settings, _| {
        let squarecb: SquareCb = super::settings(ROW.name, settings)?;
        super::finite_at_least(ROW.name, "gamma_scale", squarecb.gamma_scale, 0.0)?;
        super::finite_at_least(ROW.name, "gamma_exponent", squarecb.gamma_exponent, 0.0)?;
        Ok(Box::new(squarecb))
    },
};

/// Gives every arm but the best `1 / (K + gamma * (best - score))`, the best one the rest, where `K` is the
/// number of eligible arms and `gamma = gamma_scale * n_updates^gamma_exponent`, with at least 1 update.
///
/// The defaults are those of Vowpal Wabbit 9.11.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SquareCb {
    /// How much a gap counts at the start, at least 0.
    #[serde(default = "ten")]
    pub gamma_scale: f64,
    /// How fast that grows with what was learned, at least 0.
    #[serde(default = "half")]
    pub gamma_exponent: f64,
}

fn ten() -> f64 {
    10.0
}

fn half() -> f64 {
    0.5
}

impl Selector for SquareCb {
    fn spec(&self) -> SelectorSpec {
        let settings = serde_json::to_value(self).unwrap_or_default();
        SelectorSpec { name: ROW.name.to_owned(), settings }
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let n = eligible.iter().filter(|ok| **ok).count() as f64;
        let gamma = self.gamma_scale * (row.n_updates.max(1) as f64).powf(self.gamma_exponent);
        // No gap counts for nothing however great the factor is.
        let gamma = gamma.min(f64::MAX);
        let score: Vec<f64> = row.score.iter().map(|score| f64::from(*score)).collect();
        let greedy = share_best(&score, row, eligible);
        let best = (0..score.len()).filter(|arm| eligible[*arm]).map(|arm| score[arm]);
        let best = best.fold(f64::NEG_INFINITY, f64::max);
        let weigh = |arm: usize| match eligible[arm] && greedy[arm] == 0.0 {
            true => 1.0 / (n + gamma * (best - score[arm])),
            false => 0.0,
        };
        let weights: Vec<f64> = (0..score.len()).map(weigh).collect();
        let rest = 1.0 - weights.iter().sum::<f64>();
        weights.iter().zip(greedy).map(|(w, g)| (w + rest * f64::from(g)) as f32).collect()
    }

    fn explore(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Option<Vec<f32>> {
        Some(self.distribution(row, eligible))
    }
}
