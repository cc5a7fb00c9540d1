//! What a check found: a few complaints of each rule word for word, all of them counted.

use super::LogBatch;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The log cannot be learned from as it is.
    Error,
    /// Legitimate, but perhaps not meant.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Complaint {
    /// How bad it is.
    pub severity: Severity,
    /// Name of the rule, stable, e.g. `duplicate-key`.
    pub rule: &'static str,
    /// The file, where one is at fault.
    pub file: Option<String>,
    /// Row within the file, from 1, where one is at fault.
    pub row: Option<u64>,
    /// What is wrong, with the offending value, and what would be accepted.
    pub message: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        write!(f, "{severity}[{}]: ", self.rule)?;
        match (self.row, &self.file) {
            (Some(row), Some(file)) => write!(f, "row {row} of `{file}`: {}", self.message),
            _ => write!(f, "{}", self.message),
        }
    }
}

/// Collects complaints.
#[derive(Debug)]
pub(super) struct Complaints {
    per_rule_max: u64,
    pub(super) kept: Vec<Complaint>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) n_errors: u64,
    pub(super) n_warnings: u64,
}

impl Complaints {
    pub(super) fn new(per_rule_max: u64) -> Self {
        Self { per_rule_max, kept: Vec::new(), counts: BTreeMap::new(), n_errors: 0, n_warnings: 0 }
    }

    /// Complaints of each rule that are kept word for word.
    pub(super) fn per_rule_max(&self) -> u64 {
        self.per_rule_max
    }

    /// Takes in complaints that were made after these, collected with the same maximum.
    pub(super) fn merge(&mut self, later: Self) {
        let before = self.counts.clone();
        let mut kept = BTreeMap::<&str, u64>::new();
        for complaint in later.kept {
            let number = kept.entry(complaint.rule).or_default();
            *number += 1;
            if before.get(complaint.rule).copied().unwrap_or_default() + *number <= self.per_rule_max {
                self.kept.push(complaint);
            }
        }
        later.counts.into_iter().for_each(|(rule, n)| *self.counts.entry(rule).or_default() += n);
        self.n_errors += later.n_errors;
        self.n_warnings += later.n_warnings;
    }

    /// Counts a finding of a rule; whether it is to be kept word for word.
    fn count(&mut self, severity: Severity, rule: &'static str) -> bool {
        match severity {
            Severity::Error => self.n_errors += 1,
            Severity::Warning => self.n_warnings += 1,
        }
        let count = self.counts.entry(rule).or_default();
        *count += 1;
        *count <= self.per_rule_max
    }

    /// Counts errors that are not kept word for word.
    pub(super) fn more_errors(&mut self, rule: &'static str, n: u64) {
        if n > 0 {
            self.n_errors += n;
            *self.counts.entry(rule).or_default() += n;
        }
    }

    /// A finding about the log as a whole.
    pub(super) fn general(&mut self, severity: Severity, rule: &'static str, message: impl Into<String>) {
        if self.count(severity, rule) {
            self.kept.push(Complaint { severity, rule, file: None, row: None, message: message.into() });
        }
    }

    /// An error in a row of a batch; its message is only made when it is kept.
    pub(super) fn at(
        &mut self,
        batch: &LogBatch,
        row: usize,
        rule: &'static str,
        message: impl FnOnce() -> String,
    ) {
        if self.count(Severity::Error, rule) {
            let (file, row) = (Some(batch.file.display().to_string()), Some(batch.first_row + row as u64));
            self.kept.push(Complaint { severity: Severity::Error, rule, file, row, message: message() });
        }
    }
}
