//! What the linear bandits share: parameters, and a Bayesian ridge regression per arm to start from.

use super::paid;
use super::replay::{self, Told};
use crate::method::{FitContext, FitError, Fitted};
use crate::methods::baselines::means;
use crate::simulate::Bandit;
use rand::RngExt as _;
use routewright_data::linalg::LinalgError;
use routewright_data::rng;
use routewright_policy::SelectorSpec;
use routewright_policy::forms::{BayesianRidge, CostModel, Ensemble, EnsembleShape, RidgeShape};
use routewright_policy::online::{Forgetting, Learner, Reward, RewardForm};
use serde::{Deserialize, Serialize};

/// Parameters of a linear bandit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Params {
    /// Prior precision (ridge) of every coefficient, above 0.
    pub(super) precision: f64,
    /// Standard deviation of a reward around its expectation; 0.5 is the most a score can have.
    pub(super) noise: f64,
    /// Reward expected of an arm before any, through the intercept.
    pub(super) prior_mean: f64,
    /// Whether a constant feature is added.
    pub(super) intercept: bool,
    /// Prior precision of coefficients that all arms share, above 0; none shares none.
    pub(super) shared: Option<f64>,
    /// What is remembered of rewards long past.
    pub(super) forgetting: Forgetting,
    /// What chooses while learning.
    pub(super) explorer: SelectorSpec,
    /// Weight of the score in the reward.
    pub(super) score: f64,
    /// Weight of the price, in prices of the dearest arm.
    pub(super) cost: f64,
    /// Weight of the decimal logarithm of the latency in milliseconds.
    pub(super) latency: f64,
    /// What is learned from the train rows when a policy is trained.
    pub(super) feedback: Told,
    /// Passes over the train rows when a policy is trained.
    pub(super) epochs: usize,
    /// Whether the trained policy goes on exploring; else it chooses the greatest predicted reward.
    pub(super) explores: bool,
}

impl Params {
    /// The defaults, with an explorer.
    pub(super) fn exploring(explorer: SelectorSpec) -> Self {
        Self {
            precision: 1.0,
            noise: 0.5,
            prior_mean: 0.5,
            intercept: true,
            shared: None,
            forgetting: Forgetting::default(),
            explorer,
            score: 1.0,
            cost: 0.0,
            latency: 0.0,
            feedback: Told::Bandit,
            epochs: 1,
            explores: false,
        }
    }

    /// The selector of the trained policy.
    pub(super) fn deployed(&self) -> SelectorSpec {
        if self.explores { self.explorer.clone() } else { SelectorSpec::named("argmax") }
    }
}

/// What a linear bandit starts from, whatever it learns with.
pub(super) struct Begun {
    pub(super) shape: RidgeShape,
    /// `(n_arms, shape.width())`.
    pub(super) prior_mean: Vec<f32>,
    pub(super) cost: CostModel,
    pub(super) reward: Reward,
    selector: SelectorSpec,
}

impl Begun {
    /// Checks the parameters and fits what they ask for, over features of width `dim`.
    pub(super) fn of(
        method: &'static str,
        params: &Params,
        dim: usize,
        context: &FitContext<'_>,
    ) -> Result<Self, FitError> {
        let Params { precision, noise, intercept, shared, forgetting, .. } = *params;
        let most = f64::MAX;
        paid::within(method, "precision", precision, 1e-6..=1e9)?;
        paid::within(method, "shared", shared.unwrap_or(1.0), 1e-6..=1e9)?;
        paid::within(method, "noise", noise, 0.0..=most)?;
        paid::within(method, "prior_mean", params.prior_mean, -most..=most)?;
        forgetting.check().map_err(|reason| FitError::Params { method, reason })?;
        if matches!(forgetting, Forgetting::Adwin(_)) && !intercept {
            let reason = "`forgetting` is `adwin`, which needs `intercept`".to_owned();
            return Err(FitError::Params { method, reason });
        }
        let weights = [params.score, params.cost, params.latency];
        let reward = paid::reward(method, RewardForm::Sum, weights, context)?;
        let shape = RidgeShape { dim, intercept, precision, noise, forgetting, shared };
        let mut arm = vec![0.0; shape.width()];
        if let (true, Some(last)) = (intercept, arm.last_mut()) {
            *last = params.prior_mean as f32;
        }
        let prior_mean = arm.repeat(context.train.n_arms());
        let cost = CostModel::constant(means::mean_costs(context.train));
        Ok(Self { shape, prior_mean, cost, reward, selector: params.explorer.clone() })
    }

    /// The bandit that learns with `learner`.
    pub(super) fn bandit(self, learner: Box<dyn Learner>) -> Bandit {
        let Self { cost, reward, selector, .. } = self;
        Bandit { learner, selector, reward, normalized: false, cost }
    }
}

fn numeric(method: &'static str) -> impl Fn(LinalgError) -> FitError {
    move |error| FitError::Numeric { method, reason: error.to_string() }
}

/// The bandit before its first reward. `prior_mean` replaces the parameter: `(n_arms, dim + intercept)`.
pub(super) fn start(
    method: &'static str,
    params: &Params,
    prior_mean: Option<Vec<f32>>,
    context: &FitContext<'_>,
) -> Result<Bandit, FitError> {
    let begun = Begun::of(method, params, context.features.dim(), context)?;
    let prior_mean = prior_mean.unwrap_or_else(|| begun.prior_mean.clone());
    let learner = BayesianRidge::new(begun.shape, prior_mean, begun.cost.clone());
    let learner = learner.map_err(numeric(method))?;
    Ok(begun.bandit(Box::new(learner)))
}

/// Parameters of a bandit over an ensemble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct EnsembleParams {
    /// Number of members.
    pub(super) members: usize,
    /// Standard deviation of the members' prior means, in standard deviations of the prior.
    pub(super) spread: f64,
    /// Those of every linear bandit.
    #[serde(flatten)]
    pub(super) linear: Params,
}

/// The bandit over an ensemble before its first reward.
pub(super) fn start_ensemble(
    method: &'static str,
    params: &EnsembleParams,
    context: &FitContext<'_>,
) -> Result<Bandit, FitError> {
    paid::within(method, "members", params.members as f64, 2.0..=256.0)?;
    paid::within(method, "spread", params.spread, 0.0..=1e6)?;
    let begun = Begun::of(method, &params.linear, context.features.dim(), context)?;
    let EnsembleParams { members, spread, .. } = *params;
    let seed = rng::stream(context.seed, "ensemble").random();
    let shape = EnsembleShape { members, spread, seed, ridge: begun.shape };
    let learner = Ensemble::new(shape, &begun.prior_mean, begun.cost.clone()).map_err(numeric(method))?;
    Ok(begun.bandit(Box::new(learner)))
}

/// Lets a bandit learn from the train rows.
pub(super) fn fit(
    method: &'static str,
    params: &Params,
    bandit: Bandit,
    context: &FitContext<'_>,
) -> Result<Fitted, FitError> {
    fit_as(method, params, params, bandit, context)
}

/// The same for a method with more parameters, all of which are recorded.
pub(super) fn fit_as(
    method: &'static str,
    params: &Params,
    recorded: &impl Serialize,
    bandit: Bandit,
    context: &FitContext<'_>,
) -> Result<Fitted, FitError> {
    if params.epochs == 0 {
        let reason = "`epochs` is `0`, expected at least 1".to_owned();
        return Err(FitError::Params { method, reason });
    }
    replay::fit(bandit, params.feedback, params.epochs, params.deployed(), recorded, context)
}
