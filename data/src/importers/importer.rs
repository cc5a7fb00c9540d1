//! What an importer is: its row, its options, what it reports.

use super::error::ImportError;
use crate::QueryText;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What to make of the input beyond what it says itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportOptions {
    /// Our column to the field it is read from, e.g. `score` to `grade` or `score` to `metadata.grade`. A
    /// field inside another is named with dots; an empty name leaves the column out.
    pub map: BTreeMap<String, String>,
    /// Source of rows that have none.
    pub source: Option<String>,
    /// Split of rows that have none.
    pub split: Option<String>,
    /// Least and greatest score of the input: scores are mapped from there to `[0, 1]`.
    pub score_min: f64,
    /// See [`Self::score_min`].
    pub score_max: f64,
    /// Scores that are words, as numbers between the least and the greatest score, e.g. `up` as 1.
    pub score_values: BTreeMap<String, f64>,
    /// Unit of the field latencies are read from; milliseconds when `None`, unless its name says otherwise.
    pub latency_unit: Option<LatencyUnit>,
    /// Whether the score is 1 where the input's is above 0, the input's own becoming `soft_score`.
    pub binarize: bool,
    /// Rule that makes the prompt of a request, named in the log. `None`: the default where requests are read, no name
    /// where the input has prompts of its own.
    pub query_text: Option<QueryText>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            map: BTreeMap::new(),
            source: None,
            split: None,
            score_min: 0.0,
            score_max: 1.0,
            score_values: BTreeMap::new(),
            latency_unit: None,
            binarize: false,
            query_text: None,
        }
    }
}

/// What a latency is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatencyUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
}

impl LatencyUnit {
    /// Milliseconds of one unit.
    pub(crate) fn ms(self) -> f64 {
        match self {
            Self::Seconds => 1e3,
            Self::Milliseconds => 1.0,
            Self::Microseconds => 1e-3,
        }
    }
}

/// What was imported, what was left out and why.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ImportSummary {
    /// Records read.
    pub records: u64,
    /// Rows written.
    pub rows: u64,
    /// Records left out, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Records of which a part was left out or made, by what was done.
    pub changed: BTreeMap<String, u64>,
    /// Rows with a value in each column that may be missing.
    pub filled: BTreeMap<&'static str, u64>,
    /// Fields of the input that no column was read from (format `long`).
    pub unread: Vec<String>,
    /// What a reader should know before training on the log.
    pub warnings: Vec<String>,
}

impl ImportSummary {
    /// Counts a record left out.
    pub(crate) fn skip(&mut self, reason: impl Into<String>) {
        *self.skipped.entry(reason.into()).or_default() += 1;
    }

    /// Counts a record of which a part was left out or made.
    pub(crate) fn change(&mut self, what: impl Into<String>) {
        *self.changed.entry(what.into()).or_default() += 1;
    }
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
    pub(super) run: fn(&[PathBuf], &Path, &ImportOptions) -> Result<ImportSummary, ImportError>,
}
