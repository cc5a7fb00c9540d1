//! The same prediction for every query: the mean of each arm, or of each arm within the query's source.
//!
//! Without sources this is the predictor behind `random`, `cheapest` and `best-single`; with them,
//! behind `source-best`.

use super::{CostModel, FormRow};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor};
use routewright_data::Tensors;
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "constant",
    version: 1,
    title: "mean score and cost of each arm, overall and by source",
    load: Constant::load,
};

/// Mean score of each arm, overall and within each known source; mean cost of each arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    overall: Vec<f32>,
    sources: Vec<String>,
    /// `(sources.len(), n_arms)`.
    by_source: Vec<f32>,
    cost: CostModel,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    sources: Vec<String>,
}

impl Constant {
    /// Means per arm (`overall`, length `n_arms`) and per source (`by_source`, `(sources.len(), n_arms)`).
    ///
    /// # Panics
    /// If a length does not match (a bug of the caller).
    pub fn new(overall: Vec<f32>, sources: Vec<String>, by_source: Vec<f32>, cost: CostModel) -> Self {
        assert_eq!(by_source.len(), sources.len() * overall.len(), "by_source: (n_sources, n_arms)");
        assert_eq!(cost.mean_usd().len(), overall.len(), "cost: n_arms");
        Self { overall, sources, by_source, cost }
    }

    fn load(mut state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let config: Config = super::config(ROW.name, state.config)?;
        let overall = state.tensors.take_f32("overall", &[n_arms])?;
        let by_source = state.tensors.take_f32("by_source", &[config.sources.len(), n_arms])?;
        let cost = CostModel::restore(&mut state.tensors, n_arms)?;
        Ok(Box::new(Self::new(overall, config.sources, by_source, cost)))
    }

    fn scores(&self, source: Option<&str>) -> &[f32] {
        let n_arms = self.overall.len();
        let known = source.and_then(|s| self.sources.iter().position(|known| known == s));
        known.map_or(&self.overall, |i| &self.by_source[i * n_arms..(i + 1) * n_arms])
    }
}

impl Predictor for Constant {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.overall.len()
    }

    fn dim(&self) -> Option<usize> {
        None
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        let score =
            (0..batch.n_queries()).flat_map(|row| self.scores(batch.source(row)).iter().copied()).collect();
        let cost_usd = self.cost.mean_usd().repeat(batch.n_queries());
        Ok(Prediction {
            n_arms: self.n_arms(),
            score,
            score_se: None,
            cost_usd,
            neighborhoods: None,
            members: None,
            n_updates: 0,
        })
    }

    fn state(&self) -> FormState {
        let mut tensors = Tensors::new();
        tensors.insert_f32("overall", &[self.overall.len()], self.overall.clone());
        tensors.insert_f32("by_source", &[self.sources.len(), self.overall.len()], self.by_source.clone());
        self.cost.store(&mut tensors);
        let config = serde_json::json!({ "sources": self.sources });
        FormState { config, tensors }
    }
}
