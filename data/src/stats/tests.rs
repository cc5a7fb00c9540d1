use super::*;
use crate::log::{OutcomeRow, RowWriter, WriteOptions};

fn row(query: &str, split: &str, prompt: &str, model: &str, score: Option<f32>) -> OutcomeRow {
    OutcomeRow {
        query_id: query.into(),
        split: Some(split.into()),
        source: Some(if query < "c" { "math" } else { "law" }.into()),
        prompt: prompt.into(),
        model: model.into(),
        score,
        cost_usd: score.map(|score| f64::from(score) / 100.0),
        ..OutcomeRow::default()
    }
}

fn of(rows: &[OutcomeRow], split: Option<&str>) -> Result<LogStats, LogError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    let mut writer = RowWriter::create(&path, WriteOptions::default()).unwrap();
    rows.iter().for_each(|row| writer.push(row.clone()).unwrap());
    writer.finish().unwrap();
    stats(&path, split)
}

fn sample() -> Vec<OutcomeRow> {
    vec![
        row("a", "train", "Hello  there", "m", Some(1.0)),
        row("a", "train", "Hello  there", "n", Some(0.5)),
        row("b", "train", "Bye", "m", Some(0.0)),
        row("c", "test", "hello there!", "m", None),
        row("c", "test", "hello there!", "n", Some(0.25)),
    ]
}

#[test]
fn means_coverage_and_leakage_are_those_of_a_log_small_enough_to_count_by_hand() {
    let found = of(&sample(), None).unwrap();
    assert_eq!((found.rows, found.queries, found.prompts), (5, 3, 2));
    let m = &found.models[0];
    assert_eq!((m.model.as_str(), m.scored, m.score, m.cost_usd), ("m", 2, Some(0.5), Some(0.005)));
    assert!((m.coverage - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!((found.models[1].score, found.models[1].cost_usd_total), (Some(0.375), 0.0075));
    let law = &found.sources[0];
    assert_eq!((law.source.as_str(), law.queries, law.best_model.as_deref()), ("law", 1, Some("n")));
    // On "math" both models have mean 0.5: the first by name.
    assert_eq!(found.sources[1].best_model.as_deref(), Some("m"));
    assert_eq!(found.leakage, [Leakage { splits: ["test".into(), "train".into()], prompts: 1 }]);
    assert_eq!(found.splits[1], SplitStats { split: "train".into(), queries: 2, rows: 3 });
    let text = found.to_string();
    assert!(text.contains("1 prompts stand in both `test` and `train`"), "{text}");
}

#[test]
fn one_split_can_be_looked_at_alone() {
    let found = of(&sample(), Some("test")).unwrap();
    assert_eq!((found.rows, found.queries, found.models[0].score), (2, 1, None));
    let error = of(&sample(), Some("tets")).unwrap_err().to_string();
    assert!(error.contains("the splits are `test`, `train`"), "{error}");
}

#[test]
fn repeated_rows_are_left_out_and_named() {
    let twice = [sample(), vec![row("b", "train", "Bye", "m", Some(1.0))]].concat();
    let (found, plain) = (of(&twice, None).unwrap(), of(&sample(), None).unwrap());
    assert_eq!((found.repeated_rows, found.models.clone()), (1, plain.models));
    assert!(found.warnings[0].contains("1 rows repeat") && found.warnings[0].contains("row 6 of"), "{found}");
    assert!(found.models.iter().all(|model| model.coverage <= 1.0));
}

#[test]
fn a_log_of_decisions_and_a_log_without_splits_say_what_to_do() {
    let rows: Vec<_> = (0..40)
        .map(|i| row(&format!("q{i}"), "train", &format!("p{i}"), ["m", "n"][i % 2], Some(0.5)))
        .collect();
    let found = of(&rows, None).unwrap();
    assert_eq!((found.cells_a_query, found.coverage), (1.0, 0.5));
    assert!(found.to_string().contains("warning: a query has 1.00 scores of 2 models"), "{found}");
    let unsplit: Vec<_> = rows.into_iter().map(|row| OutcomeRow { split: None, ..row }).collect();
    let error = of(&unsplit, Some("train")).unwrap_err().to_string();
    assert!(error.contains("routewright data split"), "{error}");
}
