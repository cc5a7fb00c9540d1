//! A BERT encoder trained end to end: the forward pass of `routewright_data::features::bert` in burn.
//!
//! The network in front sees the pooled vectors as plain inputs and hands back the gradient with respect to
//! them; here it flows on through the encoder, and every weight takes a step of AdamW. Queries of a batch are
//! padded to the longest; what is padded is masked in the attention and in the mean. No dropout, no warm-up;
//! biases and layer norms decay like every other weight.

use super::autodiff::{download, indices, unit_rows, upload};
use super::engine::{store_step, take_step};
use super::optim::AdamW;
use crate::method::{Device, FitError};
use burn_tensor::activation;
use burn_tensor::backend::{AutodiffBackend, Backend};
use burn_tensor::{Tensor, TensorData};
use routewright_data::Tensors;
use routewright_data::features::bert::{Bert, BertCheckpoint, BertShape, BertTokenizer};
use routewright_data::features::{EncoderSettings, FeatureError};
use routewright_policy::LoadError;
use std::fmt::Debug;

/// Queries encoded at once where no gradient is wanted.
const BATCH: usize = 32;
/// Added to the scores of padded tokens.
const MASKED: f32 = -1e9;
/// Parameters before the layers, and of each layer; the order is that of [`BertShape::parameters`].
const EMBEDDINGS: usize = 5;
const PER_LAYER: usize = 16;

/// The encoder a method asks for: a checkpoint and the tokens of every query of the train table.
#[derive(Debug)]
pub struct BertRecipe {
    checkpoint: BertCheckpoint,
    settings: EncoderSettings,
    tokens: Vec<Vec<u32>>,
    optimizer: AdamW,
}

impl BertRecipe {
    /// Tokenizes the queries; the sizes of the checkpoint must have been checked.
    ///
    /// # Errors
    /// If the tokenizer is malformed or refuses a query.
    pub fn new(
        checkpoint: BertCheckpoint,
        settings: EncoderSettings,
        optimizer: AdamW,
        texts: &[&str],
    ) -> Result<Self, FeatureError> {
        let settings = settings.within(checkpoint.shape.max_position_embeddings);
        let tokenizer = BertTokenizer::new(checkpoint.tokenizer.clone(), settings)?;
        let tokens = texts.iter().enumerate().map(|(row, text)| tokenizer.encode(row, text));
        let tokens = tokens.collect::<Result<_, _>>()?;
        Ok(Self { checkpoint, settings, tokens, optimizer })
    }

    /// Width of the vectors.
    pub fn dim(&self) -> usize {
        self.checkpoint.shape.hidden_size
    }

    /// The encoder at the start of training.
    pub(super) fn start(&self, device: Device) -> Result<Box<dyn TrainableBert + '_>, FitError> {
        super::device::bert(device, self)
    }

    pub(super) fn start_on<B: AutodiffBackend>(&self, device: B::Device) -> OnBackend<'_, B> {
        let parameters = self.checkpoint.shape.parameters();
        let zeros: Vec<_> = parameters.iter().map(|(_, s)| Tensor::zeros(matrix(s), &device)).collect();
        let moments = [zeros.clone(), zeros];
        let mut encoder = OnBackend {
            recipe: self,
            device,
            parameters,
            weights: Vec::new(),
            moments,
            step: 0,
            graph: None,
        };
        // The checkpoint has been read with these very shapes.
        drop(encoder.set_weights("", &self.checkpoint.weights));
        encoder
    }

    /// The featurizer of trained weights.
    ///
    /// # Errors
    /// If a weight is missing or not finite.
    pub fn featurizer(&self, weights: Tensors) -> Result<Bert, FeatureError> {
        let BertCheckpoint { shape, tokenizer, .. } = self.checkpoint.clone();
        Bert::new(BertCheckpoint { shape, weights, tokenizer }, self.settings)
    }
}

/// An encoder in training, whatever the backend.
pub trait TrainableBert: Debug {
    /// Pooled vectors `(rows.len(), dim)` of queries, without a gradient.
    fn pool(&self, rows: &[usize]) -> Vec<f32>;
    /// The same, remembering how they came about.
    fn forward(&mut self, rows: &[usize]) -> Vec<f32>;
    /// A step of AdamW from the gradient with respect to what [`TrainableBert::forward`] returned last.
    fn update(&mut self, gradient: &[f32]);
    /// Stores the weights, every name behind `prefix`.
    fn weights(&self, prefix: &str, tensors: &mut Tensors);
    /// Replaces the weights.
    ///
    /// # Errors
    /// If one is missing, misshapen or not finite.
    fn set_weights(&mut self, prefix: &str, tensors: &Tensors) -> Result<(), LoadError>;
    /// Stores weights, moments and the number of steps.
    fn save(&self, tensors: &mut Tensors);
    /// Goes on from what [`TrainableBert::save`] stored.
    ///
    /// # Errors
    /// If a tensor is missing, misshapen or not finite.
    fn restore(&mut self, tensors: &mut Tensors) -> Result<(), LoadError>;
}

/// The encoder over backend `B`. Vectors are matrices of one row.
pub(super) struct OnBackend<'a, B: AutodiffBackend> {
    recipe: &'a BertRecipe,
    device: B::Device,
    parameters: Vec<(String, Vec<usize>)>,
    weights: Vec<Tensor<B::InnerBackend, 2>>,
    moments: [Vec<Tensor<B::InnerBackend, 2>>; 2],
    step: u64,
    /// Weights and pooled vectors of the last forward pass.
    graph: Option<(Vec<Tensor<B, 2>>, Tensor<B, 2>)>,
}

impl<B: AutodiffBackend> Debug for OnBackend<'_, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnBackend").field("step", &self.step).finish_non_exhaustive()
    }
}

fn matrix(shape: &[usize]) -> [usize; 2] {
    match shape {
        [rows, cols] => [*rows, *cols],
        _ => [1, shape.iter().product()],
    }
}

impl<B: AutodiffBackend> OnBackend<'_, B> {
    fn tokens(&self, rows: &[usize]) -> Vec<&[u32]> {
        rows.iter().map(|&row| self.recipe.tokens[row].as_slice()).collect()
    }

    fn store(&self, prefix: &str, values: &[Tensor<B::InnerBackend, 2>], tensors: &mut Tensors) {
        for ((name, shape), value) in self.parameters.iter().zip(values) {
            tensors.insert_f32(&format!("{prefix}{name}"), shape, download(value.clone()));
        }
    }

    fn take(
        &self,
        prefix: &str,
        tensors: &mut Tensors,
    ) -> Result<Vec<Tensor<B::InnerBackend, 2>>, LoadError> {
        let take = |(name, shape): &(String, Vec<usize>)| {
            let values = tensors.take_f32(&format!("{prefix}{name}"), shape)?;
            Ok(upload(&values, matrix(shape), &self.device))
        };
        self.parameters.iter().map(take).collect()
    }
}

impl<B: AutodiffBackend> TrainableBert for OnBackend<'_, B> {
    fn pool(&self, rows: &[usize]) -> Vec<f32> {
        let shape = &self.recipe.checkpoint.shape;
        let pool = |rows: &[usize]| download(encode(shape, &self.weights, &self.tokens(rows), &self.device));
        rows.chunks(BATCH).flat_map(pool).collect()
    }

    fn forward(&mut self, rows: &[usize]) -> Vec<f32> {
        let weights: Vec<Tensor<B, 2>> =
            self.weights.iter().map(|t| Tensor::from_inner(t.clone()).require_grad()).collect();
        let shape = &self.recipe.checkpoint.shape;
        let pooled = encode(shape, &weights, &self.tokens(rows), &self.device);
        let values = download(pooled.clone().inner());
        self.graph = Some((weights, pooled));
        values
    }

    fn update(&mut self, gradient: &[f32]) {
        let Some((leaves, pooled)) = self.graph.take() else { return };
        let grads = (pooled.clone() * upload(gradient, pooled.dims(), &self.device)).sum().backward();
        self.step += 1;
        let a = self.recipe.optimizer.at(self.step);
        let [first, second] = &mut self.moments;
        for (((w, m), v), leaf) in self.weights.iter_mut().zip(first).zip(second).zip(leaves) {
            let g = leaf.grad(&grads).unwrap_or_else(|| w.zeros_like());
            *m = m.clone() * a.beta_1 + g.clone() * (1.0 - a.beta_1);
            *v = v.clone() * a.beta_2 + g.clone() * g * (1.0 - a.beta_2);
            let delta = m.clone() * a.rate / (v.clone().sqrt() * a.root + a.epsilon);
            *w = w.clone() * a.keep - delta;
        }
    }

    fn weights(&self, prefix: &str, tensors: &mut Tensors) {
        self.store(prefix, &self.weights, tensors);
    }

    fn set_weights(&mut self, prefix: &str, tensors: &Tensors) -> Result<(), LoadError> {
        self.weights = self.take(prefix, &mut tensors.clone())?;
        Ok(())
    }

    fn save(&self, tensors: &mut Tensors) {
        self.store("bert.weights.", &self.weights, tensors);
        self.store("bert.moment_1.", &self.moments[0], tensors);
        self.store("bert.moment_2.", &self.moments[1], tensors);
        store_step("bert.step", self.step, tensors);
    }

    fn restore(&mut self, tensors: &mut Tensors) -> Result<(), LoadError> {
        self.weights = self.take("bert.weights.", tensors)?;
        self.moments = [self.take("bert.moment_1.", tensors)?, self.take("bert.moment_2.", tensors)?];
        self.step = take_step("bert.step", tensors)?;
        Ok(())
    }
}

/// Mean of the token vectors of every text at unit length, `(batch.len(), h)`.
fn encode<B: Backend>(
    shape: &BertShape,
    p: &[Tensor<B, 2>],
    batch: &[&[u32]],
    device: &B::Device,
) -> Tensor<B, 2> {
    let (n, h) = (batch.len(), shape.hidden_size);
    let t = batch.iter().map(|ids| ids.len()).max().unwrap_or(0);
    let at = |of: fn(&[u32], usize) -> f32| -> Vec<f32> {
        batch.iter().flat_map(|ids| (0..t).map(move |i| of(ids, i))).collect()
    };
    let ids: Vec<u32> =
        batch.iter().flat_map(|ids| (0..t).map(|i| ids.get(i).copied().unwrap_or(0))).collect();
    let positions: Vec<u32> = (0..n * t).map(|i| (i % t) as u32).collect();
    let eps = shape.layer_norm_eps as f32;
    let x = p[0].clone().select(0, indices(&ids, [n * t], device))
        + p[1].clone().select(0, indices(&positions, [n * t], device))
        + p[2].clone().slice([0..1, 0..h]);
    let mut x = norm(x, &p[3], &p[4], eps);
    let bias = at(|ids, i| if i < ids.len() { 0.0 } else { MASKED });
    let bias = Tensor::<B, 4>::from_data(TensorData::new(bias, [n, 1, 1, t]), device);
    for layer in p[EMBEDDINGS..].chunks_exact(PER_LAYER) {
        let dense =
            |x: Tensor<B, 2>, at: usize| x.matmul(layer[at].clone().transpose()) + layer[at + 1].clone();
        let heads = shape.num_attention_heads;
        let split = |at: usize| dense(x.clone(), at).reshape([n, t, heads, h / heads]).swap_dims(1, 2);
        let (q, k, v) = (split(0), split(2), split(4));
        let scores = q.matmul(k.swap_dims(2, 3)) / ((h / heads) as f32).sqrt() + bias.clone();
        let mixed = activation::softmax(scores, 3).matmul(v).swap_dims(1, 2).reshape([n * t, h]);
        x = norm(x.clone() + dense(mixed, 6), &layer[12], &layer[13], eps);
        let inner = activation::gelu(dense(x.clone(), 8));
        x = norm(x.clone() + dense(inner, 10), &layer[14], &layer[15], eps);
    }
    let share = batch.iter().flat_map(|ids| {
        let n = ids.len().max(1) as f32;
        (0..t).map(move |i| if i < ids.len() { 1.0 / n } else { 0.0 })
    });
    let share = TensorData::new(share.collect::<Vec<f32>>(), [n, t, 1]);
    let mean = (x.reshape([n, t, h]) * Tensor::<B, 3>::from_data(share, device)).sum_dim(1);
    unit_rows(mean.reshape([n, h]))
}

/// `(x - mean) / sqrt(variance + epsilon) * scale + shift` of every row.
fn norm<B: Backend>(x: Tensor<B, 2>, scale: &Tensor<B, 2>, shift: &Tensor<B, 2>, eps: f32) -> Tensor<B, 2> {
    let x = x.clone() - x.mean_dim(1);
    let spread = (x.clone().powi_scalar(2).mean_dim(1) + eps).sqrt();
    x / spread * scale.clone() + shift.clone()
}

#[cfg(test)]
#[path = "bert_tests.rs"]
mod tests;
