//! How a policy is judged: one file a metric, each with its unit and direction.
//!
//! [`judge()`] turns a prediction and a selector into an [`Evaluation`]: expected score (higher is better)
//! with its bootstrap standard error, cost (US dollars a call, lower is better), AIQ on the non-decreasing
//! hull, APGR and CPT where there are two arms, the deferral curve, the share of each arm, every source.
//! [`baselines()`] gives the five yardsticks every table prints beside it. [`Judging`] collects the rows of a table and
//! takes their figures on the same queries; [`Judged`] is the document `evaluate --json` and `compare --json` print.
//!
//! What a row is made of is [`QueryOutcomes`]: score, cost, latency and calls of each query. Decisions of one step make
//! them exactly; [`crate::rollout`] makes those of programs of several steps, which [`judge_played`] judges alike. The
//! curve of either is a [`Frontier`].
//!
//! Nothing is sampled but the bootstrap: a policy of one step is judged by the *distribution* it decides with, so the
//! score of a randomised policy is exact. Missing cells: mass on an unobserved cell is shared among the
//! observed arms the policy also gives mass; a query where it gives none is *uncovered*, counted, and left out of all
//! rows of the table alike. All means are f64.
//!
//! Every metric exists under two averages ([`Average`]); macro is the mean over sources of their means,
//! for scores and costs alike, that is, the evaluation of a traffic in which every source weighs the same.

mod aiq;
mod align;
mod apgr;
mod baselines;
mod benchmarks;
mod bootstrap;
mod common;
mod cost;
mod decisions;
mod deferral;
mod entropy;
mod figures;
#[cfg(test)]
pub(crate) mod fixtures;
mod frontier;
mod hull;
mod judge;
mod judged;
mod kept_promise;
mod lanes;
mod query_outcomes;
#[cfg(test)]
mod real_logs;
mod score;
mod seeds;
mod shares;
mod singles;
mod sources;
mod sweep;

pub use aiq::{aiq, cost_range};
pub use align::align;
pub use apgr::{Apgr, PgrCurve, apgr, pgr_curve};
pub use baselines::{Baseline, Baselines, YARDSTICKS, baselines};
pub use benchmarks::{BenchmarkFigures, Ranks, aiq_released, arena_score};
pub use bootstrap::{PairedDifference, paired_difference, standard_error};
pub use common::{COMMON_SHARE_MIN, complete};
pub use cost::query_costs;
pub use decisions::Decisions;
pub use deferral::{Deferral, deferral};
pub use entropy::score_entropy_bits;
pub use figures::Figures;
pub use frontier::Frontier;
pub use hull::{height_at, upper_hull};
pub use judge::{Contender, Evaluation, Played, Tuning, Validation, judge, judge_played};
pub use judged::{Failed, Judged, Judging, Picked, Reason, Rule};
pub use kept_promise::KeptPromise;
pub use lanes::Repredict;
pub use query_outcomes::QueryOutcomes;
pub use score::query_scores;
pub use shares::{ArmShare, arm_shares};
pub use singles::{SingleModel, single_models};
pub use sources::Sources;
pub use sweep::{OperatingPoint, oracle_prediction, sweep, sweep_predicted, thin};

use serde::{Deserialize, Serialize};

/// How queries are averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Average {
    /// Mean over queries.
    #[default]
    Micro,
    /// Unweighted mean over sources of their means; queries without a source are one source together.
    Macro,
}

impl std::fmt::Display for Average {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Micro => "micro",
            Self::Macro => "macro",
        })
    }
}

impl std::str::FromStr for Average {
    type Err = JudgeError;

    fn from_str(text: &str) -> Result<Self, JudgeError> {
        match text {
            "micro" => Ok(Self::Micro),
            "macro" => Ok(Self::Macro),
            other => Err(JudgeError::Average { given: other.to_owned() }),
        }
    }
}

/// Options of a judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JudgeOptions {
    /// The average of the headline figures.
    pub average: Average,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Resamples of the bootstrap; below 2 no standard error is computed.
    pub bootstrap_rounds: usize,
}

impl Default for JudgeOptions {
    fn default() -> Self {
        Self { average: Average::Micro, seed: 0, bootstrap_rounds: 1000 }
    }
}

/// Why nothing could be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// There is no query to judge on.
    #[error("cannot judge: the split has no query with a score")]
    NoQueries,
    /// Prediction and outcomes do not speak of the same queries and arms.
    #[error(
        "cannot judge `{name}`: {what} is {found_queries} queries x {found_arms} arms, \
         the outcomes are {n_queries} x {n_arms}"
    )]
    Shape {
        /// Name of what was judged.
        name: String,
        /// The matrix that differs.
        what: &'static str,
        /// Its number of queries.
        found_queries: usize,
        /// Its number of arms.
        found_arms: usize,
        /// Queries of the outcomes.
        n_queries: usize,
        /// Arms of the outcomes.
        n_arms: usize,
    },
    /// No query was observed on an arm the policy chose.
    #[error("cannot judge `{name}`: none of the {n_queries} queries has a score for an arm it chose")]
    Uncovered {
        /// Name of what was judged.
        name: String,
        /// Number of queries.
        n_queries: usize,
    },
    /// A form that is conditioned on the price of money could not predict again.
    #[error("cannot judge `{name}` at another price of money: {error}")]
    Predict {
        /// Name of what was judged.
        name: String,
        /// What went wrong.
        error: routewright_policy::PredictError,
    },
    /// The log knows none of the arms.
    #[error(
        "cannot judge: the log has no outcome of any arm of the policy; its first arm is `{arm}`; {hint}"
    )]
    NoCommonArm {
        /// First arm of the policy.
        arm: String,
        /// Models of the log.
        hint: String,
    },
    /// Two logs do not have the same models in the same order.
    #[error("cannot judge: the train rows and the test rows do not have the same models")]
    Models,
    /// No average of that name.
    #[error("unknown average `{given}`, expected `micro` or `macro`")]
    Average {
        /// Name given.
        given: String,
    },
}
