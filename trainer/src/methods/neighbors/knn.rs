//! kNN router (*When simple kNN beats...*, arXiv 2505.12601): mean outcomes of the nearest queries.
//!
//! The number of neighbors and the exponent of the similarity weights are chosen by cross-validation on
//! the train split, folds cut by prompt hash; see [`routewright_policy::forms::Neighbors`] for the formula.
//! Cost: one exact search of every training query (of a seeded sample, on long logs) in the others.
//!
//! Deviations from the paper: (1) k and weighting are cross-validated, the paper reports k = 10 and 100
//! unweighted; (2) neighbor means are shrunk to the overall mean by `prior`; (3) missing cells are skipped.

use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::baselines::means;
use crate::validation::{self, Choice, Criterion, Folds};
use rand::seq::index;
use routewright_data::rng;
use routewright_policy::forms::{Memory, Neighbors, Weighting, weighted_means};
use routewright_policy::search::{EngineKind, ExactIndex, Neighbor};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Knn>(
    "mean outcomes of the nearest training queries",
    Some("2505.12601"),
    Family::Before,
    &[Need::Features],
);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Knn;

/// Parameters; a list is a grid of which cross-validation picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Numbers of neighbors to try, each at least 1.
    k: Vec<usize>,
    /// Exponents of the cosine to try, each at least 0; 0 weighs neighbors alike.
    power: Vec<f32>,
    /// Weight of the overall mean, in neighbors of cosine 1; at least 0.
    prior: f32,
    /// Cosine of the nearest neighbor below which a query gets the overall means; in [-1, 1].
    gate: f32,
    /// What finds the neighbors when serving: `exact`, `graph` (many rows) or `trees` (at most 16 dimensions).
    engine: EngineKind,
    /// Folds of the cross-validation, at least 2.
    folds: usize,
    /// Training queries that cross-validation predicts, at most.
    validation_queries_max: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            k: vec![400, 200, 100, 40],
            power: vec![5.0, 0.0, 10.0],
            prior: 1.0,
            gate: 0.0,
            engine: EngineKind::Exact,
            folds: 5,
            validation_queries_max: 10_000,
        }
    }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let error = |reason: &str| Err(FitError::Params { method: Knn::NAME, reason: reason.to_owned() });
        if self.k.is_empty() || self.k.contains(&0) {
            return error("`k` needs at least one number of neighbors, each at least 1");
        }
        if self.power.is_empty() || !self.power.iter().all(|p| p.is_finite() && *p >= 0.0) {
            return error("`power` needs at least one exponent, each at least 0");
        }
        if !(self.prior >= 0.0 && self.prior.is_finite()) {
            return error("`prior` must be a finite number of at least 0");
        }
        if !(-1.0..=1.0).contains(&self.gate) {
            return error("`gate` must be a cosine in [-1, 1]");
        }
        if self.folds < 2 {
            return error("`folds` must be at least 2");
        }
        Ok(())
    }
}

impl Method for Knn {
    const NAME: &'static str = "knn";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        Self::fit_by(Criterion::ChosenScore, params, context)
    }
}

impl Knn {
    /// The fit with the number of neighbors and the exponent chosen by `criterion`.
    pub(in crate::methods) fn fit_by(
        criterion: Criterion,
        params: &Params,
        context: &FitContext<'_>,
    ) -> Result<Fitted, FitError> {
        params.check()?;
        let choice = choose(criterion, params, context)?;
        let (k, power) = choice.value;
        let weighting = Weighting { k, power, prior: params.prior, gate: params.gate, engine: params.engine };
        let train = context.train;
        let memory = Memory {
            query_ids: train.queries.iter().map(|q| q.id.clone()).collect(),
            score: train.score.clone(),
            cost_usd: train.cost_usd.clone(),
        };
        let form = Neighbors::new(weighting, context.features.clone(), memory).map_err(|e| failed(&e))?;
        let chosen = Params { k: vec![k], power: vec![power], ..params.clone() };
        let mut fitted = Fitted::new(Box::new(form), &chosen);
        choice.record(&mut fitted, "cross_validated_score", params.folds);
        Ok(fitted)
    }
}

fn failed(reason: &impl ToString) -> FitError {
    FitError::Numeric { method: Knn::NAME, reason: reason.to_string() }
}

/// The number of neighbors and the exponent that cross-validation likes best.
fn choose(
    criterion: Criterion,
    params: &Params,
    context: &FitContext<'_>,
) -> Result<Choice<(usize, f32)>, FitError> {
    let n = context.train.n_queries();
    let mut ks: Vec<usize> = params.k.iter().map(|k| (*k).min(n)).collect();
    ks.dedup();
    let grid: Vec<(usize, f32)> = params.power.iter().flat_map(|p| ks.iter().map(|k| (*k, *p))).collect();
    if let [value] = grid[..] {
        return Ok(Choice::given(value));
    }
    let rows = sample(n, params.validation_queries_max, context.seed);
    let k_max = ks.iter().copied().max().unwrap_or(1);
    let found = nearest_of_other_folds(Knn::NAME, params.folds, context, &rows, k_max)?;
    let judged = context.train.select_rows(&rows);
    let overall = means::mean_scores(context.train);
    let name = |(k, power)| format!("k {k}, power {power}");
    validation::choose_by(criterion, Knn::NAME, &grid, &judged, context, name, |(k, power)| {
        let scores = found.iter().flat_map(|near| {
            let nearest = &near[..near.len().min(k)];
            weighted_means(nearest, power, params.prior, &context.train.score, &overall)
        });
        Ok(scores.collect())
    })
}

fn sample(n: usize, limit: usize, seed: u64) -> Vec<usize> {
    if n <= limit {
        return (0..n).collect();
    }
    let mut rows = index::sample(&mut rng::stream(seed, "knn-validation"), n, limit).into_vec();
    rows.sort_unstable();
    rows
}

/// The nearest queries of other folds, for each of `rows`.
pub(in crate::methods) fn nearest_of_other_folds(
    method: &'static str,
    n_folds: usize,
    context: &FitContext<'_>,
    rows: &[usize],
    k: usize,
) -> Result<Vec<Vec<Neighbor>>, FitError> {
    let failed = |reason: &dyn ToString| FitError::Numeric { method, reason: reason.to_string() };
    let folds = Folds::new(context.train, context.seed, n_folds);
    let features = context.features;
    let index = ExactIndex::new(features.values().to_vec(), features.dim()).map_err(|e| failed(&e))?;
    let queries = features.select_rows(rows);
    let other_fold = |query: usize, row: u32| folds.of(rows[query]) != folds.of(row as usize);
    index.search_where(queries.values(), k, other_fold).map_err(|e| failed(&e))
}
