//! The cheapest arm that is nearly as good as the best (HomoRouter's cost-saving rule, arXiv 2406.12429).

use super::{Selector, SelectorRow, SelectorSpec};
use crate::PredictionRow;
use serde::{Deserialize, Serialize};

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "cheapest-within",
    title: "least predicted cost among arms within delta of the best predicted score",
    build: |settings, _| {
        let within: CheapestWithin = super::settings("cheapest-within", settings)?;
        super::finite_at_least("cheapest-within", "delta", within.delta, 0.0)?;
        Ok(Box::new(within))
    },
};

/// Chooses the cheapest arm whose predicted score is at least the best one minus `delta`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheapestWithin {
    /// Score that may be given up, at least 0.
    pub delta: f64,
}

impl Selector for CheapestWithin {
    fn spec(&self) -> SelectorSpec {
        SelectorSpec { name: ROW.name.to_owned(), settings: serde_json::json!({ "delta": self.delta }) }
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let scores = || row.score.iter().map(|&s| f64::from(s)).zip(eligible);
        let best = scores().filter(|(_, ok)| **ok).map(|(s, _)| s).fold(f64::NEG_INFINITY, f64::max);
        let near: Vec<bool> = scores().map(|(s, &ok)| ok && s >= best - self.delta).collect();
        super::Cheapest.distribution(row, &near)
    }
}
