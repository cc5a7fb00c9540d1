//! What the bandits without features share: which cell a query falls into, and the start of a table.

use super::paid;
use crate::clustering::kmeans;
use crate::method::{FitContext, FitError};
use crate::methods::baselines::means;
use crate::simulate::Bandit;
use routewright_policy::SelectorSpec;
use routewright_policy::forms::{Cell, CostModel, Rule, ValueTable};
use routewright_policy::online::RewardForm;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Iterations of k-means.
const ITERATIONS: usize = 20;

/// What shares one set of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Per {
    /// Every query.
    All,
    /// The queries of one source: a session on one topic.
    Source,
    /// The queries of one cluster of features.
    Cluster,
}

/// The reward of a bandit without features.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pay {
    /// How the terms of the reward are joined: `sum` or `product`.
    pub(super) form: RewardForm,
    /// Weight of the score.
    pub(super) score: f64,
    /// Weight of the price, in prices of the dearest arm.
    pub(super) cost: f64,
    /// Weight of the decimal logarithm of the latency in milliseconds.
    pub(super) latency: f64,
}

/// Which cells there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells {
    /// What shares one set of values.
    pub(super) per: Per,
    /// Clusters, where it is the cluster.
    pub(super) clusters: usize,
}

impl Cells {
    fn make(self, method: &'static str, context: &FitContext<'_>) -> Result<Cell, FitError> {
        match self.per {
            Per::All => Ok(Cell::One),
            Per::Source => {
                let sources: BTreeSet<&str> = context.train.sources().into_iter().flatten().collect();
                Ok(Cell::Sources(sources.into_iter().map(str::to_owned).collect()))
            }
            Per::Cluster if self.clusters == 0 || context.features.dim() == 0 => {
                let reason = "`per` is `cluster`, which needs features and `clusters` of at least 1";
                Err(FitError::Params { method, reason: reason.to_owned() })
            }
            Per::Cluster => {
                let (values, _) = kmeans(context.features, self.clusters, ITERATIONS, context.seed);
                Ok(Cell::Centroids { dim: context.features.dim(), values })
            }
        }
    }
}

/// The bandit before its first reward.
pub(super) fn start(
    method: &'static str,
    rule: Rule,
    cells: Cells,
    pay: Pay,
    selector: SelectorSpec,
    context: &FitContext<'_>,
) -> Result<Bandit, FitError> {
    let reward = paid::reward(method, pay.form, [pay.score, pay.cost, pay.latency], context)?;
    let cost = CostModel::constant(means::mean_costs(context.train));
    let learner = ValueTable::new(rule, cells.make(method, context)?, cost.clone());
    let normalized = matches!(rule, Rule::RewardInaction { .. });
    Ok(Bandit { learner: Box::new(learner), selector, reward, normalized, cost })
}
