//! Fits what a call will cost: a line from the features to the logarithm of the price, per arm.
//!
//! `ln usd_m = w_m . x + b_m` by ridge over the queries whose cost was logged. The exponential of a mean of
//! logarithms is below the mean price, so `b_m` is moved until the mean predicted price on train is the
//! mean logged one (Duan's smearing estimate, 1983, as one factor). The penalty is chosen per arm by
//! cross-validation on the squared error in US dollars, and the arm keeps its mean where no line beats it: a
//! model that bills by the call has no line, and prices of one text length need none.

use super::baselines::means;
use super::scorers::systems::{Systems, constant_weights, linear_all};
use crate::method::{FitContext, FitError};
use crate::validation::Folds;
use routewright_data::Cells;
use routewright_data::linalg::LinalgError;
use routewright_policy::forms::CostModel;

/// Penalties tried, from plain to fancy.
const ALPHAS: [f64; 3] = [100.0, 10.0, 1.0];
const FOLDS: usize = 5;
/// Logged costs below which an arm keeps its mean.
const COSTS_MIN: usize = 50;

/// The cost model of the arms of `context.train`, reading `context.features`.
pub(super) fn fit(method: &'static str, context: &FitContext<'_>) -> Result<CostModel, FitError> {
    let mean_usd = means::mean_costs(context.train);
    let log_usd = logarithms(&context.train.cost_usd);
    if log_usd.n_present() == 0 || context.features.dim() == 0 {
        return Ok(CostModel::constant(mean_usd));
    }
    let failed = |error: LinalgError| FitError::Numeric { method, reason: error.to_string() };
    let folds = Folds::new(context.train, context.seed, FOLDS);
    let systems = Systems::new(context.features, &log_usd, &folds);
    let alphas = choose(&systems, &folds, &mean_usd, context).map_err(failed)?;
    if alphas.iter().all(Option::is_none) {
        return Ok(CostModel::constant(mean_usd));
    }
    lines(&systems, &alphas, mean_usd, context).map_err(failed)
}

/// Logarithms of the costs of arms that have a line: enough costs, none of them zero. Else missing.
fn logarithms(cost_usd: &Cells) -> Cells {
    let mut logs = Cells::missing(cost_usd.n_rows(), cost_usd.n_cols());
    for arm in 0..cost_usd.n_cols() {
        let costs = || (0..cost_usd.n_rows()).filter_map(|row| Some((row, cost_usd.get(row, arm)?)));
        if costs().count() >= COSTS_MIN && costs().all(|(_, usd)| usd > 0.0) {
            costs().for_each(|(row, usd)| logs.set(row, arm, usd.ln()));
        }
    }
    logs
}

/// The penalty of each arm; `None` where the mean predicts better.
fn choose(
    systems: &Systems,
    folds: &Folds,
    mean_usd: &[f32],
    context: &FitContext<'_>,
) -> Result<Vec<Option<f64>>, LinalgError> {
    let (n_arms, costs) = (mean_usd.len(), &context.train.cost_usd);
    // Scaled, a constant is the mean; an arm without a line has no better one.
    let constants = vec![0.0; n_arms];
    let constant = vec![1.0; costs.n_rows() * n_arms];
    let mut chosen = vec![None; n_arms];
    let mut least = errors(&constant, costs);
    for alpha in ALPHAS {
        let predicted = folds.out_of_fold(n_arms, f32::NAN, |held, slice| {
            let weights = systems.solve(alpha, Some(held), &constants)?;
            let rows = slice.valid.iter().map(|row| context.features.row(*row));
            Ok(rows.flat_map(|x| linear_all(&weights, x)).map(f32::exp).collect())
        })?;
        for (arm, error) in errors(&predicted, costs).into_iter().enumerate() {
            if error < least[arm] {
                (least[arm], chosen[arm]) = (error, Some(alpha));
            }
        }
    }
    Ok(chosen)
}

/// Sum of squared errors of each arm, after its predictions are scaled to the mean of what they predict;
/// infinite where a prediction is missing.
fn errors(predicted: &[f32], costs: &Cells) -> Vec<f64> {
    let n_arms = costs.n_cols();
    let of_arm = |arm: usize| {
        let pairs = || {
            (0..costs.n_rows())
                .filter_map(move |row| Some((predicted[row * n_arms + arm], costs.get(row, arm)?)))
        };
        let scale = scale(pairs());
        let error: f64 = pairs().map(|(p, c)| (scale * f64::from(p) - f64::from(c)).powi(2)).sum();
        if error.is_finite() { error } else { f64::INFINITY }
    };
    (0..n_arms).map(of_arm).collect()
}

/// Mean cost over mean prediction.
fn scale(pairs: impl Iterator<Item = (f32, f32)>) -> f64 {
    let (p, c) = pairs.fold((0.0, 0.0), |(p, c), pair| (p + f64::from(pair.0), c + f64::from(pair.1)));
    c / p
}

/// The model with the lines chosen; other arms have a line without slope, clamped to their mean.
fn lines(
    systems: &Systems,
    alphas: &[Option<f64>],
    mean_usd: Vec<f32>,
    context: &FitContext<'_>,
) -> Result<CostModel, LinalgError> {
    let (features, costs) = (context.features, &context.train.cost_usd);
    let (n_arms, width) = (mean_usd.len(), features.dim() + 1);
    let constants: Vec<f32> = mean_usd.iter().map(|usd| if *usd > 0.0 { usd.ln() } else { 0.0 }).collect();
    let mut weights = constant_weights(&constants, features.dim());
    let mut range_usd: Vec<f32> =
        mean_usd.iter().flat_map(|usd| [if usd.is_nan() { 0.0 } else { *usd }; 2]).collect();
    for alpha in ALPHAS.into_iter().filter(|alpha| alphas.contains(&Some(*alpha))) {
        let solved = systems.solve(alpha, None, &constants)?;
        let predicted: Vec<Vec<f32>> =
            (0..features.n_rows()).map(|row| linear_all(&solved, features.row(row))).collect();
        for arm in (0..n_arms).filter(|arm| alphas[*arm] == Some(alpha)) {
            let line = &mut weights[arm * width..(arm + 1) * width];
            line.copy_from_slice(&solved[arm * width..(arm + 1) * width]);
            let known = || (0..costs.n_rows()).filter_map(|row| Some((row, costs.get(row, arm)?)));
            line[width - 1] += scale(known().map(|(row, usd)| (predicted[row][arm].exp(), usd))).ln() as f32;
            let seen = known().fold((f32::INFINITY, 0.0_f32), |(l, g), (_, usd)| (l.min(usd), g.max(usd)));
            (range_usd[arm * 2], range_usd[arm * 2 + 1]) = seen;
        }
    }
    Ok(CostModel::log_linear(mean_usd, features.dim(), weights, range_usd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Average;
    use crate::method::Device;
    use crate::progress::Silent;
    use rand::RngExt;
    use routewright_data::features::{Column, Featurizer};
    use routewright_data::{FeatureMatrix, OutcomeTable, Query, rng};
    use std::sync::Arc;

    /// Arm 0 costs `exp(x - 7)` with noise, arm 1 by the call, arm 2 nothing at times, arm 3 is not priced.
    fn world(n: usize) -> (OutcomeTable, FeatureMatrix) {
        let mut rng = rng::stream(3, "costs");
        let (mut x, mut cost) = (vec![], vec![]);
        for i in 0..n {
            let value = rng.random_range(-1.0_f32..1.0);
            x.push(value);
            let noisy = (value - 7.0 + rng.random_range(-0.2..0.2)).exp();
            let seen = i % 9 != 4;
            cost.extend([if seen { noisy } else { f32::NAN }, 0.002, (i % 2) as f32 * 0.01, f32::NAN]);
        }
        let query = |i: usize| Query { id: i.to_string(), prompt: i.to_string(), ..Query::default() };
        let table = OutcomeTable {
            queries: (0..n).map(query).collect(),
            models: ["line", "call", "free", "unknown"].map(str::to_owned).to_vec(),
            score: Cells::from_vec(n, 4, vec![0.5; 4 * n]),
            soft_score: None,
            cost_usd: Cells::from_vec(n, 4, cost),
            latency_ms: None,
            vectors: None,
        };
        (table, FeatureMatrix::from_vec(n, 1, x))
    }

    #[test]
    fn a_line_is_fitted_where_it_predicts_better_than_the_mean() {
        let (table, features) = world(400);
        let featurizer: Arc<dyn Featurizer> = Arc::new(Column::new("vector", 1));
        let context = FitContext {
            train: &table,
            pairs: None,
            answers: None,
            features: &features,
            featurizer: &featurizer,
            average: Average::Micro,
            seed: 1,
            device: Device::Cpu,
            progress: &Silent,
            checkpoint: None,
        };
        let model = fit("ridge", &context).unwrap();
        let cost = model.predict(&FeatureMatrix::from_vec(2, 1, vec![-0.8, 0.8]));
        // exp(-7.8) and exp(-6.2); the mean of a uniform noise of 0.2 lifts both by 0.7 %.
        assert!((cost[0] / 0.00041 - 1.0).abs() < 0.1, "{cost:?}");
        assert!((cost[4] / 0.00203 - 1.0).abs() < 0.1, "{cost:?}");
        assert!((cost[1] - 0.002).abs() < 1e-8 && cost[1] == cost[5], "{cost:?}");
        assert!((cost[2] - 0.005).abs() < 1e-7 && cost[2] == cost[6], "{cost:?}");
        assert!(cost[3].is_nan() && cost[7].is_nan());
        // The mean predicted price is the mean logged one.
        let rows: Vec<usize> = (0..400).filter(|row| table.cost_usd.get(*row, 0).is_some()).collect();
        let all = model.predict(&features.select_rows(&rows));
        let mean = all.iter().step_by(4).map(|c| f64::from(*c)).sum::<f64>() / rows.len() as f64;
        assert!((mean / table.cost_usd.column_mean(0).unwrap() - 1.0).abs() < 0.01, "{mean}");
        let few = table.select_rows(&(0..30).collect::<Vec<_>>());
        let context = FitContext { train: &few, ..context };
        let constant = CostModel::constant(means::mean_costs(&few));
        assert_eq!(format!("{:?}", fit("ridge", &context).unwrap()), format!("{constant:?}"));
    }
}
