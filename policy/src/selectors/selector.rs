//! What a selector is, the row it is registered by, and what several of them compute.

use crate::{Arm, PredictionRow};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// Name and settings of a selector, as the manifest stores them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SelectorSpec {
    /// Name of the row in [`crate::selectors::ALL`].
    pub name: String,
    /// Its settings, an object.
    #[serde(default)]
    pub settings: serde_json::Value,
}

impl SelectorSpec {
    /// The spec of a selector without settings.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), settings: serde_json::json!({}) }
    }

    /// Whether it names none: that of a manifest whose selectors are in its parts.
    pub(crate) fn is_absent(&self) -> bool {
        self.name.is_empty()
    }
}

/// Why a selector could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// No selector of that name.
    #[error("unknown selector `{name}`; {hint}")]
    Unknown {
        /// Name asked for.
        name: String,
        /// Near names, or all of them.
        hint: String,
    },
    /// The settings are not valid.
    #[error("the settings of selector `{name}` are not valid: {reason}")]
    Settings {
        /// Name of the selector.
        name: &'static str,
        /// What is wrong and what would be accepted.
        reason: String,
    },
}

/// Turns the prediction for one query into a probability over arms.
pub trait Selector: Send + Sync + Debug {
    /// Name and settings.
    fn spec(&self) -> SelectorSpec;

    /// Probabilities, one an arm: zero where `eligible` is false, non-negative, summing to 1.
    ///
    /// `eligible` has one entry an arm, at least one of them true; a score is always finite, a standard error at
    /// least 0 and possibly infinite, a cost finite or `NaN` (unknown). The law holds for any such numbers
    /// ([`distribution::check`](crate::distribution::check)).
    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32>;

    /// What one US dollar is worth in score to this selector (0 where it does not trade them off).
    fn lambda(&self) -> f64 {
        0.0
    }

    /// The distribution on scores that prices are taken off already; `None` where nothing is explored.
    ///
    /// A request with an objective of its own is decided by it on the scores the objective makes: what explores goes
    /// on exploring, and no price is taken off twice.
    fn explore(&self, _row: &PredictionRow<'_>, _eligible: &[bool]) -> Option<Vec<f32>> {
        None
    }
}

/// Builds a selector from its settings for the given arms.
pub type Build = fn(&serde_json::Value, &[Arm]) -> Result<Box<dyn Selector>, SelectorError>;

/// A registered selector.
#[derive(Debug, Clone, Copy)]
pub struct SelectorRow {
    /// Name in manifests, config files and on the command line.
    pub name: &'static str,
    /// What it does, in one line.
    pub title: &'static str,
    /// Builds it from its settings for the given arms.
    pub build: Build,
}

/// Reads settings, naming the selector in the error; `null` reads as no settings.
pub(super) fn settings<T: serde::de::DeserializeOwned>(
    name: &'static str,
    value: &serde_json::Value,
) -> Result<T, SelectorError> {
    let value = if value.is_null() { serde_json::json!({}) } else { value.clone() };
    serde_json::from_value(value).map_err(|error| SelectorError::Settings { name, reason: error.to_string() })
}

/// Greatest number in settings: its product with any `f32` is far from the end of an `f64`.
pub(super) const SETTING_MAX: f64 = 1e100;

/// Checks a number of the settings.
pub(super) fn finite_at_least(
    name: &'static str,
    key: &str,
    value: f64,
    least: f64,
) -> Result<f64, SelectorError> {
    // NaN is in no range.
    if (least..=SETTING_MAX).contains(&value) {
        return Ok(value);
    }
    let reason =
        format!("`{key}` is `{value}`, expected a number of at least {least} and at most {SETTING_MAX:e}");
    Err(SelectorError::Settings { name, reason })
}

/// `factor` standard errors of an arm; 0 where there are none, or none count.
pub(super) fn spread(row: &PredictionRow<'_>, arm: usize, factor: f64) -> f64 {
    let se = row.score_se.map_or(0.0, |se| f64::from(se[arm]));
    // No share of an infinite standard error is 0, not NaN.
    if factor == 0.0 { 0.0 } else { factor * se }
}

/// Probabilities in proportion to finite weights that are at least 0, not all of them 0.
pub(super) fn normalized(weights: &[f64]) -> Vec<f32> {
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| (weight / total) as f32).collect()
}

/// Shares the mass among the eligible arms of the greatest `value`; equal values go to the cheaper arm,
/// equal prices share equally. Unknown costs count as dearest.
pub(super) fn share_best(values: &[f64], row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
    let cost = |arm: usize| {
        let cost = row.cost_usd[arm];
        if cost.is_nan() { f32::INFINITY } else { cost }
    };
    let arms = || (0..values.len()).filter(|&arm| eligible[arm]);
    let best = arms().map(|arm| values[arm]).fold(f64::NEG_INFINITY, f64::max);
    let least = arms().filter(|&arm| values[arm] == best).map(cost).fold(f32::INFINITY, f32::min);
    let winners: Vec<usize> = arms().filter(|&arm| values[arm] == best && cost(arm) == least).collect();
    let mut out = vec![0.0; values.len()];
    for &arm in &winners {
        out[arm] = 1.0 / winners.len() as f32;
    }
    out
}
