//! A decision: which arm, from which distribution, and why.

use crate::distribution::DistributionError;
use crate::{Neighborhood, PredictError};
use routewright_data::features::{FeatureError, FeatureInput};
use serde::{Deserialize, Serialize};

/// Greatest weight of an objective, and greatest price of money: products with any score and price stay numbers.
pub const WEIGHT_MAX: f64 = 1e12;

/// What the caller values, in units of score, each weight in [0, [`WEIGHT_MAX`]]. Replaces the policy's own selector
/// where given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// Weight of the predicted score.
    #[serde(default = "one")]
    pub quality: f64,
    /// Score given up to save one US dollar.
    #[serde(default)]
    pub cost: f64,
    /// Score given up to save one second of mean latency.
    #[serde(default)]
    pub latency: f64,
}

fn one() -> f64 {
    1.0
}

impl Objective {
    /// What one US dollar is worth in score; the weight of the cost itself where quality has none.
    pub fn lambda(&self) -> f64 {
        if self.quality > 0.0 { self.cost / self.quality } else { self.cost }
    }
}

/// What the chosen arm must satisfy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraints {
    /// Greatest predicted price of the call, US dollars.
    #[serde(default)]
    pub max_cost_usd: Option<f64>,
    /// Greatest mean latency of the arm, milliseconds.
    #[serde(default)]
    pub max_latency_ms: Option<f64>,
    /// Tags the arm must all have.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// One query to decide on.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    /// Text, or precomputed vector.
    pub input: FeatureInput<'a>,
    /// Source (task) of the query, where the caller knows it.
    pub source: Option<&'a str>,
    /// Arms the caller can call; `None` means all.
    pub candidates: Option<&'a [String]>,
    /// Replaces the policy's selector by `quality * score - cost * cost_usd - latency * seconds`.
    pub objective: Option<Objective>,
    /// What the chosen arm must satisfy.
    pub constraints: Constraints,
    /// Score given up to save one US dollar, beside what the policy's selector gives up; left out where there is an
    /// objective.
    pub price: f64,
    /// Seed of the draw; the same seed and request give the same decision.
    pub seed: u64,
}

/// Why an arm could not be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// The caller did not list it.
    NotCandidate,
    /// Its predicted price is over the limit, or unknown.
    MaxCost,
    /// Its mean latency is over the limit, or unknown.
    MaxLatency,
    /// It lacks a tag asked for.
    Tags,
    /// It was removed while the policy served.
    Removed,
}

/// Why the arm was chosen; a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The policy's selector chose it.
    Selected,
    /// The objective of the request chose it.
    Objective,
    /// It was the only eligible arm.
    OnlyEligible,
    /// The deadline passed: the default arm.
    DeadlineDefault,
    /// The request has no text the policy reads, such as an image alone: the default arm.
    NoTextDefault,
}

impl Reason {
    /// Whether the default arm answered, without a prediction.
    pub fn is_default_arm(self) -> bool {
        matches!(self, Self::DeadlineDefault | Self::NoTextDefault)
    }
}

/// One arm as the decision saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Predicted score.
    pub score: f32,
    /// Standard error of the score, where known.
    pub score_se: Option<f32>,
    /// Predicted price, US dollars, where known.
    pub cost_usd: Option<f32>,
    /// Mean latency, milliseconds, where known.
    pub latency_ms: Option<f64>,
    /// Probability it had of being chosen.
    pub propensity: f32,
    /// Why it could not be chosen, if so.
    pub excluded_by: Option<Exclusion>,
}

/// The lambda at which another arm would have been chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flip {
    /// Score per US dollar above which the choice changes.
    pub lambda: f64,
    /// Index of the arm then chosen.
    pub arm: usize,
}

/// An arm, drawn from a stated distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Index of the chosen arm.
    pub arm: usize,
    /// Probability it was drawn with.
    pub propensity: f32,
    /// Every arm of the policy, in order.
    pub candidates: Vec<Candidate>,
    /// Why.
    pub reason: Reason,
    /// Where a higher price of money would change the choice, if anywhere.
    pub flip: Option<Flip>,
    /// Training rows the prediction rests on, where the form has them.
    pub neighborhood: Option<Neighborhood>,
}

/// Why no decision could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecideError {
    /// No features could be made of the query.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// The predictor refused the features.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// A candidate is no arm of the policy.
    #[error("unknown candidate `{model}`; {hint}")]
    UnknownCandidate {
        /// Name given.
        model: String,
        /// Near names, or all of them.
        hint: String,
    },
    /// A number of the request is not valid.
    #[error("`{field}` is `{value}`, expected {expected}")]
    Number {
        /// Field of the request.
        field: &'static str,
        /// Value given.
        value: f64,
        /// What would be accepted.
        expected: &'static str,
    },
    /// The predictor gave something else than numbers.
    #[error("the {what} predicted of arm `{model}` is `{value}`, expected a finite number")]
    Prediction {
        /// `score`, its standard error or cost.
        what: &'static str,
        /// The arm.
        model: String,
        /// What was predicted.
        value: f32,
    },
    /// The selector gave no distribution over the eligible arms; nothing was drawn.
    #[error("selector `{selector}` gave no distribution: {source}")]
    Distribution {
        /// Name of the selector.
        selector: String,
        /// What is wrong with it.
        source: DistributionError,
    },
    /// The program takes several steps; a decision without answers is only one.
    #[error(
        "policy `{policy}` runs the program `{program}`, which takes several steps; expected a program of one step, or \
         a driver of steps: `routewright ask`, `POST /v1/step`"
    )]
    Steps {
        /// Name of the policy.
        policy: String,
        /// Name of its program.
        program: &'static str,
    },
    /// Every arm is excluded.
    #[error("no arm is eligible: {summary}")]
    NoEligible {
        /// Each arm and what excluded it.
        summary: String,
    },
}
