//! Sizes and weights, as plain vectors.

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

/// Standard deviation of the embedding at the start.
const EMBEDDING_SPREAD: f32 = 0.05;

/// Sizes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LmShape {
    /// Width of the states.
    pub dim: usize,
    /// Width of the feed-forward layer.
    pub hidden: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads; `dim / heads` is even.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Number of ids.
    pub vocabulary: usize,
}

impl LmShape {
    /// Width of one head.
    pub fn head(&self) -> usize {
        self.dim / self.heads
    }

    /// Width of keys and values.
    pub fn kv_dim(&self) -> usize {
        self.head() * self.kv_heads
    }

    /// What is wrong with the sizes, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { dim, hidden, layers, heads, kv_heads, vocabulary } = *self;
        if [dim, hidden, layers, heads, kv_heads, vocabulary].contains(&0) {
            return Err(format!("a size of {self:?} is 0, expected at least 1"));
        }
        if !dim.is_multiple_of(heads) || !self.head().is_multiple_of(2) || !heads.is_multiple_of(kv_heads) {
            let rule = "expected heads of even width that kv heads can share";
            return Err(format!("dim `{dim}` has `{heads}` heads, `{kv_heads}` kv heads; {rule}"));
        }
        Ok(())
    }
}

/// Weights of a block; see [`LmShape`] for the sizes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LmBlock {
    /// Scale of the norm before attention, `(dim,)`.
    pub attention_norm: Vec<f32>,
    /// Queries, `(dim, dim)`.
    pub wq: Vec<f32>,
    /// Keys, `(dim, kv_dim)`.
    pub wk: Vec<f32>,
    /// Values, `(dim, kv_dim)`.
    pub wv: Vec<f32>,
    /// Output of attention, `(dim, dim)`.
    pub wo: Vec<f32>,
    /// Scale of the norm before the feed-forward layer, `(dim,)`.
    pub feed_norm: Vec<f32>,
    /// Gate, `(dim, hidden)`.
    pub w1: Vec<f32>,
    /// Down, `(hidden, dim)`.
    pub w2: Vec<f32>,
    /// Up, `(dim, hidden)`.
    pub w3: Vec<f32>,
}

/// All weights of a model, or their gradients, or a moment of these.
#[derive(Debug, Clone, PartialEq)]
pub struct LmWeights {
    /// Sizes.
    pub shape: LmShape,
    /// Embedding and output projection, `(vocabulary, dim)`.
    pub embedding: Vec<f32>,
    /// The blocks, first first.
    pub blocks: Vec<LmBlock>,
    /// Scale of the last norm, `(dim,)`.
    pub norm: Vec<f32>,
}

impl LmWeights {
    /// Weights to start from: matrices of standard deviation `1 / sqrt(n_in)`, those that write to the states
    /// smaller by `sqrt(2 layers)`.
    pub(super) fn random(shape: LmShape, rng: &mut impl Rng) -> Self {
        let mut draw = |n: usize, spread: f32| -> Vec<f32> {
            let normal = |_| -> f32 { StandardNormal.sample(&mut *rng) };
            (0..n).map(normal).map(|z| z * spread).collect()
        };
        let LmShape { dim, hidden, layers, vocabulary, .. } = shape;
        let (read, write) = (1.0 / (dim as f32).sqrt(), 1.0 / ((2 * layers) as f32).sqrt());
        let embedding = draw(vocabulary * dim, EMBEDDING_SPREAD);
        let mut block = || LmBlock {
            attention_norm: vec![1.0; dim],
            wq: draw(dim * dim, read),
            wk: draw(dim * shape.kv_dim(), read),
            wv: draw(dim * shape.kv_dim(), read),
            wo: draw(dim * dim, read * write),
            feed_norm: vec![1.0; dim],
            w1: draw(dim * hidden, read),
            w2: draw(hidden * dim, write / (hidden as f32).sqrt()),
            w3: draw(dim * hidden, read),
        };
        let blocks = (0..layers).map(|_| block()).collect();
        Self { shape, embedding, blocks, norm: vec![1.0; dim] }
    }

    /// Zeros of the same sizes.
    pub(super) fn zeros(&self) -> Self {
        let mut zeros = self.clone();
        zeros.parts_mut().into_iter().for_each(|(_, part)| part.fill(0.0));
        zeros
    }

    /// Number of weights.
    pub fn n_values(&self) -> usize {
        self.clone().parts_mut().iter().map(|(_, part)| part.len()).sum()
    }

    /// Every vector with its name.
    pub(super) fn parts_mut(&mut self) -> Vec<(String, &mut Vec<f32>)> {
        let mut parts = vec![("embedding".to_owned(), &mut self.embedding)];
        for (at, block) in self.blocks.iter_mut().enumerate() {
            let LmBlock { attention_norm, wq, wk, wv, wo, feed_norm, w1, w2, w3 } = block;
            let names = ["attention_norm", "wq", "wk", "wv", "wo", "feed_norm", "w1", "w2", "w3"];
            let values = [attention_norm, wq, wk, wv, wo, feed_norm, w1, w2, w3];
            parts.extend(names.into_iter().map(|name| format!("{at}.{name}")).zip(values));
        }
        parts.push(("norm".to_owned(), &mut self.norm));
        parts
    }
}
