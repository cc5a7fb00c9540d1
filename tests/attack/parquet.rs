//! Parquet logs: whole files with columns of other types, values and rows than a log has, and files with other bytes.

use crate::bytes;
use crate::harness::{Parts, Target, Verdict, attack, refused};
use crate::random::{Rng, below, one_in, pick};
use crate::scratch::Scratch;
use crate::text;
use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::file::properties::WriterProperties;
use arrow_array::builder::{Float32Builder, ListBuilder, StringBuilder};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array,
    Float64Array, Int32Array, Int64Array, LargeStringArray, NullArray, RecordBatch, StringArray,
    StringViewArray, TimestampNanosecondArray, UInt64Array, types::Int32Type,
};
use arrow_schema::{Field, Schema};
use rand::RngExt as _;
use routewright_data::decisions::{Combine, DecisionReader, FeedbackReader, Outcomes};
use routewright_data::fusion::FusionReader;
use routewright_data::importers::{ImportOptions, import};
use routewright_data::log::{LogError, ValidateOptions, validate};
use routewright_data::schema::{self, LogSchema};
use routewright_data::{LoadOptions, OutcomeTable, PairTable, tasks};
use std::path::Path;
use std::sync::Arc;

type Columns = Vec<(String, ArrayRef)>;

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn numbers(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn whole(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn text_lists(rows: &[&[&str]]) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in rows {
        row.iter().for_each(|text| lists.values().append_value(text));
        lists.append(true);
    }
    Arc::new(lists.finish())
}

fn number_lists(rows: &[&[f32]]) -> ArrayRef {
    let mut lists = ListBuilder::new(Float32Builder::new());
    for row in rows {
        lists.values().append_slice(row);
        lists.append(true);
    }
    Arc::new(lists.finish())
}

/// Columns of a whole log of three rows.
fn columns(kind: &str) -> Columns {
    let outcome = || {
        vec![
            ("query_id", texts(&["1", "1", "2"])),
            ("prompt", texts(&["p", "p", "q"])),
            ("model", texts(&["a", "b", "a"])),
            ("score", numbers(&[0.5, 1.0, 0.0])),
            ("cost_usd", numbers(&[0.001, 0.01, 0.0])),
            ("latency_ms", numbers(&[900.0, 1.0, 2.0])),
            ("timestamp_ms", whole(&[1_750_000_000_000, 1_750_000_000_001, 0])),
            ("source", texts(&["s", "s", "t"])),
            ("split", texts(&["train", "train", "test"])),
        ]
    };
    let columns = match kind {
        "pair" => vec![
            ("query_id", texts(&["1", "2", "3"])),
            ("prompt", texts(&["p", "q", "r"])),
            ("model_a", texts(&["a", "a", "b"])),
            ("model_b", texts(&["b", "c", "c"])),
            ("winner", texts(&["a", "tie", "b"])),
            ("judge", texts(&["j", "j", "k"])),
        ],
        "decision" => vec![
            ("decision_id", texts(&["d1", "d2", "d3"])),
            ("timestamp_ms", whole(&[1, 2, 3])),
            ("policy", texts(&["p", "p", "p"])),
            ("policy_version", texts(&["v", "v", "v"])),
            ("policy_digest", texts(&["0", "0", "0"])),
            ("candidates", text_lists(&[&["a", "b"], &["a", "b"], &["a"]])),
            ("propensities", number_lists(&[&[0.25, 0.75], &[0.5, 0.5], &[1.0]])),
            ("model", texts(&["b", "a", "a"])),
            ("propensity", numbers(&[0.75, 0.5, 1.0])),
            ("seed", whole(&[1, -1, 7])),
            ("prompt", texts(&["p", "q", "r"])),
            ("features", number_lists(&[&[1.0, 2.0], &[0.0, 0.0], &[0.5, 0.5]])),
            ("objective", texts(&["{}", "{\"cost\": 2.0}", "{}"])),
        ],
        "feedback" => vec![
            ("outcome_id", texts(&["o1", "o2", "o3"])),
            ("decision_id", texts(&["d1", "d1", "d2"])),
            ("timestamp_ms", whole(&[5, 6, 7])),
            ("kind", texts(&["score", "score", "thumb"])),
            ("value", numbers(&[0.5, 1.0, -1.0])),
            ("cost_usd", numbers(&[0.001, 0.0, 0.1])),
        ],
        "fusion" => vec![
            ("answer_id", texts(&["a", "a", "b"])),
            ("step", whole(&[0, 1, 0])),
            ("system", texts(&["gac", "gac", "gac"])),
            ("start", whole(&[0, 2, 0])),
            ("text", texts(&["x", "y", "z"])),
            ("models", text_lists(&[&["a", "b"], &["a", "b"], &["a"]])),
            ("weights", number_lists(&[&[0.25, 0.75], &[0.5, 0.5], &[1.0]])),
            ("answer", texts(&["xy", "", "z"])),
        ],
        "task" => vec![
            ("task_id", texts(&["1", "2", "3"])),
            ("prompt", texts(&["p", "q", "r"])),
            ("reference", texts(&["a", "b", "c"])),
        ],
        _ => outcome(),
    };
    columns.into_iter().map(|(name, array)| (name.to_owned(), array)).collect()
}

const KINDS: [&str; 6] = ["outcome", "pair", "decision", "feedback", "fusion", "task"];

/// A column of some type with edges of it, as many rows as asked for.
fn any_column(n: usize, rng: &mut Rng) -> ArrayRef {
    let some = |rng: &mut Rng| !one_in(rng, 4);
    let floats = [f64::NAN, f64::INFINITY, -1.0, 1e300, 0.5, 1.0, -0.0, 1e-300];
    let texts: Vec<Option<String>> = (0..n).map(|_| some(rng).then(|| text::any(rng))).collect();
    let bits: Vec<i64> =
        (0..n).map(|_| if one_in(rng, 2) { rng.random() } else { 1 << below(rng, 63) }).collect();
    let reals: Vec<Option<f64>> = (0..n).map(|_| some(rng).then(|| *pick(rng, &floats))).collect();
    match below(rng, 16) {
        0 => Arc::new(StringArray::from(texts)),
        1 => Arc::new(LargeStringArray::from(texts)),
        2 => Arc::new(texts.iter().map(Option::as_deref).collect::<StringViewArray>()),
        3 => Arc::new(BinaryArray::from_iter_values(bits.iter().map(|bits| bits.to_le_bytes()))),
        4 => Arc::new(Int64Array::from(bits)),
        5 => Arc::new(UInt64Array::from_iter_values(bits.iter().map(|bits| *bits as u64))),
        6 => Arc::new(Int32Array::from_iter_values(bits.iter().map(|bits| *bits as i32))),
        7 => Arc::new(Float32Array::from_iter(reals.iter().map(|real| real.map(|real| real as f32)))),
        8 => Arc::new(Float64Array::from(reals)),
        9 => Arc::new(BooleanArray::from_iter(bits.iter().map(|bits| Some(bits & 1 == 1)))),
        10 => Arc::new(NullArray::new(n)),
        11 => Arc::new(TimestampNanosecondArray::from(bits)),
        12 => Arc::new(Date32Array::from_iter_values(bits.iter().map(|bits| *bits as i32))),
        13 => {
            let scale = below(rng, 39) as i8;
            let units = bits.iter().map(|bits| i128::from(*bits));
            Arc::new(Decimal128Array::from_iter_values(units).with_precision_and_scale(38, scale).unwrap())
        }
        14 => {
            let keys = Int32Array::from_iter_values((0..n).map(|_| below(rng, 2) as i32));
            let values = StringArray::from(vec![text::any(rng), "a".to_owned()]);
            Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::new(values)))
        }
        _ => {
            let rows: Vec<Vec<f32>> =
                (0..n).map(|_| (0..below(rng, 5)).map(|_| *pick(rng, &floats) as f32).collect()).collect();
            number_lists(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>())
        }
    }
}

/// Columns exchanged, renamed, dropped, sliced; rows repeated.
fn damage(columns: &mut Columns, rng: &mut Rng) {
    for _ in 0..*pick(rng, &[0, 1, 1, 1, 2]) {
        let (at, other) = (below(rng, columns.len()), below(rng, columns.len()));
        let Some(n) = columns.first().map(|(_, array)| array.len()) else { return };
        match below(rng, 7) {
            0 => drop(columns.remove(at)),
            1 => columns[at].0 = if one_in(rng, 2) { text::any(rng) } else { columns[other].0.clone() },
            2 => {
                let array = Arc::clone(&columns[other].1);
                columns[at].1 = array;
            }
            3 => {
                let rows = below(rng, n + 1);
                columns.iter_mut().for_each(|(_, array)| *array = array.slice(0, rows));
            }
            _ => columns[at].1 = any_column(n, rng),
        }
    }
}

/// A file of these columns; `None` where arrow has no file of them.
fn file(columns: &Columns, rng: &mut Rng) -> Option<Vec<u8>> {
    let field = |(name, array): &(String, ArrayRef)| Field::new(name, array.data_type().clone(), true);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let arrays = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).ok()?;
    let compression = *pick(
        rng,
        &[
            Compression::UNCOMPRESSED,
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::ZSTD(ZstdLevel::default()),
            Compression::LZ4_RAW,
        ],
    );
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_dictionary_enabled(one_in(rng, 2))
        .set_max_row_group_row_count(Some(1 + below(rng, 4)))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).ok()?;
    writer.write(&batch).ok()?;
    writer.into_inner().ok()
}

/// Reads a log by everything that reads one of its kind.
fn read(kind: &str, path: &Path) -> Result<(), LogError> {
    match kind {
        "pair" => PairTable::load_with_lengths(path, &LoadOptions::default()).map(|_| ()),
        "decision" => DecisionReader::open(path)?.try_for_each(|rows| rows.map(|_| ())),
        "feedback" => {
            Outcomes::load(path, "score", Combine::default())?;
            FeedbackReader::open(path)?.try_for_each(|rows| rows.map(|_| ()))
        }
        "fusion" => FusionReader::open(path)?.try_for_each(|answer| answer.map(|_| ())),
        "task" => tasks::read(path, None).map(|_| ()),
        _ => {
            let table = OutcomeTable::load(path, &LoadOptions::default())?;
            // Every present score of a table that loads is a number of its range.
            let sound = (0..table.n_queries())
                .all(|row| table.score.row(row).iter().all(|p| p.is_nan() || (0.0..=1.0).contains(p)));
            if sound {
                Ok(())
            } else {
                Err(LogError::Options("FAULT: a score beyond its range was loaded".to_owned()))
            }
        }
    }
}

fn schema(kind: &str) -> &'static LogSchema {
    match kind {
        "pair" => &schema::PAIR,
        "decision" => &schema::DECISION,
        "feedback" => &schema::FEEDBACK,
        "fusion" => &schema::FUSION,
        "task" => &schema::TASK,
        _ => &schema::OUTCOME,
    }
}

struct Logs {
    scratch: Scratch,
    /// Whole files, to be damaged by byte.
    wholes: Vec<(&'static str, Vec<u8>)>,
}

impl Target for Logs {
    const NAME: &'static str = "parquet";
    const CASES: u64 = 4000;
    /// Readers size a batch for 16 MiB, the importer's writer keeps buffers.
    const MEMORY: usize = 64 << 20;

    fn input(&mut self, rng: &mut Rng) -> Parts {
        let (kind, bytes) = match below(rng, 3) {
            0 => {
                let (kind, mut file) = pick(rng, &self.wholes).clone();
                bytes::damage(&mut file, rng);
                (kind, file)
            }
            1 => {
                // The end of a file says what is in it: damage there reaches furthest.
                let (kind, mut file) = pick(rng, &self.wholes).clone();
                let footer = file.split_off(file.len() / 2);
                let mut footer = footer;
                bytes::damage(&mut footer, rng);
                file.extend(footer);
                (kind, file)
            }
            _ => {
                let kind = *pick(rng, &KINDS);
                let mut columns = columns(kind);
                damage(&mut columns, rng);
                (kind, file(&columns, rng).unwrap_or_default())
            }
        };
        vec![(format!("{kind}.parquet"), bytes)]
    }

    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String> {
        let (name, bytes) = &parts[0];
        let kind = name.split('.').next().unwrap_or_default();
        let path = self.scratch.write(name, bytes);
        let found = validate(&path, &ValidateOptions::default())
            .map_err(|error| format!("validating failed: {error}"))?;
        if let Some(complaint) = found.complaints.iter().find(|complaint| complaint.to_string().len() < 12) {
            return Err(format!("a complaint says `{complaint}`"));
        }
        if one_in(&mut routewright_data::rng::stream(bytes.len() as u64, "import"), 4) {
            let out = self.scratch.path("imported.parquet");
            if let Err(error) = import("long", std::slice::from_ref(&path), &out, &ImportOptions::default()) {
                refused(&error, parts)?;
            }
        }
        match read(kind, &path) {
            Ok(()) => Ok(Verdict::Accepted),
            Err(LogError::Options(fault)) if fault.starts_with("FAULT") => Err(fault),
            Err(error) => {
                // What validation calls valid, the reader of its kind reads; only pages that validation has no need of
                // may be damaged.
                let is_whole = !matches!(error, LogError::NotParquet { .. });
                if is_whole && found.is_valid() && std::ptr::eq(schema(kind), schema_named(found.table)) {
                    return Err(format!("`validate` finds nothing wrong, and reading fails: {error}"));
                }
                refused(&error, parts)
            }
        }
    }
}

fn schema_named(name: &str) -> &'static LogSchema {
    schema::ALL.iter().find(|schema| schema.name == name).unwrap_or(&&schema::OUTCOME)
}

#[test]
fn parquet_logs() {
    let mut rng = routewright_data::rng::stream(1, "whole logs");
    let mut wholes = Vec::new();
    for kind in KINDS {
        for _ in 0..4 {
            wholes.push((kind, file(&columns(kind), &mut rng).unwrap()));
        }
    }
    let scratch = Scratch::new();
    for (kind, bytes) in &wholes {
        read(kind, &scratch.write("whole.parquet", bytes)).unwrap();
    }
    attack(Logs { scratch, wholes });
}
