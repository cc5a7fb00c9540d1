//! Avengers (arXiv 2505.19797) and Avengers-Pro (arXiv 2508.12631): k-means on the queries, the ranks of the arms in
//! each cluster, and the clusters nearest to a query by their probabilities.
//!
//! ```text
//! d_c     = 1 - cos(x, center_c)
//! p_c     = softmax over the `top` nearest clusters of -sharpness d_c
//! plain:    score_m = sum_c p_c / (rank_cm + 0.1)                      rank 0 is the best arm of the cluster
//! pro:      score_m = sum_c p_c (a acc_cm + (1 - a) (1 - cost_cm / max_j cost_cj)),   a = `performance`
//!           acc_cm  = (mean_cm - min_j mean_cj) / (max_j mean_cj - min_j mean_cj)
//! ```
//!
//! `mean_cm` is the mean score of the cluster, `cost_cm` its mean cost. Clusters, prior and sharpness are chosen by
//! cross-validation on the train split, folds cut by prompt hash. Other than `kmeans`, which predicts scores, this
//! ranks: how far ahead an arm is in a cluster does not count.
//!
//! Deviations from the papers: (1) the number of clusters is cross-validated, the papers have 64 and 25 to 60; (2) a
//! cluster's mean is shrunk to the arm's mean by `prior` cells before it is ranked, 0 among the choices; (3) equal arms
//! share the mean of their ranks; (4) one arm is called, the paper's code keeps two and votes; (5) scores are put on a
//! line to the scores of the log, which changes no ranking; (6) features are those of the policy.

use super::kmeans::shrunk;
use crate::calibration;
use crate::clustering;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::baselines::means;
use crate::validation::{self, Choice, Folds};
use routewright_data::{FeatureMatrix, OutcomeTable};
use routewright_policy::forms::{Calibration, ClusterTables, Clusters, Mixing};
use routewright_policy::{Batch, PredictError, Predictor};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Avengers>(
    "ranks of the models in the nearest clusters of queries",
    Some("2505.19797"),
    Family::Before,
    &[Need::Features],
);

/// What is added to a rank before it is inverted.
const RANK_OFFSET: f32 = 0.1;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Avengers;

/// Parameters; a list is a grid of which cross-validation picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Numbers of clusters to try, each at least 1.
    clusters: Vec<usize>,
    /// Sharpnesses of the softmax over distances to try, each at least 0.
    sharpness: Vec<f32>,
    /// Weights of the arm's mean in a cluster to try, in cells, each at least 0.
    prior: Vec<f32>,
    /// Nearest clusters that weigh in, at least 1.
    top: usize,
    /// Avengers-Pro: what performance weighs against cost, in `[0, 1]`; null ranks by performance alone.
    performance: Option<f32>,
    /// Rounds of k-means.
    iterations: usize,
    /// Folds of the cross-validation, at least 2.
    folds: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            clusters: vec![64, 16, 32],
            sharpness: vec![9.0, 20.0],
            prior: vec![10.0, 0.0],
            top: 3,
            performance: None,
            iterations: 25,
            folds: 5,
        }
    }
}

/// One value of the grid: clusters, sharpness, prior.
type Setting = (usize, f32, f32);

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let error = |reason: String| Err(FitError::Params { method: Avengers::NAME, reason });
        if self.clusters.is_empty() || self.clusters.contains(&0) {
            return error("`clusters` needs at least one number of clusters, each at least 1".to_owned());
        }
        for (name, grid) in [("sharpness", &self.sharpness), ("prior", &self.prior)] {
            if grid.is_empty() || !grid.iter().all(|value| value.is_finite() && *value >= 0.0) {
                return error(format!("`{name}` needs at least one number, each at least 0"));
            }
        }
        if self.top == 0 || self.folds < 2 {
            return error("`top` must be at least 1 and `folds` at least 2".to_owned());
        }
        match self.performance {
            Some(share) if !(0.0..=1.0).contains(&share) => {
                error(format!("`performance` is `{share}`, expected a number in [0, 1], or null"))
            }
            _ => Ok(()),
        }
    }

    fn grid(&self) -> Vec<Setting> {
        let mut grid = Vec::new();
        for clusters in &self.clusters {
            for sharpness in &self.sharpness {
                grid.extend(self.prior.iter().map(|prior| (*clusters, *sharpness, *prior)));
            }
        }
        grid
    }
}

impl Method for Avengers {
    const NAME: &'static str = "avengers";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        if params.performance.is_some() {
            check_costs(context.train)?;
        }
        let held = HeldOut::new(params, context);
        let choice = held.choose(params, context)?;
        let raw = held.predict(choice.value, params, params.performance, context)?;
        let calibration = calibration::within_queries(&raw, &context.train.score);
        let (clusters, sharpness, prior) = choice.value;
        let found = Clustered::of(context.features, clusters, params.iterations, context.seed);
        let mixing = Mixing { top: params.top, sharpness };
        let form = found.form(context.train, mixing, prior, params.performance, calibration);
        let chosen = Params {
            clusters: vec![clusters],
            sharpness: vec![sharpness],
            prior: vec![prior],
            ..params.clone()
        };
        let mut fitted = Fitted::new(Box::new(form), &chosen);
        choice.record(&mut fitted, "cross_validated_score", params.folds);
        Ok(fitted)
    }
}

/// Avengers-Pro weighs the price of every arm.
fn check_costs(table: &OutcomeTable) -> Result<(), FitError> {
    let costs = means::mean_costs(table);
    match costs.iter().position(|usd| usd.is_nan()) {
        None => Ok(()),
        Some(arm) => {
            let model = &table.models[arm];
            let reason = format!(
                "`performance` weighs scores against prices, and column `cost_usd` has none of model `{model}`; \
                 expected a cost of every model, or no `performance`"
            );
            Err(FitError::Log { method: Avengers::NAME, reason })
        }
    }
}

/// Centers and the cluster of each row.
struct Clustered {
    centers: FeatureMatrix,
    rows: Vec<Vec<usize>>,
}

impl Clustered {
    fn of(features: &FeatureMatrix, clusters: usize, iterations: usize, seed: u64) -> Self {
        let (centers, assignment) = clustering::kmeans(features, clusters, iterations, seed);
        let n = centers.len() / features.dim().max(1);
        let mut rows = vec![Vec::new(); n];
        for (row, cluster) in assignment.iter().enumerate() {
            rows[*cluster as usize].push(row);
        }
        Self { centers: FeatureMatrix::from_vec(n, features.dim(), centers), rows }
    }

    /// The form with the tables of `train`, whose rows were clustered.
    fn form(
        &self,
        train: &OutcomeTable,
        mixing: Mixing,
        prior: f32,
        performance: Option<f32>,
        calibration: Calibration,
    ) -> Clusters {
        let (n_arms, overall) = (train.n_arms(), means::mean_scores(train));
        let usd = means::mean_costs(train);
        let mut tables = ClusterTables { score: Vec::new(), score_se: Vec::new(), cost_usd: Vec::new() };
        for rows in &self.rows {
            let (score, cost) = (train.score.select_rows(rows), train.cost_usd.select_rows(rows));
            let cells = (0..n_arms).map(|arm| shrunk(&score, arm, overall[arm], prior));
            let (means, errors): (Vec<f32>, Vec<f32>) = cells.unzip();
            let costs: Vec<f32> = (0..n_arms).map(|arm| shrunk(&cost, arm, usd[arm], 1.0).0).collect();
            let mut raw = performance.map_or_else(|| inverse_ranks(&means), |a| balance(&means, &costs, a));
            calibration.apply(&mut raw);
            tables.score.extend(raw);
            tables.score_se.extend(errors);
            tables.cost_usd.extend(costs);
        }
        Clusters::new(mixing, n_arms, self.centers.clone(), tables)
    }
}

/// `1 / (rank + 0.1)` of every arm, the greatest mean having rank 0 and equals the mean of their ranks.
fn inverse_ranks(means: &[f32]) -> Vec<f32> {
    let rank = |own: &f32| {
        let ahead = means.iter().filter(|other| *other > own).count() as f32;
        let equal = means.iter().filter(|other| *other == own).count() as f32;
        ahead + (equal - 1.0) / 2.0
    };
    means.iter().map(|own| 1.0 / (rank(own) + RANK_OFFSET)).collect()
}

/// Avengers-Pro: performance against cost, both relative to the arms of the cluster.
fn balance(means: &[f32], costs: &[f32], performance: f32) -> Vec<f32> {
    let extreme = |values: &[f32], of: fn(f32, f32) -> f32| values.iter().copied().reduce(of).unwrap_or(0.0);
    let (least, greatest) = (extreme(means, f32::min), extreme(means, f32::max));
    let dearest = extreme(costs, f32::max);
    let range = if greatest > least { greatest - least } else { 1.0 };
    let dearest = if dearest > 0.0 { dearest } else { 1.0 };
    let of = |(mean, cost): (&f32, &f32)| {
        performance * (mean - least) / range + (1.0 - performance) * (1.0 - cost / dearest)
    };
    means.iter().zip(costs).map(of).collect()
}

/// A clustering and the rows that were clustered; `None` where there are none.
type Part = Option<(Clustered, OutcomeTable)>;

/// Clusterings without each fold, by number of clusters.
struct HeldOut {
    folds: Folds,
    parts: Vec<(usize, Vec<Part>)>,
}

impl HeldOut {
    fn new(params: &Params, context: &FitContext<'_>) -> Self {
        let folds = Folds::new(context.train, context.seed, params.folds);
        let part = |clusters: usize, held: usize| {
            let slice = folds.slice(held)?;
            let features = context.features.select_rows(&slice.fit);
            let found = Clustered::of(&features, clusters, params.iterations, context.seed);
            Some((found, context.train.select_rows(&slice.fit)))
        };
        let of_number =
            |clusters: &usize| (*clusters, (0..folds.n_folds()).map(|held| part(*clusters, held)).collect());
        let parts = params.clusters.iter().map(of_number).collect();
        Self { folds, parts }
    }

    /// By performance alone: what a mix of performance and cost is worth depends on who pays.
    fn choose(&self, params: &Params, context: &FitContext<'_>) -> Result<Choice<Setting>, FitError> {
        let name = |(clusters, sharpness, prior)| {
            format!("clusters {clusters}, sharpness {sharpness}, prior {prior}")
        };
        let predict = |setting| self.predict(setting, params, None, context);
        validation::choose(Avengers::NAME, &params.grid(), context.train, context, name, predict)
    }

    /// Raw scores of every cell of train, each from the other folds.
    fn predict(
        &self,
        (clusters, sharpness, prior): Setting,
        params: &Params,
        performance: Option<f32>,
        context: &FitContext<'_>,
    ) -> Result<Vec<f32>, FitError> {
        let parts = self.parts.iter().find(|(own, _)| *own == clusters).map(|(_, parts)| parts);
        let n_arms = context.train.n_arms();
        self.folds.out_of_fold(n_arms, 0.0, |held, slice| {
            let Some((found, train)) = parts.and_then(|parts| parts[held].as_ref()) else {
                return Ok(vec![0.0; slice.valid.len() * n_arms]);
            };
            let mixing = Mixing { top: params.top, sharpness };
            let form = found.form(train, mixing, prior, performance, Calibration::default());
            let features = context.features.select_rows(&slice.valid);
            let failed =
                |e: PredictError| FitError::Numeric { method: Avengers::NAME, reason: e.to_string() };
            Ok(form.predict(&Batch::of(&features)).map_err(failed)?.score)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_inverted_and_equals_share_theirs() {
        let found = inverse_ranks(&[0.2, 0.9, 0.5, 0.5]);
        // Ranks 3, 0, 1.5, 1.5.
        for (found, rank) in found.iter().zip([3.0, 0.0, 1.5, 1.5]) {
            assert!((found - 1.0 / (rank + 0.1)).abs() < 1e-6);
        }
    }

    #[test]
    fn performance_is_weighed_against_cost_within_the_cluster() {
        let found = balance(&[0.5, 0.9, 0.7], &[0.1, 0.4, 0.2], 0.25);
        // Accuracy 0, 1, 1/2; one less relative cost 3/4, 0, 1/2.
        let expected = [0.5625, 0.25, 0.5];
        assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-6), "{found:?}");
        assert_eq!(balance(&[0.5, 0.5], &[0.0, 0.0], 0.5), [0.5, 0.5]);
    }
}
