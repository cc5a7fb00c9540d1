//! LLM routing with benchmark datasets (arXiv 2309.15789): for each arm the chance that it answers right, from the
//! nearest training queries, corrected by how often such a statement holds for a task this far from the training
//! tasks.
//!
//! See [`routewright_policy::forms::Correctness`] for the three scores. The accuracy of the statements is measured on
//! the train split: on each source with neighbors from its other folds, and with neighbors from other sources alone,
//! which is what a new task meets (leave one dataset out). `per = "query"` scores every query by itself; `per =
//! "task"` gives every source of the train split one score, the mean over its queries, also to a source without any
//! score: a new task of which prompts are known and no outcomes. Neighbors and score are chosen by cross-validation,
//! folds cut by prompt hash.
//!
//! Deviations from the paper: (1) a graded score counts as it is where the paper has right or wrong; (2) neighbors, and
//! which of the three scores is taken, are cross-validated, the paper has k = 5 and compares all three; (3) the
//! accuracy is also measured within each source, so that a query like the training queries is not treated as out of
//! domain; (4) the bandwidth is the root mean square distance between the measurements and their mean unless it is
//! given; (5) a thousandth of the share of right neighbors breaks ties between statements.

use crate::calibration;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::baselines::means;
use crate::methods::costs;
use crate::validation::{self, Choice, Folds};
use routewright_data::{Cells, OutcomeTable};
use routewright_policy::forms::{
    Correctness, CorrectnessShape, Foretold, Reliability, Statement, task_scores,
};
use routewright_policy::search::{ExactIndex, Neighbor, SearchError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<BenchmarkDatasets>(
    "correctness by the nearest queries, weighed by its accuracy out of domain",
    Some("2309.15789"),
    Family::Before,
    &[Need::Features],
);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct BenchmarkDatasets;

/// What is scored at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Per {
    /// Every query by itself.
    Query,
    /// Every source of the train split as a whole; a query of another source by itself.
    Task,
}

/// Parameters; a list is a grid of which cross-validation picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Numbers of neighbors to try, each at least 1.
    k: Vec<usize>,
    /// Scores to try: `s1`, `s2`, `s3`.
    statement: Vec<Statement>,
    /// What is scored at once: `query` or `task`.
    per: Per,
    /// Width of the kernel over distances, above 0; null takes that of the measurements.
    bandwidth: Option<f32>,
    /// Folds of the cross-validation, at least 2.
    folds: usize,
}

impl Default for Params {
    fn default() -> Self {
        let statement = vec![Statement::S1, Statement::S3, Statement::S2];
        Self { k: vec![100, 40, 5], statement, per: Per::Query, bandwidth: None, folds: 5 }
    }
}

/// One value of the grid: neighbors and score.
type Setting = (usize, Statement);

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let error = |reason: &str| {
            Err(FitError::Params { method: BenchmarkDatasets::NAME, reason: reason.to_owned() })
        };
        if self.k.is_empty() || self.k.contains(&0) {
            return error("`k` needs at least one number of neighbors, each at least 1");
        }
        if self.statement.is_empty() {
            return error("`statement` needs at least one of `s1`, `s2`, `s3`");
        }
        if self.bandwidth.is_some_and(|h| !(h > 0.0 && h.is_finite())) {
            return error("`bandwidth` must be a number above 0, or null");
        }
        if self.folds < 2 {
            return error("`folds` must be at least 2");
        }
        Ok(())
    }
}

impl Method for BenchmarkDatasets {
    const NAME: &'static str = "benchmark-datasets";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let rows = scored_rows(context);
        if rows.is_empty() {
            let reason = "no scored query has features, expected at least one".to_owned();
            return Err(FitError::Log { method: Self::NAME, reason });
        }
        let search = Search::new(params, rows, context)?;
        let choice = search.choose(params, context)?;
        let (k, statement) = choice.value;
        let reliability = search.reliability(k, context);
        let bandwidth = params.bandwidth.unwrap_or_else(|| spread(&reliability));
        let shape = CorrectnessShape { k, statement, bandwidth };
        let raw: Vec<f32> = (0..context.train.n_queries())
            .flat_map(|row| search.foretold(row, k).scores(&shape, &reliability))
            .collect();
        let calibration = calibration::within_queries(&raw, &context.train.score);
        let (tasks, task_table) = match params.per {
            Per::Query => (Vec::new(), Vec::new()),
            Per::Task => search.tasks(&shape, &reliability, context),
        };
        let form = Correctness {
            shape,
            index: Correctness::index(context.features.select_rows(&search.rows)).map_err(|e| failed(&e))?,
            score: context.train.score.select_rows(&search.rows),
            overall: search.overall,
            reliability,
            tasks,
            task_table,
            calibration,
            cost: costs::fit(Self::NAME, context)?,
        };
        let chosen =
            Params { k: vec![k], statement: vec![statement], bandwidth: Some(bandwidth), ..params.clone() };
        let mut fitted = Fitted::new(Box::new(form), &chosen);
        choice.record(&mut fitted, "cross_validated_score", params.folds);
        Ok(fitted)
    }
}

fn failed(error: &SearchError) -> FitError {
    FitError::Numeric { method: BenchmarkDatasets::NAME, reason: error.to_string() }
}

/// Rows with a score and features above 0: what can be a neighbor.
fn scored_rows(context: &FitContext<'_>) -> Vec<usize> {
    let has_score = |row: &usize| context.train.score.row_mean(*row).is_some();
    let has_features = |row: &usize| context.features.row(*row).iter().any(|value| *value != 0.0);
    (0..context.train.n_queries()).filter(has_score).filter(has_features).collect()
}

/// Root mean square distance of the measurements to their mean; 0.1 where they are at one place.
fn spread(reliability: &Reliability) -> f32 {
    let n = reliability.distance.len().max(1) as f32;
    let mean = reliability.distance.iter().sum::<f32>() / n;
    let variance = reliability.distance.iter().map(|u| (u - mean).powi(2)).sum::<f32>() / n;
    if variance > 1e-8 { variance.sqrt() } else { 0.1 }
}

/// Neighbors of every row of train in the other folds, and in the other sources.
struct Search {
    /// Rows that are neighbors, ascending.
    rows: Vec<usize>,
    /// Their scores.
    score: Cells,
    overall: Vec<f32>,
    folds: Folds,
    /// Best first, at most the greatest `k`; positions in `rows`.
    near: Vec<Vec<Neighbor>>,
    /// The same among queries of other sources; empty lists where there is one source only.
    far: Vec<Vec<Neighbor>>,
}

impl Search {
    fn new(params: &Params, rows: Vec<usize>, context: &FitContext<'_>) -> Result<Self, FitError> {
        let (train, features) = (context.train, context.features);
        let folds = Folds::new(train, context.seed, params.folds);
        let k = params.k.iter().copied().max().unwrap_or(1);
        let kept = features.select_rows(&rows);
        let index = ExactIndex::new(kept.into_values(), features.dim()).map_err(|e| failed(&e))?;
        let other_fold = |query: usize, row: u32| folds.of(query) != folds.of(rows[row as usize]);
        let mut near = index.search_where(features.values(), k, other_fold).map_err(|e| failed(&e))?;
        let sources = train.sources();
        let other_source = |query: usize, row: u32| sources[query] != sources[rows[row as usize]];
        let mut far = match sources.iter().any(|source| source != &sources[0]) {
            true => index.search_where(features.values(), k, other_source).map_err(|e| failed(&e))?,
            false => vec![Vec::new(); train.n_queries()],
        };
        let positive = |found: &mut Vec<Neighbor>| found.retain(|neighbor| neighbor.similarity > 0.0);
        near.iter_mut().chain(&mut far).for_each(positive);
        let (score, overall) = (train.score.select_rows(&rows), means::mean_scores(train));
        Ok(Self { rows, score, overall, folds, near, far })
    }

    /// What the other folds foretell of a row.
    fn foretold(&self, row: usize, k: usize) -> Foretold {
        let near = &self.near[row];
        Foretold::of(&near[..near.len().min(k)], &self.score, &self.overall)
    }

    fn choose(&self, params: &Params, context: &FitContext<'_>) -> Result<Choice<Setting>, FitError> {
        let ks = params.k.iter();
        let grid: Vec<Setting> = ks.flat_map(|k| params.statement.iter().map(|s| (*k, *s))).collect();
        let name = |(k, statement): Setting| format!("k {k}, {statement:?}");
        let method = BenchmarkDatasets::NAME;
        validation::choose(method, &grid, context.train, context, name, |(k, statement)| {
            // What is measured without a fold says how far its own statements are trusted.
            self.folds.out_of_fold(context.train.n_arms(), 0.0, |_, slice| {
                let reliability = self.measured(k, context, Some(&slice.fit));
                let bandwidth = params.bandwidth.unwrap_or_else(|| spread(&reliability));
                let shape = CorrectnessShape { k, statement, bandwidth };
                let score = |row: &usize| self.foretold(*row, k).scores(&shape, &reliability);
                Ok(slice.valid.iter().flat_map(score).collect())
            })
        })
    }

    fn reliability(&self, k: usize, context: &FitContext<'_>) -> Reliability {
        self.measured(k, context, None)
    }

    /// Accuracy of the statements in each source, with neighbors from the other folds and from other sources, over the
    /// rows given or all.
    fn measured(&self, k: usize, context: &FitContext<'_>, of: Option<&[usize]>) -> Reliability {
        let table = context.train;
        let mut by_source: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
        let all: Vec<usize>;
        let rows = match of {
            Some(rows) => rows,
            None => {
                all = (0..table.n_queries()).collect();
                &all
            }
        };
        for row in rows {
            by_source.entry(table.queries[*row].source.as_deref()).or_default().push(*row);
        }
        let mut reliability = Reliability::default();
        for rows in by_source.values() {
            for found in [&self.near, &self.far] {
                self.measure(k, table, rows, found, &mut reliability);
            }
        }
        reliability
    }

    fn measure(
        &self,
        k: usize,
        table: &OutcomeTable,
        rows: &[usize],
        found: &[Vec<Neighbor>],
        reliability: &mut Reliability,
    ) {
        let n_arms = table.n_arms();
        let (mut held, mut judged) = (vec![0.0_f32; n_arms], vec![0.0_f32; n_arms]);
        let (mut distance, mut n) = (0.0, 0.0_f32);
        for row in rows.iter().filter(|row| !found[**row].is_empty()) {
            let near = &found[*row];
            let foretold = Foretold::of(&near[..near.len().min(k)], &self.score, &self.overall);
            (distance, n) = (distance + foretold.distance, n + 1.0);
            for arm in 0..n_arms {
                if let Some(score) = table.score.get(*row, arm) {
                    // A graded score is that much right.
                    held[arm] += if foretold.right[arm] > 0.5 { score } else { 1.0 - score };
                    judged[arm] += 1.0;
                }
            }
        }
        if n == 0.0 || judged.iter().all(|judged| *judged == 0.0) {
            return;
        }
        reliability.distance.push(distance / n);
        // Half a statement of either kind, so that a task of few queries is not certain.
        let accuracy = held.iter().zip(&judged).map(|(held, judged)| (held + 0.5) / (judged + 1.0));
        reliability.accuracy.extend(accuracy);
    }

    /// The score of every source as a whole.
    fn tasks(
        &self,
        shape: &CorrectnessShape,
        reliability: &Reliability,
        context: &FitContext<'_>,
    ) -> (Vec<String>, Vec<f32>) {
        let rows = means::rows_by_source(context.train);
        let tasks = rows.keys().map(|source| (*source).to_owned()).collect();
        let of_task = |rows: &Vec<usize>| {
            let task: Vec<Foretold> = rows.iter().map(|row| self.foretold(*row, shape.k)).collect();
            task_scores(&task, shape, reliability)
        };
        (tasks, rows.values().flat_map(of_task).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_of_the_kernel_is_that_of_the_measurements() {
        let of = |distance: Vec<f32>| spread(&Reliability { distance, accuracy: Vec::new() });
        assert!((of(vec![0.1, 0.5]) - 0.2).abs() < 1e-6);
        assert_eq!((of(vec![0.3, 0.3]), of(Vec::new())), (0.1, 0.1));
    }
}
