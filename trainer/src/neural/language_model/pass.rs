//! Forward and backward pass of a few texts.

use super::attention::{Projected, attend, attend_back, rotate};
use super::layers::{linear, linear_back, norm, norm_back};
use super::training::Text;
use super::weights::{LmBlock, LmShape, LmWeights};
use routewright_data::dense::{exp, sigmoid};
use std::ops::Range;

/// What a block remembers for its backward pass.
struct Tape {
    x: Vec<f32>,
    normed: Vec<f32>,
    of: Projected,
    shares: Vec<f32>,
    mixed: Vec<f32>,
    middle: Vec<f32>,
    feed: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    inner: Vec<f32>,
}

/// Adds the gradient of the summed loss of `texts`, times `share`, to `d`; returns the sum.
pub(super) fn backward(weights: &LmWeights, texts: &[Text], share: f32, d: &mut LmWeights) -> f64 {
    let shape = &weights.shape;
    let (rows, ids) = layout(texts);
    let (tapes, x) = forward(weights, &rows, &ids);
    let states = norm(&x, &weights.norm);
    let mut dstates = vec![0.0; states.len()];
    let loss = loss(weights, texts, &rows, &states, share, &mut dstates, &mut d.embedding);
    let mut dx = vec![0.0; x.len()];
    norm_back(&x, &weights.norm, &dstates, &mut d.norm, &mut dx);
    for ((block, tape), d) in weights.blocks.iter().zip(&tapes).zip(&mut d.blocks).rev() {
        block_back(shape, block, &rows, tape, &mut dx, d);
    }
    for (id, dx) in ids.iter().zip(dx.chunks_exact(shape.dim)) {
        let row = &mut d.embedding[*id as usize * shape.dim..(*id as usize + 1) * shape.dim];
        row.iter_mut().zip(dx).for_each(|(d, dx)| *d += dx);
    }
    loss
}

/// Logits `(tokens, vocabulary)` of one text.
pub(super) fn logits(weights: &LmWeights, ids: &[u32]) -> Vec<f32> {
    let (_, x) = forward(weights, std::slice::from_ref(&(0..ids.len())), ids);
    let states = norm(&x, &weights.norm);
    output(weights, &states)
}

/// Where each text lies, and all its ids but the last, which is never read.
fn layout(texts: &[Text]) -> (Vec<Range<usize>>, Vec<u32>) {
    let mut ids = Vec::new();
    let mut rows = Vec::with_capacity(texts.len());
    for text in texts {
        let from = ids.len();
        ids.extend_from_slice(&text.ids[..text.ids.len().saturating_sub(1)]);
        rows.push(from..ids.len());
    }
    (rows, ids)
}

fn forward(weights: &LmWeights, rows: &[Range<usize>], ids: &[u32]) -> (Vec<Tape>, Vec<f32>) {
    let shape = &weights.shape;
    let row = |id: &u32| &weights.embedding[*id as usize * shape.dim..(*id as usize + 1) * shape.dim];
    let mut x: Vec<f32> = ids.iter().flat_map(row).copied().collect();
    let tapes = weights.blocks.iter().map(|block| block_forward(shape, block, rows, &mut x)).collect();
    (tapes, x)
}

fn add_all(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

fn block_forward(shape: &LmShape, block: &LmBlock, rows: &[Range<usize>], x: &mut [f32]) -> Tape {
    let (dim, head) = (shape.dim, shape.head());
    let before = x.to_vec();
    let normed = norm(x, &block.attention_norm);
    let [mut q, mut k, v] = [&block.wq, &block.wk, &block.wv].map(|w| linear(&normed, w, dim));
    rotate(&mut q, dim, head, rows, false);
    rotate(&mut k, shape.kv_dim(), head, rows, false);
    let (mixed, shares) = attend(shape, rows, &q, &k, &v);
    add_all(x, &linear(&mixed, &block.wo, dim));
    let middle = x.to_vec();
    let feed = norm(x, &block.feed_norm);
    let [gate, up] = [&block.w1, &block.w3].map(|w| linear(&feed, w, dim));
    let inner: Vec<f32> = gate.iter().zip(&up).map(|(g, u)| g * sigmoid(*g) * u).collect();
    add_all(x, &linear(&inner, &block.w2, shape.hidden));
    let of = Projected { q, k, v };
    Tape { x: before, normed, of, shares, mixed, middle, feed, gate, up, inner }
}

/// Turns the gradient of what a block gave into that of what it was given.
fn block_back(
    shape: &LmShape,
    block: &LmBlock,
    rows: &[Range<usize>],
    tape: &Tape,
    dx: &mut [f32],
    d: &mut LmBlock,
) {
    let (dim, head) = (shape.dim, shape.head());
    let mut dinner = vec![0.0; tape.inner.len()];
    linear_back(&tape.inner, &block.w2, shape.hidden, dx, &mut d.w2, &mut dinner);
    let (mut dgate, mut dup) = (dinner.clone(), dinner);
    for (((dgate, dup), gate), up) in dgate.iter_mut().zip(&mut dup).zip(&tape.gate).zip(&tape.up) {
        let s = sigmoid(*gate);
        *dgate *= up * s * (1.0 + gate * (1.0 - s));
        *dup *= gate * s;
    }
    let mut dfeed = vec![0.0; dx.len()];
    linear_back(&tape.feed, &block.w1, dim, &dgate, &mut d.w1, &mut dfeed);
    linear_back(&tape.feed, &block.w3, dim, &dup, &mut d.w3, &mut dfeed);
    norm_back(&tape.middle, &block.feed_norm, &dfeed, &mut d.feed_norm, dx);

    let mut dmixed = vec![0.0; dx.len()];
    linear_back(&tape.mixed, &block.wo, dim, dx, &mut d.wo, &mut dmixed);
    let mut of = attend_back(shape, rows, &tape.of, &tape.shares, &dmixed);
    rotate(&mut of.q, dim, head, rows, true);
    rotate(&mut of.k, shape.kv_dim(), head, rows, true);
    let mut dnormed = vec![0.0; dx.len()];
    linear_back(&tape.normed, &block.wq, dim, &of.q, &mut d.wq, &mut dnormed);
    linear_back(&tape.normed, &block.wk, dim, &of.k, &mut d.wk, &mut dnormed);
    linear_back(&tape.normed, &block.wv, dim, &of.v, &mut d.wv, &mut dnormed);
    norm_back(&tape.x, &block.attention_norm, &dnormed, &mut d.attention_norm, dx);
}

fn output(weights: &LmWeights, states: &[f32]) -> Vec<f32> {
    use super::super::product::{View, product};
    let (dim, vocabulary) = (weights.shape.dim, weights.shape.vocabulary);
    let n = states.len() / dim;
    let mut out = vec![0.0; n * vocabulary];
    let embedding = View::new(&weights.embedding, vocabulary, dim);
    product(View::new(states, n, dim), embedding.transposed(), &mut out, false);
    out
}

/// Summed cross-entropy of the ids that are learned, its gradients times `share`.
fn loss(
    weights: &LmWeights,
    texts: &[Text],
    rows: &[Range<usize>],
    states: &[f32],
    share: f32,
    dstates: &mut [f32],
    dembedding: &mut [f32],
) -> f64 {
    use super::super::product::{View, product};
    let (dim, vocabulary) = (weights.shape.dim, weights.shape.vocabulary);
    let learned = |(text, rows): (&Text, &Range<usize>)| -> Vec<(usize, u32)> {
        text.targets().map(|at| (rows.start + at - 1, text.ids[at])).collect()
    };
    let targets: Vec<(usize, u32)> = texts.iter().zip(rows).flat_map(learned).collect();
    let picked: Vec<f32> =
        targets.iter().flat_map(|(row, _)| &states[row * dim..(row + 1) * dim]).copied().collect();
    let mut logits = output(weights, &picked);
    let mut sum = 0.0;
    for ((_, target), row) in targets.iter().zip(logits.chunks_exact_mut(vocabulary)) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        sum -= f64::from(row[*target as usize] - max);
        row.iter_mut().for_each(|logit| *logit = exp(*logit - max));
        let total: f32 = row.iter().sum();
        sum += f64::from(total.ln());
        row.iter_mut().for_each(|p| *p *= share / total);
        row[*target as usize] -= share;
    }
    let n = targets.len();
    let dlogits = View::new(&logits, n, vocabulary);
    product(dlogits.transposed(), View::new(&picked, n, dim), dembedding, true);
    let mut dpicked = vec![0.0; n * dim];
    product(dlogits, View::new(&weights.embedding, vocabulary, dim), &mut dpicked, false);
    for ((row, _), d) in targets.iter().zip(dpicked.chunks_exact(dim)) {
        add_all(&mut dstates[row * dim..(row + 1) * dim], d);
    }
    sum
}
