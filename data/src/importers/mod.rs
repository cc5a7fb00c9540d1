//! Foreign formats to logs: one file and one row of [`ALL`] each.

mod arena;
mod dsjson;
mod error;
mod litellm;
mod long;
mod messages;
mod openai;
mod record;
mod records;
mod routerbench;
mod routerdc;
mod sink;
mod times;

pub use dsjson::write_dsjson;
pub use error::{ImportError, Place};

use crate::suggest::near_names;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What to make of the input beyond what it says itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportOptions {
    /// Our column to the field it is read from, e.g. `score` to `grade` or `score` to `metadata.grade`. A
    /// field inside another is named with dots.
    pub map: BTreeMap<String, String>,
    /// Source of rows that have none.
    pub source: Option<String>,
    /// Split of rows that have none.
    pub split: Option<String>,
    /// Greatest score of the input, by which scores are divided.
    pub score_max: f64,
    /// Whether the score is 1 where the input's is above 0, the input's own becoming `soft_score`.
    pub binarize: bool,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { map: BTreeMap::new(), source: None, split: None, score_max: 1.0, binarize: false }
    }
}

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ImportSummary {
    /// Records read.
    pub records: u64,
    /// Rows written.
    pub rows: u64,
    /// Records left out, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
}

/// A registered importer.
#[derive(Debug, Clone, Copy)]
pub struct Importer {
    /// Name on the command line.
    pub name: &'static str,
    /// What it reads, in one line.
    pub title: &'static str,
    /// Kind of log it writes.
    pub log: &'static str,
    run: fn(&[PathBuf], &Path, &ImportOptions) -> Result<ImportSummary, ImportError>,
}

/// Every importer, in the order of the documentation.
pub static ALL: &[Importer] =
    &[long::ROW, routerbench::ROW, routerdc::ROW, arena::ROW, openai::ROW, litellm::ROW, dsjson::ROW];

/// Reads `inputs` with the importer of that name and writes the log `out`, a Parquet file (for
/// `dsjson`, a folder with two of them).
///
/// Inputs are `.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.json` or `.parquet`, told apart by their names.
///
/// # Errors
/// If the importer or a mapped column is unknown, an input cannot be read (file and line are named), a record
/// is not valid, or the log cannot be written. No log is left behind then.
pub fn import(
    name: &str,
    inputs: &[PathBuf],
    out: &Path,
    options: &ImportOptions,
) -> Result<ImportSummary, ImportError> {
    let Some(importer) = ALL.iter().find(|importer| importer.name == name) else {
        let hint = near_names(name, ALL.iter().map(|importer| importer.name));
        return Err(ImportError::Options(format!("no importer `{name}`; {hint}")));
    };
    if inputs.is_empty() {
        return Err(ImportError::Options("no input files, expected at least one".to_owned()));
    }
    if !(options.score_max.is_finite() && options.score_max > 0.0) {
        let found = options.score_max;
        return Err(ImportError::Options(format!("greatest score is `{found}`, expected a number above 0")));
    }
    (importer.run)(inputs, out, options)
}

#[cfg(test)]
mod tests;
