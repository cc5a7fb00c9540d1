//! A stack of dense layers and a head, computed by hand: what `mlp` and `routerdc` learn.
//!
//! `h = layers(x)`, then either a *linear* head, `score = activation(h W + b)`, or a *cosine* head,
//! `score = intercept + slope * cos(h, k_arm)` with one learned vector `k_arm` an arm (RouterDC, arXiv
//! 2409.19886, section 3). A query whose `h` is zero has cosine 0 to every arm.
//!
//! Without layers the head reads the features themselves, which is right where the featurizer was trained
//! together with the arms.

use super::stack::LayerConfig;
use super::{Calibration, CostModel, FormRow, Stack};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::Tensors;
use routewright_data::dense::{Activation, Dense, add_product};
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "neural",
    version: 1,
    title: "dense layers with a linear head, or with cosine similarity to a vector of each arm",
    load: Neural::load,
};

/// Lengths below this count as zero.
const NORM_MIN: f32 = 1e-12;

/// The head on top of the layers.
#[derive(Debug, Clone, PartialEq)]
pub enum Head {
    /// `activation(h W + b)`, one output an arm.
    Linear(Dense),
    /// Calibrated cosine similarity to a vector of each arm.
    Cosine {
        /// Vectors of the arms `(n_arms, width)`, as learned (their length does not matter).
        arms: Vec<f32>,
        /// From cosine to score.
        calibration: Calibration,
    },
}

/// The network.
#[derive(Debug, Clone, PartialEq)]
pub struct Neural {
    n_arms: usize,
    stack: Stack,
    head: Head,
    /// Unit vectors of the arms as columns, `(width, n_arms)`; empty for a linear head.
    directions: Vec<f32>,
    cost: CostModel,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dim: usize,
    layers: Vec<LayerConfig>,
    head: HeadConfig,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
enum HeadConfig {
    Linear { activation: Activation },
    Cosine,
}

impl Neural {
    /// A network over features of width `dim`; the widths of layers and head must follow each other.
    ///
    /// # Panics
    /// If they do not, or the cost model speaks of other arms (a bug of the caller).
    pub fn new(dim: usize, layers: Vec<Dense>, head: Head, cost: CostModel) -> Self {
        let stack = Stack::new(dim, layers);
        let width = stack.width();
        let (n_arms, directions) = match &head {
            Head::Linear(output) => {
                assert_eq!(output.n_in(), width, "neural: width of the head");
                (output.n_out(), Vec::new())
            }
            Head::Cosine { arms, .. } => {
                assert!(width > 0 && arms.len().is_multiple_of(width), "neural: arms (n_arms, width)");
                (arms.len() / width, unit_columns(arms, width))
            }
        };
        assert_eq!(cost.mean_usd().len(), n_arms, "cost: n_arms");
        Self { n_arms, stack, head, directions, cost }
    }

    /// The layers below the head.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Scores `(n_rows, n_arms)` of features `(n_rows, dim)`.
    pub fn scores(&self, features: &[f32]) -> Vec<f32> {
        let hidden = self.stack.hidden(features);
        match &self.head {
            Head::Linear(output) => output.forward(&hidden),
            Head::Cosine { calibration, .. } => {
                let width = self.directions.len() / self.n_arms;
                let n_rows = hidden.len() / width;
                let mut cosines = vec![0.0; n_rows * self.n_arms];
                add_product(&hidden, &self.directions, width, self.n_arms, &mut cosines);
                for (hidden, cosines) in hidden.chunks_exact(width).zip(cosines.chunks_exact_mut(self.n_arms))
                {
                    let norm = norm(hidden);
                    cosines.iter_mut().for_each(|c| *c /= norm);
                }
                calibration.apply(&mut cosines);
                cosines
            }
        }
    }

    fn load(state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        Ok(Box::new(Self::restore(state, n_arms)?))
    }

    /// The network of a stored state over `n_arms` arms.
    ///
    /// # Errors
    /// If the state is not one of this form.
    pub fn restore(mut state: FormState, n_arms: usize) -> Result<Self, LoadError> {
        let config: Config = super::config(ROW.name, state.config)?;
        let stack = Stack::restore(ROW.name, config.dim, &config.layers, &mut state.tensors)?;
        let width = stack.width();
        if n_arms == 0 {
            let reason = "its head has width `0`, expected at least 1".to_owned();
            return Err(LoadError::Config { form: ROW.name, reason });
        }
        let head = match config.head {
            HeadConfig::Linear { activation } => {
                Head::Linear(take_dense(&mut state.tensors, "head", [width, n_arms], activation)?)
            }
            HeadConfig::Cosine => Head::Cosine {
                arms: state.tensors.take_f32("arms", &[n_arms, width])?,
                calibration: Calibration::restore(ROW.name, &mut state.tensors)?,
            },
        };
        let cost = CostModel::restore(&mut state.tensors, n_arms)?;
        Ok(Self::new(config.dim, stack.layers, head, cost))
    }
}

impl Predictor for Neural {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.n_arms
    }

    fn dim(&self) -> Option<usize> {
        Some(self.stack.dim())
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.stack.dim())?;
        Ok(Prediction {
            n_arms: self.n_arms,
            score: self.scores(batch.features.values()),
            score_se: None,
            cost_usd: self.cost.predict(batch.features),
            neighborhoods: None,
            members: None,
            n_updates: 0,
        })
    }

    fn state(&self) -> FormState {
        let mut tensors = Tensors::new();
        let layers = self.stack.store(&mut tensors);
        let head = match &self.head {
            Head::Linear(output) => {
                insert_dense(&mut tensors, "head", output);
                HeadConfig::Linear { activation: output.activation() }
            }
            Head::Cosine { arms, calibration } => {
                tensors.insert_f32("arms", &[self.n_arms, arms.len() / self.n_arms], arms.clone());
                calibration.store(&mut tensors);
                HeadConfig::Cosine
            }
        };
        self.cost.store(&mut tensors);
        let config = Config { dim: self.stack.dim(), layers, head };
        FormState { config: serde_json::to_value(config).unwrap_or_default(), tensors }
    }
}

fn norm(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(NORM_MIN)
}

/// Rows `(n, width)` to unit columns `(width, n)`.
fn unit_columns(rows: &[f32], width: usize) -> Vec<f32> {
    let n = rows.len() / width;
    let mut columns = vec![0.0; rows.len()];
    for (at, row) in rows.chunks_exact(width).enumerate() {
        let norm = norm(row);
        for (i, x) in row.iter().enumerate() {
            columns[i * n + at] = x / norm;
        }
    }
    columns
}

pub(super) fn insert_dense(tensors: &mut Tensors, name: &str, layer: &Dense) {
    let shape = [layer.n_in(), layer.n_out()];
    tensors.insert_f32(&format!("{name}.weight"), &shape, layer.weights().to_vec());
    tensors.insert_f32(&format!("{name}.bias"), &shape[1..], layer.bias().to_vec());
}

pub(super) fn take_dense(
    tensors: &mut Tensors,
    name: &str,
    shape: [usize; 2],
    activation: Activation,
) -> Result<Dense, LoadError> {
    let weights = tensors.take_f32(&format!("{name}.weight"), &shape)?;
    let bias = tensors.take_f32(&format!("{name}.bias"), &shape[1..])?;
    Ok(Dense::new(weights, bias, activation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::FeatureMatrix;

    fn cosine() -> Neural {
        let layer = Dense::new(vec![1.0, 0.0, 0.0, 2.0], vec![0.0, 0.0], Activation::Relu);
        let calibration = Calibration::new(0.5, 0.25).unwrap();
        let head = Head::Cosine { arms: vec![3.0, 0.0, 0.0, 0.1, 1.0, 1.0], calibration };
        Neural::new(2, vec![layer], head, CostModel::constant(vec![0.1, 0.2, f32::NAN]))
    }

    #[test]
    fn a_cosine_head_scores_by_angle_and_keeps_the_zero_query_finite() {
        let features = FeatureMatrix::from_vec(3, 2, vec![4.0, 0.0, 1.0, 0.5, -1.0, 0.0]);
        let prediction = cosine().predict(&Batch::of(&features)).unwrap();
        // h = (4, 0): cosines 1, 0, 1/sqrt 2
        let want = [0.75, 0.25, 0.25 + 0.5 / 2.0_f32.sqrt()];
        for (found, want) in prediction.row(0).score.iter().zip(want) {
            assert!((found - want).abs() < 1e-6, "{found} {want}");
        }
        // h = (1, 1): cosines 1/sqrt 2, 1/sqrt 2, 1
        assert!((prediction.row(1).score[2] - 0.75).abs() < 1e-6);
        // h = relu(-1, 0) = 0: cosine 0 to all
        assert_eq!(prediction.row(2).score, &[0.25; 3]);
        assert!(prediction.row(2).cost_usd[2].is_nan());
    }

    #[test]
    fn a_linear_head_is_the_formula() {
        let hidden = Dense::new(vec![1.0, -1.0], vec![0.5, 0.0], Activation::Gelu);
        let head = Dense::new(vec![1.0, 0.0, 2.0, 1.0], vec![0.0, -1.0], Activation::Sigmoid);
        let net = Neural::new(1, vec![hidden], Head::Linear(head), CostModel::constant(vec![0.0; 2]));
        let features = FeatureMatrix::from_vec(1, 1, vec![1.0]);
        let found = net.predict(&Batch::of(&features)).unwrap().score;
        // gelu(1.5) = 1.399789, gelu(-1) = -0.158655; logits 1.082478 and -1.158655 (Python 3.11 math)
        assert!((found[0] - 0.746_962_8).abs() < 1e-6 && (found[1] - 0.238_911_7).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn what_was_stored_predicts_the_same_and_what_is_wrong_is_refused() {
        let net = cosine();
        let restored = super::super::load("neural", 1, net.state(), 3).unwrap();
        let features = FeatureMatrix::from_vec(2, 2, vec![0.3, 0.4, -0.5, 2.0]);
        let (a, b) = (net.predict(&Batch::of(&features)), restored.predict(&Batch::of(&features)));
        assert_eq!(a.unwrap().score, b.unwrap().score);
        assert!(super::super::load("neural", 2, net.state(), 3).is_err());
        assert!(super::super::load("neural", 1, net.state(), 2).is_err());
        let mut state = net.state();
        state.tensors.insert_f32("calibration", &[2], vec![-1.0, 0.0]);
        let error = super::super::load("neural", 1, state, 3).unwrap_err().to_string();
        assert!(error.contains("slope `-1`"), "{error}");
        let narrow = FeatureMatrix::from_vec(1, 1, vec![0.3]);
        assert!(net.predict(&Batch::of(&narrow)).is_err());
    }
}
