//! A network that takes the price of a dollar as input: one policy for every trade-off (BaRP, arXiv 2510.07429).
//!
//! The features of a query are followed by the caller's preference `(w_quality, w_cost)`, which sums to 1:
//! with `l` the score a dollar is worth and `tau` the price that counts as 1,
//! `w_cost = l tau / (1 + l tau)`. The outputs are put through a logarithmic softmax: the score of an arm is the
//! logarithm of the probability with which the policy calls it, before arms are masked.

use super::neural::{insert_dense, take_dense};
use super::{CostModel, FormRow};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::Tensors;
use routewright_data::dense::{Activation, Dense};
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "preference",
    version: 1,
    title: "a network that reads the features and what a dollar is worth to the caller",
    load: PreferenceNetwork::load,
};

/// Layers of a network, at most: a stored policy asking for more is not one of ours.
const LAYERS_MAX: usize = 16;

/// The network.
#[derive(Debug, Clone, PartialEq)]
pub struct PreferenceNetwork {
    dim: usize,
    /// Layers, the output last; the first reads `dim + 2` inputs.
    layers: Vec<Dense>,
    /// Price that counts as 1, US dollars.
    cost_unit_usd: f64,
    /// Weight of the cost where the caller says nothing, `[0, 1]`.
    cost_weight: f64,
    cost: CostModel,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dim: usize,
    hidden: Vec<usize>,
    cost_unit_usd: f64,
    cost_weight: f64,
}

impl PreferenceNetwork {
    /// Layers with GELU and a linear output, the first of which reads `dim + 2` inputs.
    ///
    /// # Panics
    /// If the widths do not follow each other (a bug of the caller).
    pub fn new(
        dim: usize,
        layers: Vec<Dense>,
        cost_unit_usd: f64,
        cost_weight: f64,
        cost: CostModel,
    ) -> Self {
        let widths: Vec<(usize, usize)> = layers.iter().map(|l| (l.n_in(), l.n_out())).collect();
        assert!(widths.windows(2).all(|pair| pair[0].1 == pair[1].0), "preference: widths of layers");
        assert!(widths.first().is_some_and(|first| first.0 == dim + 2), "preference: width of the inputs");
        assert!(widths.last().is_some_and(|last| last.1 == cost.mean_usd().len()), "preference: n_arms");
        Self { dim, layers, cost_unit_usd, cost_weight, cost }
    }

    fn load(mut state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let config: Config = super::config(ROW.name, state.config)?;
        let refuse = |reason: &str| LoadError::Config { form: ROW.name, reason: reason.to_owned() };
        if config.hidden.len() > LAYERS_MAX || config.hidden.contains(&0) || n_arms == 0 {
            return Err(refuse("its layers are too many, or one has no width"));
        }
        if !(config.cost_unit_usd > 0.0 && (0.0..=1.0).contains(&config.cost_weight)) {
            return Err(refuse("its unit of cost is not above 0, or its weight of cost not in [0, 1]"));
        }
        let layers = take_stack(&mut state.tensors, "layers", config.dim + 2, &config.hidden, n_arms)?;
        let cost = CostModel::restore(&mut state.tensors, n_arms)?;
        Ok(Box::new(Self::new(config.dim, layers, config.cost_unit_usd, config.cost_weight, cost)))
    }

    /// Weight of the cost to a caller who gives `lambda` score for a dollar.
    pub fn cost_weight(&self, lambda: Option<f64>) -> f32 {
        let weight = lambda.map_or(self.cost_weight, |lambda| {
            let ratio = lambda * self.cost_unit_usd;
            ratio / (1.0 + ratio)
        });
        weight as f32
    }
}

/// Stores layers under `name.0`, `name.1` and so on.
pub(super) fn insert_stack(tensors: &mut Tensors, name: &str, layers: &[Dense]) {
    layers.iter().enumerate().for_each(|(i, layer)| insert_dense(tensors, &format!("{name}.{i}"), layer));
}

/// Takes layers of the widths given, GELU between them, the output linear.
pub(super) fn take_stack(
    tensors: &mut Tensors,
    name: &str,
    n_in: usize,
    hidden: &[usize],
    n_out: usize,
) -> Result<Vec<Dense>, LoadError> {
    let mut width = n_in;
    let widths = hidden.iter().map(|width| (*width, Activation::Gelu)).chain([(n_out, Activation::Identity)]);
    let take = |(i, (next, activation)): (usize, (usize, Activation))| {
        let layer = take_dense(tensors, &format!("{name}.{i}"), [width, next], activation);
        width = next;
        layer
    };
    widths.enumerate().map(take).collect()
}

/// Outputs of layers.
pub(super) fn forward(layers: &[Dense], input: &[f32]) -> Vec<f32> {
    let (first, rest) = layers.split_at(1);
    rest.iter().fold(first[0].forward(input), |x, layer| layer.forward(&x))
}

/// Replaces rows of `n` outputs by the logarithms of their softmax.
pub(super) fn log_softmax(rows: &mut [f32], n: usize) {
    for row in rows.chunks_exact_mut(n.max(1)) {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total = row.iter().map(|z| (z - most).exp()).sum::<f32>().ln() + most;
        row.iter_mut().for_each(|z| *z -= total);
    }
}

impl Predictor for PreferenceNetwork {
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
        let mut input = Vec::with_capacity(batch.n_queries() * (self.dim + 2));
        for row in 0..batch.n_queries() {
            let weight = self.cost_weight(batch.lambda(row));
            input.extend_from_slice(batch.features.row(row));
            input.extend([1.0 - weight, weight]);
        }
        let n_arms = self.n_arms();
        let mut score = if input.is_empty() { Vec::new() } else { forward(&self.layers, &input) };
        log_softmax(&mut score, n_arms);
        let cost_usd = self.cost.predict(batch.features);
        Ok(Prediction {
            n_arms,
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
        insert_stack(&mut tensors, "layers", &self.layers);
        self.cost.store(&mut tensors);
        let hidden = self.layers.split_last().map(|(_, hidden)| hidden.iter().map(Dense::n_out).collect());
        let Self { dim, cost_unit_usd, cost_weight, .. } = *self;
        let config = Config { dim, hidden: hidden.unwrap_or_default(), cost_unit_usd, cost_weight };
        FormState { config: serde_json::to_value(config).unwrap_or_default(), tensors }
    }

    fn is_conditioned(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::FeatureMatrix;

    /// One feature, two arms: the first arm gains from the feature, the second from the weight of the cost.
    fn network() -> PreferenceNetwork {
        let output = Dense::new(vec![1.0, 0.0, 0.0, 0.0, 0.0, 4.0], vec![0.0; 2], Activation::Identity);
        PreferenceNetwork::new(1, vec![output], 0.01, 0.25, CostModel::constant(vec![0.01, 0.001]))
    }

    #[test]
    fn the_scores_are_log_probabilities_that_follow_what_a_dollar_is_worth() {
        let features = FeatureMatrix::from_vec(3, 1, vec![2.0; 3]);
        // Nothing said: weight 0.25. 300 a dollar: 3 / 4. Nothing for a dollar: 0.
        let batch = Batch { lambdas: &[None, Some(300.0), Some(0.0)], ..Batch::of(&features) };
        let score = network().predict(&batch).unwrap().score;
        for (row, weight) in [0.25, 0.75, 0.0].into_iter().enumerate() {
            let (a, b) = (2.0_f32, 4.0_f32 * weight);
            let total = (a.exp() + b.exp()).ln();
            assert!((score[row * 2] - (a - total)).abs() < 1e-5, "{score:?}");
            assert!((score[row * 2 + 1] - (b - total)).abs() < 1e-5, "{score:?}");
        }
        assert!(network().is_conditioned());
    }

    #[test]
    fn the_disk_keeps_it() {
        let restored = PreferenceNetwork::load(network().state(), 2).unwrap();
        assert_eq!(restored.state(), network().state());
        let mut bad = network().state();
        bad.config["cost_weight"] = serde_json::json!(1.5);
        assert!(PreferenceNetwork::load(bad, 2).unwrap_err().to_string().contains("weight of cost"));
    }
}
