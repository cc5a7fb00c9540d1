//! Every artifact layout ever released loads and decides as it did: one frozen policy a form.
//!
//! `tests/fixtures/artifacts/format-N/NAME/` are artifacts as some release wrote them, `expected.json` beside
//! them what they decide. With `ROUTEWRIGHT_FREEZE=1` the test first writes the folder of the current format; it
//! refuses to where there is one already, because a frozen artifact is never written again.

use crate::run::{json, ok};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const FORMAT: &str = "format-1";
/// One method for each form.
const METHODS: &[&str] = &["best-single", "knn", "kmeans", "ridge", "routerdc", "routellm-mf"];
const PROMPTS: &[&str] = &["What is the sum of 3 and 4?", "Translate this sentence into French.", "你好", ""];

fn artifacts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/artifacts")
}

/// Chosen model, scores and costs of every prompt.
fn decisions(policy: &Path) -> Value {
    let policy = policy.to_str().unwrap();
    let decide = |prompt: &&str| {
        let decision = json(Path::new("."), &["route", "--policy", policy, prompt]);
        let candidates = decision["candidates"].as_array().unwrap().clone();
        let candidate = |c: &Value| json!([c["model"], c["score"], c["cost_usd"]]);
        json!({ "model": decision["model"], "candidates": candidates.iter().map(candidate).collect::<Vec<_>>() })
    };
    PROMPTS.iter().map(decide).collect()
}

fn freeze(folder: &Path) {
    assert!(!folder.exists(), "`{}` is frozen: raise the format instead", folder.display());
    let dir = tempfile::tempdir().unwrap();
    let world =
        ["data", "simulate", "--out", "log.parquet", "--queries", "16", "--models", "3", "--seed", "3"];
    ok(dir.path(), &world);
    let mut expected = serde_json::Map::new();
    for method in METHODS {
        let out = folder.join(method);
        let arguments =
            ["train", method, "--log", "log.parquet", "--dim", "3", "--out", out.to_str().unwrap()];
        ok(dir.path(), &arguments);
        expected.insert((*method).to_owned(), decisions(&out));
    }
    fs::write(folder.join("expected.json"), serde_json::to_string_pretty(&expected).unwrap()).unwrap();
}

/// Equal texts, numbers equal to `1e-6` of their size: the last bits are the processor's.
fn assert_like(found: &Value, expected: &Value, place: &str) {
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            found.iter().zip(expected).for_each(|(f, e)| assert_like(f, e, place));
        }
        (Value::Object(found), Value::Object(expected)) => {
            expected.iter().for_each(|(key, e)| assert_like(&found[key], e, &format!("{place} {key}")));
        }
        (Value::Number(found), Value::Number(expected)) => {
            let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
            assert!(
                (found - expected).abs() <= 1e-6 * expected.abs().max(1e-3),
                "{place}: {found} {expected}"
            );
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}

#[test]
fn frozen_artifacts_load_and_decide_as_they_did() {
    if std::env::var_os("ROUTEWRIGHT_FREEZE").is_some() {
        freeze(&artifacts().join(FORMAT));
    }
    let mut n = 0;
    for format in fs::read_dir(artifacts()).unwrap() {
        let folder = format.unwrap().path();
        let expected = fs::read_to_string(folder.join("expected.json")).unwrap();
        let expected: serde_json::Map<String, Value> = serde_json::from_str(&expected).unwrap();
        for (method, expected) in &expected {
            let policy = folder.join(method);
            ok(Path::new("."), &["policy", "verify", policy.to_str().unwrap()]);
            assert_like(&decisions(&policy), expected, &policy.display().to_string());
            n += 1;
        }
    }
    assert!(n >= METHODS.len(), "only {n} frozen policies were found");
}
