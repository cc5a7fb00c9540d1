//! A network that puts out weights: a distribution over the simplex of members at every state (RLAE, arXiv 2506.00439).
//!
//! The score of an arm is its weight where nothing is explored, so that the selector `proportional` draws the member,
//! and a request for weights gets them as its distribution.

use super::preference::{forward, insert_stack, take_stack};
use super::{CostModel, FormRow};
use crate::simplex::{Action, OverWeights};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::Tensors;
use routewright_data::dense::Dense;
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "simplex",
    version: 1,
    title: "a network that puts out a distribution over weights of members",
    load: Simplex::load,
};

/// Layers of a network, at most: a stored policy asking for more is not one of ours.
const LAYERS_MAX: usize = 16;

/// Who puts out the parameter of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heads {
    /// One network puts out all of them.
    #[default]
    One,
    /// A network puts out one, asked once a member with the state and who it is.
    Each,
}

/// Network and kind of distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct Simplex {
    dim: usize,
    heads: Heads,
    action: Action,
    /// Standard deviation of logits of [`Action::Gaussian`].
    sd: f32,
    /// Layers, the output last; with [`Heads::Each`] the first reads `dim + n_arms` inputs and the last puts out one.
    layers: Vec<Dense>,
    n_arms: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dim: usize,
    heads: Heads,
    action: Action,
    sd: f32,
    hidden: Vec<usize>,
}

impl Simplex {
    /// A network over `n_arms` members with inputs of width `dim`.
    ///
    /// # Panics
    /// If the widths do not follow each other (a bug of the caller).
    pub fn new(dim: usize, n_arms: usize, heads: Heads, action: Action, sd: f32, layers: Vec<Dense>) -> Self {
        let (n_in, n_out) = heads.widths(dim, n_arms);
        assert!(layers.windows(2).all(|pair| pair[0].n_out() == pair[1].n_in()), "simplex: widths of layers");
        assert!(layers.first().is_some_and(|first| first.n_in() == n_in), "simplex: width of the inputs");
        assert!(layers.last().is_some_and(|last| last.n_out() == n_out), "simplex: number of outputs");
        Self { dim, heads, action, sd, layers, n_arms }
    }

    /// The distribution over weights for one row of features.
    pub fn over_weights(&self, features: &[f32]) -> OverWeights {
        let outputs = forward(&self.layers, &self.heads.inputs(features, self.n_arms));
        OverWeights::of(self.action, &outputs, self.sd)
    }

    /// The layers, the output last.
    pub fn layers(&self) -> &[Dense] {
        &self.layers
    }

    /// Standard deviation of logits, where they are drawn.
    pub fn sd(&self) -> f32 {
        self.sd
    }

    /// The same network with other weights and biases, layer by layer.
    ///
    /// # Errors
    /// If they do not fit.
    pub fn with_layers(&self, layers: Vec<(Vec<f32>, Vec<f32>)>, sd: f32) -> Result<Self, String> {
        let fits = |(own, (weights, bias)): (&Dense, &(Vec<f32>, Vec<f32>))| {
            own.weights().len() == weights.len() && own.bias().len() == bias.len()
        };
        if layers.len() != self.layers.len() || !self.layers.iter().zip(&layers).all(fits) {
            return Err("its layers have other sizes".to_owned());
        }
        let own = self.layers.iter().zip(layers);
        let layers = own.map(|(own, (weights, bias))| Dense::new(weights, bias, own.activation())).collect();
        Ok(Self { layers, sd, ..self.clone() })
    }

    fn load(mut state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let Config { dim, heads, action, sd, hidden } = super::config(ROW.name, state.config)?;
        let refuse = |reason: &str| LoadError::Config { form: ROW.name, reason: reason.to_owned() };
        if hidden.len() > LAYERS_MAX || hidden.contains(&0) || n_arms == 0 || dim == 0 {
            return Err(refuse("its layers are too many, or one has no width"));
        }
        if !(sd.is_finite() && sd > 0.0) {
            return Err(refuse("the deviation of its logits is not above 0"));
        }
        let (n_in, n_out) = heads.widths(dim, n_arms);
        let layers = take_stack(&mut state.tensors, "layers", n_in, &hidden, n_out)?;
        Ok(Box::new(Self::new(dim, n_arms, heads, action, sd, layers)))
    }
}

impl Heads {
    /// Widths of inputs and outputs of the network.
    pub fn widths(self, dim: usize, n_arms: usize) -> (usize, usize) {
        match self {
            Self::One => (dim, n_arms),
            Self::Each => (dim + n_arms, 1),
        }
    }

    /// Inputs of the network for one row of features: one row, or one a member.
    pub fn inputs(self, features: &[f32], n_arms: usize) -> Vec<f32> {
        match self {
            Self::One => features.to_vec(),
            Self::Each => (0..n_arms)
                .flat_map(|arm| {
                    let who = (0..n_arms).map(move |other| f32::from(u8::from(other == arm)));
                    features.iter().copied().chain(who).collect::<Vec<f32>>()
                })
                .collect(),
        }
    }
}

impl Predictor for Simplex {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.n_arms
    }

    fn dim(&self) -> Option<usize> {
        Some(self.dim)
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.dim)?;
        let rows = 0..batch.n_queries();
        let score: Vec<f32> =
            rows.flat_map(|row| self.over_weights(batch.features.row(row)).center()).collect();
        let cost_usd = CostModel::constant(vec![f32::NAN; self.n_arms]).predict(batch.features);
        let n_arms = self.n_arms;
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
        let hidden = self.layers.split_last().map(|(_, hidden)| hidden.iter().map(Dense::n_out).collect());
        let Self { dim, heads, action, sd, .. } = *self;
        let config = Config { dim, heads, action, sd, hidden: hidden.unwrap_or_default() };
        FormState { config: serde_json::to_value(config).unwrap_or_default(), tensors }
    }

    fn over_weights(&self, features: &[f32]) -> Option<OverWeights> {
        Some(self.over_weights(features))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::FeatureMatrix;
    use routewright_data::dense::Activation;

    fn network(heads: Heads, action: Action) -> Simplex {
        let (n_in, n_out) = heads.widths(2, 3);
        let weights = (0..n_in * n_out).map(|i| (i as f32 * 0.7).sin()).collect();
        let layer = Dense::new(weights, vec![0.1; n_out], Activation::Identity);
        Simplex::new(2, 3, heads, action, 0.5, vec![layer])
    }

    #[test]
    fn scores_are_weights_and_the_disk_keeps_them() {
        let features = FeatureMatrix::from_vec(2, 2, vec![0.3, -0.8, 1.5, 0.2]);
        for (heads, action) in [Heads::One, Heads::Each]
            .into_iter()
            .flat_map(|h| [Action::Dirichlet, Action::Gaussian].map(|a| (h, a)))
        {
            let form = network(heads, action);
            let predicted = form.predict(&Batch::of(&features)).unwrap();
            for row in 0..2 {
                let sum: f32 = predicted.row(row).score.iter().sum();
                assert!((sum - 1.0).abs() < 1e-5, "{heads:?} {action:?} {sum}");
            }
            assert_ne!(predicted.row(0).score, predicted.row(1).score);
            let restored = super::super::load("simplex", 1, form.state(), 3).unwrap();
            assert_eq!(restored.predict(&Batch::of(&features)).unwrap().score, predicted.score);
        }
        let mut bad = network(Heads::One, Action::Gaussian).state();
        bad.config["sd"] = serde_json::json!(0.0);
        assert!(Simplex::load(bad, 3).unwrap_err().to_string().contains("not above 0"));
    }
}
