//! Test data and the naive answer that every engine is compared with.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use super::neighbor::Neighbor;

/// Uniform values in [-1, 1), `n` rows, each scaled to unit norm.
pub(super) fn unit_rows(seed: u64, n: usize, dim: usize) -> Vec<f32> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut rows: Vec<f32> =
        (0..n * dim).map(|_| (rng.next_u64() >> 40) as f32 / (1u32 << 23) as f32 - 1.0).collect();
    for row in rows.chunks_exact_mut(dim) {
        let norm = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt().max(1e-30);
        row.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
    }
    rows
}

/// Sequential f64 inner products, rounded to f32, fully sorted: similarity first, then lower row.
pub(super) fn brute_force(
    rows: &[f32],
    dim: usize,
    query: &[f32],
    k: usize,
    keep: impl Fn(u32) -> bool,
) -> Vec<Neighbor> {
    let mut all: Vec<Neighbor> = rows
        .chunks_exact(dim)
        .zip(0u32..)
        .filter(|(_, row)| keep(*row))
        .map(|(values, row)| {
            let sum: f64 = values.iter().zip(query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            Neighbor { row, similarity: sum as f32 + 0.0 }
        })
        .collect();
    all.sort_by(|a, b| b.similarity.partial_cmp(&a.similarity).unwrap().then(a.row.cmp(&b.row)));
    all.truncate(k);
    all
}
