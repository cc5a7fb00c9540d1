//! CARROT (arXiv 2502.03261): plug-in routing by one regression of the score and one of the cost.
//!
//! For every arm `m` the score `s_m(x)` and the cost `c_m(x)` are regressed on the features, each with a setting of its
//! own, chosen for its own squared error and not for the routing that comes of it. The decision plugs both in:
//! `argmax_m (1 - mu) s_m(x) - mu c_m(x)`, for any `mu` without training again.
//!
//! - `model = "linear"`: ridge regressions;
//! - `model = "knn"`: means over the nearest training queries, unweighted.
//!
//! # Deviations from the paper
//! 1. Features are those of the policy; the paper embeds queries or fine-tunes RoBERTa for its second router.
//! 2. Costs are counted in the mean cost of the dearest arm, so that `mu` is a number between scores and shares; the
//!    paper weighs US dollars. The rule is served as `score - lambda cost_usd`, `lambda = mu / ((1 - mu) dearest)`.
//! 3. The setting is one for all arms; costs of an arm are relative to its mean while it is chosen.
//! 4. Missing cells are left out; a predicted cost is held within those logged of the arm.
//! 5. In `knn` the mean over neighbors has the mean of the arm for one more neighbor.

use super::systems::{Systems, linear_all};
use crate::evaluate::Tuning;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::baselines::means;
use crate::methods::neighbors::knn;
use crate::validation::Folds;
use routewright_data::Cells;
use routewright_policy::forms::{
    CostModel, Dual, Linear, Link, Memory, Neighbors, PriceLink, Weighting, weighted_means,
};
use routewright_policy::search::EngineKind;
use routewright_policy::{Predictor, SelectorSpec};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Carrot>(
    "one regression of the score and one of the cost, plugged into the rule",
    Some("2502.03261"),
    Family::Before,
    &[Need::Features],
);

/// Weight of the mean of the arm among the neighbors, in neighbors.
const PRIOR: f32 = 1.0;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Carrot;

/// What regresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Model {
    /// Ridge regressions.
    Linear,
    /// The nearest training queries.
    Knn,
}

/// Parameters; a list is a grid of which cross-validation picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// `linear` or `knn`.
    model: Model,
    /// Penalties of the scores to try, each above 0.
    alpha: Vec<f64>,
    /// Penalties of the costs to try, each above 0.
    alpha_cost: Vec<f64>,
    /// Numbers of neighbors of the scores to try, each at least 1.
    k: Vec<usize>,
    /// Numbers of neighbors of the costs to try, each at least 1.
    k_cost: Vec<usize>,
    /// Weight of the cost in the rule, in [0, 1).
    mu: f64,
    /// Folds of the cross-validation, at least 2.
    folds: usize,
}

impl Default for Params {
    fn default() -> Self {
        let (alpha, k) = (vec![100.0, 30.0, 10.0, 3.0, 1.0], vec![200, 100, 40, 20]);
        Self {
            model: Model::Linear,
            alpha_cost: alpha.clone(),
            alpha,
            k_cost: k.clone(),
            k,
            mu: 0.0,
            folds: 5,
        }
    }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let error = |reason: String| Err(FitError::Params { method: Carrot::NAME, reason });
        for (key, alphas) in [("alpha", &self.alpha), ("alpha_cost", &self.alpha_cost)] {
            if alphas.is_empty() || !alphas.iter().all(|alpha| alpha.is_finite() && *alpha > 0.0) {
                return error(format!(
                    "`{key}` is `{alphas:?}`, expected at least one penalty, each above 0"
                ));
            }
        }
        for (key, ks) in [("k", &self.k), ("k_cost", &self.k_cost)] {
            if ks.is_empty() || ks.contains(&0) {
                return error(format!("`{key}` is `{ks:?}`, expected at least one number, each at least 1"));
            }
        }
        if !(0.0..1.0).contains(&self.mu) {
            return error(format!("`mu` is `{}`, expected a number in [0, 1)", self.mu));
        }
        if self.folds < 2 {
            return error(format!("`folds` is `{}`, expected at least 2", self.folds));
        }
        Ok(())
    }
}

impl Method for Carrot {
    const NAME: &'static str = "carrot";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let train = context.train;
        let usd = means::mean_costs(train);
        let dearest = usd.iter().copied().fold(0.0_f32, f32::max);
        if params.mu > 0.0 && dearest <= 0.0 {
            let reason = format!(
                "`mu` is `{}` and no arm has a cost above 0; expected costs in column `cost_usd`, or `mu` 0",
                params.mu
            );
            return Err(FitError::Log { method: Self::NAME, reason });
        }
        let (alpha, k) = (&params.alpha, &params.k);
        let scores =
            regress(params.model, alpha, k, &train.score, &vec![1.0; train.n_arms()], params, context)?;
        let mut chosen = params.clone();
        (chosen.alpha, chosen.k) = (vec![scores.alpha], vec![scores.k]);
        let mut metrics = vec![("score_squared_error", scores.error)];
        let mut n_tried = scores.n_tried;
        let predictor: Box<dyn Predictor> = if train.has_costs() {
            let units: Vec<f32> = usd.iter().map(|usd| if *usd > 0.0 { *usd } else { 1.0 }).collect();
            let (alpha, k) = (&params.alpha_cost, &params.k_cost);
            let costs = regress(params.model, alpha, k, &train.cost_usd, &units, params, context)?;
            (chosen.alpha_cost, chosen.k_cost) = (vec![costs.alpha], vec![costs.k]);
            metrics.push(("cost_squared_error_relative", costs.error));
            n_tried += costs.n_tried;
            let range = logged_range(&train.cost_usd);
            Box::new(Dual::new(context.features.dim(), scores.form, costs.form, PriceLink::Dollars, range))
        } else {
            scores.form
        };
        let mut fitted = Fitted::new(predictor, &chosen);
        // A setting that was given has no error.
        let metrics = metrics.into_iter().filter(|(_, value)| value.is_finite());
        fitted.metrics.extend(metrics.map(|(name, value)| (name.to_owned(), value)));
        fitted.tuning = (n_tried > 2).then_some(Tuning { candidates: n_tried, slices: params.folds });
        if params.mu > 0.0 {
            let lambda = params.mu / (1.0 - params.mu) / f64::from(dearest);
            let settings = serde_json::json!({ "lambda": lambda });
            fitted.selector = SelectorSpec { name: "utility".to_owned(), settings };
        }
        Ok(fitted)
    }
}

/// A regression, and what was chosen for it.
struct Regression {
    form: Box<dyn Predictor>,
    alpha: f64,
    k: usize,
    /// Mean squared error out of fold, in squares of the units.
    error: f64,
    n_tried: usize,
}

/// Regresses `targets` `(n_queries, n_arms)`, of which those of each arm are counted in its unit while the setting
/// is chosen; the form predicts targets as they are.
fn regress(
    model: Model,
    alphas: &[f64],
    ks: &[usize],
    targets: &Cells,
    units: &[f32],
    params: &Params,
    context: &FitContext<'_>,
) -> Result<Regression, FitError> {
    let n_arms = units.len();
    let scaled = targets.values().iter().enumerate().map(|(at, target)| target / units[at % n_arms]);
    let scaled = Cells::from_vec(targets.n_rows(), n_arms, scaled.collect());
    let constants = known_means(&scaled);
    match model {
        Model::Linear => linear(alphas, &scaled, &constants, units, params, context),
        Model::Knn => nearest(ks, targets, &scaled, &constants, params, context),
    }
}

fn linear(
    alphas: &[f64],
    scaled: &Cells,
    constants: &[f32],
    units: &[f32],
    params: &Params,
    context: &FitContext<'_>,
) -> Result<Regression, FitError> {
    let failed = |e: routewright_data::linalg::LinalgError| numeric(&e);
    let folds = Folds::new(context.train, context.seed, params.folds);
    let systems = Systems::new(context.features, scaled, &folds);
    let mut best = (f64::INFINITY, alphas[0]);
    for &alpha in alphas.iter().filter(|_| alphas.len() > 1) {
        let predicted = folds.out_of_fold(units.len(), f32::NAN, |held, slice| {
            let weights = systems.solve(alpha, Some(held), constants)?;
            let rows = slice.valid.iter().map(|row| context.features.row(*row));
            Ok(rows.flat_map(|x| linear_all(&weights, x)).collect())
        });
        let error = squared_error(&predicted.map_err(failed)?, scaled);
        if error < best.0 {
            best = (error, alpha);
        }
    }
    let (error, alpha) = best;
    let mut weights = systems.solve(alpha, None, constants).map_err(failed)?;
    let dim = context.features.dim();
    for (arm, unit) in weights.chunks_exact_mut(dim + 1).zip(units) {
        arm.iter_mut().for_each(|weight| *weight *= unit);
    }
    let unknown = CostModel::constant(vec![f32::NAN; units.len()]);
    let form = Box::new(Linear::new(dim, Link::Identity, weights, unknown));
    Ok(Regression { form, alpha, k: params.k[0], error, n_tried: alphas.len() })
}

fn nearest(
    ks: &[usize],
    targets: &Cells,
    scaled: &Cells,
    constants: &[f32],
    params: &Params,
    context: &FitContext<'_>,
) -> Result<Regression, FitError> {
    let n = targets.n_rows();
    let mut best = (f64::INFINITY, ks[0]);
    if ks.len() > 1 {
        let rows: Vec<usize> = (0..n).collect();
        let k_max = ks.iter().copied().max().unwrap_or(1).min(n);
        let found = knn::nearest_of_other_folds(Carrot::NAME, params.folds, context, &rows, k_max)?;
        for &k in ks {
            let near = found.iter().map(|near| &near[..near.len().min(k)]);
            let predicted: Vec<f32> =
                near.flat_map(|near| weighted_means(near, 0.0, PRIOR, scaled, constants)).collect();
            let error = squared_error(&predicted, scaled);
            if error < best.0 {
                best = (error, k);
            }
        }
    }
    let (error, k) = best;
    let weighting = Weighting { k, power: 0.0, prior: PRIOR, gate: -1.0, engine: EngineKind::Exact };
    let memory = Memory {
        query_ids: context.train.queries.iter().map(|query| query.id.clone()).collect(),
        score: targets.clone(),
        cost_usd: Cells::missing(n, targets.n_cols()),
    };
    let form =
        Box::new(Neighbors::new(weighting, context.features.clone(), memory).map_err(|e| numeric(&e))?);
    Ok(Regression { form, alpha: params.alpha[0], k, error, n_tried: ks.len() })
}

fn numeric(error: &dyn ToString) -> FitError {
    FitError::Numeric { method: Carrot::NAME, reason: error.to_string() }
}

/// Mean squared error over the cells present that were predicted.
fn squared_error(predicted: &[f32], targets: &Cells) -> f64 {
    let errors = || {
        let both = predicted.iter().zip(targets.values());
        both.map(|(p, y)| f64::from(p - y).powi(2)).filter(|error| !error.is_nan())
    };
    errors().sum::<f64>() / errors().count().max(1) as f64
}

/// Mean of each column; a column without cells has the least of the others.
fn known_means(cells: &Cells) -> Vec<f32> {
    let means: Vec<Option<f64>> = (0..cells.n_cols()).map(|arm| cells.column_mean(arm)).collect();
    let least = means.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let least = if least.is_finite() { least } else { 0.0 };
    means.into_iter().map(|mean| mean.unwrap_or(least) as f32).collect()
}

/// Least and greatest logged cost of each arm, `(n_arms, 2)`; `NaN` where there is none.
pub(super) fn logged_range(cost_usd: &Cells) -> Vec<f32> {
    let of_arm = |arm: usize| {
        let known = || (0..cost_usd.n_rows()).filter_map(move |row| cost_usd.get(row, arm));
        [known().fold(f32::NAN, f32::min), known().fold(f32::NAN, f32::max)]
    };
    (0..cost_usd.n_cols()).flat_map(of_arm).collect()
}
