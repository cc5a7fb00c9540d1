//! A mixture of predictors that read the same features: `score = constant + sum_i weight_i score_i`.
//!
//! Costs come from a model of its own. Parts may be of any form that is not conditioned on the price of money.

use super::{CostModel, FormRow};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::Tensors;
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "mixture",
    version: 1,
    title: "a weighted sum of the scores of other forms",
    load: Mixture::load,
};

/// Parts of a mixture, at most.
const PARTS_MAX: usize = 32;

/// Parts, their weights and what is added for each arm.
#[derive(Debug)]
pub struct Mixture {
    dim: usize,
    parts: Vec<Box<dyn Predictor>>,
    weights: Vec<f32>,
    constant: Vec<f32>,
    cost: CostModel,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dim: usize,
    parts: Vec<Part>,
}

/// The form of a part, as configurations name it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    form: String,
    version: u32,
    config: serde_json::Value,
}

/// Takes a part's state apart: its tensors go under `name.` of `tensors`.
pub(super) fn store_part(predictor: &dyn Predictor, name: &str, tensors: &mut Tensors) -> Part {
    let state = predictor.state();
    tensors.nest(name, state.tensors);
    let version = super::ALL.iter().find(|row| row.name == predictor.form()).map_or(0, |row| row.version);
    Part { form: predictor.form().to_owned(), version, config: state.config }
}

/// Restores what [`store_part`] took apart.
pub(super) fn restore_part(
    part: Part,
    name: &str,
    tensors: &mut Tensors,
    n_arms: usize,
) -> Result<Box<dyn Predictor>, LoadError> {
    let state = FormState { config: part.config, tensors: tensors.take_nested(name) };
    super::load(&part.form, part.version, state, n_arms)
}

impl Mixture {
    /// `weights` has one entry a part, `constant` one an arm; parts read features of width `dim`.
    ///
    /// # Panics
    /// If lengths do not match or a part reads another width (a bug of the caller).
    pub fn new(
        dim: usize,
        parts: Vec<Box<dyn Predictor>>,
        weights: Vec<f32>,
        constant: Vec<f32>,
        cost: CostModel,
    ) -> Self {
        assert_eq!(parts.len(), weights.len(), "mixture: one weight a part");
        assert_eq!(constant.len(), cost.mean_usd().len(), "mixture: constant: n_arms");
        assert!(parts.iter().all(|part| part.dim().is_none_or(|own| own == dim)), "mixture: widths of parts");
        Self { dim, parts, weights, constant, cost }
    }

    fn load(mut state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let Config { dim, parts } = super::config(ROW.name, state.config)?;
        let refuse = |reason: String| LoadError::Config { form: ROW.name, reason };
        if parts.len() > PARTS_MAX {
            return Err(refuse(format!("it has {} parts, expected at most {PARTS_MAX}", parts.len())));
        }
        let weights = state.tensors.take_f32("weights", &[parts.len()])?;
        let constant = state.tensors.take_f32("constant", &[n_arms])?;
        let cost = CostModel::restore(&mut state.tensors, n_arms)?;
        let mut restored = Vec::with_capacity(parts.len());
        for (at, part) in parts.into_iter().enumerate() {
            let part = restore_part(part, &part_name(at), &mut state.tensors, n_arms)?;
            if let Some(own) = part.dim().filter(|own| *own != dim) {
                return Err(refuse(format!("part {at} reads features of width {own}, expected {dim}")));
            }
            restored.push(part);
        }
        Ok(Box::new(Self::new(dim, restored, weights, constant, cost)))
    }
}

fn part_name(at: usize) -> String {
    format!("part.{at:02}")
}

impl Predictor for Mixture {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.constant.len()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.dim)
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.dim)?;
        let mut score = self.constant.repeat(batch.n_queries());
        let mut neighborhoods = None;
        for (part, weight) in self.parts.iter().zip(&self.weights) {
            let predicted = part.predict(batch)?;
            score.iter_mut().zip(&predicted.score).for_each(|(sum, own)| *sum += weight * own);
            neighborhoods = neighborhoods.or(predicted.neighborhoods);
        }
        let (n_arms, cost_usd) = (self.n_arms(), self.cost.predict(batch.features));
        Ok(Prediction { n_arms, score, score_se: None, cost_usd, neighborhoods, members: None, n_updates: 0 })
    }

    fn state(&self) -> FormState {
        let mut tensors = Tensors::new();
        let mut parts = Vec::with_capacity(self.parts.len());
        for (at, part) in self.parts.iter().enumerate() {
            parts.push(store_part(part.as_ref(), &part_name(at), &mut tensors));
        }
        tensors.insert_f32("weights", &[self.weights.len()], self.weights.clone());
        tensors.insert_f32("constant", &[self.constant.len()], self.constant.clone());
        self.cost.store(&mut tensors);
        let config = serde_json::to_value(Config { dim: self.dim, parts }).unwrap_or_default();
        FormState { config, tensors }
    }

    fn is_conditioned(&self) -> bool {
        self.parts.iter().any(|part| part.is_conditioned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forms::{Constant, Linear, Link};
    use routewright_data::FeatureMatrix;

    fn mixture() -> Mixture {
        let cost = || CostModel::constant(vec![0.1, f32::NAN]);
        let linear = Linear::new(1, Link::Identity, vec![1.0, 0.0, -1.0, 1.0], cost());
        let constant = Constant::new(vec![0.4, 0.8], Vec::new(), Vec::new(), cost());
        Mixture::new(1, vec![Box::new(linear), Box::new(constant)], vec![0.5, 0.25], vec![0.1, 0.0], cost())
    }

    #[test]
    fn scores_are_the_weighted_sum_and_survive_the_state() {
        let form = mixture();
        let features = FeatureMatrix::from_vec(1, 1, vec![0.6]);
        let score = form.predict(&Batch::of(&features)).unwrap().score;
        // 0.1 + 0.5 * 0.6 + 0.25 * 0.4 and 0.5 * (1 - 0.6) + 0.25 * 0.8
        assert!((score[0] - 0.5).abs() < 1e-6 && (score[1] - 0.4).abs() < 1e-6, "{score:?}");
        let restored = crate::forms::restored(&form).unwrap();
        assert_eq!(restored.predict(&Batch::of(&features)).unwrap().score, score);
    }

    #[test]
    fn a_part_of_another_width_and_a_missing_part_are_refused() {
        let mut state = mixture().state();
        state.config["dim"] = serde_json::json!(2);
        let error = crate::forms::load("mixture", 1, state, 2).unwrap_err().to_string();
        assert!(error.contains("part 0 reads features of width 1, expected 2"), "{error}");
        let mut state = mixture().state();
        state.tensors.take("part.00.weights").unwrap();
        assert!(crate::forms::load("mixture", 1, state, 2).is_err());
    }
}
