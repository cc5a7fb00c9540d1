use crate::files::write_file;
use crate::log::{LoadOptions, LogError, OutcomeRow, RowWriter, WriteOptions};
use crate::{OutcomeTable, schema};
use arrow_array::{ArrayRef, Float64Array, ListArray, RecordBatch, StringArray, types::Float32Type};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) fn row(query: &str, model: &str, score: f32) -> OutcomeRow {
    OutcomeRow {
        query_id: query.to_owned(),
        split: Some(if query.starts_with('t') { "test" } else { "train" }.to_owned()),
        prompt: format!("prompt of {query}"),
        model: model.to_owned(),
        score: Some(score),
        ..OutcomeRow::default()
    }
}

pub(crate) fn write(path: &Path, rows: &[OutcomeRow]) {
    let mut writer = RowWriter::create(path, WriteOptions::default()).unwrap();
    rows.iter().for_each(|row| writer.push(row.clone()).unwrap());
    writer.finish().unwrap();
}

fn log(rows: &[OutcomeRow]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    write(&path, rows);
    (dir, path)
}

fn load(rows: &[OutcomeRow]) -> Result<OutcomeTable, LogError> {
    let (_dir, path) = log(rows);
    OutcomeTable::load(&path, &LoadOptions::default())
}

fn load_error(rows: &[OutcomeRow]) -> String {
    load(rows).unwrap_err().to_string()
}

/// A log of hand-made columns, for types our own writer never uses.
fn write_columns(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = crate::log::LogWriter::create(path, batch.schema(), WriteOptions::default()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

#[test]
fn models_are_sorted_queries_keep_their_order_and_holes_are_missing() {
    let table = load(&[row("b", "z", 1.0), row("a", "m", 0.5), row("b", "m", 0.0)]).unwrap();
    assert_eq!(table.models, ["m", "z"]);
    let ids: Vec<&str> = table.queries.iter().map(|q| q.id.as_str()).collect();
    assert_eq!(ids, ["b", "a"]);
    assert_eq!(table.score.get(0, 1), Some(1.0));
    assert_eq!(table.score.get(1, 0), Some(0.5));
    assert_eq!(table.score.get(1, 1), None);
    assert!(!table.has_costs() && table.soft_score.is_none() && table.latency_ms.is_none());
}

#[test]
fn a_split_is_read_alone_and_an_unknown_one_lists_those_that_exist() {
    let (_dir, path) = log(&[row("b", "m", 1.0), row("t", "m", 0.5), row("t", "z", 0.0)]);
    let table = OutcomeTable::load(&path, &LoadOptions::split("test")).unwrap();
    assert_eq!((table.n_queries(), table.n_arms()), (1, 2));
    let both = OutcomeTable::load(&path, &LoadOptions::split("train, test")).unwrap();
    assert_eq!(both.queries.iter().map(|query| query.id.as_str()).collect::<Vec<_>>(), ["b", "t"]);
    let one = OutcomeTable::load(&path, &LoadOptions::split("train,dev")).unwrap_err().to_string();
    assert!(one.contains("`dev`") && !one.contains("`train,dev`"), "{one}");
    let error = OutcomeTable::load(&path, &LoadOptions::split("dev")).unwrap_err().to_string();
    assert!(error.contains("`dev`") && error.contains("the splits are `test`, `train`"), "{error}");
}

#[test]
fn a_split_of_a_log_without_splits_points_to_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    let columns = ["query_id", "prompt", "model"].map(|name| (name, texts(&["x"])));
    let score: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    write_columns(&path, columns.into_iter().chain([("score", score)]).collect());
    assert_eq!(OutcomeTable::load(&path, &LoadOptions::default()).unwrap().score.get(0, 0), Some(1.0));
    let error = OutcomeTable::load(&path, &LoadOptions::split("test")).unwrap_err().to_string();
    assert!(error.contains("routewright data split"), "{error}");
}

#[test]
fn models_asked_for_are_columns_even_without_rows_and_unknown_ones_get_near_names() {
    let (_dir, path) = log(&[row("b", "alpha", 1.0), row("t", "beta", 0.5)]);
    let options = |models: &[&str]| LoadOptions {
        split: Some("test".to_owned()),
        models: Some(models.iter().map(|&m| m.to_owned()).collect()),
        vector_column: None,
    };
    let table = OutcomeTable::load(&path, &options(&["beta", "alpha"])).unwrap();
    assert_eq!(table.models, ["alpha", "beta"]);
    assert_eq!((table.n_queries(), table.score.get(0, 0)), (1, None));
    let error = OutcomeTable::load(&path, &options(&["alhpa"])).unwrap_err().to_string();
    assert!(error.contains("did you mean `alpha`"), "{error}");
    assert_eq!(OutcomeTable::load(&path, &options(&["alpha"])).unwrap().n_queries(), 0);
}

#[test]
fn bad_rows_are_refused_with_their_row_and_value() {
    let error = load_error(&[row("b", "m", 1.0), row("a", "m", 1.5)]);
    assert!(
        error.contains("row 2 of") && error.contains("score `1.5`") && error.contains("[0, 1]"),
        "{error}"
    );
    let error = load_error(&[row("b", "m", f32::NAN)]);
    assert!(error.contains("score `NaN`"), "{error}");
    let error = load_error(&[OutcomeRow { cost_usd: Some(-0.1), ..row("b", "m", 1.0) }]);
    assert!(error.contains("cost_usd `-0.1") && error.contains(">= 0"), "{error}");
    let error = load_error(&[row("b", "m", 1.0), row("a", "m", 1.0), row("b", "m", 1.0)]);
    assert!(error.contains("row 3") && error.contains("have a row already"), "{error}");
    let error = load_error(&[OutcomeRow { prompt: String::new(), ..row("b", "m", 1.0) }]);
    assert!(error.contains("`prompt` is empty"), "{error}");
    let error =
        load_error(&[row("b", "m", 1.0), OutcomeRow { prompt: "x".to_owned(), ..row("b", "n", 1.0) }]);
    assert!(error.contains("another prompt"), "{error}");
    let error = load_error(&[row("b", "m", 1.0), OutcomeRow { split: None, ..row("b", "n", 1.0) }]);
    assert!(error.contains("another split"), "{error}");
}

#[test]
fn a_null_score_is_a_missing_cell() {
    let table = load(&[OutcomeRow { score: None, ..row("b", "m", 1.0) }, row("b", "n", 0.25)]).unwrap();
    assert_eq!((table.score.get(0, 0), table.score.get(0, 1)), (None, Some(0.25)));
}

#[test]
fn misnamed_and_mistyped_columns_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    let columns = ["query_id", "prompt", "modle"].map(|name| (name, texts(&["x"])));
    let score: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    write_columns(&path, columns.into_iter().chain([("score", Arc::clone(&score))]).collect());
    let error = OutcomeTable::load(&path, &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("no column `model`") && error.contains("did you mean `modle`"), "{error}");
    write_columns(&path, ["query_id", "prompt", "model", "score"].map(|name| (name, texts(&["1"]))).to_vec());
    let error = OutcomeTable::load(&path, &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("column `score`") && error.contains("utf8") && error.contains("float"), "{error}");
}

#[test]
fn files_that_are_no_parquet_are_refused() {
    let (dir, path) = log(&[row("b", "m", 1.0)]);
    let open = |path: &Path| OutcomeTable::load(path, &LoadOptions::default()).unwrap_err();
    let bytes = std::fs::read(&path).unwrap();
    write_file(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(open(&path), LogError::NotParquet { .. }));
    write_file(&path, b"").unwrap();
    assert!(matches!(open(&path), LogError::Empty { .. }));
    assert!(matches!(open(&dir.path().join("absent.parquet")), LogError::File(_)));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(open(dir.path()), LogError::Empty { .. }));
    let schema = schema::OUTCOME.arrow();
    let mut writer = crate::log::LogWriter::create(&path, schema.clone(), WriteOptions::default()).unwrap();
    writer.write(&RecordBatch::new_empty(schema)).unwrap();
    assert!(writer.finish().unwrap().is_empty(), "no row, no file");
}

#[test]
fn vectors_come_along_and_a_ragged_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    let write = |second: Vec<Option<f32>>| {
        let vectors = [Some(vec![Some(1.0_f32), Some(2.0)]), Some(second)];
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(vectors));
        let mut columns = ["query_id", "prompt"].map(|name| (name, texts(&["x", "y"]))).to_vec();
        columns.push(("model", texts(&["m", "m"])));
        columns.push(("score", Arc::new(Float64Array::from(vec![1.0, 0.0]))));
        columns.push(("embedding", list));
        write_columns(&path, columns);
    };
    let options = LoadOptions { vector_column: Some("embedding".to_owned()), ..LoadOptions::default() };
    write(vec![Some(3.0), Some(4.0)]);
    let vectors = OutcomeTable::load(&path, &options).unwrap().vectors.unwrap();
    assert_eq!((vectors.dim(), vectors.values()), (2, &[1.0, 2.0, 3.0, 4.0][..]));
    write(vec![Some(3.0)]);
    let error = OutcomeTable::load(&path, &options).unwrap_err().to_string();
    assert!(error.contains("row 2") && error.contains("width 1, expected 2"), "{error}");
    let typo = LoadOptions { vector_column: Some("embeding".to_owned()), ..LoadOptions::default() };
    let error = OutcomeTable::load(&path, &typo).unwrap_err().to_string();
    assert!(error.contains("did you mean `embedding`"), "{error}");
}

#[test]
fn a_directory_of_rotated_files_is_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("log");
    let mut writer = RowWriter::create(&target, WriteOptions { rows_per_file: Some(2) }).unwrap();
    for i in 0..5 {
        writer.push(row(&format!("q{i}"), "m", 0.5)).unwrap();
    }
    assert_eq!(writer.finish().unwrap().len(), 3);
    let table = OutcomeTable::load(&target, &LoadOptions::default()).unwrap();
    let ids: Vec<&str> = table.queries.iter().map(|q| q.id.as_str()).collect();
    assert_eq!(ids, ["q0", "q1", "q2", "q3", "q4"]);
}

#[test]
fn the_routerdc_log_has_the_shape_its_readme_states() {
    let Some(path) = crate::testing::shared("data/routerdc.parquet") else { return };
    let table = OutcomeTable::load(&path, &LoadOptions::default()).unwrap();
    assert_eq!((table.n_queries(), table.n_arms(), table.score.n_present()), (20_600, 7, 144_200));
    let test = OutcomeTable::load(&path, &LoadOptions::split("test_ood")).unwrap();
    assert_eq!(test.n_queries(), 871 + 500 + 1346);
}

#[test]
fn a_key_twice_is_refused_whatever_split_is_read() {
    let (_dir, path) =
        log(&[row("a", "m", 1.0), row("t", "m", 0.5), row("b", "m", 0.5), row("t", "m", 0.25)]);
    for split in [None, Some("train"), Some("test")] {
        let options = LoadOptions { split: split.map(str::to_owned), ..LoadOptions::default() };
        let error = OutcomeTable::load(&path, &options).unwrap_err().to_string();
        assert!(error.contains("row 4") && error.contains("have a row already"), "{split:?}: {error}");
    }
}

#[test]
fn scores_of_other_ranges_types_and_logs_without_splits_get_a_way_out() {
    let error = load_error(&[row("a", "m", 85.0)]);
    assert!(error.contains("--score-min MIN --score-max MAX"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    let ids: ArrayRef = Arc::new(arrow_array::Int64Array::from(vec![1]));
    let score: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
    write_columns(
        &path,
        vec![("query_id", ids), ("prompt", texts(&["p"])), ("model", texts(&["m"])), ("score", score)],
    );
    let error = OutcomeTable::load(&path, &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("int64") && error.contains("routewright data import long"), "{error}");
    let (_dir, path) = log(&[OutcomeRow { split: None, ..row("a", "m", 0.5) }]);
    let error = OutcomeTable::load(&path, &LoadOptions::split("train")).unwrap_err().to_string();
    assert!(error.contains("routewright data split"), "{error}");
}
