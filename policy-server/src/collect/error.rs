//! Why a collection could not be made.

use crate::settings::ConfigError;
use routewright_data::LogError;
use routewright_data::files::FileError;

/// Why a collection could not be made. A call that brings no answer is none of these: it is a row of the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A model of the table is not accepted.
    #[error(transparent)]
    Models(#[from] ConfigError),
    /// A model cannot be called as its section says.
    #[error("cannot call model `{model}`: {reason}")]
    Model {
        /// Name of its section.
        model: String,
        /// Why.
        reason: String,
    },
    /// A line of the prompts is not accepted.
    #[error("line {line} of `{path}`: {reason}")]
    Prompt {
        /// The file.
        path: String,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong, the offending value, and what would be accepted.
        reason: String,
    },
    /// An option is not accepted.
    #[error("{0}")]
    Options(String),
    /// The journal could not be read or written.
    #[error("cannot {action} journal `{path}`: {reason}")]
    Journal {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The log could not be written.
    #[error(transparent)]
    Log(#[from] LogError),
}
