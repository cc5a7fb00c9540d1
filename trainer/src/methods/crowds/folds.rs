//! What a rule is worth on folds of train beside the best single member.

use super::log::Log;
use crate::evaluate::Sources;
use crate::method::FitContext;
use crate::methods::votes::weights::Accuracies;
use crate::validation::{Folds, Slice};
use std::collections::BTreeMap;

/// The folds that have both sides.
pub(super) fn slices(folds: &Folds) -> Vec<Slice> {
    (0..folds.n_folds()).filter_map(|fold| folds.slice(fold)).collect()
}

/// Score of each row by what `play` makes of the other folds; NaN where it is not known.
pub(super) fn scores(n: usize, folds: &Folds, mut play: impl FnMut(&Slice) -> Vec<f64>) -> Vec<f64> {
    let mut scores = vec![f64::NAN; n];
    for slice in slices(folds) {
        slice.valid.iter().zip(play(&slice)).for_each(|(row, score)| scores[*row] = score);
    }
    scores
}

/// Score of the best single member of the other folds on each row.
pub(super) fn best_single(log: &Log<'_>, folds: &Folds) -> Vec<f64> {
    scores(log.n_queries(), folds, |slice| {
        let best = Log::strongest(&Accuracies::fit(&log.votes, &slice.fit).overall);
        let score = |row: &usize| log.votes.scores.get(*row, best).map_or(f64::NAN, f64::from);
        slice.valid.iter().map(score).collect()
    })
}

/// Mean of the differences where both are known, and its standard error; `None` of fewer than two.
pub(super) fn gain(ours: &[f64], theirs: &[f64]) -> Option<(f64, f64)> {
    let gains: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a - b).filter(|gain| !gain.is_nan()).collect();
    let n = gains.len() as f64;
    let mean = gains.iter().sum::<f64>() / n;
    let variance = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (gains.len() > 1).then(|| (mean, (variance / n).sqrt()))
}

/// Scores of a rule and of the best single member, the mean of the differences and its standard error, by name.
pub(super) fn figures(ours: &[f64], single: &[f64], context: &FitContext<'_>) -> BTreeMap<String, f64> {
    let sources = Sources::of(context.train);
    let gained = gain(ours, single);
    let figures = [
        ("folds_score", sources.mean(ours, context.average)),
        ("folds_best_single", sources.mean(single, context.average)),
        ("folds_gain", gained.map(|(gain, _)| gain)),
        ("folds_gain_se", gained.map(|(_, se)| se)),
    ];
    figures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_those_by_hand() {
        let (mean, se) = gain(&[1.0, 0.0, f64::NAN, 1.0], &[0.0, 0.0, 0.0, 1.0]).unwrap();
        // Differences 1, 0, 0: variance 1/3, error sqrt(1/9).
        assert!((mean - 1.0 / 3.0).abs() < 1e-12 && (se - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(gain(&[1.0], &[0.0]), None);
    }
}
