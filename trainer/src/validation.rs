//! Slices of the train split on which hyper-parameters and checkpoints are chosen.
//!
//! Slices are cut by a hash of the prompt as `data split` normalises it, so that prompts which differ in case, spacing
//! or trailing punctuation alone never stand on both sides.

use crate::evaluate::{Average, Decisions, Sources, Tuning, query_scores};
use crate::method::{FitContext, FitError, Fitted};
use routewright_data::OutcomeTable;
use routewright_data::split::normalized;
use routewright_policy::Prediction;
use routewright_policy::selectors::Argmax;

/// Row numbers to learn from and to judge on, each ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Rows to learn from.
    pub fit: Vec<usize>,
    /// Rows to judge on.
    pub valid: Vec<usize>,
}

/// Cuts about `share` of the queries off as a validation slice.
///
/// A table too small to have both sides keeps every row on both, so that a method can still be fitted.
pub fn slice(table: &OutcomeTable, seed: u64, share: f64) -> Slice {
    let (valid, fit): (Vec<usize>, Vec<usize>) =
        (0..table.n_queries()).partition(|&row| unit(&table.queries[row].prompt, seed) < share);
    if valid.is_empty() || fit.is_empty() {
        let all: Vec<usize> = (0..table.n_queries()).collect();
        return Slice { fit: all.clone(), valid: all };
    }
    Slice { fit, valid }
}

/// A partition of the queries of a table, by prompt hash.
#[derive(Debug, Clone)]
pub struct Folds {
    /// Fold of each query, `0..n_folds`.
    fold: Vec<usize>,
    n_folds: usize,
}

impl Folds {
    /// Deals the queries of `table` into `n_folds` folds.
    pub fn new(table: &OutcomeTable, seed: u64, n_folds: usize) -> Self {
        let fold = |prompt: &str| ((unit(prompt, seed) * n_folds as f64) as usize).min(n_folds - 1);
        Self { fold: table.queries.iter().map(|query| fold(&query.prompt)).collect(), n_folds }
    }

    /// Number of folds.
    pub fn n_folds(&self) -> usize {
        self.n_folds
    }

    /// Fold of a query.
    pub fn of(&self, row: usize) -> usize {
        self.fold[row]
    }

    /// What to learn from and what to judge on when fold `held` is left out; `None` where a side is empty.
    pub fn slice(&self, held: usize) -> Option<Slice> {
        let (valid, fit): (Vec<usize>, Vec<usize>) =
            (0..self.fold.len()).partition(|row| self.fold[*row] == held);
        (!valid.is_empty() && !fit.is_empty()).then_some(Slice { fit, valid })
    }

    /// `width` values a query, each predicted from the other folds; `blank` where there are none.
    ///
    /// `predict` is given the number of the fold left out, learns from `fit` and returns values of shape
    /// `(valid.len(), width)`.
    ///
    /// # Errors
    /// The first one of `predict`.
    pub fn out_of_fold<T: Copy, E>(
        &self,
        width: usize,
        blank: T,
        mut predict: impl FnMut(usize, &Slice) -> Result<Vec<T>, E>,
    ) -> Result<Vec<T>, E> {
        let mut out = vec![blank; self.fold.len() * width];
        for held in 0..self.n_folds {
            let Some(slice) = self.slice(held) else { continue };
            let values = predict(held, &slice)?;
            for (row, values) in slice.valid.iter().zip(values.chunks_exact(width.max(1))) {
                out[row * width..(row + 1) * width].copy_from_slice(values);
            }
        }
        Ok(out)
    }
}

/// A number in `[0, 1)` that depends on the normalised prompt and the seed alone.
fn unit(prompt: &str, seed: u64) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(normalized(prompt).as_bytes());
    let mut bytes = [0_u8; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Weight of each query such that every source weighs the same in total and the mean weight is 1.
///
/// Queries without a source form one source together. This is how a macro average is optimised.
pub fn source_balance(table: &OutcomeTable) -> Vec<f32> {
    let mut counts = std::collections::BTreeMap::<Option<&str>, usize>::new();
    for source in table.sources() {
        *counts.entry(source).or_default() += 1;
    }
    let (n, n_sources) = (table.n_queries() as f64, counts.len() as f64);
    table.sources().iter().map(|source| (n / (n_sources * counts[source] as f64)) as f32).collect()
}

/// Mean logged score of the arms that the greatest predicted scores choose; the criterion every
/// hyper-parameter is chosen by. `scores` has the shape of `table.score`.
pub fn chosen_score(scores: Vec<f32>, table: &OutcomeTable, average: Average) -> f64 {
    let cost_usd = vec![f32::NAN; scores.len()];
    let n_arms = table.n_arms();
    let prediction = Prediction {
        n_arms,
        score: scores,
        score_se: None,
        cost_usd,
        neighborhoods: None,
        members: None,
        n_updates: 0,
    };
    let chosen = query_scores(&Decisions::of(&prediction, &Argmax), table);
    Sources::of(table).mean(&chosen, average).unwrap_or(f64::NEG_INFINITY)
}

/// What a value of a grid is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Criterion {
    /// The mean logged score of the arms that predictions choose, see [`chosen_score`].
    ChosenScore,
    /// The least error of what predictions say of the arms against each other, see [`centred_error`].
    CentredError,
}

/// Weighted mean square of observed less predicted scores, both less their mean over the observed arms of the query;
/// weights are those of the average. How hard a query is dominates a raw error and never changes the choice.
pub(crate) fn centred_error(scores: &[f32], table: &OutcomeTable, average: Average) -> f64 {
    let n_arms = table.n_arms();
    let of_row = |row: usize| {
        let both = table.score.row(row).iter().zip(&scores[row * n_arms..]);
        let errors: Vec<f64> =
            both.filter(|(y, _)| !y.is_nan()).map(|(y, p)| f64::from(*y) - f64::from(*p)).collect();
        let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
        let square = errors.iter().map(|e| (e - mean).powi(2)).sum::<f64>();
        if errors.is_empty() { f64::NAN } else { square / errors.len() as f64 }
    };
    let squares: Vec<f64> = (0..table.n_queries()).map(of_row).collect();
    Sources::of(table).mean(&squares, average).unwrap_or(f64::INFINITY)
}

/// The candidate of the greatest criterion; the first of equals, so order grids from plain to fancy.
pub fn best<T: Clone>(candidates: &[(T, f64)]) -> Option<(T, f64)> {
    let mut best: Option<&(T, f64)> = None;
    for candidate in candidates {
        if best.is_none_or(|b| candidate.1 > b.1) {
            best = Some(candidate);
        }
    }
    best.cloned()
}

/// A value of a grid, and the criterion it was chosen by; a grid of one value has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice<T> {
    /// The value.
    pub value: T,
    /// Its mean chosen score.
    pub criterion: Option<f64>,
    /// Values it was chosen from.
    pub n_tried: usize,
}

impl<T> Choice<T> {
    /// A value that was given, not chosen.
    pub fn given(value: T) -> Self {
        Self { value, criterion: None, n_tried: 1 }
    }

    /// Writes the criterion into the figures of a fit, and how many values were tried on how many slices.
    pub fn record(&self, fitted: &mut Fitted, name: &str, slices: usize) {
        if self.n_tried > 1 {
            fitted.tuning = Some(Tuning { candidates: self.n_tried, slices });
        }
        if let Some(criterion) = self.criterion {
            fitted.metrics.insert(name.to_owned(), criterion);
        }
    }
}

/// Chooses the value of a grid whose scores choose best, see [`chosen_score`].
///
/// `judge` predicts every cell of `judged` with a value; it is not called for a grid of one. `name` tells
/// the progress which value it is.
///
/// # Errors
/// If the grid is empty, and the first error of `judge`.
pub fn choose<T: Copy>(
    method: &'static str,
    grid: &[T],
    judged: &OutcomeTable,
    context: &FitContext<'_>,
    name: impl Fn(T) -> String,
    judge: impl FnMut(T) -> Result<Vec<f32>, FitError>,
) -> Result<Choice<T>, FitError> {
    choose_by(Criterion::ChosenScore, method, grid, judged, context, name, judge)
}

/// [`choose`] by another criterion; that of an error is its negative.
///
/// # Errors
/// As [`choose`].
pub(crate) fn choose_by<T: Copy>(
    criterion: Criterion,
    method: &'static str,
    grid: &[T],
    judged: &OutcomeTable,
    context: &FitContext<'_>,
    name: impl Fn(T) -> String,
    mut judge: impl FnMut(T) -> Result<Vec<f32>, FitError>,
) -> Result<Choice<T>, FitError> {
    if let [value] = *grid {
        return Ok(Choice::given(value));
    }
    context.progress.start("validation", grid.len() as u64);
    let mut candidates = Vec::with_capacity(grid.len());
    for &value in grid {
        let scores = judge(value)?;
        let criterion = match criterion {
            Criterion::ChosenScore => chosen_score(scores, judged, context.average),
            Criterion::CentredError => -centred_error(&scores, judged, context.average),
        };
        candidates.push((value, criterion));
        context.progress.step(candidates.len() as u64, &format!("{}: {criterion:.4}", name(value)));
    }
    let reason = "there is no value to try, expected at least one".to_owned();
    let (value, criterion) = best(&candidates).ok_or(FitError::Params { method, reason })?;
    Ok(Choice { value, criterion: Some(criterion), n_tried: grid.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::{Cells, Query};

    fn table(prompts: &[(&str, &str)]) -> OutcomeTable {
        let query = |(i, (prompt, source)): (usize, &(&str, &str))| Query {
            id: i.to_string(),
            prompt: (*prompt).to_owned(),
            source: Some((*source).to_owned()),
            ..Query::default()
        };
        OutcomeTable {
            queries: prompts.iter().enumerate().map(query).collect(),
            models: vec!["a".to_owned()],
            score: Cells::from_vec(prompts.len(), 1, vec![1.0; prompts.len()]),
            soft_score: None,
            cost_usd: Cells::missing(prompts.len(), 1),
            latency_ms: None,
            vectors: None,
        }
    }

    #[test]
    fn equal_prompts_stay_on_one_side_and_the_share_is_met() {
        let prompts: Vec<String> = (0..2000).map(|i| format!("prompt {}", i / 2)).collect();
        let rows: Vec<(&str, &str)> = prompts.iter().map(|p| (p.as_str(), "s")).collect();
        let slice = slice(&table(&rows), 7, 0.2);
        assert_eq!(slice.fit.len() + slice.valid.len(), 2000);
        assert!((320..480).contains(&slice.valid.len()), "{}", slice.valid.len());
        assert!(slice.valid.chunks(2).all(|pair| pair[1] == pair[0] + 1 && pair[0] % 2 == 0));
    }

    #[test]
    fn copies_that_differ_in_case_and_spacing_stay_on_one_side() {
        let prompts: Vec<String> = (0..400)
            .map(|i| if i % 2 == 0 { format!("Sort list {i}.") } else { format!("sort  LIST {}", i - 1) })
            .collect();
        let rows: Vec<(&str, &str)> = prompts.iter().map(|p| (p.as_str(), "s")).collect();
        let folds = Folds::new(&table(&rows), 3, 5);
        assert!((0..400).step_by(2).all(|row| folds.of(row) == folds.of(row + 1)));
        let slice = slice(&table(&rows), 3, 0.3);
        assert!(slice.valid.chunks(2).all(|pair| pair[1] == pair[0] + 1));
    }

    #[test]
    fn a_query_is_predicted_from_the_other_folds_only() {
        let prompts: Vec<String> = (0..60).map(|i| format!("prompt {}", i / 2)).collect();
        let rows: Vec<(&str, &str)> = prompts.iter().map(|p| (p.as_str(), "s")).collect();
        let folds = Folds::new(&table(&rows), 7, 4);
        let predict = |held: usize, slice: &Slice| {
            assert!(slice.fit.iter().all(|row| folds.of(*row) != held));
            assert!(slice.fit.len() + slice.valid.len() == 60);
            Ok::<_, ()>(slice.valid.iter().flat_map(|row| [*row, held]).collect())
        };
        let out = folds.out_of_fold(2, usize::MAX, predict).unwrap();
        assert!((0..60).all(|row| out[row * 2] == row && out[row * 2 + 1] == folds.of(row)));
        assert!((0..60).step_by(2).all(|row| folds.of(row) == folds.of(row + 1)));
        // Nothing can be learned where every query is in one fold.
        let folds = Folds::new(&table(&rows[..2]), 7, 4);
        assert_eq!(folds.out_of_fold(1, 9, |_, _| Err(())), Ok(vec![9, 9]));
    }

    #[test]
    fn every_source_weighs_the_same() {
        let weights = source_balance(&table(&[("1", "a"), ("2", "a"), ("3", "a"), ("4", "b")]));
        assert!((weights[0] * 3.0 - weights[3]).abs() < 1e-6);
        assert!((weights.iter().sum::<f32>() - 4.0).abs() < 1e-6);
    }
}
