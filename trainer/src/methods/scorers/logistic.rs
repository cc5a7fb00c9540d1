//! Logistic regression of each arm's score on the features.
//!
//! `min_w -sum_i [y_i ln p_i + (1 - y_i) ln(1 - p_i)] + alpha / 2 |w|^2`, `p = 1 / (1 + exp(-w . x - b))`, per
//! arm over the rows where its cell is present; a graded score in [0, 1] is a soft label. Solved by
//! Newton steps with the fixed bound `X^T X / 4 + alpha I` on the Hessian (Böhning and Lindsay 1988), so each
//! step lowers the loss and one bound, factorised once, serves every arm of a mask.
//! `alpha` is chosen on a validation slice cut from train by prompt hash, then all rows are fitted.

use super::gram;
use super::systems::{constant_weights, linear, linear_all};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::baselines::means;
use crate::methods::costs;
use crate::validation::{self, Choice};
use routewright_data::linalg::{Cholesky, LinalgError};
use routewright_data::{Cells, FeatureMatrix, OutcomeTable};
use routewright_policy::forms::{Linear, Link};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Logistic>(
    "logistic regression of each arm's score on the features",
    None,
    Family::Before,
    &[Need::Features],
);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Logistic;

/// Parameters; a list is a grid of which the validation slice picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Penalties to try, each above 0.
    alpha: Vec<f64>,
    /// Newton steps, at least 1.
    steps: usize,
    /// Share of the train split in the validation slice, in (0, 1).
    valid_share: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { alpha: vec![30.0, 10.0, 3.0, 1.0], steps: 60, valid_share: 0.2 }
    }
}

impl Method for Logistic {
    const NAME: &'static str = "logistic";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let error = |reason: &str| FitError::Params { method: Self::NAME, reason: reason.to_owned() };
        if params.alpha.is_empty() || !params.alpha.iter().all(|a| a.is_finite() && *a > 0.0) {
            return Err(error("`alpha` needs at least one penalty, each above 0"));
        }
        if params.steps == 0 || !(params.valid_share > 0.0 && params.valid_share < 1.0) {
            return Err(error("`steps` must be at least 1 and `valid_share` in (0, 1)"));
        }
        let choice = choose(params, context)?;
        let alpha = choice.value;
        let weights = solve(params, alpha, context.train, context.features)?;
        let cost = costs::fit(Self::NAME, context)?;
        let form = Linear::new(context.features.dim(), Link::Logistic, weights, cost);
        let mut fitted = Fitted::new(Box::new(form), &Params { alpha: vec![alpha], ..params.clone() });
        choice.record(&mut fitted, "validation_score", 1);
        Ok(fitted)
    }
}

fn choose(params: &Params, context: &FitContext<'_>) -> Result<Choice<f64>, FitError> {
    let slice = validation::slice(context.train, context.seed, params.valid_share);
    let (train, features) = (context.train.select_rows(&slice.fit), context.features.select_rows(&slice.fit));
    let (judged, held) =
        (context.train.select_rows(&slice.valid), context.features.select_rows(&slice.valid));
    let name = |alpha| format!("alpha {alpha}");
    validation::choose(Logistic::NAME, &params.alpha, &judged, context, name, |alpha| {
        let weights = solve(params, alpha, &train, &features)?;
        Ok((0..held.n_rows()).flat_map(|row| linear_all(&weights, held.row(row))).collect())
    })
}

/// Weights `(n_arms, dim + 1)`; an arm never observed gets the least mean score of the others.
fn solve(
    params: &Params,
    alpha: f64,
    train: &OutcomeTable,
    features: &FeatureMatrix,
) -> Result<Vec<f32>, FitError> {
    let start = means::mean_scores(train);
    regress(Logistic::NAME, (alpha, params.steps), &train.score, &start, features)
}

/// Weights `(n_arms, dim + 1)` of the logistic regressions of `labels` `(n_queries, n_arms)` with penalty and number of
/// steps; an arm without labels keeps the probability that it starts from.
pub(super) fn regress(
    method: &'static str,
    (alpha, steps): (f64, usize),
    labels: &Cells,
    start: &[f32],
    features: &FeatureMatrix,
) -> Result<Vec<f32>, FitError> {
    let width = features.dim() + 1;
    let logit = |mean: &f32| (mean.clamp(0.001, 0.999) / (1.0 - mean.clamp(0.001, 0.999))).ln();
    let start: Vec<f32> = start.iter().map(logit).collect();
    let mut weights = constant_weights(&start, features.dim());
    for group in gram::mask_groups(labels) {
        let mut bound: Vec<f64> = gram::gram(features, &group.rows).iter().map(|v| v / 4.0).collect();
        gram::penalize(&mut bound, width, alpha);
        let failed = |e: LinalgError| FitError::Numeric { method, reason: e.to_string() };
        let bound = Cholesky::of(bound, width).map_err(failed)?;
        let n_arms = group.arms.len();
        for _ in 0..steps {
            let residual = |row: usize, k: usize| {
                let z = f64::from(linear(&weights, group.arms[k], features.row(row)));
                f64::from(labels.get(row, group.arms[k]).unwrap_or(0.0)) - 1.0 / (1.0 + (-z).exp())
            };
            let mut gradient = gram::moments(features, &group.rows, n_arms, residual);
            for i in 0..width - 1 {
                for (k, &arm) in group.arms.iter().enumerate() {
                    gradient[i * n_arms + k] -= alpha * f64::from(weights[arm * width + i]);
                }
            }
            let step = bound.solve(gradient, n_arms).map_err(failed)?;
            for (k, &arm) in group.arms.iter().enumerate() {
                for i in 0..width {
                    weights[arm * width + i] += step[i * n_arms + k] as f32;
                }
            }
            if step.iter().fold(0.0_f64, |m, s| m.max(s.abs())) < 1e-5 {
                break;
            }
        }
    }
    Ok(weights)
}
