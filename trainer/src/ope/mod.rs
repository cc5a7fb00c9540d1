//! Off-policy evaluation: what a policy would have been worth on requests that another policy decided.
//!
//! A decision log holds, for each round, the candidates, the probability `p(a)` each had, the chosen arm and
//! (by the feedback log) its reward `r`. The target policy gives the same candidates probabilities `pi(a)`.
//! Every estimator here is a function of a few numbers a round ([`Round`]): the importance weight
//! `w = pi(a) / p(a)` of the chosen arm, `r`, the reward model's value of the chosen arm and of the target
//! policy, and what the row counts for. Its value is
//!
//! ```text
//! sum m direct / sum m  +  sum m corrected / sum m norm
//! ```
//!
//! so memory does not grow with the number of arms, logs are streamed through the policy in batches, and the intervals
//! of all of them and of their differences come from one rule ([`interval`]).
//!
//! One file an estimator in `estimators/`, one row in [`ALL`]. [`assess()`] is the whole of it: log in,
//! [`Assessment`] out, with the diagnostics ([`Overlap`], [`Calibration`]) and the [`Verdict`] that say
//! whether the numbers may be believed.

mod assess;
mod bootstrap;
mod calibration;
mod cross_fit;
mod error;
mod estimate;
mod estimators;
mod folds;
mod interval;
mod log_decisions;
mod overlap;
mod parameters;
mod percentiles;
mod propensities;
mod reward_model;
mod rounds;
mod segments;
mod stream;
mod targets;
mod verdict;

pub use assess::{Assessment, OpeOptions, assess};
pub use calibration::{Calibration, CalibrationRow};
pub use error::OpeError;
pub use estimate::{Difference, Estimate, EstimateOptions, Logged, Sample, estimate};
pub use estimators::{ALL, Estimator, find, select};
pub use log_decisions::{DECISIONS, DecisionsLogged, FEEDBACK, LogDecisionsOptions, log_decisions};
pub use overlap::Overlap;
pub use parameters::{LostMass, Parameter, Parameters, Tuned, UNSHRUNK};
pub use propensities::{ArmOverlap, ESTIMATED, EstimatedLog, PropensityOptions, estimate_decisions};
pub use reward_model::{RewardModel, RewardSums};
pub use rounds::{Cross, Round, Terms, weight_moments};
pub use segments::Segment;
pub use stream::{ClusterBy, Counts};
pub use targets::{LoggedTable, TargetKind, WEIGHT_MAX};
pub use verdict::{Thresholds, Verdict};

#[cfg(test)]
mod coverage;
#[cfg(test)]
mod tests;
