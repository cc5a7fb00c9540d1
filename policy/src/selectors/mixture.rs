//! Random mixing of other selectors: reaches every point between two of them on the cost-score plane.

use super::{Argmax, Selector, SelectorError, SelectorRow, SelectorSpec};
use crate::{Arm, PredictionRow};
use serde::{Deserialize, Serialize};

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "mixture",
    title: "one of several selectors, drawn by weight (random mixing on the cost-score hull)",
    build: |settings, arms| {
        let settings: Settings = super::settings("mixture", settings)?;
        Ok(Box::new(Mixture::new(settings.parts, arms)?))
    },
};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    parts: Vec<Part>,
}

/// One ingredient of a [`Mixture`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Share of the decisions it makes; the weights are normalised to sum 1.
    pub weight: f64,
    /// The selector that makes them.
    pub selector: SelectorSpec,
}

/// Mixes selectors: its distribution is the weighted mean of theirs.
#[derive(Debug)]
pub struct Mixture {
    parts: Vec<Part>,
    selectors: Vec<(f64, Box<dyn Selector>)>,
}

impl Mixture {
    /// Builds the parts for the given arms.
    ///
    /// # Errors
    /// If there is no part, a weight is not a positive finite number, or a part is not valid.
    pub fn new(parts: Vec<Part>, arms: &[Arm]) -> Result<Self, SelectorError> {
        let total: f64 = parts.iter().map(|part| part.weight).sum();
        if parts.is_empty() || !parts.iter().all(|part| part.weight > 0.0) || !total.is_finite() {
            let reason = "`parts` needs at least one entry, each with a `weight` above 0".to_owned();
            return Err(SelectorError::Settings { name: ROW.name, reason });
        }
        let build = |part: &Part| Ok((part.weight / total, super::build(&part.selector, arms)?));
        let selectors = parts.iter().map(build).collect::<Result<_, _>>()?;
        Ok(Self { parts, selectors })
    }

    /// The weighted mean of the distributions of the parts.
    fn mixed(&self, parts: impl Iterator<Item = Vec<f32>>, n_arms: usize) -> Vec<f32> {
        let mut sums = vec![0.0_f64; n_arms];
        for ((weight, _), part) in self.selectors.iter().zip(parts) {
            sums.iter_mut().zip(part).for_each(|(sum, p)| *sum += weight * f64::from(p));
        }
        sums.into_iter().map(|sum| sum as f32).collect()
    }
}

impl Selector for Mixture {
    fn spec(&self) -> SelectorSpec {
        SelectorSpec { name: ROW.name.to_owned(), settings: serde_json::json!({ "parts": self.parts }) }
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let parts = self.selectors.iter();
        self.mixed(parts.map(|(_, selector)| selector.distribution(row, eligible)), row.score.len())
    }

    fn explore(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Option<Vec<f32>> {
        let parts: Vec<Option<Vec<f32>>> =
            self.selectors.iter().map(|(_, selector)| selector.explore(row, eligible)).collect();
        if parts.iter().all(Option::is_none) {
            return None;
        }
        // A part that explores nothing only trades score for money, and that trade is made already.
        let greedy = || Argmax.distribution(row, eligible);
        Some(self.mixed(parts.into_iter().map(|part| part.unwrap_or_else(greedy)), row.score.len()))
    }

    fn lambda(&self) -> f64 {
        self.selectors.iter().map(|(weight, selector)| weight * selector.lambda()).sum()
    }
}
