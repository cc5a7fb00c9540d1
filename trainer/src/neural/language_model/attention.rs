//! Causal attention inside every text of a batch, with rotary positions.

use super::weights::LmShape;
use routewright_data::dense::exp;
use std::ops::Range;

const ROTARY_BASE: f32 = 10_000.0;

/// Turns each pair of every head by the angle of its position in its text; back again where `back`.
pub(super) fn rotate(rows: &mut [f32], width: usize, head: usize, texts: &[Range<usize>], back: bool) {
    let sign = if back { -1.0 } else { 1.0 };
    let frequencies: Vec<f32> =
        (0..head / 2).map(|pair| ROTARY_BASE.powf(-((2 * pair) as f32) / head as f32)).collect();
    for text in texts {
        for (at, row) in rows[text.start * width..text.end * width].chunks_exact_mut(width).enumerate() {
            let turns: Vec<(f32, f32)> = frequencies.iter().map(|f| (at as f32 * f).sin_cos()).collect();
            for head in row.chunks_exact_mut(head) {
                for (pair, (sin, cos)) in head.chunks_exact_mut(2).zip(&turns) {
                    let (a, b, sin) = (pair[0], pair[1], sign * sin);
                    pair[0] = a * cos - b * sin;
                    pair[1] = a * sin + b * cos;
                }
            }
        }
    }
}

/// Sizes of attention, and where the columns of a head lie.
struct Sizes {
    dim: usize,
    kv_dim: usize,
    head: usize,
    group: usize,
    scale: f32,
}

impl Sizes {
    fn of(shape: &LmShape) -> Self {
        let head = shape.head();
        let group = shape.heads / shape.kv_heads;
        Self { dim: shape.dim, kv_dim: shape.kv_dim(), head, group, scale: 1.0 / (head as f32).sqrt() }
    }

    fn query(&self, row: usize, h: usize) -> Range<usize> {
        let from = row * self.dim + h * self.head;
        from..from + self.head
    }

    fn key(&self, row: usize, h: usize) -> Range<usize> {
        let from = row * self.kv_dim + h / self.group * self.head;
        from..from + self.head
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f32], by: f32, from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += by * from);
}

/// Mixed values `(n, dim)`, and the weights of attention in the order [`attend_back`] reads them.
pub(super) fn attend(
    shape: &LmShape,
    texts: &[Range<usize>],
    q: &[f32],
    k: &[f32],
    v: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let sizes = Sizes::of(shape);
    let mut mixed = vec![0.0; q.len()];
    let mut shares = Vec::new();
    for text in texts {
        for row in text.clone() {
            for h in 0..shape.heads {
                let from = shares.len();
                let query = &q[sizes.query(row, h)];
                shares.extend((text.start..=row).map(|at| sizes.scale * dot(query, &k[sizes.key(at, h)])));
                let own = &mut shares[from..];
                let max = own.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                own.iter_mut().for_each(|score| *score = exp(*score - max));
                let sum: f32 = own.iter().sum();
                let mixed = &mut mixed[sizes.query(row, h)];
                for (share, at) in own.iter_mut().zip(text.start..) {
                    *share /= sum;
                    add(mixed, *share, &v[sizes.key(at, h)]);
                }
            }
        }
    }
    (mixed, shares)
}

/// Queries, keys and values, or their gradients.
pub(super) struct Projected {
    pub(super) q: Vec<f32>,
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
}

/// Gradients of queries, keys and values from that of the mixed values.
pub(super) fn attend_back(
    shape: &LmShape,
    texts: &[Range<usize>],
    of: &Projected,
    shares: &[f32],
    dmixed: &[f32],
) -> Projected {
    let sizes = Sizes::of(shape);
    let zeros = |like: &[f32]| vec![0.0; like.len()];
    let mut d = Projected { q: zeros(&of.q), k: zeros(&of.k), v: zeros(&of.v) };
    let mut from = 0;
    let mut dshares = Vec::new();
    for text in texts {
        for row in text.clone() {
            for h in 0..shape.heads {
                let own = &shares[from..from + row + 1 - text.start];
                from += own.len();
                let columns = sizes.query(row, h);
                let dmixed = &dmixed[columns.clone()];
                dshares.clear();
                dshares.extend((text.start..=row).map(|at| dot(dmixed, &of.v[sizes.key(at, h)])));
                let mean = dot(&dshares, own);
                for ((share, dshare), at) in own.iter().zip(&dshares).zip(text.start..) {
                    let key = sizes.key(at, h);
                    add(&mut d.v[key.clone()], *share, dmixed);
                    let dscore = sizes.scale * share * (dshare - mean);
                    add(&mut d.q[columns.clone()], dscore, &of.k[key.clone()]);
                    add(&mut d.k[key], dscore, &of.q[columns.clone()]);
                }
            }
        }
    }
    d
}
