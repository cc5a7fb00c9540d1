//! What an estimator sees of a round, and what it makes of it.

/// One logged round with what the target policy and the reward model say of it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Round {
    /// What the row counts for: 1 over the probability that sampling kept it.
    pub mass: f64,
    /// Importance weight `w = pi(a) / p(a)` of the logged arm.
    pub importance: f64,
    /// Reward of the logged arm.
    pub reward: f64,
    /// What the reward model says of the logged arm, learned without this round.
    pub q_logged: f64,
    /// What it says of the target policy: `sum_a pi(a) q(a)` over the logged candidates.
    pub q_target: f64,
    /// A number in `[0, 1)` drawn for this round, for rejection sampling.
    pub draw: f64,
    /// Mass of the target policy on arms that the logging policy gave almost no probability.
    pub unsupported: f64,
}

/// What an estimator makes of a round: its value is the mean of `direct` plus the sum of `corrected` over the
/// sum of `norm`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Terms {
    /// Averaged over rounds.
    pub direct: f64,
    /// Summed, then divided by the sum of `norm`.
    pub corrected: f64,
    /// What `corrected` is divided by.
    pub norm: f64,
}

impl Terms {
    /// Terms of an estimator that is a plain mean.
    pub(super) fn mean(direct: f64) -> Self {
        Self { direct, ..Self::default() }
    }

    /// Terms of an estimator that is a ratio of sums.
    pub(super) fn ratio(corrected: f64, norm: f64) -> Self {
        Self { direct: 0.0, corrected, norm }
    }
}
