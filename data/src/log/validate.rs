//! Checks a log row by row in bounded memory.
//!
//! One pass checks every cell and keeps two hashes of 8 bytes a row: of the key of the row, and of query id
//! and content (prompt, split) together. Keys that occur twice and queries with two contents show up when the
//! hashes are sorted; only then a second pass finds their rows, and compares the texts themselves. Ten
//! million rows were checked with at most 235 MB resident (a query a row; 154 MB at eight rows a query). Batches are
//! checked by several threads and added up in order, so that what is found depends on the log alone.

use super::check_batch::{BatchCheck, CONTENT_BITS, ContentColumns, key_hash, wider};
use super::complaints::{Complaint, Complaints, Severity};
use super::hashes::Hashes;
use super::keys::KeyColumns;
use super::reader::structural_faults;
use super::{LogBatch, LogError, LogReader, RowAt, schema_of};
use crate::answers::confidence as answers;
use crate::decisions::{DecisionReader, FeedbackReader};
use crate::fusion::FusionReader;
use crate::pipeline;
use crate::schema::{self, Column, LogSchema, Presence};
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

/// The state of a validation.
#[derive(Debug)]
struct Checking {
    complaints: Complaints,
    rows: u64,
    n_queries: u64,
    keys: Hashes,
    contents: Hashes,
    /// Rows of each model with a score.
    models: HashMap<String, u64>,
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
        let per_rule_max = self.complaints.per_rule_max();
        let check = |batch: LogBatch| Ok(BatchCheck::of(&batch, schema, per_rule_max));
        pipeline::in_order(reader, check, |found| {
            self.add(found);
            Ok(())
        })?;
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

    /// Takes in what was found in the next batch.
    fn add(&mut self, found: BatchCheck) {
        self.rows += found.n_rows;
        self.complaints.merge(found.complaints);
        for (model, scored) in found.models {
            if let Some(seen) = self.models.get_mut(&model) {
                *seen += scored;
            } else if self.models.len() < MODELS_MAX {
                self.models.insert(model, scored);
            } else {
                self.models_overflow = true;
            }
        }
        self.score_range = wider(self.score_range, found.score_range);
        self.any_score_range = wider(self.any_score_range, found.any_score_range);
        self.units.merge(found.units);
        found.keys.into_iter().for_each(|key| self.keys.push(key));
        found.contents.into_iter().for_each(|(partition, content)| self.contents.push_to(partition, content));
    }

    /// Warns where too few queries have scores of several models; only then the prompts are read and counted.
    fn thin(&mut self, path: &Path) -> Result<(), LogError> {
        let scored = self.models.values().sum();
        let models = self.models.len() as u64;
        let mut sizes = Coverage { queries: self.n_queries, prompts: 0, models, scored };
        if !sizes.is_thin() {
            return Ok(());
        }
        let mut prompts = Hashes::new();
        let keys = |batch: LogBatch| -> Result<Vec<u64>, LogError> {
            let texts = batch.text("prompt");
            let of_rows = (0..batch.n_rows()).filter_map(|row| texts?.get(row));
            Ok(of_rows.map(prompt_key).collect())
        };
        pipeline::in_order(LogReader::open(path, &schema::OUTCOME, &["prompt"])?, keys, |keys| {
            keys.into_iter().for_each(|key| prompts.push(key));
            Ok(())
        })?;
        sizes.prompts = prompts.distinct();
        if let Some(thin) = sizes.thin() {
            self.complaints.general(Severity::Warning, thin.rule(), thin.to_string());
        }
        Ok(())
    }

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

    /// The queries (as `Content::id_bits`) that occur with more than one content; counts the different ids.
    fn torn_queries(&mut self) -> Vec<(u64, u64)> {
        let mut torn = Vec::new();
        self.contents.sort();
        for (partition, hashes) in self.contents.partitions_mut().enumerate() {
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
                    self.models.iter().filter(|(_, scored)| **scored == 0).map(|(model, _)| model).collect();
                unseen.sort();
                for model in unseen {
                    warn("unobserved-arm", format!("model `{model}` has rows but no score"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
