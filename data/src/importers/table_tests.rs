//! Tables of every storage type that other tools write, imported, checked, split and loaded.

use super::*;
use crate::log::{LogReader, LogWriter, ValidateOptions, WriteOptions, validate};
use crate::schema;
use crate::split::{Fractions, SplitRule, split_log};
use crate::{LoadOptions, OutcomeTable};
use arrow_array::builder::{
    ArrayBuilder, Date32Builder, LargeListBuilder, ListBuilder, MapBuilder, NullBuilder, StringBuilder,
    StructBuilder,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int64Array,
    IntervalYearMonthArray, NullArray, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
    types::Int8Type,
};
use arrow_schema::{DataType, Field, Fields, Schema};
use std::sync::Arc;

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn decimals(units: &[i128], scale: i8) -> ArrayRef {
    Arc::new(Decimal128Array::from(units.to_vec()).with_precision_and_scale(38, scale).unwrap())
}

fn write(path: &Path, columns: &[(&str, ArrayRef)]) {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let mut writer = LogWriter::create(path, batch.schema(), WriteOptions::default()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
}

/// A table of two models on two prompts.
fn table(more: &[(&'static str, ArrayRef)]) -> Vec<(&'static str, ArrayRef)> {
    let mut columns = vec![
        ("query_id", texts(&["1", "1", "2", "2"])),
        ("prompt", texts(&["p", "p", "q", "q"])),
        ("model", texts(&["a", "b", "a", "b"])),
        ("score", Arc::new(Float64Array::from(vec![0.5, 1.0, 0.0, 0.25])) as ArrayRef),
    ];
    for (name, array) in more {
        columns.retain(|(known, _)| known != name);
        columns.push((name, Arc::clone(array)));
    }
    columns
}

fn imported(
    format: &str,
    columns: &[(&str, ArrayRef)],
    options: &ImportOptions,
) -> Result<(tempfile::TempDir, PathBuf, ImportSummary), ImportError> {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("in.parquet"), dir.path().join("log.parquet"));
    write(&input, columns);
    let summary = import(format, &[input], &out, options)?;
    Ok((dir, out, summary))
}

fn load(path: &Path) -> OutcomeTable {
    OutcomeTable::load(path, &LoadOptions::default()).unwrap()
}

#[test]
fn decimals_are_numbers_wherever_a_log_is_read() {
    let columns = table(&[
        ("cost_usd", decimals(&[1_250, 2_500, 5_000, 125], 6)),
        ("score", decimals(&[50, 100, 0, 25], 2)),
    ]);
    let (_dir, out, summary) = imported("long", &columns, &ImportOptions::default()).unwrap();
    assert_eq!((summary.filled["cost_usd"], summary.filled["score"]), (4, 4));
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("raw.parquet");
    write(&raw, &columns);
    let found = validate(&raw, &ValidateOptions::default()).unwrap();
    assert!(found.is_valid(), "{:?}", found.complaints);
    for path in [&out, &raw] {
        let table = load(path);
        assert_eq!((table.cost_usd.get(0, 0), table.score.get(1, 1)), (Some(0.00125), Some(0.25)));
    }
}

#[test]
fn whole_numbers_keep_all_their_digits() {
    let big: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX, u64::MAX, u64::MAX - 1, u64::MAX - 1]));
    let pair = [9_007_199_254_740_993, i64::MAX];
    let signed: ArrayRef = Arc::new(Int64Array::from(vec![pair[0], pair[0], pair[1], pair[1]]));
    let long = decimals(&[10_i128.pow(30), 10_i128.pow(30), 10_i128.pow(30) + 1, 10_i128.pow(30) + 1], 0);
    for (ids, expected) in [
        (big, [u64::MAX.to_string(), (u64::MAX - 1).to_string()]),
        (signed, pair.map(|id| id.to_string())),
        (long, ["1000000000000000000000000000000".to_owned(), "1000000000000000000000000000001".to_owned()]),
    ] {
        let (_dir, out, _) =
            imported("long", &table(&[("query_id", ids)]), &ImportOptions::default()).unwrap();
        let found: Vec<String> = load(&out).queries.into_iter().map(|query| query.id).collect();
        assert_eq!(found, expected);
    }
    // A data frame with a missing id keeps the others as floats.
    let floats = |last: f64| Arc::new(Float64Array::from(vec![1.0, 1.0, last, last])) as ArrayRef;
    let (_dir, out, _) =
        imported("long", &table(&[("query_id", floats(2.0))]), &ImportOptions::default()).unwrap();
    assert_eq!(load(&out).queries[1].id, "2");
    let error =
        imported("long", &table(&[("query_id", floats(1e17))]), &ImportOptions::default()).unwrap_err();
    assert!(error.to_string().contains("row 3") && error.to_string().contains("too great"), "{error}");
}

#[test]
fn a_column_of_type_null_is_an_absent_one() {
    let none: ArrayRef = Arc::new(NullArray::new(4));
    let columns = table(&[("cost_usd", none.clone()), ("split", none.clone()), ("latency_ms", none.clone())]);
    let dir = tempfile::tempdir().unwrap();
    let parts = dir.path().join("parts");
    std::fs::create_dir(&parts).unwrap();
    write(&parts.join("0.parquet"), &columns);
    let later = table(&[
        ("query_id", texts(&["3", "3", "4", "4"])),
        ("prompt", texts(&["r", "r", "s", "s"])),
        ("cost_usd", decimals(&[1, 2, 3, 4], 1)),
        ("timestamp_ms", Arc::new(TimestampMicrosecondArray::from(vec![1_740_823_201_023_000; 4]))),
    ]);
    write(&parts.join("1.parquet"), &later);
    let found = validate(&parts, &ValidateOptions::default()).unwrap();
    assert!(found.is_valid(), "{:?}", found.complaints);
    let table_ = load(&parts);
    assert_eq!((table_.cost_usd.get(0, 0), table_.cost_usd.get(3, 1)), (None, Some(0.4)));
    assert_eq!(table_.queries[3].timestamp_ms, Some(1_740_823_201_023));
    let out = dir.path().join("split.parquet");
    split_log(&parts, &out, &SplitRule::Random(Fractions::default()), 0).unwrap();
    assert_eq!(load(&out).digest(), table_.digest());
    assert_eq!(load(&out).queries[3].timestamp_ms, Some(1_740_823_201_023));
    let required = table(&[("model", none)]);
    let error = imported("long", &required, &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("`model` is missing or empty"), "{error}");
}

#[test]
fn files_of_a_log_may_differ_in_columns_but_not_in_the_type_of_an_unknown_one() {
    let dir = tempfile::tempdir().unwrap();
    let (parts, out) = (dir.path().join("parts"), dir.path().join("out.parquet"));
    std::fs::create_dir(&parts).unwrap();
    write(&parts.join("0.parquet"), &table(&[("note", texts(&["x"; 4]))]));
    let ids = texts(&["3", "3", "4", "4"]);
    let second = parts.join("1.parquet");
    let rule = SplitRule::Random(Fractions::default());
    write(&second, &table(&[("query_id", ids.clone()), ("cost_usd", decimals(&[1, 2, 3, 4], 0))]));
    assert_eq!(split_log(&parts, &out, &rule, 0).unwrap().rows, 8);
    assert_eq!((load(&out).cost_usd.get(0, 0), load(&out).cost_usd.get(3, 1)), (None, Some(4.0)));
    write(&second, &table(&[("query_id", ids), ("note", decimals(&[1, 2, 3, 4], 0))]));
    let error = split_log(&parts, &out, &rule, 0).unwrap_err().to_string();
    assert!(error.contains("`note`") && error.contains("1.parquet"), "{error}");
}

/// Messages as a list of structs with a member of type null and a date beside the text.
fn messages(prompts: &[&str]) -> ArrayRef {
    let fields = Fields::from(vec![
        Field::new("role", DataType::Utf8, true),
        Field::new("content", DataType::Utf8, true),
        Field::new("tool_calls", DataType::Null, true),
        Field::new("day", DataType::Date32, true),
    ]);
    let builders: Vec<Box<dyn ArrayBuilder>> = vec![
        Box::new(StringBuilder::new()),
        Box::new(StringBuilder::new()),
        Box::new(NullBuilder::new()),
        Box::new(Date32Builder::new()),
    ];
    let mut list = ListBuilder::new(StructBuilder::new(fields, builders));
    for prompt in prompts {
        let item = list.values();
        item.field_builder::<StringBuilder>(0).unwrap().append_value("user");
        item.field_builder::<StringBuilder>(1).unwrap().append_value(prompt);
        item.field_builder::<NullBuilder>(2).unwrap().append_null();
        item.field_builder::<Date32Builder>(3).unwrap().append_value(20_000);
        item.append(true);
        list.append(true);
    }
    Arc::new(list.finish())
}

#[test]
fn chat_messages_keep_their_text_beside_members_of_other_types() {
    let columns = [
        ("messages", messages(&["p", "q"])),
        ("model", texts(&["a", "a"])),
        ("score", Arc::new(BooleanArray::from(vec![true, false])) as ArrayRef),
    ];
    let (_dir, out, _) = imported("openai", &columns, &ImportOptions::default()).unwrap();
    let table = load(&out);
    assert_eq!((table.queries[0].prompt.as_str(), table.queries[1].prompt.as_str()), ("p", "q"));
    assert_eq!((table.score.get(0, 0), table.score.get(1, 0)), (Some(1.0), Some(0.0)));
}

#[test]
fn dictionaries_of_numbers_maps_and_days_are_read() {
    let keys = arrow_array::Int8Array::from(vec![0, 1, 0, 1]);
    let scores: ArrayRef =
        Arc::new(DictionaryArray::<Int8Type>::new(keys, Arc::new(Float64Array::from(vec![0.25, 0.75]))));
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for grade in ["1", "2", "3", "4"] {
        map.keys().append_value("tokens");
        map.values().append_value(grade);
        map.append(true).unwrap();
    }
    let columns = table(&[
        ("score", scores),
        ("metadata", Arc::new(map.finish())),
        ("timestamp_ms", Arc::new(Date32Array::from(vec![1; 4]))),
    ]);
    let mut options = ImportOptions::default();
    options.map.insert("output_tokens".to_owned(), "metadata.tokens".to_owned());
    let (_dir, out, summary) = imported("long", &columns, &options).unwrap();
    let table = load(&out);
    assert_eq!((table.score.get(0, 0), table.score.get(1, 1)), (Some(0.25), Some(0.75)));
    assert_eq!((summary.filled["output_tokens"], table.queries[0].timestamp_ms), (4, Some(86_400_000)));
}

#[test]
fn a_type_that_is_not_read_matters_where_it_is_used_only() {
    let odd: ArrayRef = Arc::new(IntervalYearMonthArray::from(vec![1; 4]));
    let columns = table(&[("odd", odd)]);
    let (_dir, _, summary) = imported("long", &columns, &ImportOptions::default()).unwrap();
    assert_eq!(summary.unread, ["odd"]);
    let mut options = ImportOptions::default();
    options.map.insert("cost_usd".to_owned(), "odd".to_owned());
    let error = imported("long", &columns, &options).unwrap_err().to_string();
    assert!(error.contains("row 1") && error.contains("`odd` is interval"), "{error}");
}

#[test]
fn large_lists_of_texts_are_read_as_lists() {
    let mut list = LargeListBuilder::new(StringBuilder::new());
    for _ in 0..4 {
        list.values().append_value("x");
        list.append(true);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.parquet");
    write(&path, &[("candidates", Arc::new(list.finish()) as ArrayRef)]);
    let batch = LogReader::open(&path, &schema::DECISION, &["candidates"]).unwrap().next().unwrap().unwrap();
    assert_eq!(batch.text_list("candidates").unwrap().get(3).unwrap(), ["x"]);
}
