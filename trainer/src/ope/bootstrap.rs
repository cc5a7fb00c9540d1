//! One multinomial bootstrap for any number of sums: every statistic sees the same resamples.
//!
//! A resample of `n` rounds is a vector of counts that sum to `n`. Rounds are taken in blocks; how many draws
//! fall into a block is binomial given those that are left, and within it they are uniform: the counts are
//! exactly multinomial, and neither they nor the terms are ever in memory as a whole. Counts times terms is a
//! matrix product.

use rand::RngExt as _;
use rand_distr::{Binomial, Distribution};
use rand_xoshiro::rand_core::Rng as _;
use routewright_data::product::{View, product};
use routewright_data::rng::{self, Rng};
use std::ops::Range;

/// Rounds of a block: a power of two, so that a position in it is a few bits of a draw.
const BLOCK: usize = 1 << BLOCK_BITS;
const BLOCK_BITS: usize = 10;

/// Sums of every column in every resample: shape `(resamples, n_columns)`, row-major.
///
/// `fill(range, out)` writes the columns of the rounds in `range` to `out`, column by column, each of
/// `range.len()` numbers.
pub(super) fn resampled_sums(
    n: usize,
    n_columns: usize,
    resamples: usize,
    seed: u64,
    mut fill: impl FnMut(Range<usize>, &mut [f64]),
) -> Vec<f64> {
    let mut rngs: Vec<Rng> =
        (0..resamples).map(|resample| rng::stream(seed, &format!("ope bootstrap {resample}"))).collect();
    let mut draws_left = vec![n as u64; resamples];
    let mut sums = vec![0.0; resamples * n_columns];
    let mut counts = vec![0.0; resamples * BLOCK];
    let mut columns = vec![0.0; n_columns * BLOCK];
    for start in (0..n).step_by(BLOCK) {
        let size = BLOCK.min(n - start);
        let share = size as f64 / (n - start) as f64;
        for ((rng, left), counts) in rngs.iter_mut().zip(&mut draws_left).zip(counts.chunks_exact_mut(size)) {
            let draws = if share < 1.0 { binomial(*left, share, rng) } else { *left };
            *left -= draws;
            counts.fill(0.0);
            scatter(counts, draws, rng);
        }
        let columns = &mut columns[..n_columns * size];
        fill(start..start + size, columns);
        add_product(&mut sums, &counts[..resamples * size], columns, size);
    }
    sums
}

fn binomial(n: u64, share: f64, rng: &mut Rng) -> u64 {
    // A share strictly between 0 and 1 is always accepted.
    Binomial::new(n, share).map_or(0, |binomial| binomial.sample(rng))
}

/// Drops `draws` draws on the positions of `counts`.
fn scatter(counts: &mut [f64], draws: u64, rng: &mut Rng) {
    if counts.len() != BLOCK {
        (0..draws).for_each(|_| counts[rng.random_range(0..counts.len())] += 1.0);
        return;
    }
    const A_WORD: usize = u64::BITS as usize / BLOCK_BITS;
    let mut left = draws;
    while left > 0 {
        let mut word = rng.next_u64();
        for _ in 0..left.min(A_WORD as u64) {
            counts[word as usize % BLOCK] += 1.0;
            word >>= BLOCK_BITS;
        }
        left = left.saturating_sub(A_WORD as u64);
    }
}

/// `sums += counts columns^T` for `counts` of shape `(resamples, size)` and `columns` `(n_columns, size)`.
fn add_product(sums: &mut [f64], counts: &[f64], columns: &[f64], size: usize) {
    let (rows, n_columns) = (counts.len() / size, columns.len() / size);
    let (counts, columns) = (View::new(counts, rows, size), View::new(columns, n_columns, size));
    product(counts, columns.transposed(), sums, true);
}

/// The `share` quantile of ascending `values`, interpolated linearly between neighbors (numpy's default).
pub(super) fn quantile(ascending: &[f64], share: f64) -> f64 {
    let at = share * (ascending.len().saturating_sub(1)) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    ascending[low] + (ascending[high] - ascending[low]) * (at - low as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_multinomial_whatever_the_block() {
        // Columns: 1, and the number of the round. 2,500 rounds are two full blocks and a part.
        let (n, resamples) = (2500, 400);
        let fill = |range: Range<usize>, out: &mut [f64]| {
            let size = range.len();
            for (i, round) in range.enumerate() {
                (out[i], out[size + i]) = (1.0, round as f64);
            }
        };
        let sums = resampled_sums(n, 2, resamples, 7, fill);
        assert!(sums.chunks_exact(2).all(|sums| sums[0] == n as f64));
        let means: Vec<f64> = sums.chunks_exact(2).map(|sums| sums[1] / n as f64).collect();
        let mean = means.iter().sum::<f64>() / resamples as f64;
        // The mean of 0..2500 is 1249.5 with deviation 721.7: 14.4 a resample, 0.72 over 400 of them.
        assert!((mean - 1249.5).abs() < 3.0, "{mean}");
        let spread = (means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / 399.0).sqrt();
        assert!((spread - 14.43).abs() < 1.5, "{spread}");
        assert_eq!(sums, resampled_sums(n, 2, resamples, 7, fill));
        assert_ne!(sums, resampled_sums(n, 2, resamples, 8, fill));
    }

    #[test]
    fn quantiles_interpolate() {
        let values = [0.0, 1.0, 2.0, 10.0];
        assert_eq!(quantile(&values, 0.5), 1.5);
        assert_eq!(quantile(&values, 0.0), 0.0);
        assert!((quantile(&values, 0.9) - 7.6).abs() < 1e-12);
    }
}
