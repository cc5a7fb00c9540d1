use crate::log::{LogReader, OutcomeRow, RowWriter, WriteOptions};
use crate::rng::{self, Rng};
use crate::schema;
use rand::RngExt as _;
use std::path::Path;

const COLUMNS: [&str; 24] = [
    "query_id",
    "split",
    "source",
    "prompt",
    "model",
    "sample",
    "variant",
    "score",
    "soft_score",
    "cost_usd",
    "input_tokens",
    "output_tokens",
    "latency_ms",
    "timestamp_ms",
    "response",
    "answer",
    "finish",
    "logprob_mean",
    "logprob_min",
    "logprob_quantiles",
    "option_probs",
    "verifier_rate",
    "reference",
    "failure",
];

fn text(rng: &mut Rng, length_max: usize) -> String {
    const ALPHABET: [char; 10] = ['a', ' ', '\n', '"', 'ß', '漢', 'Ж', '\u{0}', '🦀', ','];
    (0..rng.random_range(0..=length_max)).map(|_| ALPHABET[rng.random_range(0..ALPHABET.len())]).collect()
}

fn random_row(rng: &mut Rng) -> OutcomeRow {
    OutcomeRow {
        query_id: text(rng, 5),
        split: rng.random_bool(0.5).then(|| text(rng, 3)),
        source: rng.random_bool(0.5).then(|| text(rng, 3)),
        prompt: text(rng, 200),
        model: text(rng, 4),
        score: rng.random_bool(0.5).then(|| rng.random()),
        soft_score: rng.random_bool(0.5).then(|| rng.random()),
        cost_usd: rng.random_bool(0.5).then(|| rng.random()),
        input_tokens: rng.random_bool(0.5).then(|| rng.random()),
        output_tokens: rng.random_bool(0.5).then(|| rng.random()),
        latency_ms: rng.random_bool(0.5).then(|| rng.random()),
        timestamp_ms: rng.random_bool(0.5).then(|| rng.random()),
        response: rng.random_bool(0.5).then(|| text(rng, 50)),
        reference: rng.random_bool(0.5).then(|| text(rng, 50)),
        failure: rng.random_bool(0.5).then(|| text(rng, 50)),
        sample: rng.random_bool(0.5).then(|| rng.random()),
        variant: rng.random_bool(0.5).then(|| text(rng, 5)),
        answer: rng.random_bool(0.5).then(|| text(rng, 5)),
        finish: rng.random_bool(0.5).then(|| text(rng, 5)),
        logprob_mean: rng.random_bool(0.5).then(|| rng.random()),
        logprob_min: rng.random_bool(0.5).then(|| rng.random()),
        logprob_quantiles: rng
            .random_bool(0.5)
            .then(|| (0..rng.random_range(0..4)).map(|_| rng.random()).collect()),
        option_probs: rng
            .random_bool(0.5)
            .then(|| (0..rng.random_range(0..4)).map(|_| rng.random()).collect()),
        verifier_rate: rng.random_bool(0.5).then(|| rng.random()),
    }
}

fn read(path: &Path) -> Vec<OutcomeRow> {
    let mut rows = Vec::new();
    for batch in LogReader::open(path, &schema::OUTCOME, &COLUMNS).unwrap() {
        let batch = batch.unwrap();
        let text = |name: &str, row| batch.text(name).unwrap().get(row).map(str::to_owned);
        let number = |name: &str, row| batch.number(name).unwrap().get(row);
        for row in 0..batch.n_rows() {
            rows.push(OutcomeRow {
                query_id: text("query_id", row).unwrap(),
                split: text("split", row),
                source: text("source", row),
                prompt: text("prompt", row).unwrap(),
                model: text("model", row).unwrap(),
                score: number("score", row).map(|v| v as f32),
                soft_score: number("soft_score", row).map(|v| v as f32),
                cost_usd: number("cost_usd", row),
                input_tokens: number("input_tokens", row).map(|v| v as i32),
                output_tokens: number("output_tokens", row).map(|v| v as i32),
                latency_ms: number("latency_ms", row).map(|v| v as f32),
                timestamp_ms: batch.time("timestamp_ms").unwrap().get(row),
                response: text("response", row),
                reference: text("reference", row),
                failure: text("failure", row),
                sample: number("sample", row).map(|v| v as i32),
                variant: text("variant", row),
                answer: text("answer", row),
                finish: text("finish", row),
                logprob_mean: number("logprob_mean", row).map(|v| v as f32),
                logprob_min: number("logprob_min", row).map(|v| v as f32),
                logprob_quantiles: batch.vector("logprob_quantiles").unwrap().get(row),
                option_probs: batch.vector("option_probs").unwrap().get(row),
                verifier_rate: number("verifier_rate", row).map(|v| v as f32),
            });
        }
    }
    rows
}

#[test]
fn what_is_written_is_read_back_whatever_the_rows_and_the_rotation() {
    assert!(schema::OUTCOME.columns.iter().map(|c| c.name).eq(COLUMNS), "the test covers every column");
    for seed in 0..40 {
        let mut rng = rng::stream(seed, "round trip");
        let rows: Vec<OutcomeRow> = (0..rng.random_range(1..60)).map(|_| random_row(&mut rng)).collect();
        let rows_per_file = rng.random_bool(0.5).then(|| rng.random_range(1..30));
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("log");
        let mut writer = RowWriter::create(&target, WriteOptions { rows_per_file }).unwrap();
        rows.iter().for_each(|row| writer.push(row.clone()).unwrap());
        writer.finish().unwrap();
        assert_eq!(read(&target), rows, "seed {seed}, rows per file {rows_per_file:?}");
    }
}

#[test]
fn a_dropped_writer_leaves_nothing_and_a_second_one_appends() {
    let dir = tempfile::tempdir().unwrap();
    let row =
        OutcomeRow { query_id: "q".into(), prompt: "p".into(), model: "m".into(), ..OutcomeRow::default() };
    let mut writer = RowWriter::create(&dir.path().join("one"), WriteOptions::default()).unwrap();
    (0..5000).for_each(|_| writer.push(row.clone()).unwrap());
    drop(writer);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let target = dir.path().join("many");
    for expected in ["part-00000.parquet", "part-00001.parquet"] {
        let mut writer = RowWriter::create(&target, WriteOptions { rows_per_file: Some(9) }).unwrap();
        writer.push(row.clone()).unwrap();
        assert_eq!(writer.finish().unwrap(), [target.join(expected)]);
    }
}

#[test]
fn a_target_under_a_file_is_refused_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("file");
    std::fs::write(&blocked, "x").unwrap();
    let row =
        OutcomeRow { query_id: "q".into(), prompt: "p".into(), model: "m".into(), ..OutcomeRow::default() };
    let mut writer = RowWriter::create(&blocked.join("log.parquet"), WriteOptions::default()).unwrap();
    writer.push(row).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
