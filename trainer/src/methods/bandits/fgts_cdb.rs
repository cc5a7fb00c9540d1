//! Feel-good Thompson sampling for contextual duels (FGTS.CDB, Li et al., arXiv 2404.06013): learns from which of two
//! answers was preferred.
//!
//! What runs is the duelling model of that paper with one Gaussian belief, without its feel-good term by default:
//! see the deviations. With a pair log the judgements are learned in a random order.
//!
//! `P(a beats b | x) = sigmoid((theta_a - theta_b) . x)`; two arms are drawn from the belief for every query, and the
//! preference between them is learned. Deviations:
//! 1. the posterior is that of the quadratic bound of the logistic loss around a tie: one normal distribution whose
//!    statistics are sums, in place of Langevin sampling;
//! 2. both arms are drawn from one belief; the paper keeps two, which differ in whose rival feels good;
//! 3. the feel-good term is 0 by default, as it depends on the order of arrival;
//! 4. the probability of an arm is computed from the marginal beliefs against the mean arm, and drawn from, see
//!    `thompson`;
//! 5. an arm has coefficients of its own, not an embedding.

use super::paid;
use super::replay::{self, Told};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, OnlineMethod, Reads};
use crate::methods::baselines::means;
use crate::simulate::Bandit;
use routewright_policy::SelectorSpec;
use routewright_policy::forms::{COEFFICIENTS_MAX, CostModel, DuelShape, Duels};
use routewright_policy::online::RewardForm;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<FgtsCdb>(
    "Thompson sampling on preferences between two answers",
    Some("2404.06013"),
    Family::Before,
    &[Need::Features, Need::Preferences],
)
.online::<FgtsCdb>()
.reading(&[Reads::Outcomes, Reads::Pairs]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct FgtsCdb;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::methods) struct Params {
    /// Prior precision (ridge) of every coefficient, above 0.
    precision: f64,
    /// Standard deviation of a result around its expectation; 0.5 is the most a result can have.
    noise: f64,
    /// Whether a constant feature is added.
    intercept: bool,
    /// How much a comparison speaks for the arm believed the best, at least 0.
    feel_good: f64,
    /// What chooses while learning.
    explorer: SelectorSpec,
    /// Weight of the score in what decides who wins.
    score: f64,
    /// Weight of the price, in prices of the dearest arm.
    cost: f64,
    /// Weight of the decimal logarithm of the latency in milliseconds.
    latency: f64,
    /// What is learned from the train rows when a policy is trained.
    feedback: Told,
    /// Passes over the train rows when a policy is trained.
    epochs: usize,
    /// Whether the trained policy goes on exploring; else it chooses the greatest predicted score.
    explores: bool,
}

impl Default for Params {
    fn default() -> Self {
        let settings = serde_json::json!({ "scale": 0.3 });
        Self {
            precision: 1.0,
            noise: 0.5,
            intercept: true,
            feel_good: 0.0,
            explorer: SelectorSpec { name: "thompson".to_owned(), settings },
            score: 1.0,
            cost: 0.0,
            latency: 0.0,
            feedback: Told::Bandit,
            epochs: 1,
            explores: false,
        }
    }
}

impl Method for FgtsCdb {
    const NAME: &'static str = "fgts-cdb";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        if params.epochs == 0 {
            let reason = "`epochs` is `0`, expected at least 1".to_owned();
            return Err(FitError::Params { method: Self::NAME, reason });
        }
        let mut bandit = Self::start(params, context)?;
        let argmax = || SelectorSpec::named("argmax");
        let deployed = if params.explores { params.explorer.clone() } else { argmax() };
        if let Some(pairs) = context.pairs {
            replay::judged(&mut bandit, pairs, params.epochs, context)?;
            return replay::rest(bandit, params.feedback, params.epochs, deployed, params, context);
        }
        replay::fit(bandit, params.feedback, params.epochs, deployed, params, context)
    }
}

impl OnlineMethod for FgtsCdb {
    fn start(params: &Params, context: &FitContext<'_>) -> Result<Bandit, FitError> {
        let Params { precision, noise, intercept, feel_good, .. } = *params;
        paid::within(Self::NAME, "precision", precision, 1e-6..=1e9)?;
        paid::within(Self::NAME, "noise", noise, 0.0..=f64::MAX)?;
        paid::within(Self::NAME, "feel_good", feel_good, 0.0..=1e3)?;
        let weights = [params.score, params.cost, params.latency];
        let reward = paid::reward(Self::NAME, RewardForm::Sum, weights, context)?;
        let cost = CostModel::constant(means::mean_costs(context.train));
        let shape = DuelShape { dim: context.features.dim(), intercept, precision, noise, feel_good };
        fits(&shape, context.train.n_arms())?;
        let learner = Duels::new(shape, cost.clone())
            .map_err(|error| FitError::Numeric { method: Self::NAME, reason: error.to_string() })?;
        let selector = params.explorer.clone();
        Ok(Bandit { learner: Box::new(learner), selector, reward, normalized: false, cost })
    }
}

/// Refuses a log whose arms and features are too many for one belief over all of them.
fn fits(shape: &DuelShape, n_arms: usize) -> Result<(), FitError> {
    let width = shape.dim + usize::from(shape.intercept);
    let n = n_arms * width;
    if n <= COEFFICIENTS_MAX {
        return Ok(());
    }
    let most = COEFFICIENTS_MAX / n_arms.max(1);
    let reason = format!(
        "its {n_arms} models of {width} coefficients each are {n} for one belief over all, expected at most \
         {COEFFICIENTS_MAX}: use features of at most {} (`--dim`, `--source-weight 0`) or fewer models",
        most.saturating_sub(usize::from(shape.intercept))
    );
    Err(FitError::Log { method: FgtsCdb::NAME, reason })
}
