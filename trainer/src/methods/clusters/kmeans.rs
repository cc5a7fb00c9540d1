//! Clusters of queries with a table of mean outcomes (Avengers, arXiv 2505.19797).
//!
//! k-means on the features, repeated from several seeds; each cluster's mean score is shrunk to the
//! overall mean by `prior` observations. The number of clusters is chosen by cross-validation, folds cut by
//! prompt hash. See [`routewright_policy::forms::Clusters`] for the decision rule.
//!
//! Deviations from the paper: (1) the table holds shrunk mean scores, the released code scores
//! `1 / (rank + 0.1)`; (2) every cluster weighs in by the softmax, not the nearest three; (3) the
//! clusterings of several restarts are pooled into one table; (4) the number of clusters is
//! cross-validated, the paper sets 64; (5) one arm is called, not two with a vote.

use crate::clustering;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::baselines::means;
use crate::validation::{self, Choice, Folds};
use routewright_data::{Cells, FeatureMatrix, OutcomeTable};
use routewright_policy::forms::{ClusterTables, Clusters, Mixing};
use routewright_policy::{Batch, PredictError, Predictor};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Kmeans>(
    "mean outcomes of the query's clusters",
    Some("2505.19797"),
    Family::Before,
    &[Need::Features],
);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Kmeans;

/// Parameters; a list is a grid of which cross-validation picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Numbers of clusters to try, each at least 1.
    clusters: Vec<usize>,
    /// Clusterings from different seeds that are pooled, at least 1.
    restarts: usize,
    /// Sharpness of the softmax over cosines; at least 0.
    sharpness: f32,
    /// Observations the overall mean counts for in a cluster; at least 0.
    prior: f32,
    /// Rounds of k-means.
    iterations: usize,
    /// Folds of the cross-validation, at least 2.
    folds: usize,
}

impl Default for Params {
    fn default() -> Self {
        let clusters = vec![12, 8, 16, 32];
        Self { clusters, restarts: 5, sharpness: 20.0, prior: 20.0, iterations: 25, folds: 5 }
    }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let error = |reason: &str| Err(FitError::Params { method: Kmeans::NAME, reason: reason.to_owned() });
        if self.clusters.is_empty() || self.clusters.contains(&0) {
            return error("`clusters` needs at least one number of clusters, each at least 1");
        }
        if self.restarts == 0 {
            return error("`restarts` must be at least 1");
        }
        if !(self.sharpness >= 0.0
            && self.sharpness.is_finite()
            && self.prior >= 0.0
            && self.prior.is_finite())
        {
            return error("`sharpness` and `prior` must be finite numbers of at least 0");
        }
        if self.folds < 2 {
            return error("`folds` must be at least 2");
        }
        Ok(())
    }
}

impl Method for Kmeans {
    const NAME: &'static str = "kmeans";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let choice = choose(params, context)?;
        let clusters = choice.value;
        let form = build(params, clusters, context.train, context.features, context.seed);
        let mut fitted = Fitted::new(Box::new(form), &Params { clusters: vec![clusters], ..params.clone() });
        choice.record(&mut fitted, "cross_validated_score", params.folds);
        Ok(fitted)
    }
}

fn choose(params: &Params, context: &FitContext<'_>) -> Result<Choice<usize>, FitError> {
    let folds = Folds::new(context.train, context.seed, params.folds);
    let name = |clusters| format!("{clusters} clusters");
    validation::choose(Kmeans::NAME, &params.clusters, context.train, context, name, |clusters| {
        folds.out_of_fold(context.train.n_arms(), 0.0, |_, slice| {
            let (train, features) =
                (context.train.select_rows(&slice.fit), context.features.select_rows(&slice.fit));
            let form = build(params, clusters, &train, &features, context.seed);
            let prediction = form.predict(&Batch::of(&context.features.select_rows(&slice.valid)));
            let failed = |e: PredictError| FitError::Numeric { method: Kmeans::NAME, reason: e.to_string() };
            Ok(prediction.map_err(failed)?.score)
        })
    })
}

/// Clusters the queries from several seeds and tabulates the outcomes.
fn build(
    params: &Params,
    clusters: usize,
    train: &OutcomeTable,
    features: &FeatureMatrix,
    seed: u64,
) -> Clusters {
    let n_arms = train.n_arms();
    let (mean_score, mean_cost) = (means::mean_scores(train), means::mean_costs(train));
    let (mut centers, mut tables) =
        (Vec::new(), ClusterTables { score: Vec::new(), score_se: Vec::new(), cost_usd: Vec::new() });
    for restart in 0..params.restarts {
        let restart_seed = seed.wrapping_mul(1_000_003).wrapping_add(restart as u64);
        let (found, assignment) = clustering::kmeans(features, clusters, params.iterations, restart_seed);
        let n_found = found.len() / features.dim().max(1);
        centers.extend(found);
        for cluster in 0..n_found {
            let rows: Vec<usize> =
                (0..assignment.len()).filter(|row| assignment[*row] as usize == cluster).collect();
            let (score, cost) = (train.score.select_rows(&rows), train.cost_usd.select_rows(&rows));
            for arm in 0..n_arms {
                let (mean, se) = shrunk(&score, arm, mean_score[arm], params.prior);
                tables.score.push(mean);
                tables.score_se.push(se);
                tables.cost_usd.push(shrunk(&cost, arm, mean_cost[arm], params.prior).0);
            }
        }
    }
    let n_centers = centers.len() / features.dim().max(1);
    let mixing = Mixing { top: n_centers, sharpness: params.sharpness };
    Clusters::new(mixing, n_arms, FeatureMatrix::from_vec(n_centers, features.dim(), centers), tables)
}

/// Mean of a column shrunk to `overall` by `prior` observations, and its standard error; a column without
/// values is `overall`.
pub(super) fn shrunk(cells: &Cells, col: usize, overall: f32, prior: f32) -> (f32, f32) {
    let values: Vec<f64> = (0..cells.n_rows()).filter_map(|row| cells.get(row, col)).map(f64::from).collect();
    if values.is_empty() {
        return (overall, 0.5);
    }
    let (n, prior, overall) = (values.len() as f64, f64::from(prior), f64::from(overall));
    let mean = (values.iter().sum::<f64>() + prior * overall) / (n + prior);
    let spread = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>();
    // One pseudo-observation of variance 1/4: a cluster of one query is no proof.
    let variance = (spread + 0.25) / (n + 1.0);
    (mean as f32, (variance / (n + prior)).sqrt() as f32)
}
