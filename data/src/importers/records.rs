//! Streams the records of a file, whatever its format.

use super::cells::value_of;
use super::record::Record;
use super::text_files::{self, json_error, plain_name};
use super::{ImportError, Place};
use crate::log::{LogBatch, LogReader};
use crate::pipeline;
use crate::schema::LogSchema;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of text that are parsed together, and rows of a table.
const PIECE_BYTES: usize = 256 << 10;
const PIECE_ROWS: usize = 1024;

type Take<'a> = &'a mut dyn FnMut(Record) -> Result<(), ImportError>;

/// A table whose columns the importer knows, not the reader.
static ANY: LogSchema = LogSchema { name: "table", doc: "", columns: &[], key: &[] };

/// Hands every record of every input to `take`, in order.
pub(super) fn for_each(inputs: &[PathBuf], take: Take<'_>) -> Result<(), ImportError> {
    for path in inputs {
        let name = plain_name(path);
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("csv") => csv_records(path, b',', take)?,
            Some("tsv") => csv_records(path, b'\t', take)?,
            Some("jsonl" | "ndjson" | "dsjson") => json_lines(path, take)?,
            Some("json") => json_records(path, take)?,
            Some("parquet") => parquet_records(path, take)?,
            _ if path.is_dir() => parquet_records(path, take)?,
            _ => {
                let reason = "its name ends in no known format; \
                              expected .csv, .tsv, .jsonl, .ndjson, .json, each also with .gz or .zst, or \
                              .parquet";
                return Err(ImportError::Unreadable { file: path.clone(), reason: reason.to_owned() });
            }
        }
    }
    Ok(())
}

fn unreadable(path: &Path, reason: impl ToString) -> ImportError {
    ImportError::Unreadable { file: path.to_path_buf(), reason: reason.to_string() }
}

fn csv_records(path: &Path, delimiter: u8, take: Take<'_>) -> Result<(), ImportError> {
    let file: Arc<Path> = Arc::from(path);
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text_files::open(path)?);
    let place = |line: u64| Place { file: Arc::clone(&file), unit: "line", number: line };
    let text = |bytes: &[u8], line: u64, what: &str| {
        let decoded = std::str::from_utf8(bytes).map(str::to_owned);
        decoded.map_err(|e| place(line).error(format!("{what} is not valid UTF-8: {e}")))
    };
    let failed = |error: csv::Error| match error.position().map(csv::Position::line) {
        Some(line) => place(line).error(format!("not valid CSV: {error}")),
        None => unreadable(path, error),
    };
    let mut names = Vec::new();
    for (col, name) in reader.byte_headers().map_err(failed)?.iter().enumerate() {
        names.push(text(name, 1, &format!("the name of column {}", col + 1))?);
    }
    check_names(path, &names, delimiter)?;
    let record = |row: &csv::ByteRecord| {
        let line = row.position().map_or(0, csv::Position::line);
        let mut fields = Map::new();
        // A column without a name, such as the index of a data frame, cannot be asked for.
        for (name, cell) in names.iter().zip(row.iter()).filter(|(name, _)| !name.is_empty()) {
            // An empty cell is a missing one: CSV has no null.
            let cell =
                if cell.is_empty() { Value::Null } else { text(cell, line, &format!("`{name}`"))?.into() };
            fields.insert(name.clone(), cell);
        }
        Ok(Record { fields, place: place(line) })
    };
    let rows = pieces(reader.into_byte_records().map(|row| row.map_err(failed)), |row| row.as_slice().len());
    pipeline::in_order(
        rows,
        |rows| Ok(rows.parsed(|row| record(&row).map(Some))),
        |parsed| parsed.hand_to(&mut *take),
    )
}

/// Items of a file that are parsed together, and the error behind them.
struct Piece<T> {
    items: Vec<T>,
    error: Option<ImportError>,
}

/// A stream in pieces of about [`PIECE_BYTES`]; ends at its first error.
fn pieces<T>(
    mut items: impl Iterator<Item = Result<T, ImportError>>,
    bytes: impl Fn(&T) -> usize,
) -> impl Iterator<Item = Result<Piece<T>, ImportError>> {
    let mut is_over = false;
    std::iter::from_fn(move || {
        let (mut piece, mut length) = (Piece { items: Vec::new(), error: None }, 0);
        while !is_over && length < PIECE_BYTES {
            match items.next() {
                Some(Ok(item)) => {
                    length += bytes(&item);
                    piece.items.push(item);
                }
                ended => {
                    is_over = true;
                    piece.error = ended.and_then(Result::err);
                }
            }
        }
        (!piece.items.is_empty() || piece.error.is_some()).then_some(Ok(piece))
    })
}

impl<T> Piece<T> {
    /// The records of its items; an error among them ends it.
    fn parsed(self, record: impl Fn(T) -> Result<Option<Record>, ImportError>) -> Piece<Record> {
        let mut parsed = Piece { items: Vec::with_capacity(self.items.len()), error: self.error };
        for item in self.items {
            match record(item) {
                Ok(record) => parsed.items.extend(record),
                Err(error) => {
                    parsed.error = Some(error);
                    break;
                }
            }
        }
        parsed
    }
}

impl Piece<Record> {
    /// The records come first: they may have errors of their own.
    fn hand_to(self, take: Take<'_>) -> Result<(), ImportError> {
        self.items.into_iter().try_for_each(take)?;
        self.error.map_or(Ok(()), Err)
    }
}

/// Checks the first line of a table.
fn check_names(path: &Path, names: &[String], delimiter: u8) -> Result<(), ImportError> {
    if names.is_empty() {
        return Err(unreadable(path, "it is empty, expected a line of column names"));
    }
    let expected = if delimiter == b',' { "a comma" } else { "a tab" };
    let other = [(';', "semicolons"), ('\t', "tabs"), (',', "commas"), ('|', "bars")];
    if let [name] = names
        && let Some((_, found)) = other.iter().find(|(c, _)| name.contains(*c))
    {
        let reason = format!(
            "its columns seem to be separated by {found}, expected {expected}; save it with commas (and points in \
             numbers) as .csv, or with tabs as .tsv"
        );
        return Err(unreadable(path, reason));
    }
    let mut sorted: Vec<&String> = names.iter().filter(|name| !name.is_empty()).collect();
    sorted.sort();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(unreadable(path, format!("two columns are named `{}`, expected one", twice[0]))),
        None => Ok(()),
    }
}

fn object(value: Value, place: Place) -> Result<Record, ImportError> {
    match value {
        Value::Object(fields) => Ok(Record { fields, place }),
        _ => Err(place.error("not a JSON object, expected one a record")),
    }
}

fn json_lines(path: &Path, take: Take<'_>) -> Result<(), ImportError> {
    let file: Arc<Path> = Arc::from(path);
    let mut reader = text_files::open(path)?;
    let place = |number| Place { file: Arc::clone(&file), unit: "line", number };
    let lines = (1..).map_while(|number| {
        let mut line = Vec::new();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(Ok((number, line))),
            Err(error) => Some(Err(place(number).error(format!("cannot be read: {error}")))),
        }
    });
    let record = |(number, line): (u64, Vec<u8>)| {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let text =
            std::str::from_utf8(&line).map_err(|e| place(number).error(format!("not valid UTF-8: {e}")))?;
        let value = serde_json::from_str(text).map_err(|e| json_error(&file, number, &e))?;
        object(value, place(number)).map(Some)
    };
    let lines = pieces(lines, |(_, line)| line.len());
    pipeline::in_order(lines, |lines| Ok(lines.parsed(record)), |parsed| parsed.hand_to(&mut *take))
}

/// A `.json` file: a list of objects, an object with the list in field `data`, or objects one after another.
fn json_records(path: &Path, take: Take<'_>) -> Result<(), ImportError> {
    let file: Arc<Path> = Arc::from(path);
    let mut reader = text_files::open(path)?;
    let is_list = loop {
        let buffer = reader.fill_buf().map_err(|e| unreadable(path, e))?;
        let Some(first) = buffer.first().copied() else {
            return Err(unreadable(path, "it is empty, expected a JSON list"));
        };
        if !first.is_ascii_whitespace() {
            break first == b'[';
        }
        reader.consume(1);
    };
    let mut items = Items { file: Arc::clone(&file), number: 0, take, failed: None };
    if is_list {
        return read_list(path, reader, &mut items);
    }
    for value in serde_json::Deserializer::from_reader(reader).into_iter::<Value>() {
        let value = value.map_err(|e| json_error(&file, e.line() as u64, &e))?;
        match value {
            Value::Object(mut fields) if fields.get("data").is_some_and(Value::is_array) => {
                let Some(Value::Array(list)) = fields.remove("data") else { continue };
                list.into_iter().try_for_each(|value| items.add(value))?;
            }
            value => items.add(value)?,
        }
    }
    Ok(())
}

fn read_list(path: &Path, reader: impl Read, items: &mut Items<'_, '_>) -> Result<(), ImportError> {
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let read = (&mut *items).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match (items.failed.take(), read) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => Err(json_error(&Arc::from(path), error.line() as u64, &error)),
    }
}

/// Takes the items of a JSON list as they are parsed, so that the list need not fit in memory.
struct Items<'a, 'b> {
    file: Arc<Path>,
    number: u64,
    take: &'a mut (dyn FnMut(Record) -> Result<(), ImportError> + 'b),
    failed: Option<ImportError>,
}

impl Items<'_, '_> {
    fn add(&mut self, value: Value) -> Result<(), ImportError> {
        self.number += 1;
        let place = Place { file: Arc::clone(&self.file), unit: "item", number: self.number };
        (self.take)(object(value, place)?)
    }
}

impl<'de> DeserializeSeed<'de> for &mut Items<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Items<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(value) = list.next_element::<Value>()? {
            if let Err(error) = self.add(value) {
                self.failed = Some(error);
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

fn parquet_records(path: &Path, take: Take<'_>) -> Result<(), ImportError> {
    let pieces = LogReader::open_all(path, &ANY)?.flat_map(|batch| match batch {
        Ok(batch) => {
            let starts = (0..batch.n_rows()).step_by(PIECE_ROWS);
            starts.map(|at| Ok(batch.slice(at, PIECE_ROWS.min(batch.n_rows() - at)))).collect()
        }
        Err(error) => vec![Err(ImportError::from(error))],
    });
    let records = |batch: LogBatch| {
        let schema = batch.batch.schema();
        let record = |row: usize| {
            let cells = schema.fields().iter().zip(batch.batch.columns());
            let fields = cells.map(|(field, array)| (field.name().clone(), value_of(array, row))).collect();
            let number = batch.first_row + row as u64;
            Record { fields, place: Place { file: Arc::clone(&batch.file), unit: "row", number } }
        };
        Ok((0..batch.n_rows()).map(record).collect::<Vec<_>>())
    };
    pipeline::in_order(pieces, records, |records| records.into_iter().try_for_each(&mut *take))
}
