//! Ridge regression of each arm's score on the features (the linear router of arXiv 2505.12601 and of
//! CARROT, arXiv 2502.03261).
//!
//! `min_w sum_i (y_i - w . x_i - b)^2 + alpha |w|^2` per arm over the rows where its cell is present, the
//! intercept `b` free; solved by Cholesky in f64. One `alpha` for all arms is chosen by cross-validation,
//! folds cut by prompt hash. Cost: `n dim^2 + folds * alphas * dim^3`.

use super::systems::{Systems, linear_all};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::baselines::means;
use crate::methods::costs;
use crate::validation::{self, Choice, Criterion, Folds};
use routewright_data::linalg::LinalgError;
use routewright_policy::forms::{Linear, Link};
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
    pub(in crate::methods) alpha: Vec<f64>,
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
        Self::fit_by(Criterion::ChosenScore, params, context)
    }
}

impl Ridge {
    /// The fit with the penalty chosen by `criterion`.
    pub(in crate::methods) fn fit_by(
        criterion: Criterion,
        params: &Params,
        context: &FitContext<'_>,
    ) -> Result<Fitted, FitError> {
        let error = |reason: &str| FitError::Params { method: Self::NAME, reason: reason.to_owned() };
        if params.alpha.is_empty() || !params.alpha.iter().all(|a| a.is_finite() && *a > 0.0) {
            return Err(error("`alpha` needs at least one penalty, each above 0"));
        }
        if params.folds < 2 {
            return Err(error("`folds` must be at least 2"));
        }
        let folds = Folds::new(context.train, context.seed, params.folds);
        let systems = Systems::new(context.features, &context.train.score, &folds);
        let choice = choose(criterion, &systems, &folds, params, context)?;
        let alpha = choice.value;
        let weights = systems.solve(alpha, None, &means::mean_scores(context.train)).map_err(failed)?;
        let cost = costs::fit(Self::NAME, context)?;
        let form = Linear::new(context.features.dim(), Link::Identity, weights, cost);
        let mut fitted = Fitted::new(Box::new(form), &Params { alpha: vec![alpha], ..params.clone() });
        choice.record(&mut fitted, "cross_validated_score", params.folds);
        Ok(fitted)
    }
}

fn choose(
    criterion: Criterion,
    systems: &Systems,
    folds: &Folds,
    params: &Params,
    context: &FitContext<'_>,
) -> Result<Choice<f64>, FitError> {
    let (n_arms, features) = (context.train.n_arms(), context.features);
    let means = means::mean_scores(context.train);
    let name = |alpha| format!("alpha {alpha}");
    validation::choose_by(criterion, Ridge::NAME, &params.alpha, context.train, context, name, |alpha| {
        folds.out_of_fold(n_arms, 0.0, |held, slice| {
            let weights = systems.solve(alpha, Some(held), &means).map_err(failed)?;
            let rows = slice.valid.iter().map(|row| features.row(*row));
            Ok(rows.flat_map(|x| linear_all(&weights, x)).collect())
        })
    })
}

fn failed(error: LinalgError) -> FitError {
    FitError::Numeric { method: Ridge::NAME, reason: error.to_string() }
}
