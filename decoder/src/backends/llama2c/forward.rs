//! The forward pass: pre-norm Llama blocks over a cache of keys and values that can be cut short.
//!
//! RMSNorm (epsilon 1e-5), grouped-query attention with rotary positions on interleaved pairs (base 10,000), SwiGLU.
//! Every sum is taken in one order, so that reading a text at once or token by token gives the same bits.

use super::weights::{Block, Shape, Weights};
use routewright_data::dense::{add_product, exp, sigmoid};

const EPSILON: f32 = 1e-5;
const ROTARY_BASE: f32 = 10_000.0;

/// Keys and values of what was read, per layer `(n_read, kv_dim)`.
#[derive(Debug, Clone)]
pub(in crate::backends) struct Cache {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    kv_dim: usize,
}

impl Cache {
    pub(super) fn new(shape: &Shape) -> Self {
        Self { layers: vec![(Vec::new(), Vec::new()); shape.layers], kv_dim: shape.kv_dim() }
    }

    /// Positions read.
    pub(super) fn len(&self) -> usize {
        self.layers.first().map_or(0, |(keys, _)| keys.len() / self.kv_dim)
    }

    /// Forgets all but the first `len` positions.
    pub(super) fn truncate(&mut self, len: usize) {
        for (keys, values) in &mut self.layers {
            keys.truncate(len * self.kv_dim);
            values.truncate(len * self.kv_dim);
        }
    }
}

/// Reads `ids` after what is in the cache; the normed last states, `(ids.len(), dim)`.
pub(super) fn read(weights: &Weights, cache: &mut Cache, ids: &[u32]) -> Vec<f32> {
    let shape = &weights.shape;
    let start = cache.len();
    let mut x = Vec::with_capacity(ids.len() * shape.dim);
    for id in ids {
        let row = *id as usize * shape.dim;
        x.extend_from_slice(&weights.embedding[row..row + shape.dim]);
    }
    for (block, (keys, values)) in weights.blocks.iter().zip(&mut cache.layers) {
        attend(shape, block, start, &mut x, keys, values);
        feed_forward(shape, block, &mut x);
    }
    norm(&x, &weights.norm)
}

/// Logits `(n, vocabulary)` of normed states `(n, dim)`.
pub(super) fn logits(weights: &Weights, states: &[f32]) -> Vec<f32> {
    let shape = &weights.shape;
    product(states, &weights.output, shape.dim, shape.vocabulary)
}

fn product(x: &[f32], w: &[f32], n_in: usize, n_out: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len() / n_in * n_out];
    add_product(x, w, n_in, n_out, &mut out);
    out
}

fn norm(x: &[f32], scale: &[f32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(scale.len()) {
        let mean = row.iter().map(|v| v * v).sum::<f32>() / scale.len() as f32;
        let factor = 1.0 / (mean + EPSILON).sqrt();
        out.extend(row.iter().zip(scale).map(|(v, s)| v * factor * s));
    }
    out
}

/// Turns each pair of every head by its angle at the row's position.
fn rotate(rows: &mut [f32], width: usize, head: usize, start: usize) {
    let frequencies: Vec<f32> =
        (0..head / 2).map(|pair| ROTARY_BASE.powf(-((2 * pair) as f32) / head as f32)).collect();
    for (at, row) in rows.chunks_exact_mut(width).enumerate() {
        let turns: Vec<(f32, f32)> =
            frequencies.iter().map(|frequency| ((start + at) as f32 * frequency).sin_cos()).collect();
        for head in row.chunks_exact_mut(head) {
            for (pair, (sin, cos)) in head.chunks_exact_mut(2).zip(&turns) {
                let (a, b) = (pair[0], pair[1]);
                pair[0] = a * cos - b * sin;
                pair[1] = a * sin + b * cos;
            }
        }
    }
}

fn attend(
    shape: &Shape,
    block: &Block,
    start: usize,
    x: &mut [f32],
    keys: &mut Vec<f32>,
    values: &mut Vec<f32>,
) {
    let (dim, kv_dim, head) = (shape.dim, shape.kv_dim(), shape.head());
    let normed = norm(x, &block.attention_norm);
    let mut queries = product(&normed, &block.wq, dim, dim);
    let mut new_keys = product(&normed, &block.wk, dim, kv_dim);
    rotate(&mut queries, dim, head, start);
    rotate(&mut new_keys, kv_dim, head, start);
    keys.extend_from_slice(&new_keys);
    values.extend(product(&normed, &block.wv, dim, kv_dim));
    let group = shape.heads / shape.kv_heads;
    let scale = 1.0 / (head as f32).sqrt();
    let mut mixed = vec![0.0; x.len()];
    let mut scores = Vec::with_capacity(start + x.len() / dim);
    for (at, (queries, mixed)) in queries.chunks_exact(dim).zip(mixed.chunks_exact_mut(dim)).enumerate() {
        let seen = (start + at + 1) * kv_dim;
        for (h, (query, mixed)) in queries.chunks_exact(head).zip(mixed.chunks_exact_mut(head)).enumerate() {
            let column = h / group * head;
            scores.clear();
            scores.extend(keys[..seen].chunks_exact(kv_dim).map(|key| {
                let key = &key[column..column + head];
                scale * query.iter().zip(key).map(|(q, k)| q * k).sum::<f32>()
            }));
            let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            scores.iter_mut().for_each(|score| *score = exp(*score - max));
            let sum: f32 = scores.iter().sum();
            for (score, value) in scores.iter().zip(values[..seen].chunks_exact(kv_dim)) {
                let weight = score / sum;
                for (m, v) in mixed.iter_mut().zip(&value[column..column + head]) {
                    *m += weight * v;
                }
            }
        }
    }
    add_product(&mixed, &block.wo, dim, dim, x);
}

fn feed_forward(shape: &Shape, block: &Block, x: &mut [f32]) {
    let normed = norm(x, &block.feed_norm);
    let mut gate = product(&normed, &block.w1, shape.dim, shape.hidden);
    let up = product(&normed, &block.w3, shape.dim, shape.hidden);
    for (gate, up) in gate.iter_mut().zip(&up) {
        *gate *= sigmoid(*gate) * up;
    }
    add_product(&gate, &block.w2, shape.hidden, shape.dim, x);
}
