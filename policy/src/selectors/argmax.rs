//! The arm of the greatest predicted score.

use super::{Selector, SelectorRow, SelectorSpec, share_best};
use crate::PredictionRow;
use serde::Deserialize;

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "argmax",
    title: "greatest predicted score",
    build: |settings, _| {
        let NoSettings {} = super::settings("argmax", settings)?;
        Ok(Box::new(Argmax))
    },
};

/// Settings of a selector that has none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoSettings {}

/// Chooses the greatest predicted score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argmax;

impl Selector for Argmax {
    fn spec(&self) -> SelectorSpec {
        SelectorSpec::named(ROW.name)
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let values: Vec<f64> = row.score.iter().map(|&s| f64::from(s)).collect();
        share_best(&values, row, eligible)
    }
}
