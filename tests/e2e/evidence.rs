//! Evidence that is none: decisions a policy learned from, and propensities that the choices contradict.

use crate::gateway_log::constant;
use crate::ope::folder;
use crate::run::{Ran, json, ok, run};
use routewright_data::log::{DecisionRow, FeedbackRow, LogRow, RowWriter, WriteOptions};
use serde_json::Value;
use std::path::Path;

const ARMS: [&str; 4] = ["a", "b", "c", "d"];
const WORDS: [&str; 12] = [
    "river", "stone", "cloud", "engine", "letter", "garden", "winter", "copper", "signal", "harbor",
    "mirror", "forest",
];

/// A number from a counter: the same everywhere, and of no pattern that a policy could learn.
fn noise(mut state: u64) -> u64 {
    state = state.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    state = (state ^ (state >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state ^ (state >> 29)
}

pub(crate) fn write<R: LogRow>(path: &Path, rows: impl IntoIterator<Item = R>) {
    let mut writer = RowWriter::create(path, WriteOptions::default()).unwrap();
    rows.into_iter().for_each(|row| writer.push(row).unwrap());
    writer.finish().unwrap();
}

/// Decisions whose rewards are a fair coin, whatever the model; models drawn uniformly, `stated` as their propensities.
fn coins(at: &Path, name: &str, range: std::ops::Range<u64>, stated: [f32; 4]) {
    let row = |i: u64| {
        let word = |k: u64| WORDS[(noise(i * 8 + k) % 12) as usize];
        let chosen = (noise(i * 8 + 5) % 4) as usize;
        DecisionRow {
            decision_id: format!("dec_{i}"),
            timestamp_ms: 1_764_000_000_000 + i as i64 * 60_000,
            policy: "p".into(),
            policy_version: "1".into(),
            policy_digest: "0".repeat(64).into(),
            candidates: ARMS.map(str::to_owned).to_vec().into(),
            propensities: stated.to_vec(),
            model: ARMS[chosen].to_owned(),
            propensity: f64::from(stated[chosen]),
            prompt: Some(format!("{} {} {} {} {i}", word(0), word(1), word(2), word(3))),
            ..DecisionRow::default()
        }
    };
    let outcome = |i: u64| FeedbackRow {
        outcome_id: format!("out_{i}"),
        decision_id: format!("dec_{i}"),
        kind: "score".to_owned(),
        value: Some((noise(i * 8 + 6) % 2) as f64),
        ..FeedbackRow::default()
    };
    write(&at.join(format!("{name}-d.parquet")), range.clone().map(row));
    write(&at.join(format!("{name}-f.parquet")), range.map(outcome));
}

fn ope(at: &Path, log: &str, policy: &str, more: &[&str]) -> Ran {
    let (decisions, feedback) = (format!("{log}-d.parquet"), format!("{log}-f.parquet"));
    let base = ["ope", "--log", &decisions, "--feedback", &feedback, "--policy", policy];
    run(at, &[&base[..], more].concat())
}

fn found(at: &Path, log: &str, policy: &str, more: &[&str]) -> (i32, Value) {
    let ran = ope(at, log, policy, &[more, &["--json"]].concat());
    (ran.code, serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}{}", ran.stdout, ran.stderr)))
}

#[test]
fn a_policy_is_not_trusted_on_the_decisions_it_learned_from() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    coins(at, "past", 0..1600, [0.25; 4]);
    coins(at, "later", 1600..3200, [0.25; 4]);
    coins(at, "both", 0..3200, [0.25; 4]);
    let learn =
        ["train", "knn", "--decisions", "past-d.parquet", "--feedback", "past-f.parquet", "--dim", "24"];
    let by_heart = ["--set", "k=[5]", "--set", "power=[0]", "--set", "prior=0", "--out", "knn"];
    ok(at, &[&learn[..], &by_heart].concat());

    let (code, own) = found(at, "past", "knn", &[]);
    assert_eq!((code, &own["verdict"]["is_trusted"]), (1, &Value::Bool(false)));
    assert_eq!(own["counts"]["trained_on"], 1600);
    // What it would have claimed: every policy is worth 0.5 here.
    assert!(own["lower_bound"].as_f64().unwrap() > 0.1, "{}", own["lower_bound"]);
    let text = ope(at, "past", "knn", &[]).stdout;
    assert!(
        text.contains("refused: 1600 of 1600 decisions (100.0 %) are rows that the policy was trained on"),
        "{text}"
    );

    // Fitted again for each fold, it is worth nothing, and says so.
    let (code, fitted) = found(at, "past", "knn", &["--cross-fit", "4"]);
    assert_eq!((code, &fitted["cross_fit"]), (0, &Value::from(4)), "{}", fitted["verdict"]);
    assert!(fitted["lower_bound"].as_f64().unwrap() < 0.0, "{}", fitted["lower_bound"]);

    // Later decisions are evidence; those of both are when the known ones are left out.
    let (code, later) = found(at, "later", "knn", &[]);
    assert_eq!((code, &later["counts"]["trained_on"]), (0, &Value::from(0)), "{}", later["verdict"]);
    assert!(later["lower_bound"].as_f64().unwrap() < 0.0);
    let (code, both) = found(at, "both", "knn", &[]);
    assert!(code == 1 && both["counts"]["trained_on"] == 1600, "{}", both["counts"]);
    let (code, unseen) = found(at, "both", "knn", &["--unseen"]);
    assert!(code == 0 && unseen["counts"]["rounds"] == 1600, "{}", unseen["counts"]);
    assert_eq!(unseen["estimates"], later["estimates"]);
    let none = ope(at, "past", "knn", &["--unseen"]);
    assert!(
        none.code == 2 && none.stderr.contains("1600 are rows the policy was trained on"),
        "{}",
        none.stderr
    );

    promotion_refuses_it(at);
}

/// The gate, with the same policy and logs.
fn promotion_refuses_it(at: &Path) {
    let learn =
        ["train", "ridge", "--decisions", "later-d.parquet", "--feedback", "later-f.parquet", "--dim", "24"];
    ok(at, &[&learn[..], &["--out", "active"]].concat());
    ok(at, &["policy", "promote", "--registry", "slot", "--policy", "active", "--to", "active"]);
    let promote = |log: &str, more: &[&str], words: &str| {
        let (decisions, feedback) = (format!("{log}-d.parquet"), format!("{log}-f.parquet"));
        let base = ["policy", "promote", "--registry", "slot", "--policy", "knn", "--to", "active"];
        let logs = ["--log", &decisions, "--feedback", &feedback];
        let ran = run(at, &[&base[..], &logs, more].concat());
        assert!(ran.code == 1 && ran.stdout.contains(words), "{log} {more:?}: {}{}", ran.stdout, ran.stderr);
    };
    promote("past", &[], "are rows that the policy was trained on");
    promote("both", &[], "are rows that the policy was trained on");
    promote("both", &["--unseen"], "not shown to be better");
    promote("past", &["--cross-fit", "4"], "not shown to be better");
    let audit = json(at, &["policy", "history", "--registry", "slot"]);
    assert_eq!(audit["history"][1]["evidence"]["trained_on"], 1600);
}

#[test]
fn decisions_made_of_the_training_rows_are_recognised() {
    let dir = folder();
    let at = dir.path();
    let log =
        ["data", "log-decisions", "--log", "log.parquet", "--policy", "source-best", "--split", "train"];
    ok(at, &[&log[..], &["--explore", "0.5", "--out", "seen"]].concat());
    let judge = |folder: &str, more: &[&str]| {
        let (log, feedback) = (format!("{folder}/decisions.parquet"), format!("{folder}/feedback.parquet"));
        run(at, &[&["ope", "--log", &log, "--feedback", &feedback, "--policy", "ridge"], more].concat())
    };
    let refused = judge("seen", &[]);
    assert!(
        refused.code == 1 && refused.stdout.contains("(100.0 %) are rows that the policy was trained on")
    );
    assert_eq!(judge("dec", &[]).code, 0);
    // It was not trained on decisions, so there is nothing to fit again.
    let refused = judge("dec", &["--cross-fit", "3"]);
    assert!(refused.code == 2 && refused.stderr.contains("`train --decisions`"), "{}", refused.stderr);
}

#[test]
fn propensities_that_the_choices_contradict_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    constant(at, "a", &ARMS.map(str::to_owned));
    // Drawn uniformly, said to be drawn otherwise.
    coins(at, "wrong", 800..2800, [0.4, 0.3, 0.2, 0.1]);
    let (code, wrong) = found(at, "wrong", "a", &[]);
    assert_eq!((code, &wrong["verdict"]["is_trusted"]), (1, &Value::Bool(false)));
    let refusals = wrong["verdict"]["refusals"].to_string();
    assert!(refusals.contains("do not match what was chosen"), "{refusals}");
    // What was drawn weighs 0.25 / 0.4 = 0.625 of what it should weigh.
    assert!(refusals.contains("the mean importance weight of the target policy is 0.6"), "{refusals}");
    // The same draws with the propensities that they were made with.
    coins(at, "right", 800..2800, [0.25; 4]);
    assert_eq!(found(at, "right", "a", &[]).0, 0);
}
