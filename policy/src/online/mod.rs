//! Learning after the artifact was made: a reward at a time, in any order.
//!
//! A policy never changes; what it learns from production is kept beside it by a [`Learner`], a predictor
//! that may be told rewards. Its statistics are sums over what it was told: without forgetting they do not
//! depend on the order of arrival, *bit for bit* (see [`ArmStatistics`]), and two learners that heard
//! different rewards merge by addition.
//!
//! Time is logical: the number of decisions the policy had made when it made this one. A learner that
//! forgets weighs a reward by the distance between decisions, never between arrivals, so that a late reward
//! counts as much as a prompt one.

mod adwin;
mod forgetting;
mod history;
mod packed;
mod reward;
mod shared;
mod statistics;

pub use forgetting::Forgetting;
pub use history::History;
pub use packed::Packed;
pub use reward::{Reward, RewardForm};
pub use shared::Shared;
pub(crate) use statistics::Scratch;
pub(crate) use statistics::dot;
pub use statistics::{ArmStatistics, Posterior, Prior};

use crate::{FormState, LoadError, Predictor};

/// One decision whose reward is known.
#[derive(Debug, Clone, Copy)]
pub struct Experience<'a> {
    /// Features the decision was made on.
    pub features: &'a [f32],
    /// Source of the query, where known.
    pub source: Option<&'a str>,
    /// The arm that was called.
    pub arm: usize,
    /// The arm it was compared with, where the reward is who won: 1 for `arm`, 0 for the rival, 1/2 for neither.
    pub rival: Option<usize>,
    /// What came of it; `[0, 1]` for the reward forms of this project, any finite number else.
    pub reward: f64,
    /// How much it counts, at least 0; 1 for a trusted source.
    pub weight: f64,
    /// Decisions of the policy before this one.
    pub time: u64,
}

/// Why a reward could not be learned from.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// The features have another width than the form was made with.
    #[error("cannot learn: features have width {found}, the policy was made with {expected}")]
    Width {
        /// Width given.
        found: usize,
        /// Width expected.
        expected: usize,
    },
    /// A number is not valid.
    #[error("cannot learn: `{field}` is `{value}`, expected {expected}")]
    Number {
        /// Which number.
        field: &'static str,
        /// Value given.
        value: f64,
        /// What would be accepted.
        expected: &'static str,
    },
    /// No such arm.
    #[error("cannot learn: arm {arm} of {n_arms}")]
    Arm {
        /// Index given.
        arm: usize,
        /// Number of arms.
        n_arms: usize,
    },
    /// What the form learned depends on the order of the rewards.
    #[error(
        "cannot merge or unlearn: what form `{form}` learns by this rule depends on the order of the rewards"
    )]
    Order {
        /// Name of the form.
        form: &'static str,
    },
    /// The form learns from comparisons.
    #[error(
        "cannot learn: form `{form}` learns from comparisons of two arms, expected a preference or a ranking"
    )]
    Rival {
        /// Name of the form.
        form: &'static str,
    },
    /// The form cannot take another arm.
    #[error("cannot add an arm: form `{form}` has the arms it was trained with")]
    Arms {
        /// Name of the form.
        form: &'static str,
    },
    /// The form cannot say how good an arm is before any reward.
    #[error("cannot add an arm of a declared quality: {reason}")]
    Quality {
        /// Why.
        reason: &'static str,
    },
    /// The statistics do not fit the form, or make no system that can be solved.
    #[error("cannot learn: {0}")]
    Statistics(#[from] LoadError),
}

/// An arm to be added to what is learned.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct NewArm {
    /// Reward expected of it on every query, and how many rewards that expectation counts as, above 0. `None`
    /// leaves it to the form.
    pub quality: Option<(f64, f64)>,
    /// Mean price of a call, US dollars, where known.
    pub cost_usd: Option<f64>,
}

/// A predictor that learns from rewards.
pub trait Learner: Predictor {
    /// Learns from one reward.
    ///
    /// # Errors
    /// If the experience does not fit the form; nothing is learned then.
    fn learn(&mut self, experience: &Experience<'_>) -> Result<(), LearnError>;

    /// Writes the prediction for one query into `score` and `score_se`, one entry an arm: what
    /// [`Predictor::predict`] computes, without its allocations.
    fn predict_into(
        &mut self,
        features: &[f32],
        source: Option<&str>,
        score: &mut [f32],
        score_se: &mut [f32],
    );

    /// What each member believed at the last [`Learner::predict_into`], less the score: `(n_members, n_arms)`;
    /// `None` for a form that is no ensemble.
    fn deviations(&self) -> Option<&[f32]> {
        None
    }

    /// Rewards learned from.
    fn n_updates(&self) -> u64;

    /// Whether it learns from comparisons of two arms, and from nothing else.
    fn compares(&self) -> bool {
        false
    }

    /// Whether [`Learner::unlearn`] takes rewards back.
    fn can_unlearn(&self) -> bool {
        false
    }

    /// Takes back a reward that was learned: what remains is as if it had never been.
    ///
    /// # Errors
    /// If the experience does not fit, or what was learned depends on the order of the rewards.
    fn unlearn(&mut self, _experience: &Experience<'_>) -> Result<(), LearnError> {
        Err(LearnError::Order { form: self.form() })
    }

    /// Adds an arm behind the others.
    ///
    /// # Errors
    /// If the form cannot take it; nothing is changed then.
    fn add_arm(&mut self, _arm: &NewArm) -> Result<(), LearnError> {
        Err(LearnError::Arms { form: self.form() })
    }

    /// Adds arms behind the others, all believed from what is known before the first of them.
    ///
    /// # Errors
    /// If the form cannot take one; [`Predictor::n_arms`] says how many were added before it.
    fn add_arms(&mut self, arms: &[NewArm]) -> Result<(), LearnError> {
        arms.iter().try_for_each(|arm| self.add_arm(arm))
    }

    /// Moves the mean price of an arm, US dollars.
    ///
    /// # Errors
    /// If there is no such arm, or the form keeps the prices it was trained with.
    fn reprice(&mut self, _arm: usize, _usd: f64) -> Result<(), LearnError> {
        Err(LearnError::Arms { form: self.form() })
    }

    /// A predictor that stays as it is; shares with this one what later learning does not touch.
    fn snapshot(&self) -> Box<dyn Predictor>;

    /// Adds what `other` learned since both were `base`; all three have the same form and sizes.
    ///
    /// # Errors
    /// If the states do not fit.
    fn merge(&mut self, other: FormState, base: FormState) -> Result<(), LearnError>;
}

/// Checks what is common to every form.
pub(crate) fn check(experience: &Experience<'_>, n_arms: usize, dim: usize) -> Result<(), LearnError> {
    let Experience { features, arm, reward, weight, .. } = *experience;
    if arm >= n_arms {
        return Err(LearnError::Arm { arm, n_arms });
    }
    if dim > 0 && features.len() != dim {
        return Err(LearnError::Width { found: features.len(), expected: dim });
    }
    let number = |field, value, expected| Err(LearnError::Number { field, value, expected });
    if !reward.is_finite() {
        return number("reward", reward, "a finite number");
    }
    if !weight.is_finite() || weight < 0.0 {
        return number("weight", weight, "a finite number of at least 0");
    }
    match features.iter().find(|value| !value.is_finite()) {
        Some(value) if dim > 0 => number("features", f64::from(*value), "finite numbers"),
        _ => Ok(()),
    }
}
