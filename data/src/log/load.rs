//! Reads an outcome log into the matrices every method learns from.

use super::queries::{QUERY_COLUMNS, QueryColumns, QueryRows, required};
use super::{LogBatch, LogError, LogReader, NumberColumn, RowKeys, VectorColumn, sample_of};
use crate::schema::{self, ColumnType};
use crate::suggest::near_names;
use crate::{Cells, FeatureMatrix, OutcomeTable};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// What of a log to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadOptions {
    /// Only queries of this split, or of several, separated by commas; all when `None`.
    pub split: Option<String>,
    /// Exactly these models (a model without rows in the split is a column of missing cells); when `None`,
    /// the models that have rows in the split.
    pub models: Option<Vec<String>>,
    /// List column to read as precomputed features.
    pub vector_column: Option<String>,
}

impl LoadOptions {
    /// The queries of one split.
    pub fn split(name: &str) -> Self {
        Self { split: Some(name.to_owned()), ..Self::default() }
    }
}

/// What maps scores of another range to `[0, 1]`.
const SCORE_HINT: &str =
    "; `routewright data import long --score-min MIN --score-max MAX` maps another range to [0, 1]";

/// One outcome, before the number of models is known. Missing values are NaN.
#[derive(Debug, Clone, Copy)]
struct Entry {
    query: u32,
    model: u32,
    score: f32,
    soft_score: f32,
    cost_usd: f32,
    latency_ms: f32,
}

/// What has been read so far.
#[derive(Debug)]
struct Loading {
    queries: QueryRows,
    wanted_models: Option<HashSet<String>>,
    models_seen: HashSet<String>,
    model_numbers: HashMap<String, u32>,
    entries: Vec<Entry>,
    /// Whether some cell may have several answers.
    has_samples: bool,
    /// Keys of all rows, of the split asked for or not: a log that repeats one is not learned from.
    keys: RowKeys,
    vector_column: Option<String>,
    vectors: Vec<Vec<f32>>,
}

impl OutcomeTable {
    /// Reads an outcome log: a Parquet file or a directory of them.
    ///
    /// Models are sorted by name, queries stand in order of first appearance, cells without a row are
    /// missing. Of a model that was sampled several times on a query, the cell is the mean of the samples that have
    /// the value: what one call is expected to bring.
    ///
    /// A query none of whose rows is of a model asked for is left out.
    ///
    /// # Errors
    /// If the log cannot be read, lacks a column, or holds a row that `data validate` calls an error (the row
    /// is named); if the split or a model asked for does not exist.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, LogError> {
        let mut columns = QUERY_COLUMNS.to_vec();
        columns.extend(["model", "sample", "score", "soft_score", "cost_usd", "latency_ms"]);
        columns.extend(options.vector_column.as_deref());
        let reader = LogReader::open(path, &schema::OUTCOME, &columns)?;
        if let Some(column) = &options.vector_column
            && !reader.columns_present().contains(column)
        {
            let hint = near_names(column, reader.columns_present().iter().map(String::as_str));
            let path = path.display().to_string();
            return Err(LogError::MissingColumn {
                path,
                column: column.clone(),
                table: "vector feature",
                hint,
            });
        }
        let mut loading = Loading {
            queries: QueryRows::new(path, &reader, options.split.as_deref())?,
            wanted_models: options.models.as_ref().map(|models| models.iter().cloned().collect()),
            models_seen: HashSet::new(),
            model_numbers: HashMap::new(),
            entries: Vec::new(),
            has_samples: false,
            keys: RowKeys::default(),
            vector_column: options.vector_column.clone(),
            vectors: Vec::new(),
        };
        for batch in reader {
            loading.add(&batch?)?;
        }
        loading.finish(path)
    }
}

/// Least and greatest value of a column.
pub(crate) type Range = (f64, f64);

/// A number of an optional column that must lie in `low..=high`; `None` when null or absent.
pub(crate) fn number(
    batch: &LogBatch,
    column: Option<&NumberColumn>,
    name: &str,
    row: usize,
    (low, high): Range,
) -> Result<Option<f64>, LogError> {
    let Some(value) = column.and_then(|c| c.get(row)) else { return Ok(None) };
    // NaN fails this test too: a missing cell is null, a NaN is a computation gone wrong.
    if value.is_finite() && (low..=high).contains(&value) {
        return Ok(Some(value));
    }
    let range = match (low, high) {
        (f64::NEG_INFINITY, _) => format!("a finite number <= {high}"),
        (_, f64::INFINITY) => format!("a finite number >= {low}"),
        _ => format!("[{low}, {high}]"),
    };
    let hint = if name == "score" { SCORE_HINT } else { "" };
    let reason = format!("{name} `{value}` is not valid; expected {range}, or null where unknown{hint}");
    Err(batch.error(row, reason))
}

impl Loading {
    fn add(&mut self, batch: &LogBatch) -> Result<(), LogError> {
        let query = QueryColumns::new(batch);
        let (model_column, sample_column) = (batch.text("model"), batch.number("sample"));
        let [score, soft, cost, latency] =
            ["score", "soft_score", "cost_usd", "latency_ms"].map(|name| batch.number(name));
        let vectors = match &self.vector_column {
            Some(name) => Some(vector_column(batch, name)?),
            None => None,
        };
        for row in 0..batch.n_rows() {
            let model = required(batch, model_column, "model", row)?;
            let id = required(batch, query.id, "query_id", row)?;
            let sample = sample_of(batch, sample_column.as_ref(), row)?;
            if !self.keys.insert_sample(id, model, sample) {
                return Err(batch.error(row, repeated(id, model, sample)));
            }
            self.has_samples |= sample > 0;
            if self.wanted_models.is_some() && !self.models_seen.contains(model) {
                self.models_seen.insert(model.to_owned());
            }
            let keep = self.wanted_models.as_ref().is_none_or(|models| models.contains(model));
            let Some(query_number) = self.queries.add(batch, &query, row, keep)? else { continue };
            let value = |column, name, range| {
                number(batch, column, name, row, range).map(|value| value.map_or(f32::NAN, |v| v as f32))
            };
            let entry = Entry {
                query: query_number as u32,
                model: self.model_number(model),
                score: value(score.as_ref(), "score", (0.0, 1.0))?,
                soft_score: value(soft.as_ref(), "soft_score", (0.0, 1.0))?,
                cost_usd: value(cost.as_ref(), "cost_usd", (0.0, f64::INFINITY))?,
                latency_ms: value(latency.as_ref(), "latency_ms", (0.0, f64::INFINITY))?,
            };
            self.entries.push(entry);
            if let Some(vectors) = vectors
                && query_number == self.vectors.len()
            {
                self.add_vector(batch, &vectors, row)?;
            }
        }
        Ok(())
    }

    fn model_number(&mut self, model: &str) -> u32 {
        if let Some(number) = self.model_numbers.get(model) {
            return *number;
        }
        let number = self.model_numbers.len() as u32;
        self.model_numbers.insert(model.to_owned(), number);
        number
    }

    fn add_vector(
        &mut self,
        batch: &LogBatch,
        column: &VectorColumn<'_>,
        row: usize,
    ) -> Result<(), LogError> {
        let Some(vector) = column.get(row) else {
            return Err(batch.error(row, "its vector is null, expected a list of numbers"));
        };
        let dim = self.vectors.first().map_or(vector.len(), Vec::len);
        if vector.len() != dim || dim == 0 {
            let reason = format!("its vector has width {}, expected {}", vector.len(), dim.max(1));
            return Err(batch.error(row, reason));
        }
        if let Some(at) = vector.iter().position(|v| !v.is_finite()) {
            return Err(batch.error(row, format!("its vector is not finite at position {at}")));
        }
        self.vectors.push(vector);
        Ok(())
    }

    fn finish(self, path: &Path) -> Result<OutcomeTable, LogError> {
        if let Some(wanted) = &self.wanted_models {
            let mut unknown: Vec<&String> =
                wanted.iter().filter(|m| !self.models_seen.contains(*m)).collect();
            unknown.sort();
            if let Some(model) = unknown.first() {
                let mut known: Vec<&str> = self.models_seen.iter().map(String::as_str).collect();
                known.sort_unstable();
                let (path, hint) = (path.display().to_string(), near_names(model, known));
                return Err(LogError::UnknownModel { path, model: (*model).clone(), hint });
            }
        }
        let queries = self.queries.finish(path)?;
        let wanted = self.wanted_models.into_iter().flatten();
        // Sorted by name: column `i` of the matrices is the `i`-th model of this map.
        let mut columns: BTreeMap<String, usize> =
            wanted.chain(self.model_numbers.keys().cloned()).map(|model| (model, 0)).collect();
        columns.values_mut().enumerate().for_each(|(col, value)| *value = col);
        let mut col_of = vec![0; self.model_numbers.len()];
        for (model, number) in &self.model_numbers {
            col_of[*number as usize] = columns[model];
        }
        let cells = |value: fn(&Entry) -> f32| {
            let mut cells = Cells::missing(queries.len(), columns.len());
            let cell = |entry: &Entry| (entry.query as usize, col_of[entry.model as usize], value(entry));
            if self.has_samples {
                set_means(&mut cells, self.entries.iter().map(cell));
            } else {
                self.entries.iter().map(cell).for_each(|(row, col, value)| cells.set(row, col, value));
            }
            cells
        };
        let some_present = |cells: Cells| (cells.n_present() > 0).then_some(cells);
        let (score, cost_usd) = (cells(|e| e.score), cells(|e| e.cost_usd));
        let (soft_score, latency_ms) = (cells(|e| e.soft_score), cells(|e| e.latency_ms));
        let vectors = self.vector_column.map(|_| {
            let dim = self.vectors.first().map_or(0, Vec::len);
            FeatureMatrix::from_vec(self.vectors.len(), dim, self.vectors.into_iter().flatten().collect())
        });
        Ok(OutcomeTable {
            queries,
            models: columns.into_keys().collect(),
            score,
            soft_score: some_present(soft_score),
            cost_usd,
            latency_ms: some_present(latency_ms),
            vectors,
        })
    }
}

/// What is wrong with a row whose key has one.
pub(crate) fn repeated(query: &str, model: &str, sample: u32) -> String {
    let samples = if sample == 0 { String::new() } else { format!(", sample `{sample}`") };
    format!(
        "query `{query}` and model `{model}`{samples} have a row already; expected one row each, or answers of one \
         model told apart by `sample`"
    )
}

/// Sets every cell to the mean of its values that are known. The sums are of 64 bits, so that the order of the
/// samples does not show.
fn set_means(cells: &mut Cells, values: impl Iterator<Item = (usize, usize, f32)>) {
    let n_cols = cells.n_cols();
    let mut sums = vec![(0.0_f64, 0_u32); cells.n_rows() * n_cols];
    for (row, col, value) in values.filter(|(_, _, value)| !value.is_nan()) {
        let (sum, n) = &mut sums[row * n_cols + col];
        *sum += f64::from(value);
        *n += 1;
    }
    for (at, (sum, n)) in sums.iter().enumerate().filter(|(_, (_, n))| *n > 0) {
        cells.set(at / n_cols, at % n_cols, (sum / f64::from(*n)) as f32);
    }
}

fn vector_column<'a>(batch: &'a LogBatch, name: &str) -> Result<VectorColumn<'a>, LogError> {
    let accepted = ColumnType::FloatList.accepted();
    let path = batch.file.display().to_string();
    let Some(array) = batch.batch.column_by_name(name) else {
        let (column, hint) = (name.to_owned(), "another file of this log has it".to_owned());
        return Err(LogError::MissingColumn { path, column, table: "file with vectors", hint });
    };
    let usable = ColumnType::FloatList.accepts(array.data_type());
    VectorColumn::new(array).filter(|_| usable).ok_or_else(|| {
        let found = schema::type_name(array.data_type());
        LogError::WrongType { path, column: name.to_owned(), found, accepted, hint: "" }
    })
}

#[cfg(test)]
mod tests;
