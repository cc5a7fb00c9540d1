use super::*;
use crate::Winner;
use crate::files::write_file;
use crate::log::{LogWriter, OutcomeRow, PairRow, RowWriter, WriteOptions};
use crate::synthetic::{Settings, World};
use arrow_array::{ArrayRef, Float32Array, RecordBatch, StringArray};
use std::sync::Arc;

fn row(query: &str, model: &str, score: f32) -> OutcomeRow {
    let [query_id, prompt, model] = [query, &format!("prompt of {query}"), model].map(str::to_owned);
    OutcomeRow { query_id, prompt, model, score: Some(score), ..OutcomeRow::default() }
}

fn check(rows: &[OutcomeRow]) -> Validation {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    let mut writer = RowWriter::create(&path, WriteOptions::default()).unwrap();
    rows.iter().for_each(|row| writer.push(row.clone()).unwrap());
    writer.finish().unwrap();
    validate(&path, &ValidateOptions::default()).unwrap()
}

/// The message of the only finding of a rule.
fn only<'a>(found: &'a Validation, rule: &str) -> &'a Complaint {
    assert_eq!(found.counts.get(rule), Some(&1), "{rule}: {:#?}", found.complaints);
    found.complaints.iter().find(|complaint| complaint.rule == rule).unwrap()
}

#[test]
fn a_sound_log_has_no_complaint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    let n_rows = World::new(Settings::default(), 1).write_log(500, &path).unwrap();
    let found = validate(&path, &ValidateOptions::default()).unwrap();
    assert_eq!(found.complaints, []);
    assert_eq!((found.rows, found.queries, found.models), (n_rows, 500, 8));
    assert!(found.is_valid());
}

#[test]
fn every_bad_cell_is_named_by_row_and_value() {
    let sound = [row("p", "m", 0.5), row("p", "n", 0.25), row("q", "m", 1.0)];
    let with = |bad: OutcomeRow| check(&[&sound[..], &[bad]].concat());
    let cases = [
        (with(row("q", "n", 1.5)), "out-of-range", "score `1.5`"),
        (with(row("q", "n", f32::NAN)), "out-of-range", "score `NaN`"),
        (with(OutcomeRow { cost_usd: Some(-1.0), ..row("q", "n", 0.0) }), "out-of-range", "cost_usd `-1`"),
        (with(OutcomeRow { cost_usd: Some(f64::INFINITY), ..row("q", "n", 0.0) }), "out-of-range", "`inf`"),
        (
            with(OutcomeRow { output_tokens: Some(-1), ..row("q", "n", 0.0) }),
            "out-of-range",
            "output_tokens `-1`",
        ),
        (with(OutcomeRow { prompt: String::new(), ..row("x", "n", 0.0) }), "empty-text", "`prompt` is empty"),
        (with(row("q", "", 0.0)), "empty-text", "`model` is empty"),
        (with(row("q", "m", 0.0)), "duplicate-key", "query_id `q`, model `m` is in row 3 of"),
        (with(OutcomeRow { sample: Some(0), ..row("q", "m", 0.0) }), "duplicate-key", "row 3 of"),
        (with(OutcomeRow { sample: Some(-2), ..row("q", "n", 0.0) }), "out-of-range", "sample `-2`"),
        (
            with(OutcomeRow { logprob_min: Some(0.5), ..row("q", "n", 0.0) }),
            "out-of-range",
            "logprob_min `0.5` is not valid; expected a number finite and <= 0",
        ),
        (
            with(OutcomeRow { verifier_rate: Some(2.0), ..row("q", "n", 0.0) }),
            "out-of-range",
            "verifier_rate `2`",
        ),
        (
            with(OutcomeRow { option_probs: Some(vec![0.75, 0.5]), ..row("q", "n", 0.0) }),
            "bad-list",
            "option_probs sum to `1.25`",
        ),
        (
            with(OutcomeRow { logprob_quantiles: Some(vec![-1.0]), ..row("q", "n", 0.0) }),
            "bad-list",
            "expected 14",
        ),
        (with(OutcomeRow { prompt: "other".into(), ..row("q", "n", 0.0) }), "torn-query", "another prompt"),
        (with(OutcomeRow { split: Some("x".into()), ..row("q", "n", 0.0) }), "torn-query", "another split"),
    ];
    for (found, rule, part) in cases {
        let complaint = only(&found, rule);
        assert_eq!((complaint.row, found.n_errors), (Some(4), 1), "{rule}");
        assert!(complaint.message.contains(part), "{}", complaint.message);
        assert!(!found.is_valid());
    }
}

#[test]
fn answers_of_one_model_are_told_apart_by_their_sample() {
    let sample = |sample| OutcomeRow { sample, ..row("q", "m", 0.5) };
    let sound = [sample(None), sample(Some(1)), sample(Some(2)), row("p", "n", 0.0)];
    assert!(check(&sound).is_valid());
    let found = check(&[&sound[..], &[sample(Some(2))]].concat());
    let complaint = only(&found, "duplicate-key");
    assert_eq!(complaint.row, Some(5));
    let part = "query_id `q`, model `m`, sample `2` is in row 3 of";
    assert!(complaint.message.contains(part), "{}", complaint.message);
}

#[test]
fn legitimate_oddities_are_warnings() {
    let found = check(&[row("q", "m", 0.5)]);
    only(&found, "one-arm");
    only(&found, "one-query");
    assert!(found.is_valid());
    only(&check(&[row("q", "m", 0.5), row("p", "n", 0.5)]), "equal-scores");
    let hole = OutcomeRow { score: None, ..row("q", "n", 0.0) };
    let found = check(&[row("q", "m", 0.5), row("p", "m", 0.0), hole.clone()]);
    assert!(only(&found, "unobserved-arm").message.contains("`n`"));
    only(&check(&[hole]), "no-scores");
}

#[test]
fn complaints_are_capped_and_counted() {
    let rows: Vec<OutcomeRow> = (0..100).map(|i| row(&format!("q{i}"), "m", 2.0)).collect();
    let found = check(&rows);
    assert_eq!((found.counts["out-of-range"], found.n_errors), (100, 100));
    assert_eq!(found.complaints.iter().filter(|c| c.rule == "out-of-range").count(), 20);
    let twice = check(&[&rows[..], &rows[..], &rows[..]].concat());
    assert_eq!(twice.counts["duplicate-key"], 200);
}

#[test]
fn keys_and_contents_are_followed_across_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = RowWriter::create(dir.path(), WriteOptions { rows_per_file: Some(2) }).unwrap();
    for row in [row("p", "m", 0.0), row("q", "m", 1.0), row("p", "m", 0.0)] {
        writer.push(row).unwrap();
    }
    writer.finish().unwrap();
    let found = validate(dir.path(), &ValidateOptions::default()).unwrap();
    let complaint = only(&found, "duplicate-key");
    assert_eq!(complaint.row, Some(1));
    assert!(complaint.file.as_ref().unwrap().ends_with("part-00001.parquet"));
    assert!(
        complaint.message.contains("row 1 of") && complaint.message.contains("part-00000"),
        "{complaint}"
    );
}

#[test]
fn faults_of_the_file_are_all_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    let check = || validate(&path, &ValidateOptions::default()).unwrap();
    assert!(validate(&path, &ValidateOptions::default()).is_err(), "no such file");
    write_file(&path, b"").unwrap();
    only(&check(), "empty");
    write_file(&path, b"PAR1 and then nothing of use").unwrap();
    only(&check(), "not-parquet");
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let number: ArrayRef = Arc::new(Float32Array::from(vec![0.5]));
    let columns =
        [("query_id", &text), ("promt", &text), ("model", &number), ("score", &text), ("cost", &number)];
    let batch = RecordBatch::try_from_iter(columns.map(|(name, array)| (name, Arc::clone(array)))).unwrap();
    let mut writer = LogWriter::create(&path, batch.schema(), WriteOptions::default()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let found = check();
    assert!(only(&found, "missing-column").message.contains("did you mean `promt`"));
    assert_eq!(found.counts["wrong-type"], 2);
}

#[test]
fn a_truncated_file_is_a_complaint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    World::new(Settings::default(), 1).write_log(300, &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for share in [1, 2, 3] {
        write_file(&path, &bytes[..bytes.len() * share / 4]).unwrap();
        only(&validate(&path, &ValidateOptions::default()).unwrap(), "not-parquet");
    }
}

#[test]
fn a_misspelled_optional_column_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    let text = |values: [&str; 2]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let number: ArrayRef = Arc::new(Float32Array::from(vec![0.5, 0.25]));
    let columns = [
        ("query_id", text(["p", "q"])),
        ("prompt", text(["p", "q"])),
        ("model", text(["m", "n"])),
        ("score", Arc::clone(&number)),
        ("costs_usd", number),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = LogWriter::create(&path, batch.schema(), WriteOptions::default()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let found = validate(&path, &ValidateOptions::default()).unwrap();
    assert!(only(&found, "unread-column").message.contains("did you mean `cost_usd`"));
    assert!(found.is_valid());
}

#[test]
fn pair_logs_are_checked_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pairs.parquet");
    let mut writer = RowWriter::create(&path, WriteOptions::default()).unwrap();
    for (a, b) in [("m", "n"), ("m", "m"), ("m", "n")] {
        writer
            .push(PairRow {
                query_id: "q".into(),
                split: None,
                source: None,
                prompt: "p".into(),
                model_a: a.into(),
                model_b: b.into(),
                winner: Winner::Tie,
                judge: None,
                weight: None,
                timestamp_ms: None,
                response_a: None,
                response_b: None,
            })
            .unwrap();
    }
    writer.finish().unwrap();
    let found = validate(&path, &ValidateOptions::default()).unwrap();
    assert_eq!(found.table, "pair log");
    assert_eq!(only(&found, "same-model").row, Some(2));
    assert_eq!(only(&found, "duplicate-key").row, Some(3));
}

#[test]
fn what_is_legitimate_but_seldom_meant_is_a_warning() {
    let many = |change: &dyn Fn(usize) -> OutcomeRow| (0..60).map(change).collect::<Vec<_>>();
    let full = |i: usize| row(&format!("q{}", i / 3), &format!("m{}", i % 3), 0.5 + i as f32 / 120.0);
    assert_eq!(check(&many(&full)).complaints, []);
    let thin = |i: usize| row(&format!("q{i}"), &format!("m{}", i % 3), i as f32 / 60.0);
    let found = check(&many(&thin));
    assert!(only(&found, "decisions").message.contains("routewright ope"), "{:?}", found.complaints);
    let ids = |i: usize| OutcomeRow { prompt: format!("p{}", i / 3), ..thin(i) };
    let found = check(&many(&ids));
    assert!(only(&found, "split-queries").message.contains("20 prompts stand under 60 query ids"));
    let seconds = |i: usize| OutcomeRow { latency_ms: Some(1.5), ..full(i) };
    assert_eq!(only(&check(&many(&seconds)), "latency-unit").severity, Severity::Warning);
    let times = |i: usize| OutcomeRow { timestamp_ms: Some(1_740_823_201), ..full(i) };
    assert_eq!(only(&check(&many(&times)), "time-unit").severity, Severity::Warning);
    let stars = |i: usize| OutcomeRow { score: Some((i % 5) as f32 + 1.0), ..full(i) };
    let found = check(&many(&stars));
    assert!(only(&found, "score-range").message.contains("--score-max 5"), "{:?}", found.complaints);
}

#[test]
fn what_is_found_in_many_batches_is_what_one_after_the_other_finds() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    std::fs::create_dir(&log).unwrap();
    // Each file is a batch of its own: 40 rows, every fourth with a score out of range.
    for file in 0..6 {
        let path = log.join(format!("part-{file}.parquet"));
        let mut writer = RowWriter::create(&path, WriteOptions::default()).unwrap();
        for n in 0..40 {
            let score = if n % 4 == 3 { 2.0 } else { 0.5 };
            let model = format!("m{}", (file + n) % 7);
            let timed = OutcomeRow { latency_ms: Some(1.5), ..row(&format!("q{file}-{n}"), &model, score) };
            writer.push(timed).unwrap();
        }
        writer.finish().unwrap();
    }
    let found = validate(&log, &ValidateOptions { per_rule_max: 13 }).unwrap();
    assert_eq!((found.rows, found.queries, found.models), (240, 240, 7));
    assert_eq!((found.n_errors, found.counts["out-of-range"]), (60, 60));
    let rows: Vec<(String, u64)> = found
        .complaints
        .iter()
        .filter(|complaint| complaint.rule == "out-of-range")
        .map(|complaint| {
            let file = complaint.file.as_ref().unwrap();
            (file[file.len() - "part-0.parquet".len()..].to_owned(), complaint.row.unwrap())
        })
        .collect();
    let first = (0..10).map(|n| ("part-0.parquet".to_owned(), 4 + 4 * n));
    let second = (0..3).map(|n| ("part-1.parquet".to_owned(), 4 + 4 * n));
    assert_eq!(rows, first.chain(second).collect::<Vec<_>>());
    assert!(
        found.counts.contains_key("latency-unit") && found.counts.contains_key("score-range"),
        "{found:?}"
    );
}
