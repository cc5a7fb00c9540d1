//! Assigns splits: random, by source, by time, or with an arm held out; written as a column of a new log.
//!
//! Every rule decides by prompt, never by row: prompts that are equal once case, spacing and trailing
//! punctuation are set aside ([`prompt_key`]) always stand in the same split.

use crate::log::{
    KeyColumns, LogBatch, LogError, LogReader, LogWriter, RowKeys, WriteOptions, common_schema, in_schema,
    query_hash, required, schema_of,
};
use crate::pipeline;
use crate::schema::LogSchema;
use crate::suggest::near_names;
use arrow_array::{ArrayRef, RecordBatch, StringArray, cast::AsArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// Names of the splits, in the order of the shares.
pub const NAMES: [&str; 3] = ["train", "valid", "test"];
/// The split of the sources kept apart by [`SplitRule::BySource`].
pub const TEST_OOD: &str = "test_ood";
/// Bytes of text written at once.
const CHUNK_BYTES: usize = 32 << 20;

/// Shares of train, valid and test: each in `[0, 1]`, together 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fractions {
    train: f64,
    valid: f64,
    test: f64,
}

impl Default for Fractions {
    fn default() -> Self {
        Self { train: 0.6, valid: 0.1, test: 0.3 }
    }
}

impl Fractions {
    /// Checks the shares.
    ///
    /// # Errors
    /// If one is outside `[0, 1]` or they do not sum to 1 (within 1e-6).
    pub fn try_new(train: f64, valid: f64, test: f64) -> Result<Self, LogError> {
        let shares = [train, valid, test];
        if shares.iter().all(|share| (0.0..=1.0).contains(share))
            && (shares.iter().sum::<f64>() - 1.0).abs() < 1e-6
        {
            return Ok(Self { train, valid, test });
        }
        let reason = format!("shares of train, valid and test are `{train}`, `{valid}`, `{test}`");
        Err(LogError::Options(format!("{reason}; expected numbers in [0, 1] that sum to 1")))
    }
}

/// How prompts are assigned.
#[derive(Debug, Clone, PartialEq)]
pub enum SplitRule {
    /// By a seeded hash of the prompt.
    Random(Fractions),
    /// The queries of these sources to split `test_ood`, with every prompt that also occurs there; the others
    /// at random.
    BySource {
        /// Sources kept apart.
        sources: Vec<String>,
        /// Shares of the others.
        fractions: Fractions,
    },
    /// The earliest prompts to train, the latest to test, a repeated prompt by its last occurrence, so that
    /// train holds nothing that happened after the cut. Prompts of equal time stand together.
    ByTime(Fractions),
    /// At random; rows of these models in train and valid are left out of the new log, so that nothing can be
    /// learned of them before test.
    HeldOutArm {
        /// Models kept from train and valid.
        models: Vec<String>,
        /// Shares of the prompts.
        fractions: Fractions,
    },
}

/// What was assigned.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SplitSummary {
    /// Rows written.
    pub rows: u64,
    /// Rows left out, because their arm is held out.
    pub rows_left_out: u64,
    /// By split: different prompts, and rows.
    pub splits: BTreeMap<String, SplitCount>,
}

/// The size of one split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SplitCount {
    /// Prompts that differ after normalisation.
    pub prompts: u64,
    /// Rows.
    pub rows: u64,
}

/// A prompt as far as splits and leakage go: lower case, single spaces, no trailing punctuation.
pub fn normalized(prompt: &str) -> String {
    let mut text = String::with_capacity(prompt.len());
    for word in prompt.split_whitespace() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.extend(word.chars().flat_map(char::to_lowercase));
    }
    let kept = text.trim_end_matches(['.', '!', '?', '。', '！', '？', ' ']).len();
    // A prompt of punctuation alone stays what it is.
    if kept > 0 {
        text.truncate(kept);
    }
    text
}

/// The first 64 bits of the BLAKE3 digest of the [`normalized`] prompt.
pub fn prompt_key(prompt: &str) -> u64 {
    first_u64(&blake3::hash(normalized(prompt).as_bytes()))
}

fn first_u64(hash: &blake3::Hash) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// The split of a prompt by a seeded hash of its key.
pub fn random_split(key: u64, seed: u64, fractions: &Fractions) -> &'static str {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&key.to_le_bytes());
    let unit = (first_u64(&hasher.finalize()) >> 11) as f64 / (1_u64 << 53) as f64;
    at_share(unit, fractions)
}

fn at_share(unit: f64, fractions: &Fractions) -> &'static str {
    if unit < fractions.train {
        NAMES[0]
    } else if unit < fractions.train + fractions.valid || fractions.test == 0.0 {
        if fractions.valid == 0.0 { NAMES[0] } else { NAMES[1] }
    } else {
        NAMES[2]
    }
}

/// Rewrites `log` (an outcome or a pair log) as the file `out` with every row's split in column `split`.
///
/// All other columns are kept; a `split` column that was there is replaced. The same log, rule and seed give
/// the same bytes.
///
/// # Errors
/// If the log cannot be read or repeats a key, a named source or model is not in it, a time is missing where the
/// rule needs it, or the new log cannot be written (nothing is left behind then).
pub fn split_log(log: &Path, out: &Path, rule: &SplitRule, seed: u64) -> Result<SplitSummary, LogError> {
    let decider = Decider::new(log, rule, seed)?;
    let schema = schema_of(log)?;
    let mut summary = SplitSummary::default();
    let mut prompts = HashMap::<u64, &'static str>::new();
    let reader = LogReader::open_all(log, schema)?;
    let common = common_schema(&reader, schema)?;
    let target = with_split_field(&common);
    let mut writer = LogWriter::create(out, Arc::clone(&target), WriteOptions::default())?
        .with_query_text(reader.query_text());
    let mut keys = RowKeys::default();
    pipeline::in_order(
        reader,
        |batch| Ok(Hashed::of(batch)),
        |hashed| {
            check_keys(&hashed, schema, &mut keys)?;
            let (splits, kept) = decide(&decider, &hashed, &mut prompts, &mut summary)?;
            let batch = hashed.batch;
            let columns = in_schema(&batch.batch, &common).map_err(|e| LogError::write(out, e))?;
            for (start, length) in runs(&kept, &text_bytes(&batch)) {
                let slice =
                    with_splits(&columns.slice(start, length), &target, &splits[start..start + length])
                        .map_err(|e| LogError::write(out, e))?;
                writer.write(&slice)?;
            }
            Ok(())
        },
    )?;
    if writer.n_rows() == 0 {
        let reason = "every row is of a held-out arm outside test; expected some other model";
        return Err(LogError::Options(format!("cannot split `{}`: {reason}", log.display())));
    }
    writer.finish()?;
    for split in prompts.values() {
        summary.splits.entry((*split).to_owned()).or_default().prompts += 1;
    }
    Ok(summary)
}

/// A batch with the hashes of its query ids and the keys of its prompts, where they are there.
#[derive(Debug)]
struct Hashed {
    batch: LogBatch,
    queries: Vec<Option<u64>>,
    prompts: Vec<Option<u64>>,
}

impl Hashed {
    fn of(batch: LogBatch) -> Self {
        let hashes = |name: &str, hash: fn(&str) -> u64| -> Vec<Option<u64>> {
            let texts = batch.text(name);
            let mut last: Option<(&str, u64)> = None;
            let mut hashed = |text| match last {
                // Rows of one query mostly stand together.
                Some((before, known)) if before == text => known,
                _ => last.insert((text, hash(text))).1,
            };
            (0..batch.n_rows()).map(|row| texts?.get(row).map(&mut hashed)).collect()
        };
        let (queries, prompts) = (hashes("query_id", query_hash), hashes("prompt", prompt_key));
        Self { batch, queries, prompts }
    }
}

/// Errors at a second row of the same key: what is split is trained on.
fn check_keys(hashed: &Hashed, schema: &LogSchema, keys: &mut RowKeys) -> Result<(), LogError> {
    let batch = &hashed.batch;
    let columns = KeyColumns::new(batch, schema);
    let id = batch.text("query_id");
    for row in 0..batch.n_rows() {
        let id = required(batch, id, "query_id", row)?;
        let query = hashed.queries[row].unwrap_or_else(|| query_hash(id));
        let rest: Vec<_> = columns.cells(row).skip(1).collect();
        if !keys.insert_of(query, &rest.join("\n")) {
            let named = columns.named(row);
            return Err(batch.error(row, format!("{named} has a row already; expected one row each")));
        }
    }
    Ok(())
}

/// The split of every row of a batch, and whether the row is kept.
fn decide(
    decider: &Decider<'_>,
    hashed: &Hashed,
    prompts: &mut HashMap<u64, &'static str>,
    summary: &mut SplitSummary,
) -> Result<(Vec<&'static str>, Vec<bool>), LogError> {
    let batch = &hashed.batch;
    let (prompt_column, model) = (batch.text("prompt"), batch.text("model"));
    let (mut splits, mut kept) = (Vec::new(), Vec::new());
    for row in 0..batch.n_rows() {
        let prompt = required(batch, prompt_column, "prompt", row)?;
        let key = hashed.prompts[row].unwrap_or_else(|| prompt_key(prompt));
        let split = *prompts.entry(key).or_insert_with(|| decider.split(key));
        let keep = decider.keeps(split, model.and_then(|c| c.get(row)));
        if keep {
            summary.rows += 1;
            summary.splits.entry(split.to_owned()).or_default().rows += 1;
        } else {
            summary.rows_left_out += 1;
        }
        splits.push(split);
        kept.push(keep);
    }
    Ok((splits, kept))
}

/// What the first pass over a log found out.
#[derive(Debug)]
struct Decider<'a> {
    rule: &'a SplitRule,
    seed: u64,
    /// Prompts of the sources kept apart.
    apart: HashSet<u64>,
    /// Last time of each prompt, and where valid and test begin.
    times: HashMap<u64, i64>,
    cuts: [i64; 2],
}

impl<'a> Decider<'a> {
    fn new(log: &Path, rule: &'a SplitRule, seed: u64) -> Result<Self, LogError> {
        let mut decider =
            Self { rule, seed, apart: HashSet::new(), times: HashMap::new(), cuts: [i64::MAX; 2] };
        match rule {
            SplitRule::Random(_) => {}
            SplitRule::BySource { sources, .. } => decider.apart = prompts_of_sources(log, sources)?,
            SplitRule::ByTime(fractions) => {
                decider.times = last_times(log)?;
                let mut times: Vec<i64> = decider.times.values().copied().collect();
                times.sort_unstable();
                let n = times.len() as f64;
                let cut = |share: f64| times.get((share * n).round() as usize).copied().unwrap_or(i64::MAX);
                decider.cuts = [cut(fractions.train), cut(fractions.train + fractions.valid)];
            }
            SplitRule::HeldOutArm { models, .. } => check_names(log, "model", models)?,
        }
        Ok(decider)
    }

    fn split(&self, key: u64) -> &'static str {
        match self.rule {
            SplitRule::Random(fractions) | SplitRule::HeldOutArm { fractions, .. } => {
                random_split(key, self.seed, fractions)
            }
            SplitRule::BySource { fractions, .. } => {
                if self.apart.contains(&key) {
                    TEST_OOD
                } else {
                    random_split(key, self.seed, fractions)
                }
            }
            SplitRule::ByTime(_) => {
                let time = self.times.get(&key).copied().unwrap_or(i64::MAX);
                NAMES[usize::from(time >= self.cuts[0]) + usize::from(time >= self.cuts[1])]
            }
        }
    }

    fn keeps(&self, split: &str, model: Option<&str>) -> bool {
        match (self.rule, model) {
            (SplitRule::HeldOutArm { models, .. }, Some(model)) => {
                split == NAMES[2] || !models.iter().any(|held_out| held_out == model)
            }
            _ => true,
        }
    }
}

/// Errors unless every one of `names` is a value of the text column `column`.
fn check_names(log: &Path, column: &str, names: &[String]) -> Result<(), LogError> {
    let mut known = BTreeSet::<String>::new();
    for batch in LogReader::open(log, schema_of(log)?, &[column])? {
        let batch = batch?;
        let Some(texts) = batch.text(column) else { continue };
        for text in (0..batch.n_rows()).filter_map(|row| texts.get(row)) {
            if !known.contains(text) {
                known.insert(text.to_owned());
            }
        }
    }
    let unknown = names.iter().find(|name| !known.contains(*name));
    unknown.map_or(Ok(()), |name| {
        let hint = near_names(name, known.iter().map(String::as_str));
        Err(LogError::Options(format!("`{}` has no {column} `{name}`; {hint}", log.display())))
    })
}

fn prompts_of_sources(log: &Path, sources: &[String]) -> Result<HashSet<u64>, LogError> {
    check_names(log, "source", sources)?;
    let mut keys = HashSet::new();
    let reader = LogReader::open(log, schema_of(log)?, &["source", "prompt"])?;
    let keys_of = |batch: LogBatch| {
        let (source, prompt) = (batch.text("source"), batch.text("prompt"));
        let is_wanted = |row: &usize| {
            let of_row = source.and_then(|c| c.get(*row));
            of_row.is_some_and(|of_row| sources.iter().any(|source| source == of_row))
        };
        let key = |row| required(&batch, prompt, "prompt", row).map(prompt_key);
        (0..batch.n_rows()).filter(is_wanted).map(key).collect::<Result<Vec<u64>, LogError>>()
    };
    pipeline::in_order(reader, keys_of, |found| {
        keys.extend(found);
        Ok(())
    })?;
    Ok(keys)
}

fn last_times(log: &Path) -> Result<HashMap<u64, i64>, LogError> {
    let reader = LogReader::open(log, schema_of(log)?, &["prompt", "timestamp_ms"])?;
    if !reader.columns_present().iter().any(|name| name == "timestamp_ms") {
        let reason = "it has no column `timestamp_ms`; expected one, or another rule";
        return Err(LogError::Options(format!("cannot split `{}` by time: {reason}", log.display())));
    }
    let mut times = HashMap::<u64, i64>::new();
    let timed = |batch: LogBatch| {
        let (prompt, time) = (batch.text("prompt"), batch.time("timestamp_ms"));
        let of_row = |row| {
            let key = prompt_key(required(&batch, prompt, "prompt", row)?);
            let missing = || batch.error(row, "`timestamp_ms` is null, expected a time to split by");
            Ok((key, time.as_ref().and_then(|c| c.get(row)).ok_or_else(missing)?))
        };
        (0..batch.n_rows()).map(of_row).collect::<Result<Vec<(u64, i64)>, LogError>>()
    };
    pipeline::in_order(reader, timed, |found| {
        for (key, time) in found {
            let last = times.entry(key).or_insert(time);
            *last = time.max(*last);
        }
        Ok(())
    })?;
    Ok(times)
}

/// The fields of a log with texts as plain `utf8` and `split` last.
fn with_split_field(schema: &SchemaRef) -> SchemaRef {
    let plain = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8View => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        _ => Arc::clone(field),
    };
    let mut fields: Vec<Arc<Field>> =
        schema.fields().iter().filter(|f| f.name() != "split").map(plain).collect();
    fields.push(Arc::new(Field::new("split", DataType::Utf8, true)));
    Arc::new(Schema::new(fields))
}

fn with_splits(
    batch: &RecordBatch,
    target: &SchemaRef,
    splits: &[&str],
) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if field.name() == "split" {
            continue;
        }
        columns.push(match column.as_string_view_opt() {
            Some(views) => Arc::new(views.iter().collect::<StringArray>()),
            None => Arc::clone(column),
        });
    }
    columns.push(Arc::new(StringArray::from_iter_values(splits)));
    RecordBatch::try_new(Arc::clone(target), columns)
}

/// Bytes of text in each row of a batch.
fn text_bytes(batch: &LogBatch) -> Vec<usize> {
    let mut bytes = vec![0; batch.n_rows()];
    for views in batch.batch.columns().iter().filter_map(|column| column.as_string_view_opt()) {
        // The low 32 bits of a view are its length.
        bytes.iter_mut().zip(views.views()).for_each(|(sum, view)| *sum += *view as u32 as usize);
    }
    bytes
}

/// Runs `(start, length)` of kept rows, cut where their text passes [`CHUNK_BYTES`].
fn runs(kept: &[bool], bytes: &[usize]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    let mut open_bytes = usize::MAX;
    for (row, (&keep, &n_bytes)) in kept.iter().zip(bytes).enumerate() {
        if !keep {
            open_bytes = usize::MAX;
            continue;
        }
        match runs.last_mut() {
            Some((_, length)) if open_bytes < CHUNK_BYTES => *length += 1,
            _ => {
                runs.push((row, 1));
                open_bytes = 0;
            }
        }
        open_bytes = open_bytes.saturating_add(n_bytes);
    }
    runs
}

#[cfg(test)]
mod tests;
