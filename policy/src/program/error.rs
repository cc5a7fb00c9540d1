//! Why a step could not be taken.

use crate::DecideError;

/// Why a step could not be taken, or answers were refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The request is not valid, or a part of the program cannot decide.
    #[error(transparent)]
    Decide(#[from] DecideError),
    /// A limit of the budget is no number.
    #[error("`{field}` is `{value}`, expected a finite number of at least 0")]
    Budget {
        /// Field of the budget.
        field: &'static str,
        /// Value given.
        value: f64,
    },
    /// The host did not follow the protocol.
    #[error("cannot take answers: {reason}")]
    Answers {
        /// What is wrong and what would be accepted.
        reason: String,
    },
    /// The program broke the contract of programs; nothing of its step was carried out.
    #[error("program `{program}` took no valid step {step}: {reason}")]
    Program {
        /// Name of the program.
        program: &'static str,
        /// Number of the step, from 0.
        step: u32,
        /// What is wrong and what would be accepted.
        reason: String,
    },
}
