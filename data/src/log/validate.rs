//! Checks a log row by row in bounded memory.
//!
//! One pass checks every cell and keeps two hashes of 8 bytes a row: of the key of the row, and of query id
//! and content (prompt, split) together. Keys that occur twice and queries with two contents show up when the
//! hashes are sorted; only then a second pass finds their rows, and compares the texts themselves. Ten
//! million rows were checked with at most 235 MB resident (a query a row; 154 MB at eight rows a query).

use super::complaints::{Complaint, Complaints, Severity};
use super::hashes::{Hashes, PARTITION_BITS, first_u64};
use super::keys::KeyColumns;
use super::reader::structural_faults;
use super::{LogBatch, LogError, LogReader, NumberColumn, RowAt, TextColumn, schema_of};
use crate::Winner;
use crate::answers::confidence as answers;
use crate::decisions::{DecisionReader, FeedbackReader};
use crate::fusion::FusionReader;
use crate::schema::{self, Column, ColumnType, LogSchema, Presence};
use crate::split::prompt_key;
use crate::stats::{Coverage, Units};
use crate::tasks;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// Suspicious hashes that the second pass looks into.
const SUSPECTS_MAX: usize = 10_000;
/// Different models that are told apart.
const MODELS_MAX: usize = 10_000;
/// Bits of the hash of a query's content that are kept; the rest of the 64 are bits of its id's hash.
const CONTENT_BITS: u32 = 28;

/// How much to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidateOptions {
    /// Complaints of each rule that are kept word for word; the others are counted.
    pub per_rule_max: u64,
}

impl Default for ValidateOptions {
    fn default() -> Self {
        Self { per_rule_max: 20 }
    }
}

/// What a log holds and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Validation {
    /// The path checked.
    pub path: String,
    /// Kind of log its columns make it.
    pub table: &'static str,
    /// Rows read.
    pub rows: u64,
    /// Different queries, told apart by 48 bits of a hash (0 where the log is not of queries).
    pub queries: u64,
    /// Different models.
    pub models: u64,
    /// Errors, all of them counted.
    pub n_errors: u64,
    /// Warnings, all of them counted.
    pub n_warnings: u64,
    /// Findings of each rule, all of them counted.
    pub counts: BTreeMap<&'static str, u64>,
    /// The first findings of each rule, in the order they were made.
    pub complaints: Vec<Complaint>,
}

impl Validation {
    /// Whether methods can be fitted on the log: there is no error.
    pub fn is_valid(&self) -> bool {
        self.n_errors == 0
    }
}

/// Checks a log of any kind.
///
/// What is wrong with the log is a [`Complaint`], never an `Err`.
///
/// # Errors
/// If the path cannot be opened at all.
pub fn validate(path: &Path, options: &ValidateOptions) -> Result<Validation, LogError> {
    let mut checking = Checking::new(options.per_rule_max);
    let schema = match schema_of(path) {
        Ok(schema) => schema,
        Err(error @ LogError::File(_)) => return Err(error),
        Err(_) => &schema::OUTCOME,
    };
    match structural_faults(path, schema) {
        Ok(faults) => faults.into_iter().for_each(|fault| checking.structural(fault)),
        Err(error @ LogError::File(_)) => return Err(error),
        Err(error) => checking.structural(error),
    }
    if checking.complaints.n_errors == 0
        && let Err(error) = checking.stream(path, schema)
    {
        checking.structural(error);
    }
    if checking.complaints.n_errors == 0 {
        checking.by_reader(path, schema);
    }
    let Checking { complaints, models, rows, n_queries, .. } = checking;
    Ok(Validation {
        path: path.display().to_string(),
        table: schema.name,
        rows,
        queries: n_queries,
        models: models.len() as u64,
        n_errors: complaints.n_errors,
        n_warnings: complaints.n_warnings,
        counts: complaints.counts,
        complaints: complaints.kept,
    })
}

/// Rows of one model, and those of them with a score.
#[derive(Debug, Default)]
struct Seen {
    scored: u64,
}

/// The state of a validation.
#[derive(Debug)]
struct Checking {
    complaints: Complaints,
    rows: u64,
    n_queries: u64,
    keys: Hashes,
    contents: Hashes,
    models: HashMap<String, Seen>,
    models_overflow: bool,
    /// Least and greatest valid score, and of all finite ones.
    score_range: Option<(f64, f64)>,
    any_score_range: Option<(f64, f64)>,
    units: Units,
}

impl Checking {
    fn new(per_rule_max: u64) -> Self {
        Self {
            complaints: Complaints::new(per_rule_max),
            rows: 0,
            n_queries: 0,
            keys: Hashes::new(),
            contents: Hashes::new(),
            models: HashMap::new(),
            models_overflow: false,
            score_range: None,
            any_score_range: None,
            units: Units::default(),
        }
    }

    fn structural(&mut self, error: LogError) {
        let rule = match &error {
            LogError::Empty { .. } => "empty",
            LogError::NotParquet { .. } => "not-parquet",
            LogError::MissingColumn { .. } => "missing-column",
            LogError::WrongType { .. } => "wrong-type",
            _ => "unreadable",
        };
        self.complaints.general(Severity::Error, rule, error.to_string());
    }

    fn stream(&mut self, path: &Path, schema: &LogSchema) -> Result<(), LogError> {
        let checked = |c: &&Column| c.range().is_some() || c.need == Presence::Required;
        let mut names: Vec<&str> = schema.columns.iter().filter(checked).map(|c| c.name).collect();
        let lists = answers::LISTS.iter().map(|(name, _)| *name);
        let others = ["split", "judge", "timestamp_ms"].into_iter().chain(lists);
        names.extend(others.filter(|name| schema.column(name).is_some()));
        let reader = LogReader::open(path, schema, &names)?;
        self.misnamed(schema, reader.columns_present());
        for batch in reader {
            let batch = batch?;
            self.cells(&batch, schema);
            self.keys_of(&batch, schema);
            self.rows += batch.n_rows() as u64;
        }
        let twice = self.keys.repeated();
        let torn = if schema.column("query_id").is_some() { self.torn_queries() } else { Vec::new() };
        // The second pass needs the room.
        (self.keys, self.contents) = (Hashes::new(), Hashes::new());
        if !twice.is_empty() || !torn.is_empty() {
            self.locate(path, schema, &twice, &torn)?;
        }
        self.oddities(schema);
        if std::ptr::eq(schema, &schema::OUTCOME) {
            self.thin(path)?;
        }
        Ok(())
    }

    /// Warns where too few queries have scores of several models; only then the prompts are read and counted.
    fn thin(&mut self, path: &Path) -> Result<(), LogError> {
        let scored = self.models.values().map(|seen| seen.scored).sum();
        let models = self.models.len() as u64;
        let mut sizes = Coverage { queries: self.n_queries, prompts: 0, models, scored };
        if !sizes.is_thin() {
            return Ok(());
        }
        let mut prompts = Hashes::new();
        for batch in LogReader::open(path, &schema::OUTCOME, &["prompt"])? {
            let batch = batch?;
            let Some(texts) = batch.text("prompt") else { continue };
            (0..batch.n_rows())
                .filter_map(|row| texts.get(row))
                .for_each(|text| prompts.push(prompt_key(text)));
        }
        sizes.prompts = prompts.distinct();
        if let Some(thin) = sizes.thin() {
            self.complaints.general(Severity::Warning, thin.rule(), thin.to_string());
        }
        Ok(())
    }

    /// The first row whose lists, sums or choice do not agree.
    /// Has the log read by the reader of its kind: cells can be sound and not fit together. A table of outcomes or
    /// pairs takes memory; what it asks for is checked here.
    fn by_reader(&mut self, path: &Path, schema: &LogSchema) {
        let is = |kind: &LogSchema| std::ptr::eq(schema, kind);
        let (rule, read) = match () {
            () if is(&schema::DECISION) => {
                let rows = DecisionReader::open(path);
                ("decision", rows.and_then(|mut rows| rows.try_for_each(|rows| rows.map(|_| ()))))
            }
            () if is(&schema::FEEDBACK) => {
                let rows = FeedbackReader::open(path);
                ("feedback", rows.and_then(|mut rows| rows.try_for_each(|rows| rows.map(|_| ()))))
            }
            () if is(&schema::FUSION) => {
                let answers = FusionReader::open(path);
                ("answer", answers.and_then(|mut answers| answers.try_for_each(|answer| answer.map(|_| ()))))
            }
            () if is(&schema::TASK) => ("task", tasks::read(path, None).map(|_| ())),
            () => return,
        };
        if let Err(error) = read {
            self.complaints.general(Severity::Error, rule, error.to_string());
        }
    }

    /// Warns of columns that look like misspelled optional ones.
    fn misnamed(&mut self, schema: &LogSchema, present: &[String]) {
        let absent: Vec<&str> =
            schema.columns.iter().map(|c| c.name).filter(|name| !present.iter().any(|p| p == name)).collect();
        for name in present.iter().filter(|name| schema.column(name).is_none()) {
            let hint = crate::suggest::near_names(name, absent.iter().copied());
            if hint.starts_with("did you mean") {
                let message = format!("column `{name}` is not read; {hint}");
                self.complaints.general(Severity::Warning, "unread-column", message);
            }
        }
    }

    /// Checks every cell by itself.
    fn cells(&mut self, batch: &LogBatch, schema: &LogSchema) {
        for column in schema.columns {
            let Some(array) = batch.batch.column_by_name(column.name) else { continue };
            if column.need == Presence::Required {
                for row in 0..batch.n_rows() {
                    if array.is_null(row) {
                        let message = || format!("`{}` is null, expected a value", column.name);
                        self.complaints.at(batch, row, "null-cell", message);
                    }
                }
            }
            if let (ColumnType::Text, Presence::Required, Some(texts)) =
                (column.dtype, column.need, batch.text(column.name))
            {
                for row in (0..batch.n_rows()).filter(|&row| texts.get(row) == Some("")) {
                    let message = || format!("`{}` is empty, expected a text", column.name);
                    self.complaints.at(batch, row, "empty-text", message);
                }
            }
            if let (Some(range), Some(numbers)) = (column.range(), batch.number(column.name)) {
                self.numbers(batch, column, &numbers, range);
            }
        }
        if let Some(times) = batch.time("timestamp_ms") {
            (0..batch.n_rows())
                .filter_map(|row| times.get(row))
                .for_each(|time| self.units.timestamp_ms(time));
        }
        self.models_of(batch, schema);
        self.winners(batch);
        self.lists(batch);
    }

    fn numbers(
        &mut self,
        batch: &LogBatch,
        column: &Column,
        numbers: &NumberColumn,
        (low, high): (f64, f64),
    ) {
        let is_score = column.name == "score";
        let is_whole = matches!(column.dtype, ColumnType::Int32 | ColumnType::Int64);
        let wider = |range: Option<(f64, f64)>, value: f64| {
            range.map_or((value, value), |(low, high)| (low.min(value), high.max(value)))
        };
        for row in 0..batch.n_rows() {
            let Some(value) = numbers.get(row) else { continue };
            if is_score && value.is_finite() {
                self.any_score_range = Some(wider(self.any_score_range, value));
            }
            if column.name == "latency_ms" && value.is_finite() {
                self.units.latency_ms(value);
            }
            if is_whole && value.is_finite() && value.fract() != 0.0 {
                let message = || format!("{} `{value}` is not valid; expected a whole number", column.name);
                self.complaints.at(batch, row, "not-whole", message);
            } else if !value.is_finite() || value < low || value > high {
                let expected = match (low, high) {
                    (f64::NEG_INFINITY, _) => "finite and <= 0",
                    (_, f64::INFINITY) => "finite and >= 0",
                    _ => "in [0, 1]",
                };
                let message = || {
                    format!(
                        "{} `{value}` is not valid; expected a number {expected}, or null where unknown",
                        column.name
                    )
                };
                self.complaints.at(batch, row, "out-of-range", message);
            } else if is_score {
                self.score_range = Some(wider(self.score_range, value));
            }
        }
    }

    fn models_of(&mut self, batch: &LogBatch, schema: &LogSchema) {
        let score = batch.number("score");
        // Only outcome logs have scores; elsewhere every row of a model counts.
        let all = schema.column("score").is_none();
        for name in ["model", "model_a", "model_b"] {
            let Some(texts) = batch.text(name) else { continue };
            for row in 0..batch.n_rows() {
                let Some(model) = texts.get(row) else { continue };
                let scored = all || score.as_ref().is_some_and(|c| c.get(row).is_some());
                if let Some(seen) = self.models.get_mut(model) {
                    seen.scored += u64::from(scored);
                } else if self.models.len() < MODELS_MAX {
                    self.models.insert(model.to_owned(), Seen { scored: u64::from(scored) });
                } else {
                    self.models_overflow = true;
                }
            }
        }
    }

    /// Checks the lists of answers.
    fn lists(&mut self, batch: &LogBatch) {
        for (column, check) in &answers::LISTS {
            let Some(lists) = batch.vector(column) else { continue };
            for row in 0..batch.n_rows() {
                if let Some(Err(reason)) = lists.get(row).map(|list| check(&list)) {
                    self.complaints.at(batch, row, "bad-list", || reason);
                }
            }
        }
    }

    fn winners(&mut self, batch: &LogBatch) {
        let [Some(a), Some(b), Some(winner)] = ["model_a", "model_b", "winner"].map(|name| batch.text(name))
        else {
            return;
        };
        for row in 0..batch.n_rows() {
            if let (Some(a), Some(b)) = (a.get(row), b.get(row))
                && a == b
            {
                let message = || format!("`model_a` and `model_b` are both `{a}`, expected two models");
                self.complaints.at(batch, row, "same-model", message);
            }
            if let Some(word) = winner.get(row)
                && Winner::from_word(word).is_none()
            {
                let message = || format!("winner `{word}` is not known; expected `a`, `b` or `tie`");
                self.complaints.at(batch, row, "unknown-winner", message);
            }
        }
    }

    /// Hashes the keys of rows and the contents of queries.
    fn keys_of(&mut self, batch: &LogBatch, schema: &LogSchema) {
        let key = KeyColumns::new(batch, schema);
        let content = ContentColumns::new(batch);
        let mut last: Option<Content<'_>> = None;
        for row in 0..batch.n_rows() {
            if key.is_known(row) {
                self.keys.push(key_hash(&key, row));
            }
            let Some(cells) = content.get(row) else { continue };
            // Rows of one query mostly stand together: what was kept of the row above holds for this one.
            if last.as_ref() == Some(&cells) {
                continue;
            }
            let (partition, id) = cells.id_bits();
            self.contents.push_to(partition, (id << CONTENT_BITS) | cells.content_bits());
            last = Some(cells);
        }
    }

    /// The queries (as [`Content::id_bits`]) that occur with more than one content; counts the different ids.
    fn torn_queries(&mut self) -> Vec<(u64, u64)> {
        let mut torn = Vec::new();
        for (partition, hashes) in self.contents.partitions_mut().enumerate() {
            hashes.sort_unstable();
            hashes.dedup();
            let (mut last, mut last_torn) = (None, None);
            for id in hashes.iter().map(|hash| hash >> CONTENT_BITS) {
                if last != Some(id) {
                    self.n_queries += 1;
                    last = Some(id);
                } else if last_torn != Some(id) {
                    torn.push((partition as u64, id));
                    last_torn = Some(id);
                }
            }
        }
        torn
    }

    /// Second pass: finds the rows of repeated keys and torn queries and compares their texts.
    fn locate(
        &mut self,
        path: &Path,
        schema: &LogSchema,
        twice: &[u64],
        torn: &[(u64, u64)],
    ) -> Result<(), LogError> {
        let wanted_keys: HashSet<u64> = twice.iter().take(SUSPECTS_MAX).copied().collect();
        let wanted_ids: HashSet<(u64, u64)> = torn.iter().take(SUSPECTS_MAX).copied().collect();
        let mut first_keys = HashMap::<Vec<Cow<'_, str>>, RowAt>::new();
        let mut first_contents = HashMap::<String, (blake3::Hash, Option<String>)>::new();
        let mut told = HashSet::<String>::new();
        let mut names = schema.key.to_vec();
        names.extend(["prompt", "split"].iter().filter(|name| schema.column(name).is_some()));
        for batch in LogReader::open(path, schema, &names)? {
            let batch = batch?;
            let key = KeyColumns::new(&batch, schema);
            let content = ContentColumns::new(&batch);
            for row in 0..batch.n_rows() {
                if key.is_known(row) && wanted_keys.contains(&key_hash(&key, row)) {
                    let cells: Vec<Cow<'_, str>> =
                        key.cells(row).map(|cell| Cow::Owned(cell.into_owned())).collect();
                    let here = RowAt { file: batch.file.to_path_buf(), row: batch.first_row + row as u64 };
                    match first_keys.get(&cells) {
                        None => drop(first_keys.insert(cells, here)),
                        Some(first) => {
                            let message =
                                || format!("{} is in {first} already; expected one row each", key.named(row));
                            self.complaints.at(&batch, row, "duplicate-key", message);
                        }
                    }
                }
                let Some(cells) = content.get(row).filter(|c| wanted_ids.contains(&c.id_bits())) else {
                    continue;
                };
                let prompt = blake3::hash(cells.prompt.as_bytes());
                let Some((first_prompt, first_split)) = first_contents.get(cells.id) else {
                    first_contents.insert(cells.id.to_owned(), (prompt, cells.split.map(str::to_owned)));
                    continue;
                };
                let other_prompt = *first_prompt != prompt;
                if (other_prompt || first_split.as_deref() != cells.split) && told.insert(cells.id.to_owned())
                {
                    let what = if other_prompt { "prompt" } else { "split" };
                    let message =
                        || format!("query `{}` has another {what} than before; expected one", cells.id);
                    self.complaints.at(&batch, row, "torn-query", message);
                }
            }
        }
        let others = twice.iter().filter(|hash| !wanted_keys.contains(hash)).count();
        self.complaints.more_errors("duplicate-key", others as u64);
        self.complaints.more_errors("torn-query", torn.len().saturating_sub(SUSPECTS_MAX) as u64);
        Ok(())
    }

    /// Warns of what is legitimate but may not be meant.
    fn oddities(&mut self, schema: &LogSchema) {
        let mut warn = |rule, message: String| self.complaints.general(Severity::Warning, rule, message);
        if self.models_overflow {
            warn(
                "many-models",
                format!("more than {MODELS_MAX} different models; is `model` the right column?"),
            );
        }
        self.units.findings().into_iter().for_each(|(rule, message)| warn(rule, message));
        if let Some((low, high)) = self.any_score_range.filter(|(low, high)| *low < 0.0 || *high > 1.0) {
            let (min, max) = (low.min(0.0), high.max(1.0));
            warn(
                "score-range",
                format!(
                    "scores reach from {low} to {high}: `routewright data import long --score-min {min} \
                     --score-max {max}` maps that range, or the true one, to [0, 1]"
                ),
            );
        }
        if schema.column("query_id").is_some() && self.n_queries == 1 {
            warn("one-query", "there is only one query".to_owned());
        }
        if schema.column("score").is_none() {
            return;
        }
        if self.models.len() == 1 {
            warn("one-arm", "there is only one model: nothing can be chosen".to_owned());
        }
        match self.score_range {
            None => warn("no-scores", "no row has a score".to_owned()),
            Some((low, high)) if low == high && self.rows > 1 => {
                warn("equal-scores", format!("every score is {low}: nothing can be learned from them"));
            }
            Some(_) => {
                let mut unseen: Vec<&String> =
                    self.models.iter().filter(|(_, seen)| seen.scored == 0).map(|(model, _)| model).collect();
                unseen.sort();
                for model in unseen {
                    warn("unobserved-arm", format!("model `{model}` has rows but no score"));
                }
            }
        }
    }
}

fn key_hash(key: &KeyColumns<'_>, row: usize) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for cell in key.cells(row) {
        hasher.update(&(cell.len() as u64).to_le_bytes());
        hasher.update(cell.as_bytes());
    }
    first_u64(&hasher.finalize())
}

/// The columns that must agree in all rows of a query.
#[derive(Debug)]
struct ContentColumns<'a> {
    id: Option<TextColumn<'a>>,
    prompt: Option<TextColumn<'a>>,
    split: Option<TextColumn<'a>>,
}

#[derive(Debug, PartialEq)]
struct Content<'a> {
    id: &'a str,
    prompt: &'a str,
    split: Option<&'a str>,
}

impl<'a> ContentColumns<'a> {
    fn new(batch: &'a LogBatch) -> Self {
        Self { id: batch.text("query_id"), prompt: batch.text("prompt"), split: batch.text("split") }
    }

    fn get(&self, row: usize) -> Option<Content<'a>> {
        let (id, prompt) = (self.id?.get(row)?, self.prompt?.get(row)?);
        Some(Content { id, prompt, split: self.split.and_then(|c| c.get(row)) })
    }
}

impl Content<'_> {
    /// Partition and lower bits of the hash of the id: 48 bits that stand for the query.
    fn id_bits(&self) -> (u64, u64) {
        let hash = first_u64(&blake3::hash(self.id.as_bytes()));
        (hash >> (64 - PARTITION_BITS), hash & ((1 << (64 - CONTENT_BITS)) - 1))
    }

    fn content_bits(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.prompt.as_bytes());
        hasher.update(&[0, u8::from(self.split.is_some())]);
        hasher.update(self.split.unwrap_or("").as_bytes());
        first_u64(&hasher.finalize()) & ((1 << CONTENT_BITS) - 1)
    }
}

#[cfg(test)]
mod tests;
