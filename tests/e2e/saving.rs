//! `train --save`, `--max-loss`, `--budget`, `policy calibrate`, and what `evaluate` says of their promises.

use crate::logs::{Rows, real};
use crate::run::{Ran, json, ok, run};
use serde_json::Value;
use std::path::Path;

/// A simulated log in a folder of its own.
fn simulated(queries: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    ok(dir.path(), &["data", "simulate", "--queries", queries, "--seed", "3", "--out", "log.parquet"]);
    dir
}

fn train<'a>(log: &'a str, out: &'a str, goal: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", "ridge", "--log", log, "--dim", "64", "--out", out];
    arguments.extend(goal);
    arguments
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap()
}

/// The promise of a policy and what it became on test.
fn judged(dir: &Path, log: &str, policy: &str) -> (Value, Value) {
    let judged = json(dir, &["evaluate", "--policy", policy, "--log", log]);
    let promise = &judged["promises"][0];
    (promise["promise"].clone(), promise["found"].clone())
}

/// Whether two figures are within three standard errors of their difference.
fn agree(promise: &Value, found: &Value, figure: &str, error: &str) {
    let expected = &promise["expected"];
    let off = (number(expected, figure) - number(found, figure)).abs();
    let se = number(expected, error).hypot(number(found, error));
    assert!(off <= 3.0 * se, "{figure}: {expected} on train, {found} on test");
}

#[test]
fn a_promise_of_train_holds_on_test_and_is_the_same_again() {
    let dir = simulated("2000");
    let dir = dir.path();
    let said = ok(dir, &train("log.parquet", "policy", &["--save", "40%"])).stdout;
    let sentence = said.lines().find(|line| line.starts_with("saves ")).unwrap();
    assert!(sentence.contains(" % at ") && sentence.contains(" points against always `"), "{said}");
    let shown = ok(dir, &["policy", "show", "policy"]).stdout;
    assert!(shown.contains(&format!("promise     {sentence}")), "{shown}");
    let (promise, found) = judged(dir, "log.parquet", "policy");
    assert!(number(&promise["expected"], "saving") >= 0.418, "{promise}");
    assert_eq!((promise["save"].as_f64(), promise["folds"].as_u64()), (Some(0.4), Some(5)));
    agree(&promise, &found, "saving", "saving_se");
    agree(&promise, &found, "difference", "standard_error");
    let text = ok(dir, &["evaluate", "--policy", "policy", "--log", "log.parquet"]).stdout;
    assert!(text.contains("(asked to save 40 %)") && text.contains("on split `test` it saves"), "{text}");
    // The same seed chooses the same price.
    ok(dir, &train("log.parquet", "again", &["--save", "40%"]));
    let manifest = |policy: &str| {
        let shown = json(dir, &["policy", "show", policy]);
        ["selector", "promise", "files"].map(|key| shown["manifest"][key].clone())
    };
    assert_eq!(manifest("policy"), manifest("again"));
    // What is stored is what is decided by: served decisions carry the price.
    let selector = &manifest("policy")[0];
    assert_eq!(
        (selector["name"].as_str(), &selector["settings"]["lambda"]),
        (Some("utility"), &promise["lambda"])
    );
}

#[test]
fn losses_and_budgets_are_promised_too() {
    let dir = simulated("2000");
    let dir = dir.path();
    let summary =
        |out: &str, goal: &[&str]| json(dir, &train("log.parquet", out, goal))["manifest"]["promise"].clone();
    let loss = summary("loss", &["--max-loss", "0.05"]);
    let expected = &loss["expected"];
    assert!(number(expected, "difference") - 1.645 * number(expected, "standard_error") >= -0.05, "{loss}");
    assert!(number(expected, "saving") > 0.01);
    let (promise, found) = judged(dir, "log.parquet", "loss");
    agree(&promise, &found, "difference", "standard_error");
    assert!(number(&found, "difference") >= -0.05 - 2.0 * number(&found, "standard_error"), "{found}");
    let usd = format!("{}", number(expected, "cost_usd"));
    let budget = summary("budget", &["--budget", &usd]);
    assert!(number(&budget["expected"], "cost_usd") <= 0.97 * number(expected, "cost_usd"), "{budget}");
}

fn refused(ran: &Ran, code: i32, words: &[&str]) {
    let text = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, code, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn what_cannot_be_had_is_refused_with_the_nearest() {
    let dir = simulated("800");
    let dir = dir.path();
    let ran = run(dir, &train("log.parquet", "policy", &["--save", "99.99%"]));
    refused(&ran, 1, &["cannot save 99.99 %: the nearest that can be had saves ", "would reach it"]);
    assert!(!dir.join("policy").exists());
    let flag = ran.stdout.split('`').find(|part| part.starts_with("--save")).unwrap().to_owned();
    let nearest: Vec<&str> = flag.split(' ').collect();
    ok(dir, &train("log.parquet", "policy", &nearest));
    let ran = run(dir, &train("log.parquet", "other", &["--budget", "1e-9"]));
    refused(&ran, 1, &["cannot cost at most 0.000000001 USD a query", "--budget"]);
    for (goal, words) in [
        (["--save", "140%"], "`140%` is not a share"),
        (["--save", "forty"], "`forty` is not a share"),
        (["--max-loss", "0"], "a loss of `0`"),
        (["--budget", "nan"], "a budget of `NaN`"),
    ] {
        refused(&run(dir, &train("log.parquet", "other", &goal)), 2, &[words]);
    }
    let mut arguments = train("log.parquet", "other", &["--save", "40%"]);
    arguments[1] = "random";
    refused(&run(dir, &arguments), 2, &["reads no score"]);
}

#[test]
fn a_trained_policy_is_calibrated_on_another_split_only() {
    let dir = simulated("1500");
    let dir = dir.path();
    ok(dir, &train("log.parquet", "policy", &[]));
    assert!(ok(dir, &["policy", "show", "policy"]).stdout.contains("promise     none"));
    let calibrate = |goal: &[&'static str]| {
        let mut arguments =
            vec!["policy", "calibrate", "--policy", "policy", "--log", "log.parquet", "--out", "calibrated"];
        arguments.extend(goal);
        arguments
    };
    refused(
        &run(dir, &calibrate(&["--save", "30%", "--split", "train"])),
        2,
        &["was trained on split `train`"],
    );
    refused(&run(dir, &calibrate(&[])), 2, &["--save"]);
    let ran = run(dir, &calibrate(&["--save", "99.99%"]));
    refused(&ran, 1, &["the nearest that can be had"]);
    assert!(!dir.join("calibrated").exists());
    let said = ok(dir, &calibrate(&["--save", "30%"])).stdout;
    assert!(said.contains("split `valid`, which was not trained on"), "{said}");
    let read = |policy: &str, file: &str| std::fs::read(dir.join(policy).join(file)).unwrap();
    for file in ["predictor.safetensors", "featurizer.safetensors"] {
        assert_eq!(read("policy", file), read("calibrated", file));
    }
    ok(dir, &["policy", "verify", "calibrated"]);
    let (promise, found) = judged(dir, "log.parquet", "calibrated");
    assert_eq!(promise["split"], "valid");
    agree(&promise, &found, "saving", "saving_se");
}

#[test]
fn a_gateway_log_cannot_promise() {
    let dir = tempfile::tempdir().unwrap();
    // One model a query, the dear one most often.
    let one = |rows: &Rows, i: usize| {
        i % 3 == if (i / 3) % 10 < 7 { 0 } else { 1 + (i / 3) % 2 } && !rows.model.is_empty()
    };
    Rows::good(300).retain(one).write(&dir.path().join("log.parquet"));
    let ran = run(dir.path(), &train("log.parquet", "policy", &["--save", "40%"]));
    refused(&ran, 2, &["cannot calibrate", "log of decisions"]);
    // Where the best model is the cheapest, nothing can be saved.
    let mut rows = Rows::good(200);
    for i in 0..rows.score.len() {
        if rows.model[i] == "dear" {
            (rows.score[i], rows.cost_usd[i]) = (1.0, 0.0001);
        }
    }
    rows.write(&dir.path().join("cheap.parquet"));
    let ran = run(dir.path(), &train("cheap.parquet", "policy", &["--save", "40%"]));
    refused(&ran, 1, &["`dear` scores best and costs least"]);
}

/// Bars of routing-measured: save 40 % saves at least 33 % on test, a loss of one point stays below it.
#[test]
fn promises_hold_on_real_logs() {
    for name in ["paretobandit_val.parquet", "routerbench_small.parquet"] {
        let Some(log) = real(name) else { continue };
        let (dir, log) = (tempfile::tempdir().unwrap(), log.display().to_string());
        let dir = dir.path();
        ok(dir, &["train", "knn", "--log", &log, "--out", "save", "--save", "40%"]);
        let (promise, found) = judged(dir, &log, "save");
        assert!(number(&found, "saving") >= 0.33, "{name}: {promise} became {found}");
        // Where a loss cannot be met the command refuses: no promise, nothing to break.
        let ran = run(dir, &["train", "knn", "--log", &log, "--out", "loss", "--max-loss", "0.01"]);
        if ran.code == 1 {
            println!("{name}: {}", ran.stdout);
            continue;
        }
        let (promise, found) = judged(dir, &log, "loss");
        let least = -0.01 - 2.0 * number(&found, "standard_error");
        assert!(number(&found, "difference") >= least, "{name}: {promise} became {found}");
    }
}
