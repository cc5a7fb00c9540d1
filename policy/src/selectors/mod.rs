//! From a prediction to a probability over arms. One file a selector, one row in [`ALL`].
//!
//! A selector wraps any predictor: cost-quality trade-off, budgets, thresholds and mixing live here and
//! nowhere else. It returns the exact distribution the decision is drawn from; exact ties share their mass
//! equally, so that the order of the arms never matters.

use crate::{Arm, PredictionRow};
use routewright_data::suggest::near_names;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

mod argmax;
mod budget;
mod cheapest;
mod cheapest_within;
mod cover;
mod epsilon_greedy;
mod mixture;
mod priced;
mod proportional;
mod regcb;
mod softmax;
mod squarecb;
mod thompson;
mod threshold;
mod ucb;
mod uniform;
mod utility;
mod votes;

pub use argmax::Argmax;
pub use budget::Budget;
pub use cheapest::Cheapest;
pub use cheapest_within::CheapestWithin;
pub use cover::Cover;
pub use epsilon_greedy::EpsilonGreedy;
pub use mixture::{Mixture, Part};
pub use priced::{Priced, net_scores};
pub use proportional::Proportional;
pub use regcb::RegCb;
pub use softmax::Softmax;
pub use squarecb::SquareCb;
pub use thompson::Thompson;
pub use threshold::{Settings as ThresholdSettings, Threshold};
pub use ucb::Ucb;
pub use uniform::Uniform;
pub use utility::Utility;
pub use votes::Votes;

/// Name and settings of a selector, as the manifest stores them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SelectorSpec {
    /// Name of the row in [`ALL`].
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

/// Every selector, in the order of the documentation.
pub static ALL: &[SelectorRow] = &[
    argmax::ROW,
    utility::ROW,
    budget::ROW,
    cheapest_within::ROW,
    threshold::ROW,
    mixture::ROW,
    cheapest::ROW,
    uniform::ROW,
    priced::ROW,
    epsilon_greedy::ROW,
    softmax::ROW,
    ucb::ROW,
    thompson::ROW,
    squarecb::ROW,
    regcb::ROW,
    proportional::ROW,
    votes::ROW,
    cover::ROW,
];

/// Builds a selector for the given arms.
///
/// # Errors
/// If the name is unknown (near names are offered) or a setting is not valid.
pub fn build(spec: &SelectorSpec, arms: &[Arm]) -> Result<Box<dyn Selector>, SelectorError> {
    let Some(row) = ALL.iter().find(|row| row.name == spec.name) else {
        let hint = near_names(&spec.name, ALL.iter().map(|row| row.name));
        return Err(SelectorError::Unknown { name: spec.name.clone(), hint });
    };
    (row.build)(&spec.settings, arms)
}

/// Reads settings, naming the selector in the error; `null` reads as no settings.
fn settings<T: serde::de::DeserializeOwned>(
    name: &'static str,
    value: &serde_json::Value,
) -> Result<T, SelectorError> {
    let value = if value.is_null() { serde_json::json!({}) } else { value.clone() };
    serde_json::from_value(value).map_err(|error| SelectorError::Settings { name, reason: error.to_string() })
}

/// Greatest number in settings: its product with any `f32` is far from the end of an `f64`.
const SETTING_MAX: f64 = 1e100;

/// Checks a number of the settings.
fn finite_at_least(name: &'static str, key: &str, value: f64, least: f64) -> Result<f64, SelectorError> {
    // NaN is in no range.
    if (least..=SETTING_MAX).contains(&value) {
        return Ok(value);
    }
    let reason =
        format!("`{key}` is `{value}`, expected a number of at least {least} and at most {SETTING_MAX:e}");
    Err(SelectorError::Settings { name, reason })
}

/// `factor` standard errors of an arm; 0 where there are none, or none count.
fn spread(row: &PredictionRow<'_>, arm: usize, factor: f64) -> f64 {
    let se = row.score_se.map_or(0.0, |se| f64::from(se[arm]));
    // No share of an infinite standard error is 0, not NaN.
    if factor == 0.0 { 0.0 } else { factor * se }
}

/// Probabilities in proportion to finite weights that are at least 0, not all of them 0.
fn normalized(weights: &[f64]) -> Vec<f32> {
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| (weight / total) as f32).collect()
}

/// Shares the mass among the eligible arms of the greatest `value`; equal values go to the cheaper arm,
/// equal prices share equally. Unknown costs count as dearest.
fn share_best(values: &[f64], row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
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

#[cfg(test)]
mod explorer_tests;
#[cfg(test)]
mod law_tests;
#[cfg(test)]
mod tests;
