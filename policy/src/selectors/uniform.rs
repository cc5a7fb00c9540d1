//! Every eligible arm with the same probability (Blending, arXiv 2401.02994; the `random` baseline).

use super::argmax::NoSettings;
use super::{Selector, SelectorRow, SelectorSpec};
use crate::PredictionRow;

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "uniform",
    title: "every eligible arm with the same probability",
    build: |settings, _| {
        let NoSettings {} = super::settings("uniform", settings)?;
        Ok(Box::new(Uniform))
    },
};

/// Chooses uniformly at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uniform;

impl Selector for Uniform {
    fn spec(&self) -> SelectorSpec {
        SelectorSpec::named(ROW.name)
    }

    fn distribution(&self, _: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let share = 1.0 / eligible.iter().filter(|ok| **ok).count().max(1) as f32;
        eligible.iter().map(|&ok| if ok { share } else { 0.0 }).collect()
    }

    fn explore(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Option<Vec<f32>> {
        Some(self.distribution(row, eligible))
    }
}
