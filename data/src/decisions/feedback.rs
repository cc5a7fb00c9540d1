//! Streams a feedback log, every row checked.

use crate::log::{FeedbackRow, LogBatch, LogError, LogReader, required};
use crate::schema;
use std::path::Path;

/// A feedback log being read: an iterator of batches of rows.
#[derive(Debug)]
pub struct FeedbackReader(LogReader);

impl FeedbackReader {
    /// Opens a feedback log: a Parquet file or a directory of them.
    ///
    /// # Errors
    /// If a file is not whole Parquet, lacks a required column or has one of a wrong type; if it is empty.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let columns: Vec<&str> = schema::FEEDBACK.columns.iter().map(|column| column.name).collect();
        Ok(Self(LogReader::open(path, &schema::FEEDBACK, &columns)?))
    }
}

impl Iterator for FeedbackReader {
    type Item = Result<Vec<FeedbackRow>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.and_then(|batch| rows(&batch)))
    }
}

fn rows(batch: &LogBatch) -> Result<Vec<FeedbackRow>, LogError> {
    let [outcome_id, decision_id, kind] = ["outcome_id", "decision_id", "kind"].map(|name| batch.text(name));
    let [value, cost_usd, latency_ms] = ["value", "cost_usd", "latency_ms"].map(|name| batch.number(name));
    let time = batch.time("timestamp_ms");
    let mut rows = Vec::with_capacity(batch.n_rows());
    for at in 0..batch.n_rows() {
        let number = |name: &str, found: Option<f64>, least: f64| match found {
            // NaN fails this test too: what is not known is null.
            Some(x) if !(x.is_finite() && x >= least) => {
                let reason =
                    format!("{name} `{x}` is not valid; expected a finite number >= {least}, or null");
                Err(batch.error(at, reason))
            }
            found => Ok(found),
        };
        let get = |column: &Option<crate::log::NumberColumn>| column.as_ref().and_then(|c| c.get(at));
        let text = |column, name| Ok::<_, LogError>(required(batch, column, name, at)?.to_owned());
        let timestamp_ms = time.as_ref().and_then(|c| c.get(at));
        rows.push(FeedbackRow {
            outcome_id: text(outcome_id, "outcome_id")?,
            decision_id: text(decision_id, "decision_id")?,
            timestamp_ms: timestamp_ms
                .ok_or_else(|| batch.error(at, "`timestamp_ms` is null, expected a time"))?,
            kind: text(kind, "kind")?,
            value: number("value", get(&value), f64::MIN)?,
            cost_usd: number("cost_usd", get(&cost_usd), 0.0)?,
            latency_ms: number("latency_ms", get(&latency_ms), 0.0)?.map(|x| x as f32),
        });
    }
    Ok(rows)
}
