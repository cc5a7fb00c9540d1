//! Random mixing of other selectors: reaches every point between two of them on the cost-score plane.

use super::{Selector, SelectorError, SelectorRow, SelectorSpec};
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
}

impl Selector for Mixture {
    fn spec(&self) -> SelectorSpec {
        SelectorSpec { name: ROW.name.to_owned(), settings: serde_json::json!({ "parts": self.parts }) }
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let mut out = vec![0.0_f32; row.score.len()];
        for (weight, selector) in &self.selectors {
            for (total, p) in out.iter_mut().zip(selector.distribution(row, eligible)) {
                *total += *weight as f32 * p;
            }
        }
        out
    }

    fn lambda(&self) -> f64 {
        self.selectors.iter().map(|(weight, selector)| weight * selector.lambda()).sum()
    }
}
