//! Writes logs: whole files under a temporary name, synced, renamed; rotated by row count where asked.

use super::LogError;
use crate::files;
use crate::query_text::{LOG_KEY, QueryText};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Rows of a row group at most.
const GROUP_ROWS: usize = 131_072;
/// Encoded bytes of a row group at most: what the writer holds in memory.
const GROUP_BYTES: usize = 64 << 20;
const ZSTD_LEVEL: i32 = 3;

/// How a log is laid out on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// `None`: the target is one file. `Some(n)`: the target is a directory to which files
    /// `part-00000.parquet` and so on of `n` rows are appended; each is published as soon as it is full.
    pub rows_per_file: Option<u64>,
}

/// Appends record batches to a log. Dropped before [`LogWriter::finish`], it leaves no unfinished file.
#[derive(Debug)]
pub struct LogWriter {
    target: PathBuf,
    schema: SchemaRef,
    rows_per_file: Option<u64>,
    query_text: Option<QueryText>,
    next_part: u64,
    open: Option<OpenPart>,
    published: Vec<PathBuf>,
    n_rows: u64,
}

#[derive(Debug)]
struct OpenPart {
    path: PathBuf,
    writer: ArrowWriter<NamedTempFile>,
    n_rows: u64,
}

impl LogWriter {
    /// Prepares to write; nothing is made on disk before the first row.
    ///
    /// # Errors
    /// If the target's form does not fit the options, or its directory cannot be listed.
    pub fn create(target: &Path, schema: SchemaRef, options: WriteOptions) -> Result<Self, LogError> {
        let mut next_part = 0;
        match options.rows_per_file {
            Some(0) => return Err(LogError::Options("rows per file is `0`, expected at least 1".to_owned())),
            Some(_) if target.is_dir() => {
                let numbers = files::list_dir(target)?.into_iter().filter_map(|path| part_number(&path));
                next_part = numbers.max().map_or(0, |number| number + 1);
            }
            Some(_) => {}
            None if target.is_dir() => {
                return Err(LogError::write(target, "it is a directory, expected a file"));
            }
            None => {}
        }
        let (rows_per_file, target) = (options.rows_per_file, target.to_path_buf());
        let (open, published) = (None, Vec::new());
        Ok(Self { target, schema, rows_per_file, query_text: None, next_part, open, published, n_rows: 0 })
    }

    /// Names in every file the rule its prompts were made by.
    #[must_use]
    pub fn with_query_text(mut self, rule: Option<QueryText>) -> Self {
        self.query_text = rule;
        self
    }

    /// Appends a batch of the schema given at the start.
    ///
    /// # Errors
    /// If the disk or the encoder refuses it.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), LogError> {
        let mut offset = 0;
        while offset < batch.num_rows() {
            if self.open.is_none() {
                self.open = Some(self.open_part()?);
            }
            let Some(part) = &mut self.open else { return Ok(()) };
            let room = self.rows_per_file.map_or(u64::MAX, |rows| rows - part.n_rows);
            let length = (batch.num_rows() - offset).min(usize::try_from(room).unwrap_or(usize::MAX));
            part.writer.write(&batch.slice(offset, length)).map_err(|e| LogError::write(&part.path, e))?;
            part.n_rows += length as u64;
            self.n_rows += length as u64;
            offset += length;
            if length as u64 == room {
                self.publish()?;
            }
        }
        Ok(())
    }

    /// Rows written so far.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Publishes what is open; returns the files written, none when there was no row.
    ///
    /// # Errors
    /// If the last file cannot be completed; it is removed then.
    pub fn finish(mut self) -> Result<Vec<PathBuf>, LogError> {
        self.publish()?;
        Ok(self.published)
    }

    fn open_part(&mut self) -> Result<OpenPart, LogError> {
        let path = match self.rows_per_file {
            None => self.target.clone(),
            Some(_) => {
                self.next_part += 1;
                self.target.join(format!("part-{:05}.parquet", self.next_part - 1))
            }
        };
        let file = files::temporary_beside(&path)?;
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(|e| LogError::write(&path, e))?;
        let named =
            self.query_text.map(|rule| vec![KeyValue::new(LOG_KEY.to_owned(), rule.name().to_owned())]);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_max_row_group_bytes(Some(GROUP_BYTES))
            .set_created_by("routewright".to_owned())
            .set_key_value_metadata(named)
            .build();
        let writer = ArrowWriter::try_new(file, self.schema.clone(), Some(properties))
            .map_err(|e| LogError::write(&path, e))?;
        Ok(OpenPart { path, writer, n_rows: 0 })
    }

    fn publish(&mut self) -> Result<(), LogError> {
        let Some(part) = self.open.take() else { return Ok(()) };
        let file = part.writer.into_inner().map_err(|e| LogError::write(&part.path, e))?;
        files::publish(file, &part.path)?;
        self.published.push(part.path);
        Ok(())
    }
}

fn part_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("part-")?.strip_suffix(".parquet")?.parse().ok()
}

#[cfg(test)]
mod tests;
