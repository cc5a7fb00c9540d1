//! What importers write into: checks rows, gives queries their ids, counts.

use super::record::Record;
use super::{ImportError, ImportOptions, ImportSummary};
use crate::log::{OutcomeRow, PairRow, RowWriter, WriteOptions};
use crate::schema::LogSchema;
use crate::suggest::near_names;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Fields of the input by our names, with the user's map.
#[derive(Debug)]
pub(super) struct Mapping<'a> {
    options: &'a ImportOptions,
    /// Mapped fields that some record had.
    found: HashSet<&'a str>,
    /// Fields of the last record, for near names.
    known: Vec<String>,
}

impl<'a> Mapping<'a> {
    /// Checks that every mapped name is a column of the log.
    pub(super) fn new(options: &'a ImportOptions, schema: &LogSchema) -> Result<Self, ImportError> {
        for name in options.map.keys() {
            if schema.column(name).is_none() {
                let hint = near_names(name, schema.columns.iter().map(|column| column.name));
                let reason = format!("cannot map `{name}`: no such column in the {}; {hint}", schema.name);
                return Err(ImportError::Options(reason));
            }
        }
        Ok(Self { options, found: HashSet::new(), known: Vec::new() })
    }

    /// The field our column is read from: the user's, else the format's own.
    pub(super) fn field<'b>(&'b self, column: &str, usual: &'b str) -> &'b str {
        self.options.map.get(column).map_or(usual, String::as_str)
    }

    /// Notes which mapped fields a record has.
    pub(super) fn see(&mut self, record: &Record) {
        if self.found.len() == self.options.map.len() {
            return;
        }
        let there = self.options.map.values().filter(|field| record.value(field).is_some());
        self.found.extend(there.map(String::as_str));
        if self.known.is_empty() {
            self.known = record.names().map(str::to_owned).collect();
        }
    }

    /// Errors when a mapped field was in no record.
    pub(super) fn check(&self) -> Result<(), ImportError> {
        let absent = self.options.map.iter().find(|(_, field)| !self.found.contains(field.as_str()));
        absent.map_or(Ok(()), |(column, field)| {
            let hint = near_names(field, self.known.iter().map(String::as_str));
            Err(ImportError::Options(format!(
                "no record has the field `{field}` mapped to `{column}`; {hint}"
            )))
        })
    }
}

/// Gives queries without an id one that depends on the prompt alone: rows of equal prompts are one query, and
/// the second row of the same prompt and model opens a second query.
#[derive(Debug, Default)]
struct QueryIds(HashMap<u64, u32>);

impl QueryIds {
    fn assign(&mut self, prompt: &str, key: &str) -> String {
        let hash = blake3::hash(prompt.as_bytes());
        let name = &hash.to_hex()[..16];
        let count = self.0.entry(hash_of(&[prompt, key])).or_default();
        *count += 1;
        if *count == 1 { format!("p-{name}") } else { format!("p-{name}-{count}") }
    }
}

fn hash_of(parts: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// A log being imported.
#[derive(Debug)]
pub(super) struct Sink<'a, R> {
    options: &'a ImportOptions,
    writer: RowWriter<R>,
    ids: QueryIds,
    keys: HashSet<u64>,
    pub(super) summary: ImportSummary,
}

impl<'a, R: crate::log::LogRow> Sink<'a, R> {
    pub(super) fn create(out: &Path, options: &'a ImportOptions) -> Result<Self, ImportError> {
        let writer = RowWriter::create(out, WriteOptions::default())?;
        let (ids, keys) = (QueryIds::default(), HashSet::new());
        Ok(Self { options, writer, ids, keys, summary: ImportSummary::default() })
    }

    /// Leaves a record out, counted by its reason.
    pub(super) fn skip(&mut self, reason: &'static str) {
        *self.summary.skipped.entry(reason).or_default() += 1;
    }

    fn take_key(&mut self, record: &Record, parts: &[&str]) -> Result<(), ImportError> {
        if self.keys.insert(hash_of(parts)) {
            return Ok(());
        }
        let named: Vec<String> = parts.iter().map(|part| format!("`{part}`")).collect();
        Err(record.error(format!("{} have a row already, expected one each", named.join(", "))))
    }

    fn finish_writer(mut self, inputs: &[PathBuf]) -> Result<ImportSummary, ImportError> {
        self.summary.rows = self.writer.n_rows();
        if self.summary.rows == 0 {
            let inputs: Vec<String> = inputs.iter().map(|path| format!("`{}`", path.display())).collect();
            let skipped = self.summary.skipped.iter().map(|(reason, n)| format!("{n} {reason}"));
            let skipped = skipped.collect::<Vec<_>>().join(", ");
            let why =
                if skipped.is_empty() { "no records".to_owned() } else { format!("left out: {skipped}") };
            let reason = format!("nothing to import from {}: {why}", inputs.join(", "));
            return Err(ImportError::Options(reason));
        }
        self.writer.finish()?;
        Ok(self.summary)
    }

    /// Publishes the log.
    pub(super) fn finish(self, inputs: &[PathBuf]) -> Result<ImportSummary, ImportError> {
        self.finish_writer(inputs)
    }
}

impl Sink<'_, OutcomeRow> {
    /// Scales and checks a row, fills in what the options say, and writes it. An empty `query_id` is
    /// assigned.
    pub(super) fn push(&mut self, record: &Record, mut row: OutcomeRow) -> Result<(), ImportError> {
        for (name, text) in [("prompt", &row.prompt), ("model", &row.model)] {
            if text.is_empty() {
                return Err(record.error(format!("`{name}` is missing or empty, expected a text")));
            }
        }
        let scale = self.options.score_max;
        for (name, score) in [("score", &mut row.score), ("soft_score", &mut row.soft_score)] {
            let Some(score) = score else { continue };
            let scaled = f64::from(*score) / scale;
            if !(0.0..=1.0).contains(&scaled) {
                return Err(
                    record.error(format!("{name} `{score}` is not valid; expected a number in [0, {scale}]"))
                );
            }
            *score = scaled as f32;
        }
        for (name, value) in [("cost_usd", row.cost_usd), ("latency_ms", row.latency_ms.map(f64::from))] {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value >= 0.0)) {
                return Err(
                    record.error(format!("{name} `{value}` is not valid; expected a finite number >= 0"))
                );
            }
        }
        if self.options.binarize {
            row.soft_score = row.score;
            row.score = row.score.map(|score| f32::from(u8::from(score > 0.0)));
        }
        row.source = row.source.or_else(|| self.options.source.clone());
        row.split = row.split.or_else(|| self.options.split.clone());
        if row.query_id.is_empty() {
            row.query_id = self.ids.assign(&row.prompt, &row.model);
        } else {
            self.take_key(record, &[&row.query_id, &row.model])?;
        }
        Ok(self.writer.push(row)?)
    }
}

impl Sink<'_, PairRow> {
    /// Checks a row, fills in what the options say, and writes it. An empty `query_id` is assigned.
    pub(super) fn push(&mut self, record: &Record, mut row: PairRow) -> Result<(), ImportError> {
        if row.prompt.is_empty() {
            return Err(record.error("`prompt` is missing or empty, expected a text"));
        }
        if row.model_a == row.model_b {
            self.skip("of a model against itself");
            return Ok(());
        }
        row.source = row.source.or_else(|| self.options.source.clone());
        row.split = row.split.or_else(|| self.options.split.clone());
        let judge = row.judge.clone().unwrap_or_default();
        if row.query_id.is_empty() {
            let key = format!("{}\n{}\n{judge}", row.model_a, row.model_b);
            row.query_id = self.ids.assign(&row.prompt, &key);
        } else {
            self.take_key(record, &[&row.query_id, &row.model_a, &row.model_b, &judge])?;
        }
        Ok(self.writer.push(row)?)
    }
}
