//! Why an import failed, with file and line.

use crate::files::FileError;
use crate::log::LogError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Position of a record in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) file: Arc<Path>,
    /// What is counted: `line` of a text, `item` of a JSON list, `row` of a table.
    pub(super) unit: &'static str,
    /// From 1.
    pub(super) number: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of `{}`", self.unit, self.number, self.file.display())
    }
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file system said no.
    #[error(transparent)]
    File(#[from] FileError),
    /// The log could not be written, or a Parquet input not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record that cannot be read or is not valid.
    #[error("{place}: {reason}")]
    Record {
        /// Where.
        place: Place,
        /// What is wrong, with the offending value, and what would be accepted.
        reason: String,
    },
    /// A file that cannot be read as what its name says.
    #[error("cannot read `{}`: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong and what would be accepted.
        reason: String,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Options(String),
}

impl Place {
    pub(super) fn error(&self, reason: impl Into<String>) -> ImportError {
        ImportError::Record { place: self.clone(), reason: reason.into() }
    }
}
