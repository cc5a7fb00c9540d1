//! Which models complement each other: a pool by greedy cover (Routoo's universe constructor, arXiv 2401.13979).
//!
//! The value of a pool is the mean over queries of the best score that one of its models has, what a perfect router
//! would earn from it. It is monotone and submodular, so that adding the model of the greatest gain again and again
//! earns at least 1 - 1/e of the best pool of that size (Nemhauser, Wolsey and Fisher 1978).

use routewright_data::Cells;
use serde::Serialize;

/// A model of a pool, in the order it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pooled {
    /// Index of the arm.
    pub arm: usize,
    /// Mean best score of the pool with it.
    pub best: f64,
    /// What it adds.
    pub gain: f64,
    /// Standard error of that over queries.
    pub gain_se: f64,
}

/// The first `size` arms by greedy cover, the first of equals. Queries weigh `weights`, one each; a missing cell counts
/// the mean of its arm, and an arm without any cell is never taken.
///
/// # Panics
/// If there are not as many weights as queries (a bug of the caller).
pub fn greedy(score: &Cells, weights: &[f32], size: usize) -> Vec<Pooled> {
    assert_eq!(weights.len(), score.n_rows(), "pool: one weight a query");
    let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    let means: Vec<Option<f64>> = (0..score.n_cols()).map(|arm| score.column_mean(arm)).collect();
    let value = |row: usize, arm: usize, mean: f64| score.get(row, arm).map_or(mean, f64::from);
    let mut best = vec![0.0_f64; score.n_rows()];
    let mut pool: Vec<Pooled> = Vec::new();
    while pool.len() < size && total > 0.0 {
        let left = (0..score.n_cols()).filter(|arm| pool.iter().all(|pooled| pooled.arm != *arm));
        let gains = left.filter_map(|arm| {
            let mean = means[arm]?;
            let of = |row: usize| f64::from(weights[row]) * (value(row, arm, mean) - best[row]).max(0.0);
            Some((arm, mean, (0..score.n_rows()).map(of).sum::<f64>() / total))
        });
        let Some((arm, mean, gain)) = gains.reduce(|a, b| if b.2 > a.2 { b } else { a }) else { break };
        let mut squares = 0.0;
        for (row, best) in best.iter_mut().enumerate() {
            let added = (value(row, arm, mean) - *best).max(0.0);
            squares += (f64::from(weights[row]) * (added - gain)).powi(2);
            *best += added;
        }
        let mean_best = pool.last().map_or(0.0, |pooled| pooled.best) + gain;
        pool.push(Pooled { arm, best: mean_best, gain, gain_se: squares.sqrt() / total });
    }
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_complements_the_pool_is_taken_before_what_is_good_alone() {
        // Arm 0 is the best alone, arm 1 nearly as good on the same queries, arm 2 right where both are wrong.
        let (on, off) = (1.0, 0.0);
        let values =
            vec![on, on, off, on, on, off, on, off, off, off, off, on, on, on, off, off, off, f32::NAN];
        let score = Cells::from_vec(6, 3, values);
        let pool = greedy(&score, &[1.0; 6], 3);
        let arms: Vec<usize> = pool.iter().map(|pooled| pooled.arm).collect();
        assert_eq!(arms, [0, 2, 1]);
        // 4 of 6; then 1 and the mean of arm 2, 1/5, of 6; then nothing.
        assert!((pool[0].best - 4.0 / 6.0).abs() < 1e-12 && (pool[1].gain - 1.2 / 6.0).abs() < 1e-9);
        assert_eq!((pool[2].gain, pool[2].best), (0.0, pool[1].best));
        assert!(pool[1].gain_se > 0.0);
        assert_eq!(greedy(&score, &[1.0; 6], 9).len(), 3);
        assert!(greedy(&Cells::missing(2, 2), &[1.0; 2], 2).is_empty());
        // Weights of a macro average change the order.
        let pool = greedy(&score, &[0.1, 0.1, 0.1, 9.0, 0.1, 0.1], 1);
        assert_eq!(pool[0].arm, 2);
    }

    #[test]
    fn greedy_keeps_its_guarantee_on_random_scores() {
        use rand::RngExt as _;
        let mut rng = routewright_data::rng::stream(3, "pool");
        let values = (0..60 * 6).map(|_| f32::from(u8::from(rng.random_bool(0.3)))).collect();
        let score = Cells::from_vec(60, 6, values);
        let found = greedy(&score, &[1.0; 60], 3)[2].best;
        let value = |arms: [usize; 3]| {
            let best =
                |row: usize| arms.iter().map(|arm| f64::from(score.row(row)[*arm])).fold(0.0, f64::max);
            (0..60).map(best).sum::<f64>() / 60.0
        };
        let all = (0..6).flat_map(|a| (0..6).flat_map(move |b| (0..6).map(move |c| [a, b, c])));
        let best = all.map(value).fold(0.0, f64::max);
        assert!(found <= best + 1e-12 && found >= (1.0 - (-1.0_f64).exp()) * best, "{found} {best}");
    }
}
