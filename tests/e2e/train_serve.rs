//! The road of a user: a log, a comparison, a policy, a decision.

use crate::run::{json, ok, run};
use std::fs;

#[test]
fn compare_train_evaluate_route_agree() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    ok(at, &["data", "simulate", "--out", "log.parquet", "--queries", "600", "--models", "4", "--seed", "3"]);
    let compared =
        json(at, &["compare", "--log", "log.parquet", "--methods", "knn,ridge,kmeans", "--report", "report"]);
    for baseline in ["random", "cheapest", "best_single", "source_best", "oracle"] {
        let score = compared["baselines"][baseline]["score"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&score), "{baseline}: {score}");
    }
    let oracle = compared["baselines"]["oracle"]["score"].as_f64().unwrap();
    let policies = compared["policies"].as_array().unwrap();
    assert_eq!(policies.len(), 3);
    for policy in policies {
        assert!(policy["score"].as_f64().unwrap() < oracle);
        assert!(policy["score_se"].as_f64().unwrap() > 0.0);
        assert!(policy["aiq"].as_f64().is_some() && policy["fit_seconds"].as_f64().is_some());
    }
    let picked = compared["picked"]["methods"][0].as_str().unwrap();
    assert!(["knn", "ridge", "kmeans", "best-single"].contains(&picked));
    let page = fs::read_to_string(at.join("report/report.html")).unwrap();
    assert!(page.contains("<p class=\"verdict\">"), "the page has the answer");
    assert!(page.contains("<svg") && !page.contains("src=\"http"), "the page must stand alone");

    ok(at, &["train", "knn", "--log", "log.parquet", "--out", "policy"]);
    let judged = json(at, &["evaluate", "--policy", "policy", "--log", "log.parquet"]);
    // Rows are averaged over the queries they have in common, so knn must stand alone in both tables.
    let alone = json(at, &["compare", "--log", "log.parquet", "--methods", "knn", "--folds", "0"]);
    let knn = &alone["policies"][0]["score"];
    assert_eq!(judged["policies"][0]["score"], *knn, "train and compare must fit the same policy");

    let prompt = "Write a function that sorts a list.";
    let decision = json(at, &["route", "--policy", "policy", prompt]);
    let chosen = decision["model"].as_str().unwrap().to_owned();
    let plain = ok(at, &["route", "--policy", "policy", prompt]).stdout;
    assert_eq!(plain.trim(), chosen);
    let explained = ok(at, &["route", "--policy", "policy", prompt, "--explain"]).stdout;
    assert!(explained.contains("nearest training queries"), "{explained}");
    let masked = json(at, &["route", "--policy", "policy", prompt, "--candidate", "pebble"]);
    assert_eq!(masked["model"], "pebble");
    assert_eq!(masked["reason"], "only_eligible");
}

#[test]
fn one_seed_gives_one_artifact_and_another_gives_another() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    ok(at, &["data", "simulate", "--out", "log.parquet", "--queries", "300", "--models", "3"]);
    let digest = |seed: &str, out: &str| {
        ok(at, &["train", "kmeans", "--log", "log.parquet", "--out", out, "--seed", seed]);
        json(at, &["policy", "show", out])["digest"].clone()
    };
    assert_eq!(digest("1", "a"), digest("1", "b"));
    assert_ne!(digest("1", "a"), digest("2", "c"));
}

#[test]
fn the_registry_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let methods = json(dir.path(), &["methods"]);
    let names: Vec<&str> = methods.as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    for name in
        ["knn", "routerdc", "kmeans", "ridge", "logistic", "mlp", "routellm-mf", "oracle", "gac", "sweetspan"]
    {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    let ran = run(dir.path(), &["train", "oracle", "--log", "none.parquet", "--out", "x"]);
    assert_eq!(ran.code, 2);
}
