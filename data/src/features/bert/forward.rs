//! The forward pass of BERT by hand, one text at a time: `n` tokens, width `h`, heads of width `d`.
//!
//! ```text
//! x = norm(word[token] + type[0] + position[at])                                  (n, h)
//! x = norm(x + (softmax(q k^T / sqrt d) v) W_o + b_o)      each head its columns of q, k, v
//! x = norm(x + gelu(x W_1 + b_1) W_2 + b_2)
//! ```
//!
//! GELU is the exact one. Nothing is padded, so that a text has the same vector bit for bit alone and among
//! others.

use super::product::product;
use super::shape::{BertShape, layer_prefix};
use crate::dense::{Activation, exp};
use crate::{TensorError, Tensors};

/// A dense layer `x W^T + b` with `W` as it is stored, `(n_out, n_in)`.
#[derive(Debug, Clone)]
struct Layer {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// Scale and shift of a layer norm.
#[derive(Debug, Clone)]
struct Norm {
    scale: Vec<f32>,
    shift: Vec<f32>,
    epsilon: f32,
}

#[derive(Debug, Clone)]
struct Block {
    query: Layer,
    key: Layer,
    value: Layer,
    attended: Layer,
    attention_norm: Norm,
    inner: Layer,
    outer: Layer,
    norm: Norm,
}

/// The network, ready to run.
#[derive(Debug, Clone)]
pub struct BertNetwork {
    shape: BertShape,
    words: Vec<f32>,
    positions: Vec<f32>,
    types: Vec<f32>,
    norm: Norm,
    blocks: Vec<Block>,
}

impl BertNetwork {
    /// A network of the weights named by [`BertShape::parameters`].
    ///
    /// # Errors
    /// If one is missing, misshapen or not finite.
    pub fn new(shape: &BertShape, mut weights: Tensors) -> Result<Self, TensorError> {
        let (h, f) = (shape.hidden_size, shape.intermediate_size);
        let blocks: Result<Vec<Block>, TensorError> = (0..shape.num_hidden_layers)
            .map(|layer| {
                let prefix = layer_prefix(layer);
                let mut dense = |name: &str, n_out, n_in| {
                    let name = format!("{prefix}{name}");
                    let weight = weights.take_f32(&format!("{name}.weight"), &[n_out, n_in])?;
                    Ok(Layer { weight, bias: weights.take_f32(&format!("{name}.bias"), &[n_out])? })
                };
                let [query, key, value] = ["query", "key", "value"].map(|n| format!("attention.self.{n}"));
                Ok(Block {
                    query: dense(&query, h, h)?,
                    key: dense(&key, h, h)?,
                    value: dense(&value, h, h)?,
                    attended: dense("attention.output.dense", h, h)?,
                    inner: dense("intermediate.dense", f, h)?,
                    outer: dense("output.dense", h, f)?,
                    attention_norm: norm(
                        &mut weights,
                        &format!("{prefix}attention.output.LayerNorm"),
                        shape,
                    )?,
                    norm: norm(&mut weights, &format!("{prefix}output.LayerNorm"), shape)?,
                })
            })
            .collect();
        Ok(Self {
            words: weights.take_f32("embeddings.word_embeddings.weight", &[shape.vocab_size, h])?,
            positions: weights
                .take_f32("embeddings.position_embeddings.weight", &[shape.max_position_embeddings, h])?,
            types: weights
                .take_f32("embeddings.token_type_embeddings.weight", &[shape.type_vocab_size, h])?,
            norm: norm(&mut weights, "embeddings.LayerNorm", shape)?,
            blocks: blocks?,
            shape: shape.clone(),
        })
    }

    /// The weights as they came.
    pub fn weights(&self) -> Tensors {
        let s = &self.shape;
        let mut all = Tensors::new();
        all.insert_f32(
            "embeddings.word_embeddings.weight",
            &[s.vocab_size, s.hidden_size],
            self.words.clone(),
        );
        all.insert_f32(
            "embeddings.position_embeddings.weight",
            &[s.max_position_embeddings, s.hidden_size],
            self.positions.clone(),
        );
        all.insert_f32(
            "embeddings.token_type_embeddings.weight",
            &[s.type_vocab_size, s.hidden_size],
            self.types.clone(),
        );
        self.norm.store("embeddings.LayerNorm", &mut all);
        for (layer, block) in self.blocks.iter().enumerate() {
            let prefix = layer_prefix(layer);
            for (name, dense) in [
                ("attention.self.query", &block.query),
                ("attention.self.key", &block.key),
                ("attention.self.value", &block.value),
                ("attention.output.dense", &block.attended),
                ("intermediate.dense", &block.inner),
                ("output.dense", &block.outer),
            ] {
                dense.store(&format!("{prefix}{name}"), &mut all);
            }
            block.attention_norm.store(&format!("{prefix}attention.output.LayerNorm"), &mut all);
            block.norm.store(&format!("{prefix}output.LayerNorm"), &mut all);
        }
        all
    }

    /// Vectors of the tokens `(n, h)`. Ids must be below `vocab_size`, their number at most
    /// `max_position_embeddings`.
    pub fn forward(&self, ids: &[u32]) -> Vec<f32> {
        let h = self.shape.hidden_size;
        let mut x = Vec::with_capacity(ids.len() * h);
        for (&id, position) in ids.iter().zip(self.positions.chunks_exact(h)) {
            let word = &self.words[id as usize * h..(id as usize + 1) * h];
            x.extend(word.iter().zip(&self.types).zip(position).map(|((w, t), p)| w + t + p));
        }
        self.norm.apply(&mut x);
        for block in &self.blocks {
            block.forward(&mut x, self.shape.num_attention_heads);
        }
        x
    }
}

impl Block {
    fn forward(&self, x: &mut [f32], n_heads: usize) {
        let [q, k, v] = [&self.query, &self.key, &self.value].map(|layer| layer.forward(x));
        let mixed = attention(&q, &k, &v, self.query.bias.len(), n_heads);
        add(x, &self.attended.forward(&mixed));
        self.attention_norm.apply(x);
        let mut inner = self.inner.forward(x);
        Activation::Gelu.apply(&mut inner);
        add(x, &self.outer.forward(&inner));
        self.norm.apply(x);
    }
}

/// `softmax(q k^T / sqrt d) v` of every head; all `(n, h)`.
fn attention(q: &[f32], k: &[f32], v: &[f32], h: usize, n_heads: usize) -> Vec<f32> {
    let (n, d) = (q.len() / h, h / n_heads);
    let scale = 1.0 / (d as f32).sqrt();
    let mut out = vec![0.0_f32; n * h];
    let mut scores = vec![0.0_f32; n * n];
    for head in 0..n_heads {
        let columns = |x: &[f32]| -> Vec<f32> {
            x.chunks_exact(h).flat_map(|row| row[head * d..(head + 1) * d].iter().copied()).collect()
        };
        let (q, k, v) = (columns(q), columns(k), columns(v));
        product(&q, &k, true, n, &mut scores);
        scores.chunks_exact_mut(n).for_each(|row| softmax(row, scale));
        let mut mixed = vec![0.0_f32; n * d];
        product(&scores, &v, false, d, &mut mixed);
        for (out, mixed) in out.chunks_exact_mut(h).zip(mixed.chunks_exact(d)) {
            out[head * d..(head + 1) * d].copy_from_slice(mixed);
        }
    }
    out
}

/// `exp(scale x) / sum exp(scale x)` in place.
fn softmax(row: &mut [f32], scale: f32) {
    crate::simd::widest(
        #[inline(always)]
        || {
            let greatest = row.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
            row.iter_mut().for_each(|x| *x = exp((*x - greatest) * scale));
            let share = 1.0 / row.iter().sum::<f32>();
            row.iter_mut().for_each(|x| *x *= share);
        },
    );
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn norm(weights: &mut Tensors, name: &str, shape: &BertShape) -> Result<Norm, TensorError> {
    let h = shape.hidden_size;
    let scale = weights.take_f32(&format!("{name}.weight"), &[h])?;
    let shift = weights.take_f32(&format!("{name}.bias"), &[h])?;
    Ok(Norm { scale, shift, epsilon: shape.layer_norm_eps as f32 })
}

impl Layer {
    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let n_out = self.bias.len();
        let n_in = self.weight.len() / n_out;
        let mut out = vec![0.0_f32; x.len() / n_in * n_out];
        product(x, &self.weight, true, n_out, &mut out);
        out.chunks_exact_mut(n_out).for_each(|row| add(row, &self.bias));
        out
    }

    fn store(&self, name: &str, all: &mut Tensors) {
        let n_out = self.bias.len();
        let shape = [n_out, self.weight.len() / n_out];
        all.insert_f32(&format!("{name}.weight"), &shape, self.weight.clone());
        all.insert_f32(&format!("{name}.bias"), &[n_out], self.bias.clone());
    }
}

impl Norm {
    /// `(x - mean) / sqrt(variance + epsilon) * scale + shift` of every row.
    fn apply(&self, x: &mut [f32]) {
        let h = self.scale.len();
        for row in x.chunks_exact_mut(h) {
            let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / h as f64;
            let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / h as f64;
            let (mean, spread) = (mean as f32, (variance as f32 + self.epsilon).sqrt());
            for ((x, scale), shift) in row.iter_mut().zip(&self.scale).zip(&self.shift) {
                *x = (*x - mean) / spread * scale + shift;
            }
        }
    }

    fn store(&self, name: &str, all: &mut Tensors) {
        let h = self.scale.len();
        all.insert_f32(&format!("{name}.weight"), &[h], self.scale.clone());
        all.insert_f32(&format!("{name}.bias"), &[h], self.shift.clone());
    }
}
