//! PickLLM by a learning automaton (Sikeridis et al., arXiv 2412.12170, variant A): linear reward-inaction.
//!
//! `p_m += rate r (1 - p_m)`, `p_j -= rate r p_j`, arms drawn from `p`; `r` is the reward on `[0, 1]`. It
//! converges to one arm and stays there. Written from digests of the paper; `rate = 0.05` is ours.
//! Deviations: those of `pickllm-q`; and the trained policy calls the likeliest arm unless it `explores`.

use super::paid;
use super::replay::{self, Told};
use super::tabular::{self, Cells, Pay, Per};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, OnlineMethod};
use crate::simulate::Bandit;
use routewright_policy::SelectorSpec;
use routewright_policy::forms::Rule;
use routewright_policy::online::RewardForm;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<PickLlmAutomaton>(
    "learning automaton over arms (linear reward-inaction), per session topic",
    Some("2412.12170"),
    Family::Before,
    &[Need::Source],
)
.online::<PickLlmAutomaton>();

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct PickLlmAutomaton;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Learning rate, `(0, 1)`.
    rate: f64,
    /// What shares one set of probabilities: `all`, `source` or `cluster`.
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
    /// Whether the trained policy draws from its probabilities; else it calls the likeliest arm.
    explores: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            rate: 0.05,
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

impl Method for PickLlmAutomaton {
    const NAME: &'static str = "pickllm-automaton";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let bandit = Self::start(params, context)?;
        let deployed = SelectorSpec::named(if params.explores { "proportional" } else { "argmax" });
        replay::fit(bandit, Told::Bandit, params.epochs.max(1), deployed, params, context)
    }
}

impl OnlineMethod for PickLlmAutomaton {
    fn start(params: &Params, context: &FitContext<'_>) -> Result<Bandit, FitError> {
        paid::within(Self::NAME, "rate", params.rate, 1e-6..=0.999)?;
        let &Params { rate, per, clusters, form, score, cost, latency, .. } = params;
        let pay = Pay { form, score, cost, latency };
        let (rule, cells) = (Rule::RewardInaction { rate }, Cells { per, clusters });
        tabular::start(Self::NAME, rule, cells, pay, SelectorSpec::named("proportional"), context)
    }
}
