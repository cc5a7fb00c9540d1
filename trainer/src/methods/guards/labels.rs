//! A ridge classifier of sources, with the posterior of every training row as if it had been left out.
//!
//! The regression on indicators of the sources has a free intercept and penalty 1. With `h_ii` the leverage of row `i`
//! (intercept included), the value predicted without row `i` is `y_i - (y_i - yhat_i) / (1 - h_ii)`: no inner folds.

use crate::methods::scorers::gram;
use routewright_data::linalg::{Cholesky, LinalgError};
use routewright_data::{FeatureMatrix, OutcomeTable};
use routewright_policy::forms::LabelRidge;
use std::collections::BTreeMap;

/// Penalty on the squared weights, of text vectors of unit norm.
const ALPHA: f64 = 1.0;
/// Sources told apart, at most; the most frequent ones.
const SOURCES_MAX: usize = 128;
/// Rows whose leverage is computed at once.
const CHUNK: usize = 2048;
/// Least distance of a leverage from 1: a row that alone decides its own value says nothing without itself.
const LEVERAGE_GAP: f64 = 1e-6;

/// The classifier and the posteriors `(n, n_sources)` of the training rows, each without itself.
pub(super) struct Labels {
    pub(super) ridge: LabelRidge,
    pub(super) left_out: Vec<f32>,
    /// Share of the rows with a source whose likeliest source, without themselves, is their own.
    pub(super) accuracy: f64,
}

impl Labels {
    /// Fits on text vectors `(n, dim)` of unit norm; `None` where there are not two sources.
    pub(super) fn fit(text: &FeatureMatrix, table: &OutcomeTable) -> Result<Option<Self>, LinalgError> {
        let names = frequent(table);
        if names.len() < 2 || text.dim() == 0 {
            return Ok(None);
        }
        let label = |row: usize| {
            let source = table.queries[row].source.as_deref()?;
            names.binary_search(&source).ok()
        };
        let labels: Vec<Option<usize>> = (0..table.n_queries()).map(label).collect();
        let rows: Vec<usize> = (0..labels.len()).filter(|row| labels[*row].is_some()).collect();
        let (width, k) = (text.dim() + 1, names.len());
        let mut gram = gram::gram(text, &rows);
        gram::penalize(&mut gram, width, ALPHA);
        let target = |row: usize, at: usize| if labels[row] == Some(at) { 1.0 } else { 0.0 };
        let moments = gram::moments(text, &rows, k, target);
        let system = Cholesky::of(gram, width)?;
        let solution = system.solve(moments, k)?;
        let weights = (0..k).flat_map(|at| (0..width).map(move |i| i * k + at)).map(|i| solution[i] as f32);
        let ridge = LabelRidge {
            sources: names.iter().map(|name| (*name).to_owned()).collect(),
            weights: weights.collect(),
        };
        let left_out = left_out(text, &labels, &solution, &system, k)?;
        let is_right = |row: &&usize| {
            let p = &left_out[*row * k..(*row + 1) * k];
            (0..k).max_by(|a, b| p[*a].total_cmp(&p[*b])) == labels[**row]
        };
        let accuracy = rows.iter().filter(is_right).count() as f64 / rows.len().max(1) as f64;
        Ok(Some(Self { ridge, left_out, accuracy }))
    }
}

/// The posterior of every row, without itself where it was learned from.
fn left_out(
    text: &FeatureMatrix,
    labels: &[Option<usize>],
    solution: &[f64],
    system: &Cholesky,
    k: usize,
) -> Result<Vec<f32>, LinalgError> {
    let width = text.dim() + 1;
    let mut out = Vec::with_capacity(labels.len() * k);
    for start in (0..labels.len()).step_by(CHUNK) {
        let rows = start..(start + CHUNK).min(labels.len());
        let x: Vec<Vec<f64>> = rows
            .clone()
            .map(|row| text.row(row).iter().map(|v| f64::from(*v)).chain(std::iter::once(1.0)).collect())
            .collect();
        let mut columns = vec![0.0; width * x.len()];
        for (row, x) in x.iter().enumerate() {
            x.iter().enumerate().for_each(|(i, v)| columns[i * rows.len() + row] = *v);
        }
        let solved = system.solve(columns, rows.len())?;
        for (at, (row, x)) in rows.clone().zip(&x).enumerate() {
            let leverage: f64 = x.iter().enumerate().map(|(i, x)| x * solved[i * rows.len() + at]).sum();
            let mut values: Vec<f32> = (0..k)
                .map(|source| {
                    let fitted: f64 = x.iter().enumerate().map(|(i, x)| x * solution[i * k + source]).sum();
                    let Some(own) = labels[row] else { return fitted as f32 };
                    let target = if own == source { 1.0 } else { 0.0 };
                    (target - (target - fitted) / (1.0 - leverage).max(LEVERAGE_GAP)) as f32
                })
                .collect();
            LabelRidge::normalize(&mut values);
            out.extend(values);
        }
    }
    Ok(out)
}

/// The most frequent sources, in the order of their names.
fn frequent(table: &OutcomeTable) -> Vec<&str> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for query in &table.queries {
        if let Some(source) = &query.source {
            *counts.entry(source).or_default() += 1;
        }
    }
    let mut names: Vec<(&str, usize)> = counts.into_iter().collect();
    names.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    names.truncate(SOURCES_MAX);
    let mut names: Vec<&str> = names.into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::table;

    fn log(n: usize) -> (FeatureMatrix, OutcomeTable) {
        let sources: Vec<&str> = (0..n).map(|i| ["a", "b", "c", ""][i % 4]).collect();
        let x = (0..n).flat_map(|i| {
            let (i, lean) = (i as f32, (i % 4) as f32);
            [(i * 0.7).sin() + lean, (i * 1.3).cos() - lean]
        });
        let values = x.collect();
        (FeatureMatrix::from_vec(n, 2, values), table(&sources, &vec![0.5; n * 2], &vec![f32::NAN; n * 2]))
    }

    /// The closed form against fits that really leave the row out.
    #[test]
    fn a_row_left_out_in_closed_form_is_a_row_left_out() {
        let (x, log) = log(40);
        let labels = Labels::fit(&x, &log).unwrap().unwrap();
        for row in [0, 5, 14, 39] {
            let kept: Vec<usize> = (0..40).filter(|other| *other != row).collect();
            let other = Labels::fit(&x.select_rows(&kept), &log.select_rows(&kept)).unwrap().unwrap();
            let mut expected: Vec<f32> = other
                .ridge
                .weights
                .chunks_exact(3)
                .map(|w| w[0] * x.row(row)[0] + w[1] * x.row(row)[1] + w[2])
                .collect();
            LabelRidge::normalize(&mut expected);
            let found = &labels.left_out[row * 3..row * 3 + 3];
            assert!(
                found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4),
                "{row}: {found:?} {expected:?}"
            );
        }
        assert!(labels.accuracy > 0.5 && labels.accuracy < 1.0, "{}", labels.accuracy);
    }

    #[test]
    fn one_source_is_nothing_to_tell_apart() {
        let (x, mut log) = log(12);
        log.queries.iter_mut().for_each(|query| query.source = Some("a".to_owned()));
        assert!(Labels::fit(&x, &log).unwrap().is_none());
        assert!(Labels::fit(&FeatureMatrix::zeros(12, 0), &super::tests::log(12).1).unwrap().is_none());
    }
}
