//! A bandit at the start of its life: what learns, what chooses, what it is paid.

use routewright_policy::SelectorSpec;
use routewright_policy::forms::CostModel;
use routewright_policy::online::{Learner, Reward};

/// A learner with the selector that chooses from its predictions and the reward it learns from.
#[derive(Debug)]
pub struct Bandit {
    /// What learns.
    pub learner: Box<dyn Learner>,
    /// What chooses, and states the probability it did with.
    pub selector: SelectorSpec,
    /// What it learns from.
    pub reward: Reward,
    /// Whether rewards are put on `[0, 1]` before they are learned, see [`Reward::normalized`].
    pub normalized: bool,
    /// What the calls are expected to cost.
    pub cost: CostModel,
}

impl Bandit {
    /// The number that is learned of one call.
    pub(crate) fn lesson(&self, score: f64, cost_usd: Option<f64>, latency_ms: Option<f64>) -> f64 {
        let reward = self.reward.of(score, cost_usd, latency_ms);
        if self.normalized { self.reward.normalized(reward) } else { reward }
    }
}
