//! Percentile intervals of the bootstrap, for comparison with tools that report them.

use super::estimate::{EstimateOptions, Side};
use super::interval::LEVEL;
use super::rounds::Clusters;
use super::{Estimator, Terms, bootstrap};

/// The interval of every estimator's value; `None` for all where no bootstrap is asked for.
pub(super) fn intervals(
    sides: &[Side<'_>],
    estimators: &[&Estimator],
    clusters: &Clusters,
    options: &EstimateOptions,
) -> Vec<Option<[f64; 2]>> {
    let Some(side) = sides.first().filter(|_| options.bootstrap > 0) else {
        return vec![None; estimators.len()];
    };
    let n_columns = 1 + estimators.iter().map(|estimator| width(estimator)).sum::<usize>();
    let mut rounds = clusters.iter();
    let sums =
        bootstrap::resampled_sums(clusters.n, n_columns, options.bootstrap, options.seed, |range, out| {
            let size = range.len();
            out.fill(0.0);
            for i in 0..size {
                for (at, is_last) in rounds.by_ref() {
                    let mut column = 0;
                    each_term(side, estimators, at, |term| {
                        out[column * size + i] += term;
                        column += 1;
                    });
                    if is_last {
                        break;
                    }
                }
            }
        });
    let mut first = 1;
    let of = |estimator: &&Estimator| {
        let values = sums.chunks_exact(n_columns).filter_map(|sums| value(estimator, first, sums));
        let mut ascending: Vec<f64> = values.collect();
        ascending.sort_by(f64::total_cmp);
        first += width(estimator);
        let tail = (1.0 - LEVEL) / 2.0;
        (ascending.len() >= 2).then(|| [tail, 1.0 - tail].map(|share| bootstrap::quantile(&ascending, share)))
    };
    estimators.iter().map(of).collect()
}

/// Columns of an estimator.
fn width(estimator: &Estimator) -> usize {
    if estimator.is_normalized { 3 } else { 1 }
}

/// Mass and every estimator's terms of one round, in order.
fn each_term(side: &Side<'_>, estimators: &[&Estimator], at: usize, mut push: impl FnMut(f64)) {
    let round = &side.rounds[at];
    push(round.mass);
    for estimator in estimators {
        let Terms { direct, corrected, norm } = (estimator.terms)(round, &side.parameters);
        push(round.mass * direct);
        if estimator.is_normalized {
            push(round.mass * corrected);
            push(round.mass * norm);
        }
    }
}

/// The value of an estimator whose columns begin at `first`.
fn value(estimator: &Estimator, first: usize, sums: &[f64]) -> Option<f64> {
    let direct = sums[first] / sums[0];
    if !estimator.is_normalized {
        return Some(direct);
    }
    let (corrected, norm) = (sums[first + 1], sums[first + 2]);
    (norm > 0.0).then(|| direct + corrected / norm)
}
