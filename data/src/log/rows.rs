//! Rows as plain structs, and the writer that turns them into record batches.

use super::decision_rows::floats;
use super::{LogError, LogWriter, WriteOptions};
use crate::schema::{self, LogSchema};
use crate::{QueryText, Winner};
use arrow_array::{ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows buffered before they are encoded.
const BUFFER_ROWS: usize = 4096;
/// Bytes of text buffered before they are encoded.
const BUFFER_BYTES: usize = 8 << 20;

/// One row of an outcome log; the fields are its columns (see [`schema::OUTCOME`]).
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "each field is the column of the same name, documented in the schema")]
pub struct OutcomeRow {
    pub query_id: String,
    pub split: Option<String>,
    pub source: Option<String>,
    pub prompt: String,
    pub model: String,
    pub sample: Option<i32>,
    pub variant: Option<String>,
    pub score: Option<f32>,
    pub soft_score: Option<f32>,
    pub cost_usd: Option<f64>,
    pub input_tokens: Option<i32>,
    pub output_tokens: Option<i32>,
    pub latency_ms: Option<f32>,
    pub timestamp_ms: Option<i64>,
    pub response: Option<String>,
    pub answer: Option<String>,
    pub finish: Option<String>,
    pub logprob_mean: Option<f32>,
    pub logprob_min: Option<f32>,
    pub logprob_quantiles: Option<Vec<f32>>,
    pub option_probs: Option<Vec<f32>>,
    pub verifier_rate: Option<f32>,
    pub reference: Option<String>,
    pub failure: Option<String>,
}

/// One row of a pair log; the fields are its columns (see [`schema::PAIR`]).
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each field is the column of the same name, documented in the schema")]
pub struct PairRow {
    pub query_id: String,
    pub split: Option<String>,
    pub source: Option<String>,
    pub prompt: String,
    pub model_a: String,
    pub model_b: String,
    pub winner: Winner,
    pub judge: Option<String>,
    pub weight: Option<f32>,
    pub timestamp_ms: Option<i64>,
    pub response_a: Option<String>,
    pub response_b: Option<String>,
}

/// A struct that is a row of a log.
pub trait LogRow: Sized {
    /// The log it is a row of.
    fn schema() -> &'static LogSchema;

    /// About how much memory its texts take.
    fn n_bytes(&self) -> usize;

    /// The columns of these rows, in the order of the schema.
    fn columns(rows: &[Self]) -> Vec<ArrayRef>;
}

pub(super) fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

pub(super) fn some_texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

pub(super) fn len(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

impl LogRow for OutcomeRow {
    fn schema() -> &'static LogSchema {
        &schema::OUTCOME
    }

    fn n_bytes(&self) -> usize {
        let lists =
            [&self.logprob_quantiles, &self.option_probs].map(|list| list.as_ref().map_or(0, Vec::len));
        self.prompt.len()
            + len(&self.response)
            + len(&self.answer)
            + len(&self.reference)
            + len(&self.failure)
            + 4 * lists.iter().sum::<usize>()
    }

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            texts(rows.iter().map(|r| r.query_id.as_str())),
            some_texts(rows.iter().map(|r| r.split.as_deref())),
            some_texts(rows.iter().map(|r| r.source.as_deref())),
            texts(rows.iter().map(|r| r.prompt.as_str())),
            texts(rows.iter().map(|r| r.model.as_str())),
            Arc::new(rows.iter().map(|r| r.sample).collect::<Int32Array>()),
            some_texts(rows.iter().map(|r| r.variant.as_deref())),
            Arc::new(rows.iter().map(|r| r.score).collect::<Float32Array>()),
            Arc::new(rows.iter().map(|r| r.soft_score).collect::<Float32Array>()),
            Arc::new(rows.iter().map(|r| r.cost_usd).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|r| r.input_tokens).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|r| r.output_tokens).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|r| r.latency_ms).collect::<Float32Array>()),
            Arc::new(rows.iter().map(|r| r.timestamp_ms).collect::<Int64Array>()),
            some_texts(rows.iter().map(|r| r.response.as_deref())),
            some_texts(rows.iter().map(|r| r.answer.as_deref())),
            some_texts(rows.iter().map(|r| r.finish.as_deref())),
            Arc::new(rows.iter().map(|r| r.logprob_mean).collect::<Float32Array>()),
            Arc::new(rows.iter().map(|r| r.logprob_min).collect::<Float32Array>()),
            floats(rows.iter().map(|r| r.logprob_quantiles.as_deref())),
            floats(rows.iter().map(|r| r.option_probs.as_deref())),
            Arc::new(rows.iter().map(|r| r.verifier_rate).collect::<Float32Array>()),
            some_texts(rows.iter().map(|r| r.reference.as_deref())),
            some_texts(rows.iter().map(|r| r.failure.as_deref())),
        ]
    }
}

impl LogRow for PairRow {
    fn schema() -> &'static LogSchema {
        &schema::PAIR
    }

    fn n_bytes(&self) -> usize {
        self.prompt.len() + len(&self.response_a) + len(&self.response_b)
    }

    fn columns(rows: &[Self]) -> Vec<ArrayRef> {
        vec![
            texts(rows.iter().map(|r| r.query_id.as_str())),
            some_texts(rows.iter().map(|r| r.split.as_deref())),
            some_texts(rows.iter().map(|r| r.source.as_deref())),
            texts(rows.iter().map(|r| r.prompt.as_str())),
            texts(rows.iter().map(|r| r.model_a.as_str())),
            texts(rows.iter().map(|r| r.model_b.as_str())),
            texts(rows.iter().map(|r| r.winner.word())),
            some_texts(rows.iter().map(|r| r.judge.as_deref())),
            Arc::new(rows.iter().map(|r| r.weight).collect::<Float32Array>()),
            Arc::new(rows.iter().map(|r| r.timestamp_ms).collect::<Int64Array>()),
            some_texts(rows.iter().map(|r| r.response_a.as_deref())),
            some_texts(rows.iter().map(|r| r.response_b.as_deref())),
        ]
    }
}

/// Writes rows one by one, encoding them in batches of bounded size.
#[derive(Debug)]
pub struct RowWriter<R> {
    writer: LogWriter,
    target: PathBuf,
    rows: Vec<R>,
    n_bytes: usize,
}

impl<R: LogRow> RowWriter<R> {
    /// Prepares to write a log; nothing is made on disk before rows are encoded.
    ///
    /// # Errors
    /// As [`LogWriter::create`].
    pub fn create(target: &Path, options: WriteOptions) -> Result<Self, LogError> {
        let writer = LogWriter::create(target, R::schema().arrow(), options)?;
        Ok(Self { writer, target: target.to_path_buf(), rows: Vec::new(), n_bytes: 0 })
    }

    /// Names in every file the rule its prompts were made by.
    #[must_use]
    pub fn with_query_text(mut self, rule: Option<QueryText>) -> Self {
        self.writer = self.writer.with_query_text(rule);
        self
    }

    /// Appends a row.
    ///
    /// # Errors
    /// If the disk or the encoder refuses the batch it completes.
    pub fn push(&mut self, row: R) -> Result<(), LogError> {
        self.n_bytes += row.n_bytes();
        self.rows.push(row);
        if self.rows.len() >= BUFFER_ROWS || self.n_bytes >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Rows appended so far.
    pub fn n_rows(&self) -> u64 {
        self.writer.n_rows() + self.rows.len() as u64
    }

    /// Publishes the log; returns the files written, none when there was no row.
    ///
    /// # Errors
    /// As [`LogWriter::finish`].
    pub fn finish(mut self) -> Result<Vec<PathBuf>, LogError> {
        self.flush()?;
        self.writer.finish()
    }

    fn flush(&mut self) -> Result<(), LogError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let batch = RecordBatch::try_new(R::schema().arrow(), R::columns(&self.rows))
            .map_err(|e| LogError::write(&self.target, e))?;
        self.rows.clear();
        self.n_bytes = 0;
        self.writer.write(&batch)
    }
}
