//! Why a log could not be read or written; every message names the file and, where there is one, the row.

use crate::files::FileError;
use std::fmt;
use std::path::{Path, PathBuf};

/// A row of a file, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowAt {
    /// The file.
    pub file: PathBuf,
    /// Row within the file (line, for a text file), from 1.
    pub row: u64,
}

impl fmt::Display for RowAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {} of `{}`", self.row, self.file.display())
    }
}

/// Why a log could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file system said no.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not a whole Parquet file.
    #[error("cannot read `{path}` as Parquet: {reason}")]
    NotParquet {
        /// The file.
        path: String,
        /// What the decoder said.
        reason: String,
    },
    /// Writing failed, e.g. because the disk is full.
    #[error("cannot write `{path}`: {reason}")]
    Write {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// Nothing to read.
    #[error("`{path}` is empty: {expected}")]
    Empty {
        /// The file or directory.
        path: String,
        /// What was expected in it.
        expected: &'static str,
    },
    /// A required column is not there.
    #[error("`{path}` has no column `{column}`, which every {table} needs; {hint}")]
    MissingColumn {
        /// The file.
        path: String,
        /// The column that is missing.
        column: String,
        /// Name of the schema.
        table: &'static str,
        /// Near names among the columns that are there.
        hint: String,
    },
    /// A column is of a type that cannot be read as the schema says.
    #[error("column `{column}` of `{path}` has type {found}; accepted: {accepted}{hint}")]
    WrongType {
        /// The file.
        path: String,
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// Types that can be read.
        accepted: &'static str,
        /// What converts it, where something does.
        hint: &'static str,
    },
    /// A cell that is not valid.
    #[error("{at}: {reason}")]
    Row {
        /// Where.
        at: RowAt,
        /// What is wrong, with the offending value, and what would be accepted.
        reason: String,
    },
    /// The split asked for is not in the log.
    #[error("`{path}` has no split `{split}`; {hint}")]
    UnknownSplit {
        /// The log.
        path: String,
        /// The split asked for.
        split: String,
        /// Near names, else the splits that exist.
        hint: String,
    },
    /// A split was asked for, and the log assigns none.
    #[error(
        "`{path}` has no column `split`, so split `{split}` cannot be read; \
         assign splits with `routewright data split`"
    )]
    NoSplits {
        /// The log.
        path: String,
        /// The split asked for.
        split: String,
    },
    /// A model asked for is not in the log.
    #[error("`{path}` has no model `{model}`; {hint}")]
    UnknownModel {
        /// The log.
        path: String,
        /// The model asked for.
        model: String,
        /// Near names, else the models that exist.
        hint: String,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Options(String),
}

impl LogError {
    pub(crate) fn row(file: &Path, row: u64, reason: impl Into<String>) -> Self {
        Self::Row { at: RowAt { file: file.to_path_buf(), row }, reason: reason.into() }
    }

    pub(crate) fn not_parquet(path: &Path, reason: impl ToString) -> Self {
        Self::NotParquet { path: path.display().to_string(), reason: reason.to_string() }
    }

    pub(crate) fn write(path: &Path, reason: impl ToString) -> Self {
        Self::Write { path: path.display().to_string(), reason: reason.to_string() }
    }
}
