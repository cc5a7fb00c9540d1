//! Reads a log in record batches whose memory is bounded by bytes, not by rows.

use super::guard::{check_extents, guarded};
use super::storage::fields_as_read;
use super::{LogError, NumberColumn, TextColumn, TextListColumn, TimeColumn, VectorColumn};
use crate::files;
use crate::query_text::{LOG_KEY, QueryText};
use crate::schema::{self, Column, ColumnType, LogSchema, Presence, type_name};
use crate::suggest::near_names;
use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of a batch at most.
const BATCH_ROWS_MAX: usize = 8192;
/// Bytes a batch is sized for, from the average row of the file.
const BATCH_BYTES: u64 = 16 << 20;

/// A batch of rows, with where they came from.
#[derive(Debug)]
pub struct LogBatch {
    /// The projected columns; texts are views.
    pub batch: RecordBatch,
    /// The file they stand in.
    pub file: Arc<Path>,
    /// Row of the first one within that file, from 1.
    pub first_row: u64,
}

impl LogBatch {
    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// `n` rows from `at`, counted from 0, where they lie.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn slice(&self, at: usize, n: usize) -> Self {
        let (batch, file) = (self.batch.slice(at, n), Arc::clone(&self.file));
        Self { batch, file, first_row: self.first_row + at as u64 }
    }

    /// A column of texts, `None` when the log has it not.
    pub fn text(&self, name: &str) -> Option<TextColumn<'_>> {
        self.batch.column_by_name(name).and_then(TextColumn::new)
    }

    /// A column of numbers, `None` when the log has it not.
    pub fn number(&self, name: &str) -> Option<NumberColumn> {
        self.batch.column_by_name(name).and_then(NumberColumn::new)
    }

    /// A column of times, `None` when the log has it not.
    pub fn time(&self, name: &str) -> Option<TimeColumn> {
        self.batch.column_by_name(name).and_then(TimeColumn::new)
    }

    /// A column of vectors, `None` when the log has it not.
    pub fn vector(&self, name: &str) -> Option<VectorColumn<'_>> {
        self.batch.column_by_name(name).and_then(VectorColumn::new)
    }

    /// A column of lists of texts, `None` when the log has it not.
    pub fn text_list(&self, name: &str) -> Option<TextListColumn<'_>> {
        self.batch.column_by_name(name).and_then(TextListColumn::new)
    }

    /// The error `reason` at row `row` of this batch.
    pub(crate) fn error(&self, row: usize, reason: impl Into<String>) -> LogError {
        LogError::row(&self.file, self.first_row + row as u64, reason)
    }
}

/// The Parquet files a log is made of: the file itself, or the `*.parquet` files of a directory by name.
///
/// # Errors
/// If the path cannot be read or the directory holds no such file.
pub fn parts(path: &Path) -> Result<Vec<PathBuf>, LogError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let visible = |p: &PathBuf| !p.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
    let mut found: Vec<PathBuf> = files::list_dir(path)?
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "parquet") && visible(p))
        .collect();
    found.sort();
    if found.is_empty() {
        let path = path.display().to_string();
        return Err(LogError::Empty { path, expected: "expected `*.parquet` files in it" });
    }
    Ok(found)
}

/// Everything that keeps the files of a log from being read with `schema`: files that are not whole Parquet,
/// columns that are missing or of a wrong type.
///
/// # Errors
/// If the path itself cannot be read.
pub(super) fn structural_faults(path: &Path, schema: &LogSchema) -> Result<Vec<LogError>, LogError> {
    let mut faults = Vec::new();
    for part in parts(path)? {
        match open_part(&part, &|name| schema.column(name).map(|c| c.dtype)) {
            Err(error @ LogError::File(_)) => return Err(error),
            Err(error) => faults.push(error),
            Ok(part) => {
                let check = |column| check_column(&part.path, part.metadata.schema(), schema, column).err();
                faults.extend(schema.columns.iter().filter_map(check));
            }
        }
    }
    Ok(faults)
}

/// Which kind of log a path holds, by its columns.
///
/// # Errors
/// If its first file is not whole Parquet.
pub fn schema_of(path: &Path) -> Result<&'static LogSchema, LogError> {
    let first = parts(path)?.into_iter().next().map(|part| open_part(&part, &|_| None)).transpose()?;
    let names: Vec<String> = first
        .iter()
        .flat_map(|part| part.metadata.schema().fields().iter().map(|field| field.name().clone()))
        .collect();
    let has_any = |wanted: &[&str]| wanted.iter().any(|w| names.iter().any(|name| name == w));
    Ok(if has_any(&["answer_id"]) {
        &schema::FUSION
    } else if has_any(&["task_id"]) {
        &schema::TASK
    } else if has_any(&["outcome_id"]) {
        &schema::FEEDBACK
    } else if has_any(&["decision_id"]) {
        &schema::DECISION
    } else if has_any(&["model_a", "model_b", "winner"]) {
        &schema::PAIR
    } else {
        &schema::OUTCOME
    })
}

/// The rule the prompts of a log were made by, where it names one.
///
/// # Errors
/// If a file is not whole Parquet, names a rule this build does not know, or another one than the file before it.
pub fn query_text_of(path: &Path) -> Result<Option<QueryText>, LogError> {
    let opened = parts(path)?.iter().map(|part| open_part(part, &|_| None)).collect::<Result<Vec<_>, _>>()?;
    agreed_query_text(&opened)
}

/// The one rule all files name, or that none does.
fn agreed_query_text(parts: &[Part]) -> Result<Option<QueryText>, LogError> {
    let mut agreed: Option<(&Part, Option<QueryText>)> = None;
    for part in parts {
        let named = named_query_text(part)?;
        let Some((first, rule)) = &agreed else {
            agreed = Some((part, named));
            continue;
        };
        if *rule != named {
            let shown = |rule: Option<QueryText>| {
                rule.map_or_else(|| "by no named rule".to_owned(), |rule| format!("by `{rule}`"))
            };
            let (a, b) = (first.path.display(), part.path.display());
            return Err(LogError::Options(format!(
                "the prompts of `{a}` were made {}, those of `{b}` {}; import both with one `--query-text`",
                shown(*rule),
                shown(named)
            )));
        }
    }
    Ok(agreed.and_then(|(_, rule)| rule))
}

fn named_query_text(part: &Part) -> Result<Option<QueryText>, LogError> {
    let metadata = part.metadata.metadata().file_metadata().key_value_metadata();
    let named = metadata.into_iter().flatten().find(|entry| entry.key == LOG_KEY);
    let Some(name) = named.and_then(|entry| entry.value.as_deref()) else { return Ok(None) };
    name.parse().map(Some).map_err(|reason| {
        LogError::Options(format!(
            "cannot read `{}`: its prompts were made by an {reason}",
            part.path.display()
        ))
    })
}

/// One opened file: its metadata with texts hinted to be read as views.
#[derive(Debug)]
struct Part {
    path: Arc<Path>,
    metadata: ArrowReaderMetadata,
}

/// A log being read: an iterator of [`LogBatch`].
#[derive(Debug)]
pub struct LogReader {
    parts: std::vec::IntoIter<Part>,
    columns: Option<Vec<String>>,
    n_rows: u64,
    present: Vec<String>,
    query_text: Option<QueryText>,
    current: Option<(Arc<Path>, ParquetRecordBatchReader, u64)>,
}

impl LogReader {
    /// Opens a log and checks the columns of every file against `schema` before the first row is read.
    ///
    /// Only `columns` are decoded (those the files have); names that `schema` does not list are read as
    /// they are.
    ///
    /// # Errors
    /// If a file is not whole Parquet, lacks a required column among `columns`, or has one of a wrong type;
    /// if there are no rows at all.
    pub fn open(path: &Path, schema: &LogSchema, columns: &[&str]) -> Result<Self, LogError> {
        Self::open_parts(path, schema, Some(columns))
    }

    /// Opens a log to read every column, whether `schema` lists it or not.
    ///
    /// # Errors
    /// As [`LogReader::open`], of every column of the schema.
    pub fn open_all(path: &Path, schema: &LogSchema) -> Result<Self, LogError> {
        Self::open_parts(path, schema, None)
    }

    fn open_parts(path: &Path, schema: &LogSchema, columns: Option<&[&str]>) -> Result<Self, LogError> {
        let mut opened = Vec::new();
        let (mut n_rows, mut present) = (0_u64, Vec::<String>::new());
        for part in parts(path)? {
            let part = open_part(&part, &|name| schema.column(name).map(|c| c.dtype))?;
            let found = part.metadata.schema();
            for column in
                schema.columns.iter().filter(|c| columns.is_none_or(|names| names.contains(&c.name)))
            {
                check_column(&part.path, found, schema, column)?;
            }
            n_rows += part.metadata.metadata().file_metadata().num_rows().max(0) as u64;
            let names = found.fields().iter().map(|f| f.name().clone());
            let new: Vec<String> = names.filter(|name| !present.contains(name)).collect();
            present.extend(new);
            opened.push(part);
        }
        if n_rows == 0 {
            let path = path.display().to_string();
            return Err(LogError::Empty { path, expected: "expected at least one row" });
        }
        let columns = columns.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        let query_text = agreed_query_text(&opened)?;
        Ok(Self { parts: opened.into_iter(), columns, n_rows, present, query_text, current: None })
    }

    /// Rows of all files together.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// The files that are still to be read, with their columns as they are read.
    pub(super) fn schemas(&self) -> impl Iterator<Item = (&Path, &SchemaRef)> {
        self.parts.as_slice().iter().map(|part| (&*part.path, part.metadata.schema()))
    }

    /// Names of all columns of all files, projected or not.
    pub fn columns_present(&self) -> &[String] {
        &self.present
    }

    /// The rule the prompts were made by, where the log names it.
    pub fn query_text(&self) -> Option<QueryText> {
        self.query_text
    }

    fn advance(&mut self) -> Result<Option<LogBatch>, LogError> {
        loop {
            if let Some((path, reader, next_row)) = &mut self.current
                && let Some(batch) = guarded(path, || reader.next().transpose())?
            {
                let first_row = *next_row;
                *next_row += batch.num_rows() as u64;
                return Ok(Some(LogBatch { batch, file: Arc::clone(path), first_row }));
            }
            let Some(part) = self.parts.next() else { return Ok(None) };
            let reader = read_part(&part, self.columns.as_deref())?;
            self.current = Some((part.path, reader, 1));
        }
    }
}

impl Iterator for LogReader {
    type Item = Result<LogBatch, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if matches!(item, Some(Err(_))) {
            // After an error nothing more is reported: the rows behind it could not be numbered.
            self.current = None;
            self.parts = Vec::new().into_iter();
        }
        item
    }
}

fn open_part(path: &Path, dtype: &dyn Fn(&str) -> Option<ColumnType>) -> Result<Part, LogError> {
    let file = files::open(path)?;
    if file.metadata().is_ok_and(|m| m.len() == 0) {
        let path = path.display().to_string();
        return Err(LogError::Empty { path, expected: "expected a Parquet file" });
    }
    let n_bytes = file.metadata().map_or(u64::MAX, |m| m.len());
    let options = ArrowReaderOptions::new();
    let plain = guarded(path, || ArrowReaderMetadata::load(&file, options.clone()))?;
    check_extents(path, plain.metadata(), n_bytes)?;
    let leaves = plain.parquet_schema().columns().iter().map(|column| column.physical_type());
    let fields = fields_as_read(plain.schema().fields(), leaves, dtype);
    let options = options.with_schema(Arc::new(Schema::new(fields)));
    let metadata = guarded(path, || ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), options))?;
    Ok(Part { path: Arc::from(path), metadata })
}

fn read_part(part: &Part, columns: Option<&[String]>) -> Result<ParquetRecordBatchReader, LogError> {
    let file = files::open(&part.path)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, part.metadata.clone());
    let wanted = |name: &str| columns.is_none_or(|columns| columns.iter().any(|c| c == name));
    let fields = part.metadata.schema().fields();
    let roots = fields.iter().enumerate().filter(|(_, f)| wanted(f.name())).map(|(i, _)| i);
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots.collect::<Vec<_>>());
    let rows = batch_rows(part, &wanted);
    guarded(&part.path, || builder.with_projection(mask).with_batch_size(rows).build())
}

/// Rows of a batch such that the fattest row group's average row keeps a batch near [`BATCH_BYTES`].
fn batch_rows(part: &Part, wanted: &dyn Fn(&str) -> bool) -> usize {
    let mut row_bytes = 1_u64;
    for group in part.metadata.metadata().row_groups() {
        let columns = group.columns().iter();
        let ours = columns.filter(|c| c.column_path().parts().first().is_some_and(|name| wanted(name)));
        let bytes: u64 = ours.map(|c| c.uncompressed_size().max(0) as u64).sum();
        row_bytes = row_bytes.max(bytes / (group.num_rows().max(1) as u64));
    }
    usize::try_from(BATCH_BYTES / row_bytes).unwrap_or(BATCH_ROWS_MAX).clamp(1, BATCH_ROWS_MAX)
}

/// Checks that a file has a column as the schema says.
fn check_column(path: &Path, found: &SchemaRef, schema: &LogSchema, column: &Column) -> Result<(), LogError> {
    let path = path.display().to_string();
    let Some((_, field)) = found.column_with_name(column.name) else {
        if column.need == Presence::Optional {
            return Ok(());
        }
        let known = found.fields().iter().map(|f| f.name().as_str());
        // A column of the schema is in its own place: it cannot be the misspelling of another one.
        let hint = near_names(column.name, known.filter(|name| schema.column(name).is_none()));
        return Err(LogError::MissingColumn {
            path,
            column: column.name.to_owned(),
            table: schema.name,
            hint,
        });
    };
    // A writer that saw no value gives a column the type null: it is as good as absent.
    let is_absent = field.data_type().is_null() && column.need != Presence::Required;
    if is_absent || column.dtype.accepts(field.data_type()) {
        return Ok(());
    }
    let (name, found) = (column.name.to_owned(), type_name(field.data_type()));
    let hint = import_hint(schema);
    Err(LogError::WrongType { path, column: name, found, accepted: column.dtype.accepted(), hint })
}

/// What makes a log of a table whose columns have other types or ranges.
pub(super) fn import_hint(schema: &LogSchema) -> &'static str {
    match schema.name {
        "outcome log" => "; `routewright data import long` converts other types",
        "pair log" => "; `routewright data import arena` converts other types",
        _ => "",
    }
}
