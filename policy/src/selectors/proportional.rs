//! Arms with probabilities in proportion to their scores: for forms whose scores are probabilities, such as
//! a learning automaton.

use super::argmax::NoSettings;
use super::{Selector, SelectorRow, SelectorSpec, Uniform};
use crate::PredictionRow;

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "proportional",
    title: "in proportion to the score",
    build: |settings, _| {
        let NoSettings {} = super::settings(ROW.name, settings)?;
        Ok(Box::new(Proportional))
    },
};

/// Draws in proportion to the score; scores below 0 count as 0, and if none is above 0 every eligible arm
/// is equally likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proportional;

impl Selector for Proportional {
    fn spec(&self) -> SelectorSpec {
        SelectorSpec::named(ROW.name)
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let weigh = |(score, ok): (&f32, &bool)| if *ok { f64::from(score.max(0.0)) } else { 0.0 };
        let weights: Vec<f64> = row.score.iter().zip(eligible).map(weigh).collect();
        if weights.iter().sum::<f64>() > 0.0 {
            super::normalized(&weights)
        } else {
            Uniform.distribution(row, eligible)
        }
    }

    fn explore(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Option<Vec<f32>> {
        Some(self.distribution(row, eligible))
    }
}
