//! What a log holds: per model, per source, per split, and what leaks between splits.

mod coverage;
mod table;
mod units;

pub use coverage::{Coverage, Thin};
pub(crate) use units::Units;

use crate::log::{LogBatch, LogError, LogReader, NumberColumn, RowKeys, query_hash, required, sample_of};
use crate::pipeline;
use crate::schema;
use crate::split::prompt_key;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// What an outcome log holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogStats {
    /// The log.
    pub path: String,
    /// Rows.
    pub rows: u64,
    /// Different query ids.
    pub queries: u64,
    /// Prompts that differ after normalisation.
    pub prompts: u64,
    /// The models, sorted by name.
    pub models: Vec<ModelStats>,
    /// The sources, sorted by name; queries without one are `(none)`.
    pub sources: Vec<SourceStats>,
    /// The splits, sorted by name; queries without one are `(none)`.
    pub splits: Vec<SplitStats>,
    /// Pairs of splits that share prompts.
    pub leakage: Vec<Leakage>,
    /// Cells with a score over all cells, `[0, 1]`.
    pub coverage: f64,
    /// Cells with a score a query, on average.
    pub cells_a_query: f64,
    /// Rows whose query, model and sample have a row already; they count for nothing but `rows`.
    pub repeated_rows: u64,
    /// Greatest number of a sample, plus 1: 1 where every model answered once.
    pub samples: u64,
    /// Rows that have a value in each column of answers ([`ANSWER_COLUMNS`]), where any has.
    pub answers: BTreeMap<&'static str, u64>,
    /// What a reader should know before training on the log.
    pub warnings: Vec<String>,
}

/// One model of a log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelStats {
    /// Its name.
    pub model: String,
    /// Cells (queries) with a score.
    pub scored: u64,
    /// Cells with a score over queries of the log, `[0, 1]`.
    pub coverage: f64,
    /// Mean score of its rows, where there is one.
    pub score: Option<f64>,
    /// Mean cost in US dollars of its rows that have one.
    pub cost_usd: Option<f64>,
    /// Sum of its costs in US dollars.
    pub cost_usd_total: f64,
    /// Mean latency in milliseconds of its rows that have one.
    pub latency_ms: Option<f64>,
}

/// One source of a log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceStats {
    /// Its name.
    pub source: String,
    /// Its queries.
    pub queries: u64,
    /// Mean score by model.
    pub score: BTreeMap<String, f64>,
    /// The model with the greatest mean, the first by name among equals.
    pub best_model: Option<String>,
}

/// One split of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SplitStats {
    /// Its name.
    pub split: String,
    /// Its queries.
    pub queries: u64,
    /// Its rows.
    pub rows: u64,
}

/// Prompts that two splits share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leakage {
    /// The two splits.
    pub splits: [String; 2],
    /// Prompts, equal after normalisation, that stand in both.
    pub prompts: u64,
}

/// A running mean of the values that are there.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: f64,
    n: u64,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value.filter(|v| !v.is_nan()) {
            self.sum += value;
            self.n += 1;
        }
    }

    fn value(&self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / self.n as f64)
    }
}

#[derive(Debug, Default)]
struct ModelSums {
    scored: u64,
    score: Mean,
    cost_usd: Mean,
    latency_ms: Mean,
}

#[derive(Debug, Default)]
struct SourceSums {
    queries: u64,
    score: HashMap<String, Mean>,
}

/// The state of a pass over a log.
#[derive(Debug, Default)]
struct Counting {
    rows: u64,
    keys: RowKeys,
    /// Cells with a score, where a cell may have several rows.
    scored: Option<RowKeys>,
    samples: u64,
    answers: BTreeMap<&'static str, u64>,
    /// Rows of a key that had one, and where the first of them is.
    repeated: u64,
    first_repeated: Option<String>,
    units: Units,
    /// Splits of each prompt, as bits: a log has few splits, and bits above 63 are not told apart.
    prompts: HashMap<u64, u64>,
    models: BTreeMap<String, ModelSums>,
    sources: BTreeMap<String, SourceSums>,
    splits: Vec<SplitStats>,
}

const NONE: &str = "(none)";
/// The columns of answers that are counted; texts of answers are not read.
pub const ANSWER_COLUMNS: [&str; 6] =
    ["variant", "answer", "finish", "logprob_mean", "logprob_min", "verifier_rate"];

/// Reads an outcome log once and sums it up; only queries of `split` where one is named.
///
/// # Errors
/// If the log cannot be read, is not an outcome log, or has no such split.
pub fn stats(path: &Path, split: Option<&str>) -> Result<LogStats, LogError> {
    let mut columns = vec![
        "query_id",
        "split",
        "source",
        "prompt",
        "model",
        "sample",
        "score",
        "cost_usd",
        "latency_ms",
        "timestamp_ms",
    ];
    columns.extend(ANSWER_COLUMNS);
    let reader = LogReader::open(path, &schema::OUTCOME, &columns)?;
    let has_samples = reader.columns_present().iter().any(|name| name == "sample");
    let mut counting =
        Counting { samples: 1, scored: has_samples.then(RowKeys::default), ..Counting::default() };
    let has_splits = reader.columns_present().iter().any(|name| name == "split");
    let mut splits = HashSet::new();
    pipeline::in_order(
        reader,
        |batch| Ok(Hashed::of(batch)),
        |batch| counting.add(&batch, split, &mut splits),
    )?;
    if let Some(split) = split
        && counting.rows == 0
    {
        let (path, split) = (path.display().to_string(), split.to_owned());
        if !has_splits {
            return Err(LogError::NoSplits { path, split });
        }
        let mut names: Vec<String> =
            splits.iter().filter(|name| *name != NONE).map(|name| format!("`{name}`")).collect();
        names.sort();
        let hint = if names.is_empty() {
            "its column `split` is null everywhere; assign splits with `routewright data split`".to_owned()
        } else {
            format!("the splits are {}", names.join(", "))
        };
        return Err(LogError::UnknownSplit { path, split, hint });
    }
    Ok(counting.finish(path))
}

/// A batch, and what takes longest to know of its rows.
#[derive(Debug)]
struct Hashed {
    batch: LogBatch,
    /// [`query_hash`] of the query id, where there is one.
    queries: Vec<Option<u64>>,
    /// [`prompt_key`], where there is a prompt and the row above is of another query.
    prompts: Vec<Option<u64>>,
}

impl Hashed {
    fn of(batch: LogBatch) -> Self {
        let [id, prompt] = ["query_id", "prompt"].map(|name| batch.text(name));
        let rows = 0..batch.n_rows();
        let (mut queries, mut prompts) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for row in rows {
            let query = id.and_then(|c| c.get(row)).map(query_hash);
            let is_other = queries.last() != Some(&query);
            prompts.push(prompt.filter(|_| is_other).and_then(|c| c.get(row)).map(prompt_key));
            queries.push(query);
        }
        Self { batch, queries, prompts }
    }

    /// The key of a row's prompt.
    fn prompt(&self, row: usize) -> Result<u64, LogError> {
        match self.prompts[row] {
            Some(key) => Ok(key),
            None => required(&self.batch, self.batch.text("prompt"), "prompt", row).map(prompt_key),
        }
    }
}

impl Counting {
    fn add(
        &mut self,
        hashed: &Hashed,
        wanted: Option<&str>,
        seen: &mut HashSet<String>,
    ) -> Result<(), LogError> {
        let batch = &hashed.batch;
        let [id, split, source, model] =
            ["query_id", "split", "source", "model"].map(|name| batch.text(name));
        let [score, cost, latency] = ["score", "cost_usd", "latency_ms"].map(|name| batch.number(name));
        let (time, sample) = (batch.time("timestamp_ms"), batch.number("sample"));
        let mut kept = Vec::new();
        for row in 0..batch.n_rows() {
            let split = split.and_then(|c| c.get(row)).unwrap_or(NONE);
            if !seen.contains(split) {
                seen.insert(split.to_owned());
            }
            if wanted.is_some_and(|wanted| wanted != split) {
                continue;
            }
            self.rows += 1;
            let (id, model) = (required(batch, id, "query_id", row)?, required(batch, model, "model", row)?);
            let n_queries = self.keys.n_queries();
            let sample = sample_of(batch, sample.as_ref(), row)?;
            let query = hashed.queries[row].unwrap_or_else(|| query_hash(id));
            if !self.keys.insert_sample_of(query, model, sample) {
                self.repeat(batch, row, id, model);
                continue;
            }
            self.samples = self.samples.max(u64::from(sample) + 1);
            kept.push(row);
            let is_new = self.keys.n_queries() > n_queries;
            let split = self.split_number(split);
            self.splits[split].rows += 1;
            self.splits[split].queries += u64::from(is_new);
            // The prompt of a query is the same in all of its rows.
            if is_new {
                *self.prompts.entry(hashed.prompt(row)?).or_default() |= 1 << split.min(63);
            }
            let score = score.as_ref().and_then(|c| c.get(row));
            let is_scored = score.is_some_and(|score| !score.is_nan())
                && self.scored.as_mut().is_none_or(|scored| scored.insert_of(query, model));
            let sums = entry(&mut self.models, model);
            sums.score.add(score);
            sums.scored += u64::from(is_scored);
            sums.cost_usd.add(cost.as_ref().and_then(|c| c.get(row)));
            let latency = latency.as_ref().and_then(|c| c.get(row));
            sums.latency_ms.add(latency);
            latency.into_iter().for_each(|latency| self.units.latency_ms(latency));
            time.as_ref().and_then(|c| c.get(row)).into_iter().for_each(|time| self.units.timestamp_ms(time));
            let source = entry(&mut self.sources, source.and_then(|c| c.get(row)).unwrap_or(NONE));
            source.queries += u64::from(is_new);
            match source.score.get_mut(model) {
                Some(mean) => mean.add(score),
                None => source.score.entry(model.to_owned()).or_default().add(score),
            }
        }
        self.answers_of(batch, &kept);
        Ok(())
    }

    /// Counts the rows that have a value in each column of answers.
    fn answers_of(&mut self, batch: &LogBatch, rows: &[usize]) {
        for name in ANSWER_COLUMNS {
            let texts = batch.text(name);
            let numbers: Option<NumberColumn> = batch.number(name);
            let is_there = |row: usize| {
                texts.is_some_and(|c| c.get(row).is_some())
                    || numbers.as_ref().is_some_and(|c| c.get(row).is_some())
            };
            let n = rows.iter().filter(|&&row| is_there(row)).count() as u64;
            if n > 0 {
                *self.answers.entry(name).or_default() += n;
            }
        }
    }

    /// Notes a row whose key had one.
    fn repeat(&mut self, batch: &LogBatch, row: usize, id: &str, model: &str) {
        self.repeated += 1;
        if self.first_repeated.is_none() {
            let (number, file) = (batch.first_row + row as u64, batch.file.display());
            self.first_repeated = Some(format!("row {number} of `{file}`, query `{id}` and model `{model}`"));
        }
    }

    /// What a reader should know, most important first.
    fn warnings(&self, sizes: &Coverage) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(first) = &self.first_repeated {
            let n = self.repeated;
            warnings.push(format!(
                "{n} rows repeat a query, a model and a sample and are left out here (the first: {first}); such a log \
                 is neither split nor trained on"
            ));
        }
        warnings.extend(sizes.thin().map(|thin| thin.to_string()));
        warnings.extend(self.units.findings().into_iter().map(|(_, message)| message));
        warnings
    }

    fn split_number(&mut self, split: &str) -> usize {
        if let Some(number) = self.splits.iter().position(|s| s.split == split) {
            return number;
        }
        self.splits.push(SplitStats { split: split.to_owned(), queries: 0, rows: 0 });
        self.splits.len() - 1
    }

    fn finish(mut self, path: &Path) -> LogStats {
        let n_queries = self.keys.n_queries() as u64;
        let sizes = Coverage {
            queries: n_queries,
            prompts: self.prompts.len() as u64,
            models: self.models.len() as u64,
            scored: self.models.values().map(|sums| sums.scored).sum(),
        };
        let warnings = self.warnings(&sizes);
        let models = self.models.into_iter().map(|(model, sums)| ModelStats {
            model,
            scored: sums.scored,
            coverage: sums.scored as f64 / (n_queries as f64).max(1.0),
            score: sums.score.value(),
            cost_usd: sums.cost_usd.value(),
            cost_usd_total: sums.cost_usd.sum,
            latency_ms: sums.latency_ms.value(),
        });
        let sources = self.sources.into_iter().map(|(source, sums)| {
            let means = sums.score.into_iter().filter_map(|(model, mean)| Some((model, mean.value()?)));
            let score: BTreeMap<String, f64> = means.collect();
            // `fold` keeps the first of equals; `max_by` would keep the last.
            let best = score.iter().fold(None, |best: Option<(&String, f64)>, (model, &mean)| match best {
                Some((_, best_mean)) if best_mean >= mean => best,
                _ => Some((model, mean)),
            });
            let best_model = best.map(|(model, _)| model.clone());
            SourceStats { source, queries: sums.queries, score, best_model }
        });
        let (models, sources) = (models.collect(), sources.collect());
        let leakage = leakage(&self.splits, &self.prompts);
        self.splits.sort_by(|a, b| a.split.cmp(&b.split));
        LogStats {
            path: path.display().to_string(),
            rows: self.rows,
            queries: n_queries,
            prompts: self.prompts.len() as u64,
            models,
            sources,
            splits: self.splits,
            leakage,
            coverage: sizes.cells_a_query() / (sizes.models as f64).max(1.0),
            cells_a_query: sizes.cells_a_query(),
            repeated_rows: self.repeated,
            samples: self.samples,
            answers: self.answers,
            warnings,
        }
    }
}

fn leakage(splits: &[SplitStats], prompts: &HashMap<u64, u64>) -> Vec<Leakage> {
    let mut found = Vec::new();
    for a in 0..splits.len().min(64) {
        for b in a + 1..splits.len().min(64) {
            let both = (1_u64 << a) | (1_u64 << b);
            let n = prompts.values().filter(|&&bits| bits & both == both).count() as u64;
            if n > 0 {
                let mut names = [splits[a].split.clone(), splits[b].split.clone()];
                names.sort();
                found.push(Leakage { splits: names, prompts: n });
            }
        }
    }
    found.sort_by(|a, b| a.splits.cmp(&b.splits));
    found
}

fn entry<'a, V: Default>(map: &'a mut BTreeMap<String, V>, name: &str) -> &'a mut V {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), V::default());
    }
    map.entry(name.to_owned()).or_default()
}

#[cfg(test)]
mod tests;
