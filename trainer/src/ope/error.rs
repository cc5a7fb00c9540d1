//! Why a policy could not be assessed on a log.

use routewright_data::LogError;
use routewright_data::features::FeatureError;
use routewright_policy::DecideError;
use routewright_policy::selectors::SelectorError;

/// Why a policy could not be assessed on a log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpeError {
    /// A log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Features could not be made.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// A policy refused the features of a batch.
    #[error(transparent)]
    Predict(#[from] DecideError),
    /// A policy could not decide a logged request.
    #[error("cannot decide the request of decision `{decision_id}` again")]
    Decide {
        /// The decision.
        decision_id: String,
        /// Why.
        #[source]
        source: DecideError,
    },
    /// The log does not hold what the policy reads.
    #[error(
        "decision `{decision_id}` has neither a `prompt` nor `features` of the policy's featurizer; \
         one of them is needed to decide again"
    )]
    NoInput {
        /// The decision.
        decision_id: String,
    },
    /// What a request valued is not what a policy reads.
    #[error("decision `{decision_id}` has the `objective` `{objective}`, which cannot be read: {reason}")]
    Objective {
        /// The decision.
        decision_id: String,
        /// The value found there.
        objective: String,
        /// Why.
        reason: String,
    },
    /// Nothing to estimate from.
    #[error("no round can be evaluated: of {decisions} decisions {reasons}")]
    NoRounds {
        /// Decisions read.
        decisions: u64,
        /// Why they were left out, with counts.
        reasons: String,
    },
    /// No estimator of that name.
    #[error("unknown estimator `{name}`; {hint}")]
    UnknownEstimator {
        /// Name asked for.
        name: String,
        /// Near names, or all of them.
        hint: String,
    },
    /// A parameter is not valid.
    #[error("a parameter is `{value}`, expected a number of at least 0")]
    Parameter {
        /// Value given.
        value: f64,
    },
    /// An option is not valid.
    #[error("`{name}` is `{value}`, expected {expected}")]
    Option {
        /// The option.
        name: &'static str,
        /// Value given.
        value: f64,
        /// What would be accepted.
        expected: &'static str,
    },
    /// A selector could not be built.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// A policy could not be fitted again for each fold.
    #[error("cannot cross-fit policy `{policy}`: {reason}")]
    CrossFit {
        /// The policy.
        policy: String,
        /// What is missing or went wrong.
        reason: String,
    },
    /// Propensities could not be estimated.
    #[error("cannot estimate propensities: {reason}")]
    Propensities {
        /// What is missing or went wrong.
        reason: String,
    },
    /// The bootstrap cannot be run as asked.
    #[error("bootstrap rounds are `{rounds}`, expected 0 or from 2 to 100000")]
    Bootstrap {
        /// Rounds asked for.
        rounds: usize,
    },
    /// The reward model could not be solved.
    #[error("cannot fit the reward model: {reason}")]
    RewardModel {
        /// What went wrong.
        reason: String,
    },
}
