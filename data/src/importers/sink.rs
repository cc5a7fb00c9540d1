//! What importers write into: checks rows, gives queries their ids, counts.

use super::answer_columns::check_answer;
use super::embedded::EmbeddedRow;
use super::record::Record;
use super::{ImportError, ImportOptions, ImportSummary};
use crate::QueryText;
use crate::log::{OutcomeRow, PairRow, RowWriter, WriteOptions};
use crate::query_text::Conversation;
use crate::split::prompt_key;
use crate::stats::{Coverage, Units};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

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

pub(super) fn hash_of(parts: &[&str]) -> u64 {
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
    /// Hashes of query ids, each with that of what all its rows have in common.
    queries: HashMap<u64, u64>,
    /// Hashes of prompts, and the models seen.
    prompts: HashSet<u64>,
    models: HashSet<String>,
    units: Units,
    pub(super) summary: ImportSummary,
}

impl<'a, R: crate::log::LogRow> Sink<'a, R> {
    /// A log of an input that has prompts: its rule is named where the user says which one it was.
    pub(super) fn create(out: &Path, options: &'a ImportOptions) -> Result<Self, ImportError> {
        Self::with_query_text(out, options, options.query_text)
    }

    /// A log of an input that has requests: their prompts are made by [`Sink::prompt`].
    pub(super) fn of_requests(out: &Path, options: &'a ImportOptions) -> Result<Self, ImportError> {
        Self::with_query_text(out, options, Some(options.query_text.unwrap_or_default()))
    }

    fn with_query_text(
        out: &Path,
        options: &'a ImportOptions,
        rule: Option<QueryText>,
    ) -> Result<Self, ImportError> {
        let writer = RowWriter::create(out, WriteOptions::default())?.with_query_text(rule);
        let (keys, queries, prompts, models) = Default::default();
        let (ids, units, summary) = Default::default();
        Ok(Self { options, writer, ids, keys, queries, prompts, models, units, summary })
    }

    /// The prompt of a request; `None` where no turn of the user has text.
    pub(super) fn prompt(&self, asked: &Conversation) -> Option<String> {
        self.options.query_text.unwrap_or_default().text(asked)
    }

    /// Leaves a record out, counted by its reason.
    pub(super) fn skip(&mut self, reason: impl Into<String>) {
        self.summary.skip(reason);
    }

    /// Counts the columns that have a value in a row.
    fn fill(&mut self, columns: &[(&'static str, bool)]) {
        for (column, is_there) in columns {
            *self.summary.filled.entry(column).or_default() += u64::from(*is_there);
        }
    }

    fn take_key(&mut self, record: &Record, parts: &[&str]) -> Result<(), ImportError> {
        if self.keys.insert(hash_of(parts)) {
            return Ok(());
        }
        let named: Vec<String> = parts.iter().map(|part| format!("`{part}`")).collect();
        Err(record.error(format!("{} have a row already, expected one each", named.join(", "))))
    }

    /// Checks that a query has one prompt and one split, as every reader of the log will.
    fn take_query(
        &mut self,
        record: &Record,
        id: &str,
        prompt: &str,
        split: Option<&str>,
    ) -> Result<(), ImportError> {
        let content =
            hash_of(&[prompt, split.unwrap_or_default(), if split.is_some() { "split" } else { "" }]);
        if *self.queries.entry(hash_of(&[id])).or_insert(content) == content {
            return Ok(());
        }
        let reason = "has another prompt or split in an earlier record, expected one of each a query";
        Err(record.error(format!("query `{id}` {reason}")))
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
        let scored = self.summary.filled.get("score").copied().unwrap_or_default();
        let (queries, prompts) = (self.queries.len() as u64, self.prompts.len() as u64);
        let sizes = Coverage { queries, prompts, models: self.models.len() as u64, scored };
        self.summary.warnings.extend(sizes.thin().map(|thin| thin.to_string()));
        self.summary.warnings.extend(self.units.findings().into_iter().map(|(_, message)| message));
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
    pub(super) fn push(&mut self, record: &Record, row: OutcomeRow) -> Result<(), ImportError> {
        let row = self.admit(record, row)?;
        Ok(self.writer.push(row)?)
    }
}

impl Sink<'_, EmbeddedRow> {
    /// As of an [`OutcomeRow`]; the vector must be of finite numbers.
    pub(super) fn push(&mut self, record: &Record, row: EmbeddedRow) -> Result<(), ImportError> {
        if let Some(value) = row.embedding.iter().flatten().find(|value| !value.is_finite()) {
            return Err(record.error(format!("`embedding` has `{value}`, expected finite numbers")));
        }
        let row = EmbeddedRow { row: self.admit(record, row.row)?, ..row };
        Ok(self.writer.push(row)?)
    }
}

impl<R: crate::log::LogRow> Sink<'_, R> {
    /// Scales and checks a row, and fills in what the options say.
    fn admit(&mut self, record: &Record, mut row: OutcomeRow) -> Result<OutcomeRow, ImportError> {
        for (name, text) in [("prompt", &row.prompt), ("model", &row.model)] {
            if text.is_empty() {
                return Err(record.error(format!("`{name}` is missing or empty, expected a text")));
            }
        }
        let raw = row.score;
        for (name, score) in [("score", &mut row.score), ("soft_score", &mut row.soft_score)] {
            *score = self.scaled(record, name, *score)?;
        }
        for (name, value) in [("cost_usd", row.cost_usd), ("latency_ms", row.latency_ms.map(f64::from))] {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value >= 0.0)) {
                return Err(
                    record.error(format!("{name} `{value}` is not valid; expected a finite number >= 0"))
                );
            }
        }
        check_answer(&row).map_err(|reason| record.error(reason))?;
        if self.options.binarize {
            row.soft_score = row.score;
            row.score = raw.map(|score| f32::from(u8::from(score > 0.0)));
        }
        row.source = row.source.or_else(|| self.options.source.clone());
        row.split = row.split.or_else(|| self.options.split.clone());
        let sample = row.sample.filter(|sample| *sample > 0).map(|sample| sample.to_string());
        let answer = [row.model.as_str()].into_iter().chain(sample.as_deref());
        if row.query_id.is_empty() {
            row.query_id = self.ids.assign(&row.prompt, &answer.collect::<Vec<_>>().join("\n"));
        } else {
            let key: Vec<&str> = [row.query_id.as_str()].into_iter().chain(answer).collect();
            self.take_key(record, &key)?;
        }
        self.take_query(record, &row.query_id, &row.prompt, row.split.as_deref())?;
        self.note(&row);
        Ok(row)
    }

    /// A score of the input's range as one in `[0, 1]`.
    fn scaled(&self, record: &Record, name: &str, score: Option<f32>) -> Result<Option<f32>, ImportError> {
        let Some(score) = score else { return Ok(None) };
        let (min, max) = (self.options.score_min, self.options.score_max);
        // NaN fails this test too.
        if (min as f32..=max as f32).contains(&score) {
            return Ok(Some(((f64::from(score) - min) / (max - min)).clamp(0.0, 1.0) as f32));
        }
        let hint = if score.is_nan() {
            ", or none where it is unknown"
        } else {
            "; `--score-min` and `--score-max` name another range"
        };
        Err(record.error(format!("{name} `{score}` is not valid; expected a number in [{min}, {max}]{hint}")))
    }

    /// Takes a row into the counts of the summary.
    fn note(&mut self, row: &OutcomeRow) {
        self.prompts.insert(prompt_key(&row.prompt));
        if !self.models.contains(&row.model) {
            self.models.insert(row.model.clone());
        }
        row.latency_ms.into_iter().for_each(|latency| self.units.latency_ms(latency.into()));
        row.timestamp_ms.into_iter().for_each(|time| self.units.timestamp_ms(time));
        self.fill(&[
            ("score", row.score.is_some()),
            ("soft_score", row.soft_score.is_some()),
            ("cost_usd", row.cost_usd.is_some()),
            ("input_tokens", row.input_tokens.is_some()),
            ("output_tokens", row.output_tokens.is_some()),
            ("latency_ms", row.latency_ms.is_some()),
            ("timestamp_ms", row.timestamp_ms.is_some()),
            ("source", row.source.is_some()),
            ("split", row.split.is_some()),
            ("response", row.response.is_some()),
            ("sample", row.sample.is_some()),
            ("variant", row.variant.is_some()),
            ("answer", row.answer.is_some()),
            ("finish", row.finish.is_some()),
            ("logprob_mean", row.logprob_mean.is_some()),
            ("logprob_min", row.logprob_min.is_some()),
            ("logprob_quantiles", row.logprob_quantiles.is_some()),
            ("option_probs", row.option_probs.is_some()),
            ("verifier_rate", row.verifier_rate.is_some()),
            ("reference", row.reference.is_some()),
            ("failure", row.failure.is_some()),
        ]);
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
        self.take_query(record, &row.query_id, &row.prompt, row.split.as_deref())?;
        self.fill(&[
            ("judge", row.judge.is_some()),
            ("weight", row.weight.is_some()),
            ("timestamp_ms", row.timestamp_ms.is_some()),
            ("source", row.source.is_some()),
            ("split", row.split.is_some()),
            ("response_a", row.response_a.is_some()),
            ("response_b", row.response_b.is_some()),
        ]);
        Ok(self.writer.push(row)?)
    }
}
