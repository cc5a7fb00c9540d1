//! One linear function of the features per arm, through the identity or the logistic function.

use super::{CostModel, FormRow};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::Tensors;
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "linear",
    version: 1,
    title: "one linear function of the features per arm",
    load: Linear::load,
};

/// What the linear value is passed through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Nothing: least squares.
    Identity,
    /// `1 / (1 + exp(-z))`: logistic regression.
    Logistic,
}

/// `score_m(x) = link(weights_m . x + intercept_m)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    dim: usize,
    link: Link,
    /// `(n_arms, dim + 1)`, intercept last.
    weights: Vec<f32>,
    cost: CostModel,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dim: usize,
    link: Link,
}

impl Linear {
    /// `weights` has shape `(n_arms, dim + 1)` with the intercept last.
    ///
    /// # Panics
    /// If the length does not match (a bug of the caller).
    pub fn new(dim: usize, link: Link, weights: Vec<f32>, cost: CostModel) -> Self {
        assert_eq!(weights.len(), cost.mean_usd().len() * (dim + 1), "linear weights: (n_arms, dim + 1)");
        Self { dim, link, weights, cost }
    }

    fn load(mut state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let Config { dim, link } = super::config(ROW.name, state.config)?;
        let weights = state.tensors.take_f32("weights", &[n_arms, dim + 1])?;
        let cost = CostModel::restore(&mut state.tensors, n_arms)?;
        Ok(Box::new(Self::new(dim, link, weights, cost)))
    }

    fn score(&self, arm: &[f32], x: &[f32]) -> f32 {
        let z = arm[self.dim] + arm.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
        match self.link {
            Link::Identity => z,
            Link::Logistic => 1.0 / (1.0 + (-z).exp()),
        }
    }
}

impl Predictor for Linear {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.cost.mean_usd().len()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.dim)
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.dim)?;
        let rows = (0..batch.n_queries()).map(|row| batch.features.row(row));
        let score =
            rows.flat_map(|x| self.weights.chunks_exact(self.dim + 1).map(move |arm| self.score(arm, x)));
        let cost_usd = self.cost.predict(batch.features);
        Ok(Prediction {
            n_arms: self.n_arms(),
            score: score.collect(),
            score_se: None,
            cost_usd,
            neighborhoods: None,
            members: None,
            n_updates: 0,
        })
    }

    fn state(&self) -> FormState {
        let mut tensors = Tensors::new();
        tensors.insert_f32("weights", &[self.n_arms(), self.dim + 1], self.weights.clone());
        self.cost.store(&mut tensors);
        FormState { config: serde_json::json!({ "dim": self.dim, "link": self.link }), tensors }
    }
}
