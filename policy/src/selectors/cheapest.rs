//! The arm of the least predicted cost.

use super::argmax::NoSettings;
use super::{Selector, SelectorRow, SelectorSpec, share_best};
use crate::PredictionRow;

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "cheapest",
    title: "least predicted cost",
    build: |settings, _| {
        let NoSettings {} = super::settings("cheapest", settings)?;
        Ok(Box::new(Cheapest))
    },
};

/// Chooses the least predicted cost; an unknown cost counts as dearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cheapest;

impl Selector for Cheapest {
    fn spec(&self) -> SelectorSpec {
        SelectorSpec::named(ROW.name)
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let cheapness = |cost: &f32| if cost.is_nan() { f64::NEG_INFINITY } else { -f64::from(*cost) };
        let values: Vec<f64> = row.cost_usd.iter().map(cheapness).collect();
        share_best(&values, row, eligible)
    }
}
