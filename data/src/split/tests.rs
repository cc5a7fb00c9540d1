use super::*;
use crate::log::{OutcomeRow, RowWriter};
use crate::synthetic::{Settings, World};
use crate::{LoadOptions, OutcomeTable};
use std::path::PathBuf;

fn simulated() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (log, out) = (dir.path().join("log.parquet"), dir.path().join("out.parquet"));
    let settings = Settings { repeats: 0.2, ..Settings::default() };
    World::new(settings, 5).write_log(1000, &log).unwrap();
    (dir, log, out)
}

fn load(path: &Path) -> OutcomeTable {
    OutcomeTable::load(path, &LoadOptions::default()).unwrap()
}

/// Errs on the first prompt found in two splits.
fn straddling(table: &OutcomeTable) -> Option<&str> {
    let mut splits = HashMap::new();
    let mut queries = table.queries.iter();
    let clash = queries.find(|q| *splits.entry(prompt_key(&q.prompt)).or_insert(&q.split) != &q.split)?;
    Some(&clash.prompt)
}

#[test]
fn prompts_that_differ_in_dress_only_have_one_key() {
    assert_eq!(normalized("  What IS\tthis?! "), "what is this");
    assert_eq!(normalized("???"), "???");
    assert_eq!(prompt_key("Was ist das: Öl?"), prompt_key("was  ist das: öl"));
    assert_ne!(prompt_key("a b"), prompt_key("ab"));
}

#[test]
fn random_splits_have_their_shares_repeat_by_seed_and_keep_everything_else() {
    let (dir, log, out) = simulated();
    let rule = SplitRule::Random(Fractions::try_new(0.5, 0.2, 0.3).unwrap());
    let summary = split_log(&log, &out, &rule, 1).unwrap();
    let (before, after) = (load(&log), load(&out));
    assert_eq!(before.digest(), after.digest());
    // By bits, because missing cells are NaN.
    let latencies = |table: &OutcomeTable| -> Vec<u32> {
        table.latency_ms.as_ref().unwrap().values().iter().map(|v| v.to_bits()).collect()
    };
    assert!(latencies(&before) == latencies(&after));
    assert_eq!(straddling(&after), None);
    let total: u64 = summary.splits.values().map(|c| c.prompts).sum();
    // Five standard deviations of a share of about 850 prompts: 5 * sqrt(0.25 / 850) = 0.086.
    assert!((summary.splits["train"].prompts as f64 / total as f64 - 0.5).abs() < 0.086, "{summary:?}");
    assert_eq!(summary.rows, before.score.n_present() as u64);
    let again = dir.path().join("again.parquet");
    split_log(&log, &again, &rule, 1).unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&again).unwrap());
    split_log(&log, &again, &rule, 2).unwrap();
    assert_ne!(std::fs::read(&out).unwrap(), std::fs::read(&again).unwrap());
}

#[test]
fn sources_kept_apart_take_their_prompts_along() {
    let (_dir, log, out) = simulated();
    let fractions = Fractions::default();
    let rule = SplitRule::BySource { sources: vec!["math".into(), "law".into()], fractions };
    split_log(&log, &out, &rule, 1).unwrap();
    let table = load(&out);
    for query in &table.queries {
        let apart = ["math", "law"].contains(&query.source.as_deref().unwrap());
        assert_eq!(query.split.as_deref() == Some(TEST_OOD), apart);
    }
    let rule = SplitRule::BySource { sources: vec!["maths".into()], fractions };
    let error = split_log(&log, &out, &rule, 1).unwrap_err().to_string();
    assert!(error.contains("did you mean `math`"), "{error}");
}

#[test]
fn by_time_train_ends_before_test_begins() {
    let (_dir, log, out) = simulated();
    let summary = split_log(&log, &out, &SplitRule::ByTime(Fractions::default()), 1).unwrap();
    let table = load(&out);
    // A repeated prompt goes with its last time, so train and valid hold nothing after their cut.
    let trains = table.queries.iter().filter(|q| q.split.as_deref() == Some("train"));
    let latest_train = trains.map(|q| q.timestamp_ms.unwrap()).max().unwrap();
    let last_of = |q: &&crate::Query| {
        let key = prompt_key(&q.prompt);
        table.queries.iter().filter(|other| prompt_key(&other.prompt) == key).map(|q| q.timestamp_ms).max()
    };
    let tests = table.queries.iter().filter(|q| q.split.as_deref() == Some("test"));
    assert!(tests.take(100).all(|q| last_of(&q).unwrap().unwrap() > latest_train));
    assert_eq!(straddling(&table), None);
    let total: u64 = summary.splits.values().map(|c| c.prompts).sum();
    assert!((summary.splits["train"].prompts as f64 / total as f64 - 0.6).abs() < 0.01);
}

#[test]
fn a_held_out_arm_is_seen_in_test_only() {
    let (_dir, log, out) = simulated();
    let rule =
        |model: &str| SplitRule::HeldOutArm { models: vec![model.into()], fractions: Fractions::default() };
    let model = load(&log).models[2].clone();
    let summary = split_log(&log, &out, &rule(&model), 1).unwrap();
    assert!(summary.rows_left_out > 0);
    let train = OutcomeTable::load(&out, &LoadOptions::split("train")).unwrap();
    assert!(!train.models.contains(&model));
    assert!(OutcomeTable::load(&out, &LoadOptions::split("test")).unwrap().models.contains(&model));
    assert!(split_log(&log, &out, &rule("nobody"), 1).is_err());
}

#[test]
fn shares_and_times_that_make_no_sense_are_refused_and_nothing_is_left() {
    assert!(Fractions::try_new(0.5, 0.5, 0.5).is_err());
    assert!(Fractions::try_new(1.2, -0.2, 0.0).is_err());
    assert!(Fractions::try_new(f64::NAN, 0.5, 0.5).is_err());
    assert_eq!(random_split(7, 7, &Fractions::try_new(1.0, 0.0, 0.0).unwrap()), "train");
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log.parquet");
    let mut writer = RowWriter::create(&log, WriteOptions::default()).unwrap();
    let row =
        OutcomeRow { query_id: "q".into(), prompt: "p".into(), model: "m".into(), ..OutcomeRow::default() };
    writer.push(row).unwrap();
    writer.finish().unwrap();
    let out = dir.path().join("out.parquet");
    let error = split_log(&log, &out, &SplitRule::ByTime(Fractions::default()), 1).unwrap_err().to_string();
    assert!(error.contains("timestamp_ms"), "{error}");
    assert!(!out.exists());
}

#[test]
fn the_samples_of_a_model_are_split_together() {
    let dir = tempfile::tempdir().unwrap();
    let (log, out) = (dir.path().join("log.parquet"), dir.path().join("out.parquet"));
    let mut writer = RowWriter::create(&log, WriteOptions::default()).unwrap();
    for (query, sample) in (0..40).flat_map(|query| [(query, None), (query, Some(1)), (query, Some(2))]) {
        let [query_id, prompt, model] = [format!("q{query}"), format!("p{query}"), "m".to_owned()];
        writer.push(OutcomeRow { query_id, prompt, model, sample, ..OutcomeRow::default() }).unwrap();
    }
    writer.finish().unwrap();
    let summary = split_log(&log, &out, &SplitRule::Random(Fractions::default()), 0).unwrap();
    assert!(summary.splits.len() > 1 && summary.splits.values().all(|split| split.rows == 3 * split.prompts));
    let batch = LogReader::open(&out, &crate::schema::OUTCOME, &["sample"]).unwrap().next().unwrap().unwrap();
    let samples = batch.number("sample").unwrap();
    assert_eq!([0, 1, 2].map(|row| samples.get(row)), [None, Some(1.0), Some(2.0)]);
}

#[test]
fn a_log_that_repeats_a_key_is_not_split() {
    let dir = tempfile::tempdir().unwrap();
    let (log, out) = (dir.path().join("log.parquet"), dir.path().join("out.parquet"));
    let mut writer = RowWriter::create(&log, WriteOptions::default()).unwrap();
    for (query, model) in [("a", "m"), ("b", "m"), ("a", "m")] {
        let [query_id, prompt, model] = [query, query, model].map(str::to_owned);
        writer.push(OutcomeRow { query_id, prompt, model, ..OutcomeRow::default() }).unwrap();
    }
    writer.finish().unwrap();
    let error = split_log(&log, &out, &SplitRule::Random(Fractions::default()), 0).unwrap_err().to_string();
    assert!(error.contains("row 3") && error.contains("query_id `a`, model `m` has a row"), "{error}");
    assert!(!out.exists());
}
