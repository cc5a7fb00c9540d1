//! The predictor contract: features in, score and cost of every arm out.

use crate::Evidence;
use crate::online::Learner;
use crate::simplex::OverWeights;
use routewright_data::{FeatureMatrix, TensorError, Tensors};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// What a call of an arm costs, as far as it is known when the policy is made.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Mean price of one call on the training log, US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_cost_usd: Option<f64>,
    /// List price per million input tokens, US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_usd_per_mtok: Option<f64>,
    /// List price per million output tokens, US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_usd_per_mtok: Option<f64>,
}

/// One callable choice: a model with its settings and its price.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Id of the arm: the column or field `model` of logs and HTTP.
    pub model: String,
    /// What it costs.
    #[serde(default)]
    pub price: Price,
    /// Mean latency of one call on the training log, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_latency_ms: Option<f64>,
    /// Properties a request may ask for, e.g. `eu`, `tools`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Whether it is no longer chosen, though what is known of it stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retired: bool,
}

/// What a predictor reads: features `(n, dim)` and what else is known of each query.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Features, one row a query.
    pub features: &'a FeatureMatrix,
    /// Source (task) of each query where the caller knows it; empty means unknown for all.
    pub sources: &'a [Option<&'a str>],
    /// What one US dollar is worth in score to the caller of each query, where he says so; empty means
    /// unknown for all. Read by forms that are [conditioned](Predictor::is_conditioned) on it.
    pub lambdas: &'a [Option<f64>],
}

impl<'a> Batch<'a> {
    /// A batch of which nothing but the features is known.
    pub fn of(features: &'a FeatureMatrix) -> Self {
        Self { features, sources: &[], lambdas: &[] }
    }

    /// Number of queries.
    pub fn n_queries(&self) -> usize {
        self.features.n_rows()
    }

    /// What one US dollar is worth in score to the caller of a query, where known.
    pub fn lambda(&self, row: usize) -> Option<f64> {
        self.lambdas.get(row).copied().flatten()
    }

    /// Source of a query, where known.
    pub fn source(&self, row: usize) -> Option<&'a str> {
        self.sources.get(row).copied().flatten()
    }
}

/// What a prediction rests on: training rows, nearest first, and the evidence of a guard.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Neighborhood {
    /// Query ids in the training log.
    pub query_ids: Vec<String>,
    /// Cosine similarity of each, same order.
    pub similarities: Vec<f32>,
    /// Paired evidence against a baseline arm, where the form is guarded by it.
    pub evidence: Option<Evidence>,
}

/// Predicted outcome of every arm on every query; matrices of shape `(n_queries, n_arms)`, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Number of arms.
    pub n_arms: usize,
    /// Expected score; on the scale of the log (`[0, 1]`) for calibrated forms, any finite number else.
    pub score: Vec<f32>,
    /// Standard error of `score`, where the form has one.
    pub score_se: Option<Vec<f32>>,
    /// Expected price of the call in US dollars; `NaN` where the log had no cost for the arm.
    pub cost_usd: Vec<f32>,
    /// Nearest training rows of each query and evidence of a guard, where the form has them.
    pub neighborhoods: Option<Vec<Neighborhood>>,
    /// What each member of an ensemble believes, less `score`: shape `(n_queries, n_members, n_arms)`.
    pub members: Option<Vec<f32>>,
    /// Rewards the form has learned from so far; 0 for a form that learns none. Explorers explore less as
    /// it grows.
    pub n_updates: u64,
}

impl Prediction {
    /// Number of queries.
    pub fn n_queries(&self) -> usize {
        self.score.len() / self.n_arms.max(1)
    }

    /// The prediction for one query.
    pub fn row(&self, row: usize) -> PredictionRow<'_> {
        let range = row * self.n_arms..(row + 1) * self.n_arms;
        let members = self.members.as_ref().map(|members| {
            let size = members.len() / self.n_queries().max(1);
            &members[row * size..(row + 1) * size]
        });
        PredictionRow {
            score: &self.score[range.clone()],
            score_se: self.score_se.as_ref().map(|se| &se[range.clone()]),
            cost_usd: &self.cost_usd[range],
            members,
            n_updates: self.n_updates,
        }
    }
}

/// One row of a [`Prediction`]; every slice but `members` has one entry an arm.
#[derive(Debug, Clone, Copy)]
pub struct PredictionRow<'a> {
    /// Expected score.
    pub score: &'a [f32],
    /// Standard error of the score, where known.
    pub score_se: Option<&'a [f32]>,
    /// Expected price in US dollars, `NaN` where unknown.
    pub cost_usd: &'a [f32],
    /// What each member of an ensemble believes, less `score`: shape `(n_members, n_arms)`. Differences, so that
    /// whoever takes a price off the scores takes it off the beliefs of all.
    pub members: Option<&'a [f32]>,
    /// Rewards the form has learned from so far.
    pub n_updates: u64,
}

/// Why a prediction could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// The features have another width than the form was trained with.
    #[error("cannot predict: features have width {found}, the policy was trained with {expected}")]
    Width {
        /// Width given.
        found: usize,
        /// Width trained with.
        expected: usize,
    },
    /// A feature is NaN or infinite.
    #[error("cannot predict: feature {column} of query {row} is not finite")]
    NotFinite {
        /// Query in the batch.
        row: usize,
        /// Position in the vector.
        column: usize,
    },
    /// The nearest training queries could not be found.
    #[error("cannot predict: {0}")]
    Search(String),
}

/// What a form hands over to be stored, and is restored from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FormState {
    /// Sizes and switches, as JSON.
    pub config: serde_json::Value,
    /// Weights and tables.
    pub tensors: Tensors,
}

/// Why a stored form was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A tensor is missing, misshapen or not finite.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The configuration is not what this form writes.
    #[error("the configuration of form `{form}` is not valid: {reason}")]
    Config {
        /// Name of the form.
        form: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// No form of that name.
    #[error("unknown policy form `{form}`; this build knows: {known}")]
    UnknownForm {
        /// Name stored.
        form: String,
        /// Names known, comma-separated.
        known: String,
    },
    /// The form was written by a later version of its code.
    #[error("form `{form}` has version {found}; this build reads up to {known}")]
    NewerForm {
        /// Name of the form.
        form: String,
        /// Version stored.
        found: u32,
        /// Newest version known.
        known: u32,
    },
}

/// Maps features to the expected outcome of every arm. Immutable, shareable between threads.
pub trait Predictor: Send + Sync + Debug {
    /// Name of the form in [`crate::forms::ALL`].
    fn form(&self) -> &'static str;

    /// Number of arms it speaks of.
    fn n_arms(&self) -> usize;

    /// Width of the features it reads; `None` for forms that read none.
    fn dim(&self) -> Option<usize>;

    /// Predicts a batch. Implementations may assume that [`check_batch`] passed.
    ///
    /// # Errors
    /// If the features have another width or hold NaN or infinity.
    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError>;

    /// Everything needed to restore this predictor bit for bit.
    fn state(&self) -> FormState;

    /// Whether predictions depend on what the caller gives for a dollar. The price is in the scores then, and
    /// no objective is weighed a second time.
    fn is_conditioned(&self) -> bool {
        false
    }

    /// The distribution over weights of members that one row of features gives; `None` for a form that gives none.
    fn over_weights(&self, _features: &[f32]) -> Option<OverWeights> {
        None
    }

    /// A copy that learns from rewards; `None` for a form that learns none.
    fn learner(&self) -> Option<Box<dyn Learner>> {
        None
    }
}

/// Checks width and finiteness of a batch for a form that reads `dim` features.
///
/// # Errors
/// If the width differs or a feature is not finite.
pub fn check_batch(batch: &Batch<'_>, dim: usize) -> Result<(), PredictError> {
    let found = batch.features.dim();
    if found != dim {
        return Err(PredictError::Width { found, expected: dim });
    }
    match batch.features.values().iter().position(|v| !v.is_finite()) {
        Some(at) if dim > 0 => Err(PredictError::NotFinite { row: at / dim, column: at % dim }),
        _ => Ok(()),
    }
}
