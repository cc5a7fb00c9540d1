//! Streams a feedback log, every row checked.

use crate::log::{FeedbackRow, LogBatch, LogError, LogReader, NumberColumn, required};
use crate::schema;
use std::path::Path;

/// A feedback log being read: an iterator of batches of rows.
#[derive(Debug)]
pub struct FeedbackReader(LogReader);

/// A row of a feedback log where it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report<'a> {
    pub(super) outcome_id: &'a str,
    pub(super) decision_id: &'a str,
    pub(super) timestamp_ms: i64,
    pub(super) kind: &'a str,
    pub(super) value: Option<f64>,
    pub(super) cost_usd: Option<f64>,
    latency_ms: Option<f32>,
}

impl<'a> Report<'a> {
    pub(super) fn of(row: &'a FeedbackRow) -> Self {
        let FeedbackRow { outcome_id, decision_id, timestamp_ms, kind, value, cost_usd, latency_ms } = row;
        let (timestamp_ms, value) = (*timestamp_ms, *value);
        let (cost_usd, latency_ms) = (*cost_usd, *latency_ms);
        Self { outcome_id, decision_id, timestamp_ms, kind, value, cost_usd, latency_ms }
    }

    fn owned(&self) -> FeedbackRow {
        FeedbackRow {
            outcome_id: self.outcome_id.to_owned(),
            decision_id: self.decision_id.to_owned(),
            timestamp_ms: self.timestamp_ms,
            kind: self.kind.to_owned(),
            value: self.value,
            cost_usd: self.cost_usd,
            latency_ms: self.latency_ms,
        }
    }
}

impl FeedbackReader {
    /// Opens a feedback log: a Parquet file or a directory of them.
    ///
    /// # Errors
    /// If a file is not whole Parquet, lacks a required column or has one of a wrong type; if it is empty.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let columns: Vec<&str> = schema::FEEDBACK.columns.iter().map(|column| column.name).collect();
        Ok(Self(LogReader::open(path, &schema::FEEDBACK, &columns)?))
    }

    /// Shows every row without copying its texts.
    ///
    /// # Errors
    /// If the log cannot be read or a row is not valid.
    pub(super) fn each(mut self, mut show: impl FnMut(Report<'_>)) -> Result<(), LogError> {
        self.0.try_for_each(|batch| reports(&batch?, &mut show))
    }
}

impl Iterator for FeedbackReader {
    type Item = Result<Vec<FeedbackRow>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.and_then(|batch| {
            let mut rows = Vec::with_capacity(batch.n_rows());
            reports(&batch, &mut |report| rows.push(report.owned()))?;
            Ok(rows)
        }))
    }
}

fn reports(batch: &LogBatch, show: &mut impl FnMut(Report<'_>)) -> Result<(), LogError> {
    let [outcome_id, decision_id, kind] = ["outcome_id", "decision_id", "kind"].map(|name| batch.text(name));
    let [value, cost_usd, latency_ms] = ["value", "cost_usd", "latency_ms"].map(|name| batch.number(name));
    let time = batch.time("timestamp_ms");
    for at in 0..batch.n_rows() {
        let number = |name: &str, column: &Option<NumberColumn>, least: f64| {
            match column.as_ref().and_then(|column| column.get(at)) {
                // NaN fails this test too: what is not known is null.
                Some(x) if !(x.is_finite() && x >= least) => {
                    let reason =
                        format!("{name} `{x}` is not valid; expected a finite number >= {least}, or null");
                    Err(batch.error(at, reason))
                }
                found => Ok(found),
            }
        };
        let timestamp_ms = time.as_ref().and_then(|column| column.get(at));
        show(Report {
            outcome_id: required(batch, outcome_id, "outcome_id", at)?,
            decision_id: required(batch, decision_id, "decision_id", at)?,
            timestamp_ms: timestamp_ms
                .ok_or_else(|| batch.error(at, "`timestamp_ms` is null, expected a time"))?,
            kind: required(batch, kind, "kind", at)?,
            value: number("value", &value, f64::MIN)?,
            cost_usd: number("cost_usd", &cost_usd, 0.0)?,
            latency_ms: number("latency_ms", &latency_ms, 0.0)?.map(|x| x as f32),
        });
    }
    Ok(())
}
