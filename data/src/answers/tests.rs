use super::*;
use crate::log::{LoadOptions, LogError, OutcomeRow, RowWriter, WriteOptions};
use crate::{OutcomeTable, stats};
use std::path::Path;

fn row(query: &str, model: &str, sample: Option<i32>, score: f32) -> OutcomeRow {
    OutcomeRow {
        query_id: query.into(),
        prompt: format!("prompt of {query}"),
        model: model.into(),
        sample,
        score: Some(score),
        response: Some(format!("text of {query} {model} {sample:?}")),
        ..OutcomeRow::default()
    }
}

fn write(path: &Path, rows: &[OutcomeRow]) {
    let mut writer = RowWriter::create(path, WriteOptions::default()).unwrap();
    rows.iter().for_each(|row| writer.push(row.clone()).unwrap());
    writer.finish().unwrap();
}

/// Both tables of a log.
fn load(rows: &[OutcomeRow]) -> Result<(OutcomeTable, AnswerTable), LogError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    write(&path, rows);
    let table = OutcomeTable::load(&path, &LoadOptions::default())?;
    let answers = AnswerTable::load(&path, &table)?;
    Ok((table, answers))
}

#[test]
fn answers_are_found_by_query_arm_and_sample_in_the_order_of_the_outcome_table() {
    let full = OutcomeRow {
        cost_usd: Some(1.0 / 3.0),
        latency_ms: Some(20.0),
        output_tokens: Some(7),
        variant: Some("brief".into()),
        answer: Some("4".into()),
        finish: Some("length".into()),
        logprob_mean: Some(-0.5),
        logprob_min: Some(-2.0),
        logprob_quantiles: Some((0..14).map(|i| i as f32 / 8.0 - 2.0).collect()),
        option_probs: Some(vec![0.75, 0.25]),
        verifier_rate: Some(0.25),
        ..row("b", "z", Some(2), 1.0)
    };
    let rows =
        [full.clone(), row("b", "z", None, 0.0), row("a", "m", Some(0), 0.5), row("b", "z", Some(1), 0.0)];
    let (table, answers) = load(&rows).unwrap();
    assert_eq!(
        (table.queries[0].id.as_str(), &table.models[..]),
        ("b", &["m".to_owned(), "z".to_owned()][..])
    );
    assert_eq!((answers.n_queries(), answers.n_arms(), answers.n_answers()), (2, 2, 4));
    let samples: Vec<u32> = answers.samples(0, 1).map(|row| row.sample).collect();
    assert_eq!(samples, [0, 1, 2]);
    let found = answers.get(0, 1, 2).unwrap();
    let expected = AnswerRow {
        sample: 2,
        variant: Some("brief"),
        text: Some("text of b z Some(2)"),
        answer: Some("4"),
        score: Some(1.0),
        cost_usd: Some(1.0 / 3.0),
        latency_ms: Some(20.0),
        input_tokens: None,
        output_tokens: Some(7),
        finish: Some("length"),
        logprob_mean: Some(-0.5),
        logprob_min: Some(-2.0),
        logprob_quantiles: full.logprob_quantiles.as_deref(),
        option_probs: Some(&[0.75, 0.25]),
        verifier_rate: Some(0.25),
    };
    assert_eq!(found, expected);
    assert_eq!(answers.get(0, 1, 3), None);
    assert_eq!((answers.get(0, 0, 0), answers.samples(1, 1).len()), (None, 0));
    // A null sample is sample 0.
    assert_eq!(answers.get(0, 1, 0).unwrap().text, Some("text of b z None"));
    assert_eq!(answers.get(1, 0, 0).unwrap().score, Some(0.5));
    let all: Vec<(usize, usize, u32)> =
        answers.iter().map(|(query, arm, row)| (query, arm, row.sample)).collect();
    assert_eq!(all, [(0, 1, 0), (0, 1, 1), (0, 1, 2), (1, 0, 0)]);
}

#[test]
fn selections_share_the_answers_and_follow_the_outcome_table() {
    let rows = [
        row("a", "m", None, 0.0),
        row("a", "n", None, 1.0),
        row("b", "m", None, 0.25),
        row("b", "n", None, 0.5),
    ];
    let (_, answers) = load(&rows).unwrap();
    let some = answers.select_rows(&[1, 0, 1]).select_arms(&[1]);
    assert_eq!((some.n_queries(), some.n_arms(), some.n_answers()), (3, 1, 3));
    let scores: Vec<f32> = some.iter().filter_map(|(_, _, row)| row.score).collect();
    assert_eq!(scores, [0.5, 1.0, 0.5]);
    // A table with a query in two rows, as a resample has, gets its answers in both.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    write(&path, &rows);
    let table = OutcomeTable::load(&path, &LoadOptions::default()).unwrap();
    let resampled = AnswerTable::load(&path, &table.select_rows(&[1, 1]).select_arms(&[1])).unwrap();
    let scores: Vec<f32> = resampled.iter().filter_map(|(_, _, row)| row.score).collect();
    assert_eq!(scores, [0.5, 0.5]);
}

#[test]
fn the_outcome_of_a_sampled_cell_is_the_mean_of_its_samples() {
    let cost = |row: OutcomeRow, cost| OutcomeRow { cost_usd: Some(cost), ..row };
    let rows = [
        cost(row("a", "m", Some(1), 1.0), 0.5),
        cost(row("a", "m", Some(2), 0.0), 1.0),
        OutcomeRow { score: None, ..cost(row("a", "m", Some(3), 0.0), 0.75) },
        row("a", "m", Some(4), 1.0),
        row("a", "n", None, 0.125),
        OutcomeRow { score: None, ..row("b", "m", Some(7), 0.0) },
    ];
    let (table, _) = load(&rows).unwrap();
    // 2/3 of the three scores, 0.75 of the three costs.
    assert_eq!((table.score.get(0, 0), table.cost_usd.get(0, 0)), (Some(2.0 / 3.0), Some(0.75)));
    assert_eq!((table.score.get(0, 1), table.score.get(1, 0)), (Some(0.125), None));
    let mut shuffled = rows.clone();
    shuffled.rotate_left(2);
    let shuffled = load(&shuffled).unwrap().0;
    assert_eq!(shuffled.models, table.models);
    assert_eq!((shuffled.score.get(0, 0), shuffled.cost_usd.get(0, 0)), (Some(2.0 / 3.0), Some(0.75)));
}

#[test]
fn repeated_answers_and_bad_cells_are_named_by_row_and_value() {
    let sound = row("a", "m", None, 0.5);
    let error = |bad: OutcomeRow| load(&[sound.clone(), bad]).unwrap_err().to_string();
    let again = error(row("a", "m", Some(0), 0.5));
    assert!(
        again.contains("row 2 of") && again.contains("query `a` and model `m` have a row already"),
        "{again}"
    );
    let found = load(&[sound.clone(), row("a", "m", Some(3), 0.5), row("a", "m", Some(3), 0.5)]);
    let again = found.unwrap_err().to_string();
    assert!(again.contains("row 3 of") && again.contains("sample `3`"), "{again}");
    let other = || row("a", "n", None, 0.5);
    let cases = [
        (row("a", "n", Some(-1), 0.5), "sample `-1`"),
        (
            OutcomeRow { logprob_mean: Some(0.5), ..other() },
            "logprob_mean `0.5` is not valid; expected a finite number <= 0",
        ),
        (OutcomeRow { verifier_rate: Some(1.5), ..other() }, "verifier_rate `1.5`"),
        (
            OutcomeRow { logprob_quantiles: Some(vec![-1.0]), ..other() },
            "logprob_quantiles has 1 numbers; expected 14",
        ),
        (OutcomeRow { option_probs: Some(vec![0.5, 0.75]), ..other() }, "option_probs sum to `1.25`"),
    ];
    for (bad, part) in cases {
        let found = error(bad);
        assert!(found.contains("row 2 of") && found.contains(part), "{found}");
    }
}

#[test]
fn statistics_count_cells_once_and_the_columns_of_answers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    let rows = [
        OutcomeRow { answer: Some("4".into()), ..row("a", "m", Some(1), 1.0) },
        OutcomeRow { logprob_mean: Some(-1.0), ..row("a", "m", Some(2), 0.0) },
        row("a", "n", None, 0.0),
        row("b", "m", None, 0.0),
    ];
    write(&path, &rows);
    let found = stats::stats(&path, None).unwrap();
    let m = &found.models[0];
    assert_eq!((m.scored, m.coverage, m.score), (2, 1.0, Some(1.0 / 3.0)));
    assert_eq!((found.samples, found.cells_a_query, found.repeated_rows), (3, 1.5, 0));
    assert_eq!(found.answers.iter().collect::<Vec<_>>(), [(&"answer", &1), (&"logprob_mean", &1)]);
    let text = found.to_string();
    assert!(text.contains("up to 3 samples") && text.contains("1 answer, 1 logprob_mean"), "{text}");
}
