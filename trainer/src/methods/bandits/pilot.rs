//! PILOT (arXiv 2508.21141): LinUCB that starts from what preferences say of the arms.
//!
//! 1. Preferences. On the labelled queries, `P(a beats b) = sigmoid(x . (v_a - v_b))`: one vector an arm, by
//!    the pairwise logistic loss over every two arms of different score.
//! 2. The prior. A preference knows no scale: `score = c + s (x . v_m)` is fitted by least squares, and
//!    `theta_0m = s v_m` with the rest in the intercept is the prior mean of arm `m`.
//! 3. Online. LinUCB with that prior: `A theta = precision theta_0 + sum r x`.
//!
//! Of the paper it keeps the order (preferences, then rewards) and the preference-informed prior, not the
//! projection, the cosine reward or the knapsack. Written from digests of the paper. Deviations:
//! 1. there is no learned projection of the query: the features are the featurizer's (or those of an
//!    encoder trained by another method);
//! 2. the reward is that of the other bandits, not a cosine;
//! 3. the knapsack policy for a budget is the pacer of `policy::pacing`, which wraps any selector;
//! 4. preferences are made from the scores of the labelled queries: in `train` a share of them, in `simulate`
//!    the queries held out before the stream starts. Judgements of a pair log take their place where one is given:
//!    alone, the line is fitted to the shares of comparisons won and nothing is played.

use super::linear::{self, Params as LinearParams};
use super::paid;
use super::replay;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, OnlineMethod, Reads};
use crate::neural::{AdamW, CpuEngine, Engine as _, HeadShape, Network, Targets};
use crate::simulate::Bandit;
use crate::validation;
use rand::RngExt as _;
use routewright_data::dense::Activation;
use routewright_data::rng;
use routewright_policy::SelectorSpec;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Pilot>(
    "LinUCB whose prior is learned from preferences",
    Some("2508.21141"),
    Family::Before,
    &[Need::Features],
)
.online::<Pilot>()
.reading(&[Reads::Outcomes, Reads::Pairs]);

/// Queries a step of the preference loss.
const BATCH: usize = 64;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Pilot;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::methods) struct Params {
    /// Share of the train rows whose preferences make the prior when a policy is trained, `(0, 1]`.
    warm_share: f64,
    /// Steps of the preference loss.
    steps: u64,
    /// Learning rate of the preference loss.
    rate: f32,
    /// Those of every linear bandit; `precision` says how many rewards the prior weighs.
    #[serde(flatten)]
    linear: LinearParams,
}

impl Default for Params {
    fn default() -> Self {
        let settings = serde_json::json!({ "alpha": 0.25 });
        let linear = LinearParams::exploring(SelectorSpec { name: "ucb".to_owned(), settings });
        Self { warm_share: 0.2, steps: 1000, rate: 0.01, linear: LinearParams { precision: 5.0, ..linear } }
    }
}

impl Method for Pilot {
    const NAME: &'static str = "pilot";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        paid::within(Self::NAME, "warm_share", params.warm_share, 0.01..=1.0)?;
        if context.pairs.is_some() {
            let linear = &params.linear;
            paid::within(Self::NAME, "epochs", linear.epochs as f64, 1.0..=1e6)?;
            let bandit = Self::start(params, context)?;
            return replay::rest(bandit, linear.feedback, linear.epochs, linear.deployed(), params, context);
        }
        let slice = validation::slice(context.train, context.seed, params.warm_share);
        let rows = if slice.valid.is_empty() { &slice.fit } else { &slice.valid };
        let (train, features) = (context.train.select_rows(rows), context.features.select_rows(rows));
        let warm = FitContext { train: &train, features: &features, ..*context };
        let bandit = Self::start(params, &warm)?;
        linear::fit_as(Self::NAME, &params.linear, params, bandit, context)
    }
}

impl OnlineMethod for Pilot {
    fn start(params: &Params, context: &FitContext<'_>) -> Result<Bandit, FitError> {
        if params.steps == 0 || !(params.rate > 0.0 && params.rate < 10.0) {
            let reason = "`steps` must be at least 1 and `rate` above 0 and below 10".to_owned();
            return Err(FitError::Params { method: Self::NAME, reason });
        }
        if !params.linear.intercept {
            let reason = "`intercept` is `false`; a preference knows no scale, so the prior needs one";
            return Err(FitError::Params { method: Self::NAME, reason: reason.to_owned() });
        }
        let prior = prior_mean(params, context);
        linear::start(Self::NAME, &params.linear, Some(prior), context)
    }
}

/// Prior mean of every arm, `(n_arms, dim + 1)` with the intercept last.
fn prior_mean(params: &Params, context: &FitContext<'_>) -> Vec<f32> {
    let (table, features) = (context.train, context.features);
    let (n, n_arms, dim) = (table.n_queries(), table.n_arms(), features.dim());
    let network = Network { dim, layers: Vec::new(), head: HeadShape::Linear(Activation::Identity), n_arms };
    let optimizer = AdamW { rate: params.rate, ..AdamW::default() };
    let mut parameters = network.init(context.seed);
    parameters.iter_mut().for_each(|p| p.values.fill(0.0));
    let mut engine = CpuEngine::new(network, parameters, optimizer);
    let mut rng = rng::stream(context.seed, "pilot batches");
    // Beside an outcome log the prior is that of the judgements: the outcomes are what it then learns from.
    let is_told = |row: &usize| context.pairs.is_none_or(|pairs| !pairs.of(*row).is_empty());
    let told: Vec<usize> = (0..n).filter(is_told).collect();
    for _ in 0..params.steps {
        let rows: Vec<usize> = (0..BATCH).map(|_| told[rng.random_range(0..told.len())]).collect();
        let targets = match context.pairs {
            Some(pairs) => pairs.targets(&table.score, &rows),
            None => Targets::Preferences(table.score.select_rows(&rows).values().to_vec()),
        };
        engine.step(features.select_rows(&rows).values(), &targets, None);
    }
    let parameters = engine.parameters();
    let (weights, bias) = (&parameters[0].values, &parameters[1].values);
    let strength = |row: usize, arm: usize| -> f64 {
        let x = features.row(row);
        let products = x.iter().enumerate().map(|(i, x)| f64::from(x * weights[i * n_arms + arm]));
        products.sum::<f64>() + f64::from(bias[arm])
    };
    let cells = (0..n).flat_map(|row| (0..n_arms).map(move |arm| (row, arm)));
    let pairs = cells.filter_map(|(row, arm)| Some((strength(row, arm), table.score.get(row, arm)?.into())));
    let (level, slope) = line(&pairs.collect::<Vec<(f64, f64)>>());
    let coefficient = |arm: usize, i: usize| match i < dim {
        true => slope * f64::from(weights[i * n_arms + arm]),
        false => level + slope * f64::from(bias[arm]),
    };
    (0..n_arms).flat_map(|arm| (0..=dim).map(move |i| coefficient(arm, i) as f32)).collect()
}

/// Level and slope of the least squares line through points; a slope below 0 is none.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let joint: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let own: f64 = points.iter().map(|p| (p.0 - x) * (p.0 - x)).sum();
    let slope = if own > 0.0 { (joint / own).max(0.0) } else { 0.0 };
    (y - slope * x, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_least_squares_and_never_falls() {
        let (level, slope) = line(&[(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]);
        assert!((level - 1.0).abs() < 1e-12 && (slope - 1.0).abs() < 1e-12);
        assert_eq!(line(&[(0.0, 1.0), (1.0, 0.0)]), (0.5, 0.0));
        assert_eq!(line(&[(1.0, 0.25), (1.0, 0.75)]), (0.5, 0.0));
    }
}
