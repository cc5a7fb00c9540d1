//! Files our own writer never writes: INT96 times, and files that are damaged.

use super::{LogError, LogReader, OutcomeRow, RowWriter, ValidateOptions, WriteOptions, validate};
use crate::schema;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::Int96;
use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataBuilder, ParquetMetaDataReader,
    ParquetMetaDataWriter,
};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Days from the Julian epoch to 1970-01-01.
const JULIAN_1970: u32 = 2_440_588;

#[test]
fn int96_times_are_read_in_milliseconds_whatever_the_year() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.parquet");
    let schema = parse_message_type("message spark { optional int96 timestamp_ms; }").unwrap();
    let mut writer =
        SerializedFileWriter::new(File::create(&path).unwrap(), Arc::new(schema), Default::default())
            .unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    // 1970-01-02T00:00:00.250, and 9999-12-31, which nanoseconds in 64 bits do not reach.
    let time = |day: u32, nanos: u64| {
        let mut time = Int96::new();
        time.set_data(nanos as u32, (nanos >> 32) as u32, JULIAN_1970 + day);
        time
    };
    let ColumnWriter::Int96ColumnWriter(typed) = column.untyped() else { panic!("another column") };
    typed.write_batch(&[time(1, 250_000_000), time(2_932_896, 0)], Some(&[1, 1]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let batch = LogReader::open(&path, &schema::OUTCOME, &["timestamp_ms"]).unwrap().next().unwrap().unwrap();
    let times = batch.time("timestamp_ms").unwrap();
    assert_eq!((times.get(0), times.get(1)), (Some(86_400_250), Some(253_402_214_400_000)));
}

fn sound(path: &Path) {
    let mut writer = RowWriter::create(path, WriteOptions::default()).unwrap();
    for i in 0..200 {
        let [query_id, prompt, model] = [format!("q{i}"), format!("prompt {i}"), "m".to_owned()];
        writer
            .push(OutcomeRow { query_id, prompt, model, score: Some(0.5), ..OutcomeRow::default() })
            .unwrap();
    }
    writer.finish().unwrap();
}

/// Writes the file again with another account of its first column.
fn with_first_column(path: &Path, change: impl Fn(ColumnChunkMetaData) -> ColumnChunkMetaData) {
    let bytes = std::fs::read(path).unwrap();
    let metadata: ParquetMetaData =
        ParquetMetaDataReader::new().parse_and_finish(&File::open(path).unwrap()).unwrap();
    let n = bytes.len();
    let footer = u32::from_le_bytes(bytes[n - 8..n - 4].try_into().unwrap()) as usize;
    let mut groups = metadata.row_groups().to_vec();
    let mut builder = groups[0].clone().into_builder();
    let mut columns = groups[0].columns().to_vec();
    columns[0] = change(columns[0].clone());
    builder = builder.set_column_metadata(columns);
    groups[0] = builder.build().unwrap();
    let metadata = ParquetMetaDataBuilder::new_from_metadata(metadata).set_row_groups(groups).build();
    let mut out = bytes[..n - 8 - footer].to_vec();
    ParquetMetaDataWriter::new(&mut out, &metadata).finish().unwrap();
    std::fs::write(path, out).unwrap();
}

#[test]
fn columns_outside_the_file_are_an_error_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    type Change = fn(ColumnChunkMetaData) -> ColumnChunkMetaData;
    let changes: [Change; 3] = [
        |c| c.into_builder().set_dictionary_page_offset(Some(-5)).build().unwrap(),
        |c| c.into_builder().set_total_compressed_size(-1).build().unwrap(),
        |c| c.into_builder().set_total_compressed_size(1 << 40).build().unwrap(),
    ];
    for change in changes {
        sound(&path);
        with_first_column(&path, change);
        let error = LogReader::open(&path, &schema::OUTCOME, &["query_id"]).unwrap_err().to_string();
        assert!(error.contains("log.parquet") && error.contains("`query_id` starts at byte"), "{error}");
        let found = validate(&path, &ValidateOptions::default()).unwrap();
        assert_eq!(found.counts.keys().copied().collect::<Vec<_>>(), ["not-parquet"]);
    }
}

#[test]
fn no_damaged_byte_makes_a_reader_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    sound(&path);
    let bytes = std::fs::read(&path).unwrap();
    let names: Vec<&str> = schema::OUTCOME.columns.iter().map(|column| column.name).collect();
    let read = || -> Result<u64, LogError> {
        let batches = LogReader::open(&path, &schema::OUTCOME, &names)?;
        batches.map(|batch| batch.map(|batch| batch.n_rows() as u64)).sum()
    };
    assert_eq!(read().unwrap(), 200);
    let mut refused = 0;
    for at in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        std::fs::write(&path, damaged).unwrap();
        refused += u64::from(read().is_err());
    }
    assert!(refused > 20, "only {refused} of the damaged files were refused");
}
