//! Harnessing the Power of Multiple Minds (arXiv 2405.00467): which models can solve a query.
//!
//! A model *solves* a query where the mean score of its answers is above `majority` (the paper: the majority vote
//! of ten samples is right). Three predictors of that are compared:
//!
//! - `model = "multi-label"`: one network with an output a model, by binary cross-entropy;
//! - `model = "per-model"`: a binary classifier of its own for each model;
//! - `model = "clusters"`: k-means, and for each cluster the share of its queries that each model solves.
//!
//! Two policies read the confidences: `argmax`, and `random-top`, which draws one of the `top` most
//! confident models where no confidence is above `confidence`.
//!
//! # Deviations from the paper
//! 1. Networks and classifiers read the features of the policy; the paper fine-tunes RoBERTa.
//! 2. The classifier of a model is a logistic regression, its penalty chosen by cross-validation; there RoBERTa again.
//! 3. The number of clusters is chosen by cross-validation. A model without an outcome in a cluster has its overall
//!    share.
//! 4. The two policies that fit a linear regression to confidences are left out: they take the model whose
//!    confidence is nearest to a predicted one.
//! 5. `confidence` and `top` are the paper's 0.6 and 3; neither is searched.

use super::logistic;
use super::systems::linear_all;
use crate::clustering::kmeans;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::baselines::means;
use crate::methods::costs;
use crate::neural::{
    Checkpoint, Criterion, HeadShape, LayerShape, Network, Recipe, ScoreLoss, Targets, Training, fit,
};
use crate::validation::{self, Choice, Folds};
use routewright_data::dense::{Activation, sigmoid};
use routewright_data::{Cells, FeatureMatrix};
use routewright_policy::forms::{Calibration, ClusterTables, Clusters, Linear, Link, Mixing};
use routewright_policy::{Batch, Predictor, SelectorSpec};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<MultipleMinds>(
    "which models can solve a query: multi-label, per model, or by cluster",
    Some("2405.00467"),
    Family::Before,
    &[Need::Features],
)
.on_device();

/// Newton steps of a classifier, at most.
const STEPS: usize = 60;
/// Rounds of k-means, at most.
const CLUSTER_ITERATIONS: usize = 25;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct MultipleMinds;

/// What predicts who solves a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Approach {
    /// One network for all models.
    MultiLabel,
    /// A classifier a model.
    PerModel,
    /// The cluster of the query.
    Clusters,
}

/// How a model is chosen by confidences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Policy {
    /// The most confident one.
    Argmax,
    /// One of the most confident at random, where none is sure.
    RandomTop,
}

/// Hyper-parameters; a list is a grid of which cross-validation picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::methods) struct Params {
    /// `multi-label`, `per-model` or `clusters`.
    model: Approach,
    /// `argmax` or `random-top`.
    policy: Policy,
    /// Confidence at or below which `random-top` is not sure, in [0, 1].
    confidence: f64,
    /// Models that `random-top` draws among, at least 1.
    top: usize,
    /// Mean score above which a model solves a query, in [0, 1).
    majority: f32,
    /// Penalties of `per-model` to try, each above 0.
    alpha: Vec<f64>,
    /// Numbers of clusters to try, each at least 1.
    clusters: Vec<usize>,
    /// Widths of the hidden layers of `multi-label`.
    hidden: Vec<usize>,
    /// How long, how fast, on what; of `per-model` and `clusters` the number of folds alone.
    #[serde(flatten)]
    training: Training,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            model: Approach::MultiLabel,
            policy: Policy::Argmax,
            confidence: 0.6,
            top: 3,
            majority: 0.5,
            alpha: vec![30.0, 10.0, 3.0, 1.0],
            clusters: vec![8, 16, 32, 64],
            hidden: vec![128],
            training: Training {
                steps: 2000,
                every: 100,
                patience: 5,
                batch: 128,
                rate: 1e-3,
                weight_decay: 0.01,
                per_source: 0,
                folds: 5,
                valid_share: 0.15,
                refit: true,
            },
        }
    }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let error = |reason: String| Err(FitError::Params { method: MultipleMinds::NAME, reason });
        if !(0.0..=1.0).contains(&self.confidence) || self.top == 0 {
            let (confidence, top) = (self.confidence, self.top);
            return error(format!(
                "`confidence` is `{confidence}` and `top` `{top}`, expected a number in [0, 1] and at least 1"
            ));
        }
        if !(0.0..1.0).contains(&self.majority) {
            return error(format!("`majority` is `{}`, expected a number in [0, 1)", self.majority));
        }
        if self.alpha.is_empty() || !self.alpha.iter().all(|alpha| alpha.is_finite() && *alpha > 0.0) {
            return error(format!(
                "`alpha` is `{:?}`, expected at least one penalty, each above 0",
                self.alpha
            ));
        }
        if self.clusters.is_empty() || self.clusters.contains(&0) {
            let clusters = &self.clusters;
            return error(format!(
                "`clusters` is `{clusters:?}`, expected at least one number, each at least 1"
            ));
        }
        if self.model != Approach::MultiLabel && self.training.folds < 2 {
            return error(format!("`folds` is `{}`, expected at least 2", self.training.folds));
        }
        Ok(())
    }
}

impl Method for MultipleMinds {
    const NAME: &'static str = "multiple-minds";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let solved = solved(&context.train.score, params.majority);
        let mut fitted = match params.model {
            Approach::MultiLabel => multi_label(params, &solved, context),
            Approach::PerModel => per_model(params, &solved, context),
            Approach::Clusters => clusters(params, &solved, context),
        }?;
        if params.policy == Policy::RandomTop {
            let settings = serde_json::json!({ "confidence": params.confidence, "top": params.top });
            fitted.selector = SelectorSpec { name: "unsure".to_owned(), settings };
        }
        Ok(fitted)
    }
}

/// 1 where a model solves a query, 0 where it does not, missing where it was not tried.
fn solved(score: &Cells, majority: f32) -> Cells {
    let label = |score: &f32| if score.is_nan() { f32::NAN } else { f32::from(*score > majority) };
    Cells::from_vec(score.n_rows(), score.n_cols(), score.values().iter().map(label).collect())
}

fn multi_label(params: &Params, solved: &Cells, context: &FitContext<'_>) -> Result<Fitted, FitError> {
    let layer = |&width: &usize| LayerShape { width, activation: Activation::Gelu, bias: true };
    let recipe = Recipe {
        method: MultipleMinds::NAME,
        network: Network {
            dim: context.features.dim(),
            layers: params.hidden.iter().map(layer).collect(),
            head: HeadShape::Linear(Activation::Sigmoid),
            n_arms: context.train.n_arms(),
        },
        front: None,
        training: params.training,
        criterion: Criterion::Choice,
        judged: &context.train.score,
        noise: 0.0,
        targets: &|rows, _| Targets::Scores(solved.select_rows(rows).values().to_vec(), ScoreLoss::Bce),
        checkpoint: Checkpoint::new(MultipleMinds::NAME, params, context),
    };
    let trained = fit(&recipe, context)?;
    let cost = costs::fit(MultipleMinds::NAME, context)?;
    let predictor = recipe.network.predictor(&trained.parameters, Calibration::default(), cost);
    let mut fitted = Fitted::new(predictor, params);
    trained.record(&mut fitted, "validation_score", trained.validation);
    Ok(fitted)
}

fn per_model(params: &Params, solved: &Cells, context: &FitContext<'_>) -> Result<Fitted, FitError> {
    let start = shares(solved);
    let solve = |alpha: f64, labels: &Cells, features: &FeatureMatrix| {
        logistic::regress(MultipleMinds::NAME, (alpha, STEPS), labels, &start, features)
    };
    let folds = Folds::new(context.train, context.seed, params.training.folds);
    let name = |alpha| format!("alpha {alpha}");
    let choice: Choice<f64> =
        validation::choose(MultipleMinds::NAME, &params.alpha, context.train, context, name, |alpha| {
            folds.out_of_fold(solved.n_cols(), 0.0, |_, slice| {
                let features = context.features.select_rows(&slice.fit);
                let weights = solve(alpha, &solved.select_rows(&slice.fit), &features)?;
                let held = slice.valid.iter().map(|row| context.features.row(*row));
                Ok(held.flat_map(|x| linear_all(&weights, x)).map(sigmoid).collect())
            })
        })?;
    let weights = solve(choice.value, solved, context.features)?;
    let cost = costs::fit(MultipleMinds::NAME, context)?;
    let form = Linear::new(context.features.dim(), Link::Logistic, weights, cost);
    let mut fitted = Fitted::new(Box::new(form), &Params { alpha: vec![choice.value], ..params.clone() });
    choice.record(&mut fitted, "cross_validated_score", params.training.folds);
    Ok(fitted)
}

fn clusters(params: &Params, solved: &Cells, context: &FitContext<'_>) -> Result<Fitted, FitError> {
    let folds = Folds::new(context.train, context.seed, params.training.folds);
    let name = |clusters| format!("{clusters} clusters");
    let grid = &params.clusters;
    let choice: Choice<usize> =
        validation::choose(MultipleMinds::NAME, grid, context.train, context, name, |clusters| {
            folds.out_of_fold(solved.n_cols(), 0.0, |_, slice| {
                let form = tables(clusters, &slice.fit, solved, context);
                let held = context.features.select_rows(&slice.valid);
                let failed = |e: &dyn ToString| FitError::Numeric {
                    method: MultipleMinds::NAME,
                    reason: e.to_string(),
                };
                Ok(form.predict(&Batch::of(&held)).map_err(|e| failed(&e))?.score)
            })
        })?;
    let all: Vec<usize> = (0..context.train.n_queries()).collect();
    let form = tables(choice.value, &all, solved, context);
    let mut fitted = Fitted::new(Box::new(form), &Params { clusters: vec![choice.value], ..params.clone() });
    choice.record(&mut fitted, "cross_validated_score", params.training.folds);
    Ok(fitted)
}

/// The clusters of some rows, each with the share of its queries that a model solves; the nearest one decides.
fn tables(n_clusters: usize, rows: &[usize], solved: &Cells, context: &FitContext<'_>) -> Clusters {
    let features = context.features.select_rows(rows);
    let (centers, assignment) = kmeans(&features, n_clusters, CLUSTER_ITERATIONS, context.seed);
    let (solved, costs) = (solved.select_rows(rows), context.train.cost_usd.select_rows(rows));
    let (overall, mean_cost) = (shares(&solved), means::mean_costs(context.train));
    let n_centers = centers.len() / features.dim().max(1);
    let n_arms = solved.n_cols();
    let mut tables = ClusterTables { score: Vec::new(), score_se: Vec::new(), cost_usd: Vec::new() };
    for cluster in 0..n_centers {
        let own: Vec<usize> = (0..rows.len()).filter(|row| assignment[*row] as usize == cluster).collect();
        let (solved, costs) = (solved.select_rows(&own), costs.select_rows(&own));
        for arm in 0..n_arms {
            let share = solved.column_mean(arm).unwrap_or(f64::from(overall[arm]));
            let n = (0..own.len()).filter(|row| solved.get(*row, arm).is_some()).count() as f64;
            tables.score.push(share as f32);
            tables
                .score_se
                .push((((share * (1.0 - share)) * n + 0.25) / (n + 1.0) / n.max(1.0)).sqrt() as f32);
            tables.cost_usd.push(costs.column_mean(arm).map_or(mean_cost[arm], |mean| mean as f32));
        }
    }
    let mixing = Mixing { top: 1, sharpness: 0.0 };
    Clusters::new(mixing, n_arms, FeatureMatrix::from_vec(n_centers, features.dim(), centers), tables)
}

/// Share of the queries that each model solves of those it was tried on; the least of the others where it was on none.
fn shares(solved: &Cells) -> Vec<f32> {
    let shares: Vec<Option<f64>> = (0..solved.n_cols()).map(|arm| solved.column_mean(arm)).collect();
    let least = shares.iter().flatten().copied().fold(1.0, f64::min);
    shares.into_iter().map(|share| share.unwrap_or(least) as f32).collect()
}
