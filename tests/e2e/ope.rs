//! Off-policy evaluation through the binary: logs written by a policy, judged for another.

use crate::run::{json, ok, run};
use routewright_data::decisions::{DecisionReader, FeedbackReader};
use routewright_data::log::{DecisionRow, FeedbackRow, LogRow, RowWriter, WriteOptions};
use serde_json::Value;
use std::path::Path;
use std::sync::LazyLock;

const DECISIONS: &str = "dec/decisions.parquet";
const FEEDBACK: &str = "dec/feedback.parquet";

/// What every test starts from, made once: a log, two policies, and decisions of one of them with exploration.
static MADE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    ok(
        at,
        &["data", "simulate", "--out", "log.parquet", "--queries", "2500", "--models", "4", "--seed", "3"],
    );
    for method in ["ridge", "source-best"] {
        ok(at, &["train", method, "--log", "log.parquet", "--out", method, "--dim", "24"]);
    }
    let mut arguments = vec!["data", "log-decisions", "--log", "log.parquet", "--policy", "source-best"];
    arguments.extend(["--split", "test", "--explore", "0.5", "--out", "dec"]);
    ok(at, &arguments);
    dir
});

/// A copy of it.
pub(crate) fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(MADE.path(), dir.path());
    dir
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap().path();
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).unwrap();
        }
    }
}

fn rows<R>(reader: impl Iterator<Item = Result<Vec<R>, routewright_data::LogError>>) -> Vec<R> {
    reader.flat_map(Result::unwrap).collect()
}

fn write<R: LogRow>(path: &Path, rows: Vec<R>) {
    let mut writer = RowWriter::create(path, WriteOptions::default()).unwrap();
    rows.into_iter().for_each(|row| writer.push(row).unwrap());
    writer.finish().unwrap();
}

fn ope<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let base = ["ope", "--log", DECISIONS, "--feedback", FEEDBACK, "--policy", "ridge", "--bootstrap", "200"];
    base.into_iter().chain(more.iter().copied()).collect()
}

fn estimate<'a>(found: &'a Value, name: &str) -> &'a Value {
    found["estimates"].as_array().unwrap().iter().find(|e| e["estimator"] == name).unwrap()
}

#[test]
fn the_value_of_a_policy_is_found_in_another_ones_log() {
    let dir = folder();
    let at = dir.path();
    let found = json(at, &ope(&["--baseline", "source-best", "--report", "report"]));
    assert_eq!(found["verdict"]["is_trusted"], true, "{}", found["verdict"]);
    // What the outcomes say, known here because the log has them all but the missing cells.
    let truth = json(at, &["evaluate", "--policy", "ridge", "source-best", "--log", "log.parquet"]);
    let score = |i: usize| truth["policies"][i]["score"].as_f64().unwrap();
    let dr = estimate(&found, "dr");
    let (low, high) = (dr["interval"][0].as_f64().unwrap(), dr["interval"][1].as_f64().unwrap());
    assert!(low < score(0) && score(0) < high, "{low}..{high} and {}", score(0));
    assert_eq!(found["lower_bound"], dr["vs_baseline"]["lower_bound"]);
    let gain = &dr["vs_baseline"]["interval"];
    let true_gain = score(0) - score(1);
    assert!(gain[0].as_f64().unwrap() < true_gain && true_gain < gain[1].as_f64().unwrap(), "{gain}");
    assert!(found["calibration"]["z_max"].as_f64().unwrap() < 4.0);
    assert!(at.join("report/ope.html").is_file() && at.join("report/ope.svg").is_file());
    // A policy in its own log: its weights are 1, but for the exploration it was logged with.
    let own = json(at, &["ope", "--log", DECISIONS, "--feedback", FEEDBACK, "--policy", "source-best"]);
    assert!((own["overlap"]["weight_mean"].as_f64().unwrap() - 1.0).abs() < 0.1);
    // Costs: a weight so large that only they count turns every value negative.
    let costly = json(at, &ope(&["--cost-weight", "1000000"]));
    assert!(estimate(&costly, "dr")["value"].as_f64().unwrap() < 0.0);
    let table = ok(at, &ope(&["--estimators", "ips,dr"])).stdout;
    assert!(table.contains("gain over the logged decisions by dr") && !table.contains("snips"), "{table}");
    assert!(ok(at, &["data", "validate", DECISIONS]).stdout.contains("0 errors"));
}

#[test]
fn feedback_twice_and_in_any_order_changes_nothing() {
    let dir = folder();
    let at = dir.path();
    let clean = json(at, &ope(&[]));
    let mut outcomes: Vec<FeedbackRow> = rows(FeedbackReader::open(&at.join(FEEDBACK)).unwrap());
    let n = outcomes.len() as u64;
    outcomes.extend(outcomes.clone());
    outcomes.reverse();
    outcomes.rotate_left(123);
    write(&at.join(FEEDBACK), outcomes);
    let again = json(at, &ope(&[]));
    assert_eq!(again["estimates"], clean["estimates"]);
    assert_eq!(again["feedback"]["repeated"], n);
}

#[test]
fn a_log_that_says_too_little_is_refused_with_numbers() {
    let dir = folder();
    let at = dir.path();
    let refused = |arguments: &[&str], words: &str| {
        let ran = run(at, arguments);
        assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("refused: ") && ran.stdout.contains(words), "{}", ran.stdout);
    };
    refused(&ope(&["--ess-min", "100000"]), "expected at least 100000");
    refused(&ope(&["--support-floor", "0.9", "--unsupported-max", "0.01"]), "logged with less than 0.9");
    // Without exploration nothing can be said of another policy.
    ok(at, &["data", "log-decisions", "--log", "log.parquet", "--policy", "source-best", "--out", "sure"]);
    let (log, feedback) = ("sure/decisions.parquet", "sure/feedback.parquet");
    let sure = ["ope", "--log", log, "--feedback", feedback, "--policy", "ridge"];
    refused(&sure, "100.0 % of the rounds were logged with propensity 1");
    // An arm the logging policy almost never took, to which the target gives much.
    let mut decisions: Vec<DecisionRow> = rows(DecisionReader::open(&at.join(DECISIONS)).unwrap());
    decisions.truncate(3);
    write(&at.join("few.parquet"), decisions);
    let few = ["ope", "--log", "few.parquet", "--feedback", FEEDBACK, "--policy", "ridge"];
    refused(&few, "of 3 rounds");
}

#[test]
fn arms_and_rows_that_come_and_go_are_counted() {
    let dir = folder();
    let at = dir.path();
    let mut decisions: Vec<DecisionRow> = rows(DecisionReader::open(&at.join(DECISIONS)).unwrap());
    let n = decisions.len() as u64;
    for (i, row) in decisions.iter_mut().enumerate() {
        (row.predicted_score, row.predicted_cost_usd) = (None, None);
        if i % 10 == 0 {
            // An arm the policies do not know, never chosen; and one round with no other.
            row.candidates = row.candidates.iter().cloned().chain(["stranger".to_owned()]).collect();
            row.propensities.push(0.0);
        }
        row.policy_version = if i % 2 == 0 { "even" } else { "odd" }.into();
    }
    let lost = &mut decisions[1];
    (lost.candidates, lost.propensities) = (["stranger".to_owned()].into(), vec![1.0]);
    (lost.model, lost.propensity) = ("stranger".to_owned(), 1.0);
    write(&at.join(DECISIONS), decisions);
    // Three outcomes less: left out, or taken for 0.
    let mut outcomes: Vec<FeedbackRow> = rows(FeedbackReader::open(&at.join(FEEDBACK)).unwrap());
    outcomes.truncate(outcomes.len() - 3);
    write(&at.join(FEEDBACK), outcomes);
    let found = json(at, &ope(&["--estimators", "dr"]));
    let counts = &found["counts"];
    assert_eq!(counts["without_arm"], 1);
    assert_eq!(counts["without_feedback"], 3);
    assert_eq!(counts["rounds"], n - 4);
    assert!(counts["with_unknown_candidates"].as_u64().unwrap() >= n / 10 - 3, "{counts}");
    let defaulted = json(at, &ope(&["--estimators", "dr", "--default-reward", "0"]));
    assert_eq!(defaulted["counts"]["rounds"], n - 1);
    let segments = found["segments"].as_array().unwrap();
    let parts = |by: &str| segments.iter().filter(|s| s["by"] == by).collect::<Vec<_>>();
    let rounds = |by: &str| parts(by).iter().map(|s| s["rounds"].as_u64().unwrap()).sum::<u64>();
    assert_eq!((parts("policy_version").len(), rounds("policy_version")), (2, n - 4));
    assert_eq!((rounds("source"), rounds("candidates")), (n - 4, n - 4));
    assert!(parts("policy_version").iter().all(|s| s["value"].is_number()), "{segments:?}");
}

#[test]
fn what_cannot_be_read_or_does_not_fit_is_an_error() {
    let dir = folder();
    let at = dir.path();
    let failed = |arguments: &[&str], words: &str| {
        let ran = run(at, arguments);
        assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    };
    failed(&ope(&["--metric", "thumb"]), "had no feedback of the kind asked for");
    failed(&ope(&["--estimators", "drr"]), "unknown estimator `drr`");
    failed(&ope(&["--tau=-1"]), "`-1` is no parameter");
    failed(&["ope", "--log", FEEDBACK, "--feedback", FEEDBACK, "--policy", "ridge"], "has no column");
    failed(
        &[
            "data",
            "log-decisions",
            "--log",
            "log.parquet",
            "--policy",
            "ridge",
            "--out",
            "x",
            "--explore",
            "2",
        ],
        "`explore` is `2`",
    );
    let mut decisions: Vec<DecisionRow> = rows(DecisionReader::open(&at.join(DECISIONS)).unwrap());
    decisions[1].propensity = 0.999;
    decisions[4].prompt = None;
    write(&at.join("bad.parquet"), decisions.clone());
    let bad = ["ope", "--log", "bad.parquet", "--feedback", FEEDBACK, "--policy", "ridge"];
    failed(&bad, "row 2 of `bad.parquet`");
    let ran = run(at, &["data", "validate", "bad.parquet"]);
    assert!(ran.code == 1 && ran.stdout.contains("row 2"), "{}", ran.stdout);
    decisions.remove(1);
    write(&at.join("bad.parquet"), decisions);
    failed(&bad, "has neither a `prompt` nor `features`");
}

#[test]
fn a_policy_is_learned_from_decisions() {
    let dir = folder();
    let at = dir.path();
    let arguments =
        ["data", "log-decisions", "--log", "log.parquet", "--policy", "source-best", "--split", "train"];
    ok(at, &[&arguments[..], &["--explore", "0.5", "--out", "past", "--pass-probability", "0.9"]].concat());
    let (decisions, feedback) = ("past/decisions.parquet", "past/feedback.parquet");
    let learn = |method: &str, targets: &str| {
        let out = format!("{method}-{targets}");
        let arguments = ["train", method, "--decisions", decisions, "--feedback", feedback, "--dim", "24"];
        ok(at, &[&arguments[..], &["--targets", targets, "--out", &out]].concat());
        let judged = json(at, &["evaluate", "--policy", &out, "--log", "log.parquet"]);
        let score = judged["policies"][0]["score"].as_f64().unwrap();
        let random = judged["baselines"]["random"]["score"].as_f64().unwrap();
        assert!(score > random + 0.05, "{out}: {score}, random {random}");
        score
    };
    for method in ["ridge", "knn", "logistic"] {
        learn(method, "dr");
    }
    learn("ridge", "ips");
    learn("ridge", "observed");
    let ran = run(at, &["train", "ridge", "--decisions", decisions, "--out", "x"]);
    assert!(ran.code == 2 && ran.stderr.contains("--feedback"), "{}", ran.stderr);
    let ran = run(at, &["train", "ridge", "--out", "x"]);
    assert!(ran.code == 2 && ran.stderr.contains("--log"), "{}", ran.stderr);
}

#[test]
fn decisions_go_out_and_come_in() {
    let dir = folder();
    let at = dir.path();
    let export = |to: &str, out: &str| {
        json(at, &["data", "export", "--to", to, "--log", DECISIONS, "--feedback", FEEDBACK, "--out", out])
    };
    let n = export("dsjson", "events.dsjson")["rounds"].as_u64().unwrap();
    let imported = json(at, &["data", "import", "dsjson", "events.dsjson", "--out", "again"]);
    assert_eq!(imported["import"]["rows"].as_u64(), Some(n));
    // The same estimates, but for the draws of the bootstrap, which go by the order of rounds: that is kept.
    let clean = json(at, &ope(&[]));
    let (log, feedback) = ("again/decisions.parquet", "again/feedback.parquet");
    let base = ["ope", "--log", log, "--feedback", feedback, "--policy", "ridge", "--bootstrap", "200"];
    let again = json(at, &base);
    for name in ["ips", "dr"] {
        let value = |found: &Value| estimate(found, name)["value"].as_f64().unwrap();
        assert!((value(&again) - value(&clean)).abs() < 1e-9, "{name}");
    }
    assert_eq!(export("obp", "arrays")["rounds"].as_u64(), Some(n));
    let bytes = |name: &str| std::fs::read(at.join("arrays").join(name)).unwrap();
    let names: Value = serde_json::from_slice(&bytes("names.json")).unwrap();
    let actions = names["actions"].as_array().unwrap();
    let decisions: Vec<DecisionRow> = rows(DecisionReader::open(&at.join(DECISIONS)).unwrap());
    let body = |name: &str, width: usize| -> Vec<u8> {
        let bytes = bytes(name);
        let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert!(bytes.starts_with(b"\x93NUMPY\x01\x00") && (10 + length) % 64 == 0, "{name}");
        let body = bytes[10 + length..].to_vec();
        assert_eq!(body.len(), decisions.len() * width, "{name}");
        body
    };
    let (action, pscore) = (body("action.npy", 8), body("pscore.npy", 8));
    body("reward.npy", 8);
    body("action_dist.npy", 8 * actions.len());
    for (i, row) in decisions.iter().enumerate() {
        let eight = |of: &[u8]| <[u8; 8]>::try_from(&of[8 * i..8 * i + 8]).unwrap();
        let number = i64::from_le_bytes(eight(&action)) as usize;
        assert_eq!(actions[number], row.model.as_str());
        assert_eq!(f64::from_le_bytes(eight(&pscore)), row.propensity);
    }
}
