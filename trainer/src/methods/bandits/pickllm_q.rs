//! PickLLM by stateless Q-learning (Sikeridis et al., arXiv 2412.12170, variant B).
//!
//! `Q_m += alpha (R - Q_m)`, epsilon-greedy. Written from digests of the paper; the exact settings are not
//! known. Ours, therefore: `alpha = 0.1`, `epsilon = 0.1 / (1 + n / 500)` after n rewards, `Q` starts at 0.5.
//! Deviations:
//! 1. the reward is the sum of its terms unless `form = "product"`, see `policy::online::Reward`;
//! 2. the price is relative to the dearest arm's mean, the latency in milliseconds, not below one;
//! 3. "per session" is per source of the query by default; `per = "cluster"` learns per cluster of features.

use super::paid;
use super::replay::{self, Told};
use super::tabular::{self, Cells, Pay, Per};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, OnlineMethod};
use crate::simulate::Bandit;
use routewright_policy::SelectorSpec;
use routewright_policy::forms::Rule;
use routewright_policy::online::RewardForm;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<PickLlmQ>(
    "stateless Q-learning over arms, per session topic",
    Some("2412.12170"),
    Family::Before,
    &[Need::Source],
)
.online::<PickLlmQ>();

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct PickLlmQ;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Size of a step, `(0, 1]`.
    alpha: f64,
    /// Probability of a random arm at the start.
    epsilon: f64,
    /// Rewards after which that has halved; 0 keeps it.
    half_life: f64,
    /// Value before any reward.
    start: f64,
    /// What shares one set of values: `all`, `source` or `cluster`.
    per: Per,
    /// Clusters, where `per` is `cluster`.
    clusters: usize,
    /// How the terms of the reward are joined: `sum` or `product`.
    form: RewardForm,
    /// Weight of the score.
    score: f64,
    /// Weight of the price, in prices of the dearest arm.
    cost: f64,
    /// Weight of the decimal logarithm of the latency in milliseconds.
    latency: f64,
    /// Passes over the train rows when a policy is trained.
    epochs: usize,
    /// Whether the trained policy goes on exploring.
    explores: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            alpha: 0.1,
            epsilon: 0.1,
            half_life: 500.0,
            start: 0.5,
            per: Per::Source,
            clusters: 16,
            form: RewardForm::Sum,
            score: 1.0,
            cost: 0.0,
            latency: 0.0,
            epochs: 1,
            explores: false,
        }
    }
}

impl Params {
    fn explorer(&self) -> SelectorSpec {
        let settings = serde_json::json!({ "epsilon": self.epsilon, "half_life": self.half_life });
        SelectorSpec { name: "epsilon-greedy".to_owned(), settings }
    }
}

impl Method for PickLlmQ {
    const NAME: &'static str = "pickllm-q";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let bandit = Self::start(params, context)?;
        let deployed = if params.explores { params.explorer() } else { SelectorSpec::named("argmax") };
        replay::fit(bandit, Told::Bandit, params.epochs.max(1), deployed, params, context)
    }
}

impl OnlineMethod for PickLlmQ {
    fn start(params: &Params, context: &FitContext<'_>) -> Result<Bandit, FitError> {
        paid::within(Self::NAME, "alpha", params.alpha, 1e-6..=1.0)?;
        paid::within(Self::NAME, "epsilon", params.epsilon, 0.0..=1.0)?;
        paid::within(Self::NAME, "half_life", params.half_life, 0.0..=f64::MAX)?;
        let &Params { alpha, start, per, clusters, form, score, cost, latency, .. } = params;
        let pay = Pay { form, score, cost, latency };
        let cells = Cells { per, clusters };
        tabular::start(Self::NAME, Rule::Step { alpha, start }, cells, pay, params.explorer(), context)
    }
}
