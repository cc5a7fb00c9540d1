use super::*;
use crate::log::{PairRow, RowWriter, WriteOptions};

fn row(query: &str, a: &str, b: &str, winner: Winner) -> PairRow {
    PairRow {
        query_id: query.to_owned(),
        split: None,
        source: None,
        prompt: format!("prompt of {query}"),
        model_a: a.to_owned(),
        model_b: b.to_owned(),
        winner,
        judge: None,
        timestamp_ms: None,
        response_a: None,
        response_b: None,
    }
}

fn load(rows: &[PairRow], options: &LoadOptions) -> Result<PairTable, LogError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pairs.parquet");
    let mut writer = RowWriter::create(&path, WriteOptions::default()).unwrap();
    rows.iter().for_each(|row| writer.push(row.clone()).unwrap());
    writer.finish().unwrap();
    PairTable::load(&path, options)
}

#[test]
fn pairs_point_to_sorted_models() {
    let rows = [row("q", "z", "m", Winner::A), row("r", "m", "k", Winner::Tie)];
    let table = load(&rows, &LoadOptions::default()).unwrap();
    assert_eq!(table.models, ["k", "m", "z"]);
    let pair = &table.pairs[0];
    assert_eq!((pair.query, pair.model_a, pair.model_b, pair.winner), (0, 2, 1, Winner::A));
    assert_eq!(table.pairs[1].winner.share_of_a(), 0.5);
    let options = LoadOptions { models: Some(vec!["m".into(), "k".into()]), ..LoadOptions::default() };
    let table = load(&rows, &options).unwrap();
    assert_eq!((table.queries.len(), table.queries[0].id.as_str(), table.pairs.len()), (1, "r", 1));
}

#[test]
fn bad_pairs_are_refused() {
    let error = load(&[row("q", "m", "m", Winner::A)], &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("row 1") && error.contains("two models"), "{error}");
    let twice = [row("q", "m", "n", Winner::A), row("q", "m", "n", Winner::B)];
    let error = load(&twice, &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("row 2"), "{error}");
    let options = LoadOptions { models: Some(vec!["mm".into()]), ..LoadOptions::default() };
    assert!(matches!(load(&twice, &options), Err(LogError::UnknownModel { .. })));
}
