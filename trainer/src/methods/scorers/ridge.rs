//! Ridge regression of each arm's score on the features (the linear router of arXiv 2505.12601 and of
//! CARROT, arXiv 2502.03261).
//!
//! `min_w sum_i (y_i - w . x_i - b)^2 + alpha |w|^2` per arm over the rows where its cell is present, the
//! intercept `b` free; solved by Cholesky in f64. One `alpha` for all arms is chosen by cross-validation,
//! folds cut by prompt hash. Cost: `n dim^2 + folds * alphas * dim^3`.

use super::gram::{self, MaskGroup};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::baselines::means;
use crate::validation::{self, Choice, Folds};
use routewright_data::{FeatureMatrix, linalg};
use routewright_policy::forms::{CostModel, Linear, Link};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Ridge>(
    "ridge regression of each arm's score on the features",
    Some("2502.03261"),
    Family::Before,
    &[Need::Features],
);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Ridge;

/// Parameters; a list is a grid of which cross-validation picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Penalties on the sum of squares to try, each above 0.
    alpha: Vec<f64>,
    /// Folds of the cross-validation, at least 2.
    folds: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self { alpha: vec![300.0, 100.0, 30.0, 10.0, 3.0], folds: 5 }
    }
}

impl Method for Ridge {
    const NAME: &'static str = "ridge";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let error = |reason: &str| FitError::Params { method: Self::NAME, reason: reason.to_owned() };
        if params.alpha.is_empty() || !params.alpha.iter().all(|a| a.is_finite() && *a > 0.0) {
            return Err(error("`alpha` needs at least one penalty, each above 0"));
        }
        if params.folds < 2 {
            return Err(error("`folds` must be at least 2"));
        }
        let systems = Systems::new(context, params.folds);
        let choice = systems.choose(params, context)?;
        let alpha = choice.value;
        let weights = systems.solve(alpha, None, context)?;
        let cost = CostModel::constant(means::mean_costs(context.train));
        let form = Linear::new(context.features.dim(), Link::Identity, weights, cost);
        let mut fitted = Fitted::new(Box::new(form), &Params { alpha: vec![alpha], ..params.clone() });
        choice.record(&mut fitted, "cross_validated_score");
        Ok(fitted)
    }
}

/// Normal equations of every mask group and fold; leaving a fold out is a subtraction.
struct Systems {
    folds: Folds,
    groups: Vec<GroupSystem>,
}

struct GroupSystem {
    group: MaskGroup,
    /// One Gram matrix a fold.
    grams: Vec<Vec<f64>>,
    /// One matrix of moments `(dim + 1, arms)` a fold.
    moments: Vec<Vec<f64>>,
}

impl Systems {
    fn new(context: &FitContext<'_>, n_folds: usize) -> Self {
        let folds = Folds::new(context.train, context.seed, n_folds);
        let score = &context.train.score;
        let of_fold = |group: &MaskGroup, fold: usize| -> Vec<usize> {
            group.rows.iter().copied().filter(|row| folds.of(*row) == fold).collect()
        };
        let system = |group: MaskGroup| {
            let target = |row: usize, k: usize| f64::from(score.get(row, group.arms[k]).unwrap_or(0.0));
            let rows: Vec<Vec<usize>> = (0..n_folds).map(|fold| of_fold(&group, fold)).collect();
            let grams = rows.iter().map(|rows| gram::gram(context.features, rows)).collect();
            let n_arms = group.arms.len();
            let moments =
                rows.iter().map(|rows| gram::moments(context.features, rows, n_arms, target)).collect();
            GroupSystem { grams, moments, group }
        };
        let groups = gram::mask_groups(score).into_iter().map(system).collect();
        Self { folds, groups }
    }

    fn choose(&self, params: &Params, context: &FitContext<'_>) -> Result<Choice<f64>, FitError> {
        let (n_arms, features) = (context.train.n_arms(), context.features);
        let name = |alpha| format!("alpha {alpha}");
        validation::choose(Ridge::NAME, &params.alpha, context.train, context, name, |alpha| {
            self.folds.out_of_fold(n_arms, 0.0, |held, slice| {
                let weights = self.solve(alpha, Some(held), context)?;
                let rows = slice.valid.iter().map(|row| features.row(*row));
                Ok(rows.flat_map(|x| linear_all(&weights, x)).collect())
            })
        })
    }

    /// Weights `(n_arms, dim + 1)` from every fold but `left_out`; an arm without data gets the least mean.
    fn solve(
        &self,
        alpha: f64,
        left_out: Option<usize>,
        context: &FitContext<'_>,
    ) -> Result<Vec<f32>, FitError> {
        let width = context.features.dim() + 1;
        let mut weights = constant_weights(&means::mean_scores(context.train), context.features);
        for system in &self.groups {
            let mut gram = sum(&system.grams, left_out);
            let moments = sum(&system.moments, left_out);
            // No row left in these folds: keep the constant.
            if gram[width * width - 1] < 0.5 {
                continue;
            }
            gram::penalize(&mut gram, width, alpha);
            let n_arms = system.group.arms.len();
            let solution = linalg::solve_spd(gram, moments, width, n_arms)
                .map_err(|error| FitError::Numeric { method: Ridge::NAME, reason: error.to_string() })?;
            for (k, &arm) in system.group.arms.iter().enumerate() {
                for i in 0..width {
                    weights[arm * width + i] = solution[i * n_arms + k] as f32;
                }
            }
        }
        Ok(weights)
    }
}

/// Weights of shape `(n_arms, dim + 1)` that predict a constant for each arm.
pub(super) fn constant_weights(means: &[f32], features: &FeatureMatrix) -> Vec<f32> {
    let width = features.dim() + 1;
    let mut weights = vec![0.0; means.len() * width];
    for (arm, mean) in means.iter().enumerate() {
        weights[(arm + 1) * width - 1] = *mean;
    }
    weights
}

/// Value of an arm's linear function.
pub(super) fn linear(weights: &[f32], arm: usize, x: &[f32]) -> f32 {
    let w = &weights[arm * (x.len() + 1)..(arm + 1) * (x.len() + 1)];
    w[x.len()] + w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>()
}

/// Value of every arm's linear function.
pub(super) fn linear_all(weights: &[f32], x: &[f32]) -> Vec<f32> {
    (0..weights.len() / (x.len() + 1)).map(|arm| linear(weights, arm, x)).collect()
}

fn sum(parts: &[Vec<f64>], left_out: Option<usize>) -> Vec<f64> {
    let mut total = vec![0.0; parts.first().map_or(0, Vec::len)];
    for (_, part) in parts.iter().enumerate().filter(|(fold, _)| Some(*fold) != left_out) {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
    }
    total
}
