//! TensorOpera Router (arXiv 2408.12320): the similarities of all answers to the reference as a soft label.
//!
//! The label of a query is `p = softmax(sharpness * s)` over arms, `s` their scores (the BERT similarity of
//! an answer to the gold answer, sharpness 10). Two routers read it:
//!
//! - `model = "mlp"`: a network whose outputs have the least soft cross-entropy `-sum_m p_m ln softmax(z)_m`;
//! - `model = "knn"`: the mean label of the `k` nearest training queries.
//!
//! The arm of the greatest output is chosen.
//!
//! # Deviations from the paper
//! 1. Features are those of the policy; the paper embeds by BERT and has a third router, BERT fine-tuned.
//! 2. Similarities are the scores of the log (`labels = "soft"`: its graded signal).
//! 3. `k` is chosen by cross-validation, the number of steps on slices of train.
//! 4. Labels are over the arms tried; a query with one of them has none.
//! 5. Outputs are shares or logits; one increasing line, fitted on rows they were not learned from, maps them to the
//!    scale of the log.

use super::labels::{Labels, distributions};
use crate::calibration;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::costs;
use crate::methods::neighbors::knn;
use crate::neural::{Checkpoint, Criterion, HeadShape, LayerShape, Network, Recipe, Targets, Training, fit};
use crate::validation;
use routewright_data::Cells;
use routewright_data::dense::Activation;
use routewright_policy::forms::{Calibration, Memory, Neighbors, Weighting, weighted_means};
use routewright_policy::search::EngineKind;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<ToRouter>(
    "soft labels of all arms, by a perceptron or the nearest queries",
    Some("2408.12320"),
    Family::Before,
    &[Need::Features],
)
.on_device();

/// Weight of the mean label among those of the neighbors, in neighbors.
const PRIOR: f32 = 1.0;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct ToRouter;

/// What reads the labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Model {
    /// A perceptron.
    Mlp,
    /// The nearest training queries.
    Knn,
}

/// Hyper-parameters; those after `k` are of the perceptron alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::methods) struct Params {
    /// `mlp` or `knn`.
    model: Model,
    /// Factor of the scores before the softmax, above 0.
    sharpness: f32,
    /// `score` or `soft`.
    labels: Labels,
    /// Numbers of neighbors to try, each at least 1.
    k: Vec<usize>,
    /// Widths of the hidden layers.
    hidden: Vec<usize>,
    /// How long, how fast, on what.
    #[serde(flatten)]
    training: Training,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            model: Model::Mlp,
            sharpness: 10.0,
            labels: Labels::Score,
            k: vec![200, 100, 40, 20],
            hidden: vec![128],
            training: Training {
                steps: 2000,
                every: 100,
                patience: 5,
                batch: 64,
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
        let error = |reason: String| Err(FitError::Params { method: ToRouter::NAME, reason });
        if !(self.sharpness > 0.0 && self.sharpness <= 1000.0) {
            return error(format!("`sharpness` is `{}`, expected above 0 and at most 1000", self.sharpness));
        }
        if self.model == Model::Knn && (self.k.is_empty() || self.k.contains(&0)) {
            return error(format!("`k` is `{:?}`, expected at least one number, each at least 1", self.k));
        }
        if self.model == Model::Knn && self.training.folds < 2 {
            return error(format!("`folds` is `{}`, expected at least 2", self.training.folds));
        }
        Ok(())
    }
}

impl Method for ToRouter {
    const NAME: &'static str = "to-router";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let labels = distributions(params.labels.of(context), params.sharpness);
        match params.model {
            Model::Mlp => perceptron(params, &labels, context),
            Model::Knn => nearest(params, &labels, context),
        }
    }
}

fn perceptron(params: &Params, labels: &Cells, context: &FitContext<'_>) -> Result<Fitted, FitError> {
    let layer = |&width: &usize| LayerShape { width, activation: Activation::Relu, bias: true };
    let recipe = Recipe {
        method: ToRouter::NAME,
        network: Network {
            dim: context.features.dim(),
            layers: params.hidden.iter().map(layer).collect(),
            head: HeadShape::Linear(Activation::Identity),
            n_arms: context.train.n_arms(),
        },
        front: None,
        training: params.training,
        criterion: Criterion::Choice,
        judged: &context.train.score,
        noise: 0.0,
        targets: &|rows, _| Targets::Distribution(labels.select_rows(rows).values().to_vec()),
        checkpoint: Checkpoint::new(ToRouter::NAME, params, context),
    };
    let trained = fit(&recipe, context)?;
    let cost = costs::fit(ToRouter::NAME, context)?;
    let predictor = recipe.network.predictor(&trained.parameters, trained.calibration, cost);
    let mut fitted = Fitted::new(predictor, params);
    trained.record(&mut fitted, "validation_score", trained.validation);
    Ok(fitted)
}

/// The neighbors with their labels for memory. A mean of calibrated labels is the calibrated mean, so the line goes
/// into the memory.
fn nearest(params: &Params, labels: &Cells, context: &FitContext<'_>) -> Result<Fitted, FitError> {
    let train = context.train;
    let rows: Vec<usize> = (0..train.n_queries()).collect();
    let mut grid: Vec<usize> = params.k.iter().map(|k| (*k).min(rows.len())).collect();
    grid.dedup();
    let k_max = grid.iter().copied().max().unwrap_or(1);
    let found = knn::nearest_of_other_folds(ToRouter::NAME, params.training.folds, context, &rows, k_max)?;
    let overall = column_means(labels);
    let predict = |k: usize| -> Vec<f32> {
        let near = found.iter().map(|near| &near[..near.len().min(k)]);
        near.flat_map(|near| weighted_means(near, 0.0, PRIOR, labels, &overall)).collect()
    };
    let name = |k| format!("k {k}");
    let choice = validation::choose(ToRouter::NAME, &grid, train, context, name, |k| Ok(predict(k)))?;
    let k = choice.value;
    let line = calibration::within_queries(&predict(k), &train.score);
    let weighting = Weighting { k, power: 0.0, prior: PRIOR, gate: -1.0, engine: EngineKind::Exact };
    let memory = Memory {
        query_ids: train.queries.iter().map(|query| query.id.clone()).collect(),
        score: mapped(labels, line),
        cost_usd: train.cost_usd.clone(),
    };
    let form = Neighbors::new(weighting, context.features.clone(), memory)
        .map_err(|error| FitError::Numeric { method: ToRouter::NAME, reason: error.to_string() })?;
    let mut fitted = Fitted::new(Box::new(form), &Params { k: vec![k], ..params.clone() });
    choice.record(&mut fitted, "cross_validated_score", params.training.folds);
    Ok(fitted)
}

/// Mean share of each arm; an arm without any has the least of the others.
fn column_means(labels: &Cells) -> Vec<f32> {
    let means: Vec<Option<f64>> = (0..labels.n_cols()).map(|arm| labels.column_mean(arm)).collect();
    let least = means.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let least = if least.is_finite() { least } else { 0.0 };
    means.into_iter().map(|mean| mean.unwrap_or(least) as f32).collect()
}

fn mapped(labels: &Cells, line: Calibration) -> Cells {
    let mut values = labels.values().to_vec();
    line.apply(&mut values);
    Cells::from_vec(labels.n_rows(), labels.n_cols(), values)
}
