//! A Bayesian ridge regression per arm on the last layer of a trained network (neural linear, arXiv 1802.09127).
//!
//! The layers stay as they were trained; what learns is the regression on what comes out of them, which has all of
//! [`BayesianRidge`]: uncertainty, any order of rewards, forgetting, merging.

use super::stack::LayerConfig;
use super::{BayesianRidge, FormRow, Stack};
use crate::online::{Experience, LearnError, Learner, NewArm, check};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::FeatureMatrix;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) const ROW: FormRow = FormRow {
    name: "neural-linear",
    version: 1,
    title: "a Bayesian ridge regression per arm on the last layer of a trained network",
    load: NeuralLinear::load,
};

/// Lengths below this count as zero.
const NORM_MIN: f32 = 1e-12;

/// From features to what is regressed on: a trained network without its head.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    stack: Stack,
    /// Factor on what comes out; `None` makes it a unit vector, which is what a cosine head reads.
    scale: Option<f32>,
}

impl Embedding {
    /// What comes out of `stack`, times `scale` (finite and above 0), or of length 1.
    pub fn new(stack: Stack, scale: Option<f32>) -> Self {
        Self { stack, scale }
    }

    /// Width of what comes out.
    pub fn width(&self) -> usize {
        self.stack.width()
    }

    /// Embeddings `(n_rows, width)` of features `(n_rows, dim)`.
    pub fn of(&self, features: &[f32]) -> Vec<f32> {
        let mut hidden = self.stack.hidden(features);
        for row in hidden.chunks_exact_mut(self.stack.width()) {
            let factor = self.scale.unwrap_or_else(|| {
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                1.0 / length.max(NORM_MIN)
            });
            row.iter_mut().for_each(|x| *x *= factor);
        }
        hidden
    }
}

/// The regression on an embedding.
#[derive(Debug, Clone)]
pub struct NeuralLinear {
    embedding: Arc<Embedding>,
    ridge: BayesianRidge,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dim: usize,
    layers: Vec<LayerConfig>,
    scale: Option<f32>,
    ridge: serde_json::Value,
}

impl NeuralLinear {
    /// The regression on an embedding of the width it reads.
    ///
    /// # Panics
    /// If the widths differ (a bug of the caller).
    pub fn new(embedding: Embedding, ridge: BayesianRidge) -> Self {
        assert_eq!(ridge.dim(), Some(embedding.width()), "neural-linear: width of the embedding");
        Self { embedding: Arc::new(embedding), ridge }
    }

    fn load(state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let FormState { config, mut tensors } = state;
        let config: Config = super::config(ROW.name, config)?;
        let refuse = |reason: String| LoadError::Config { form: ROW.name, reason };
        if let Some(scale) = config.scale.filter(|scale| !(scale.is_finite() && *scale > 0.0)) {
            return Err(refuse(format!("`scale` is `{scale}`, expected a number above 0")));
        }
        let stack = Stack::restore(ROW.name, config.dim, &config.layers, &mut tensors)?;
        let ridge = FormState { config: config.ridge, tensors: tensors.take_nested("ridge") };
        let ridge = BayesianRidge::restore(ridge, n_arms)?;
        if ridge.dim() != Some(stack.width()) {
            let (found, expected) = (ridge.dim().unwrap_or(0), stack.width());
            return Err(refuse(format!("its regression reads width `{found}`, its layers have {expected}")));
        }
        Ok(Box::new(Self::new(Embedding::new(stack, config.scale), ridge)))
    }

    /// Lets `tell` speak of an experience to the regression.
    fn told(
        &mut self,
        experience: &Experience<'_>,
        tell: impl Fn(&mut BayesianRidge, &Experience<'_>) -> Result<(), LearnError>,
    ) -> Result<(), LearnError> {
        check(experience, self.ridge.n_arms(), self.embedding.stack.dim())?;
        let features = self.embedding.of(experience.features);
        tell(&mut self.ridge, &Experience { features: &features, ..*experience })
    }
}

impl Predictor for NeuralLinear {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.ridge.n_arms()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.embedding.stack.dim())
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.embedding.stack.dim())?;
        let embedded = self.embedding.of(batch.features.values());
        let embedded = FeatureMatrix::from_vec(batch.n_queries(), self.embedding.width(), embedded);
        self.ridge.predict(&Batch { features: &embedded, ..*batch })
    }

    fn state(&self) -> FormState {
        let Embedding { stack, scale } = &*self.embedding;
        let ridge = self.ridge.state();
        let mut tensors = routewright_data::Tensors::new();
        let layers = stack.store(&mut tensors);
        tensors.nest("ridge", ridge.tensors);
        let config = Config { dim: stack.dim(), layers, scale: *scale, ridge: ridge.config };
        FormState { config: serde_json::to_value(config).unwrap_or_default(), tensors }
    }

    fn learner(&self) -> Option<Box<dyn Learner>> {
        Some(Box::new(self.clone()))
    }
}

impl Learner for NeuralLinear {
    fn learn(&mut self, experience: &Experience<'_>) -> Result<(), LearnError> {
        self.told(experience, |ridge, told| ridge.learn(told))
    }

    fn can_unlearn(&self) -> bool {
        true
    }

    fn unlearn(&mut self, experience: &Experience<'_>) -> Result<(), LearnError> {
        self.told(experience, |ridge, told| ridge.unlearn(told))
    }

    fn predict_into(
        &mut self,
        features: &[f32],
        source: Option<&str>,
        score: &mut [f32],
        score_se: &mut [f32],
    ) {
        let embedded = self.embedding.of(features);
        self.ridge.predict_into(&embedded, source, score, score_se);
    }

    fn n_updates(&self) -> u64 {
        self.ridge.n_updates()
    }

    fn add_arm(&mut self, arm: &NewArm) -> Result<(), LearnError> {
        self.ridge.add_arm(arm)
    }

    fn add_arms(&mut self, arms: &[NewArm]) -> Result<(), LearnError> {
        self.ridge.add_arms(arms)
    }

    fn reprice(&mut self, arm: usize, usd: f64) -> Result<(), LearnError> {
        self.ridge.reprice(arm, usd)
    }

    fn snapshot(&self) -> Box<dyn Predictor> {
        Box::new(self.clone())
    }

    fn merge(&mut self, other: FormState, base: FormState) -> Result<(), LearnError> {
        let part = |mut state: FormState| FormState {
            config: serde_json::Value::Null,
            tensors: state.tensors.take_nested("ridge"),
        };
        self.ridge.merge(part(other), part(base))
    }
}

#[cfg(test)]
mod tests {
    use super::super::posterior::tests::{DIM, N_ARMS, shape, told};
    use super::*;
    use crate::forms::{CostModel, RidgeShape};
    use routewright_data::dense::{Activation, Dense};

    const WIDTH: usize = 3;

    fn network(scale: Option<f32>) -> NeuralLinear {
        let weights: Vec<f32> = (0..DIM * WIDTH).map(|i| (i as f32 * 0.7).sin()).collect();
        let layer = Dense::new(weights, vec![0.3, 0.0, -0.2], Activation::Gelu);
        let embedding = Embedding::new(Stack::new(DIM, vec![layer]), scale);
        let shape = RidgeShape { dim: WIDTH, ..shape(1.0) };
        let cost = CostModel::constant(vec![0.1, 0.2, f32::NAN]);
        NeuralLinear::new(embedding, BayesianRidge::new(shape, Vec::new(), cost).unwrap())
    }

    #[test]
    fn it_is_a_ridge_regression_on_what_comes_out_of_the_layers() {
        for scale in [None, Some(0.5)] {
            let mut form = network(scale);
            let mut ridge = form.ridge.clone();
            for one in told(200) {
                form.learn(&one.experience()).unwrap();
                let hidden = form.embedding.of(&one.features);
                ridge.learn(&Experience { features: &hidden, ..one.experience() }).unwrap();
            }
            let x = [0.3, -0.2, 0.5, 0.1, -0.4];
            let hidden = form.embedding.of(&x);
            let length = hidden.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert_eq!(scale.is_none(), (length - 1.0).abs() < 1e-6);
            let found = form.predict(&Batch::of(&FeatureMatrix::from_vec(1, DIM, x.to_vec()))).unwrap();
            let expected = ridge.predict(&Batch::of(&FeatureMatrix::from_vec(1, WIDTH, hidden))).unwrap();
            assert_eq!((&found.score, &found.score_se), (&expected.score, &expected.score_se));
            let (mut score, mut se) = ([0.0; N_ARMS], [0.0; N_ARMS]);
            form.predict_into(&x, None, &mut score, &mut se);
            assert_eq!(&score[..], &found.score);
        }
    }

    #[test]
    fn it_survives_the_disk_merges_and_takes_back() {
        let told = told(90);
        let learn = |form: &mut NeuralLinear, range: std::ops::Range<usize>| {
            told[range].iter().for_each(|one| form.learn(&one.experience()).unwrap());
        };
        let base = network(None);
        let (mut one, mut other, mut all) = (base.clone(), base.clone(), base.clone());
        learn(&mut one, 0..40);
        learn(&mut other, 40..90);
        learn(&mut all, 0..90);
        one.merge(other.state(), base.state()).unwrap();
        assert_eq!(one.state(), all.state());
        for told in &told[40..] {
            one.unlearn(&told.experience()).unwrap();
        }
        let mut begun = base.clone();
        learn(&mut begun, 0..40);
        assert_eq!(one.state(), begun.state());
        let restored = super::super::load(ROW.name, 1, all.state(), N_ARMS).unwrap();
        assert_eq!(restored.state(), all.state());
        let mut wrong = all.state();
        wrong.config["scale"] = serde_json::json!(0.0);
        let error = super::super::load(ROW.name, 1, wrong, N_ARMS).unwrap_err().to_string();
        assert!(error.contains("`scale` is `0`"), "{error}");
        all.add_arm(&NewArm { quality: Some((0.7, 10.0)), cost_usd: None }).unwrap();
        assert_eq!(all.n_arms(), N_ARMS + 1);
    }
}
