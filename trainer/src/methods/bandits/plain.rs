//! What the textbook bandits without features share.

use super::replay::{self, Told};
use super::tabular::{self, Cells, Pay, Per};
use crate::method::{FitContext, FitError, Fitted};
use crate::simulate::Bandit;
use routewright_policy::SelectorSpec;
use routewright_policy::forms::Rule;
use routewright_policy::online::RewardForm;
use serde::{Deserialize, Serialize};

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// What shares one set of counts: `all`, `source` or `cluster`.
    per: Per,
    /// Clusters, where `per` is `cluster`.
    clusters: usize,
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
        Self { per: Per::All, clusters: 16, score: 1.0, cost: 0.0, latency: 0.0, epochs: 1, explores: false }
    }
}

/// The bandit of a rule and an explorer, before its first reward.
pub(super) fn start(
    method: &'static str,
    rule: Rule,
    explorer: SelectorSpec,
    params: &Params,
    context: &FitContext<'_>,
) -> Result<Bandit, FitError> {
    let &Params { per, clusters, score, cost, latency, .. } = params;
    let pay = Pay { form: RewardForm::Sum, score, cost, latency };
    tabular::start(method, rule, Cells { per, clusters }, pay, explorer, context)
}

/// Lets the bandit learn from the train rows.
pub(super) fn fit(bandit: Bandit, params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
    let deployed = if params.explores { bandit.selector.clone() } else { SelectorSpec::named("argmax") };
    replay::fit(bandit, Told::Bandit, params.epochs.max(1), deployed, params, context)
}
