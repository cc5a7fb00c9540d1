//! A cascade from the command line: prices, training, comparison, evaluation, and one query step by step.

use crate::logs::real;
use crate::run::{json, ok, run};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// List prices of 2024, US dollars per million tokens.
const PRICES: &str = r#"
"Meta-Llama-3-8B-Instruct" = { input = 0.05, output = 0.08 }
"Meta-Llama-3.1-8B-Instruct" = { input = 0.05, output = 0.08 }
"Phi-3.5-mini-instruct" = { input = 0.10, output = 0.10 }
"Qwen2-7B-Instruct" = { input = 0.06, output = 0.06 }
"Yi-1.5-9B-Chat" = { input = 0.20, output = 0.20 }
"claude-3-haiku-20240307" = { input = 0.25, output = 1.25 }
"gemini-1.5-flash" = { input = 0.075, output = 0.30 }
"gemma-2-9b-it" = { input = 0.06, output = 0.06 }
"gpt-3.5-turbo-0125" = { input = 0.50, output = 1.50 }
"gpt-4o-mini-2024-07-18" = { input = 0.15, output = 0.60 }
"#;

fn priced(dir: &Path) -> Option<PathBuf> {
    let log = real("zeroeval_gen.parquet")?;
    std::fs::write(dir.join("prices.toml"), PRICES).unwrap();
    let log = log.display().to_string();
    let summary = json(dir, &["data", "price", &log, "--prices", "prices.toml", "--out", "priced.parquet"]);
    assert_eq!((&summary["rows"], &summary["by_texts"]), (&28_400.into(), &28_400.into()));
    Some(dir.join("priced.parquet"))
}

/// Cost and score of a point of the document.
fn point(value: &Value) -> (f64, f64) {
    (value["cost_usd"].as_f64().unwrap(), value["score"].as_f64().unwrap())
}

#[test]
fn frugalgpt_on_recorded_answers_is_above_the_line_between_its_models() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let Some(_) = priced(dir) else { return };
    let train = ["train", "frugalgpt", "--log", "priced.parquet", "--out", "cascade", "--set", "stages=2"];
    let trained = json(dir, &train);
    let manifest = &trained["manifest"];
    assert_eq!((&manifest["format"], &manifest["program"]["name"]), (&2.into(), &"cascade".into()));
    let shown = ok(dir, &["policy", "show", "cascade"]).stdout;
    assert!(
        shown.contains("program     cascade version 2") && shown.contains("scorer: query-answer"),
        "{shown}"
    );
    assert_eq!(run(dir, &["policy", "verify", "cascade"]).code, 0);
    let judged = json(dir, &["evaluate", "--policy", "cascade", "--log", "priced.parquet"]);
    let singles: Vec<(f64, f64)> = judged["singles"].as_array().unwrap().iter().map(point).collect();
    let by_cost = |a: &&(f64, f64), b: &&(f64, f64)| a.0.total_cmp(&b.0);
    let cheapest = singles.iter().min_by(by_cost).unwrap();
    let dearest = singles.iter().max_by(by_cost).unwrap();
    let best = singles.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let height = |(c, s): &(f64, f64), cost: f64| {
        cheapest.1 + (cost - cheapest.0) / (c - cheapest.0) * (s - cheapest.1)
    };
    let policy = &judged["policies"][0];
    let (cost, score) = point(policy);
    // The dearest model is not the best here: the line to the best is the higher bar.
    assert!(score >= height(dearest, cost) - 0.005, "{score} at {cost}");
    assert!(score >= height(best, cost.min(best.0)) - 0.01, "{score} at {cost}; best {best:?}");
    let curve: Vec<(f64, f64)> = policy["curve"].as_array().unwrap().iter().map(point).collect();
    assert!(curve.len() > 5, "{curve:?}");
    let between = curve.iter().filter(|(c, _)| *c > cheapest.0 && *c < best.0);
    let gains: Vec<f64> = between.map(|(c, s)| s - height(best, *c)).collect();
    let mean = gains.iter().sum::<f64>() / gains.len() as f64;
    assert!(mean > 0.0, "{gains:?}");
    assert!(policy["calls"].as_f64().unwrap() >= 1.0 && policy["n_uncovered"] == 0, "{policy}");
    println!(
        "frugalgpt: {score:.4} at {cost:.3e} USD; best single {best:?}, mean gain of the curve {mean:.4}"
    );

    let asked = |extra: &[&str]| {
        let mut arguments = vec!["ask", "--policy", "cascade", "--log", "priced.parquet"];
        let query = judged_query(dir);
        arguments.extend(["--query", &query]);
        arguments.extend(extra);
        json(dir, &arguments)
    };
    let (first, again) = (asked(&[]), asked(&[]));
    assert_eq!(first, again);
    let steps = first["steps"].as_array().unwrap();
    assert_eq!(steps[0]["action"]["kind"], "call");
    assert_eq!(steps[steps.len() - 1]["action"]["kind"], "return");
    assert_eq!(first["calls"].as_u64().unwrap() as usize, steps.len() - 1);
    // A dollar that is worth more than any score buys the cheapest strategy: one call.
    assert_eq!(asked(&["--lambda", "1e9"])["calls"], 1);
}

/// Id of some query of the log.
fn judged_query(dir: &Path) -> String {
    let path = dir.join("priced.parquet");
    let options = routewright_data::LoadOptions::split("test");
    routewright_data::OutcomeTable::load(&path, &options).unwrap().queries[0].id.clone()
}

#[test]
fn a_log_without_answers_carries_no_cascade_and_the_other_methods_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    ok(dir, &["data", "simulate", "--out", "log.parquet", "--queries", "300"]);
    let ran = run(dir, &["train", "frugalgpt", "--log", "log.parquet", "--out", "p"]);
    assert!(ran.code == 2 && ran.stderr.contains("`response`"), "{}", ran.stderr);
    let steered = ["train", "frugalgpt", "--log", "log.parquet", "--out", "p", "--selector", "argmax"];
    assert!(run(dir, &steered).stderr.contains("docs/methods/frugalgpt.md"));
}

#[test]
fn cascades_that_read_confidence_are_trained_compared_evaluated_and_asked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let simulate = ["data", "simulate", "--answers", "--queries", "1500", "--models", "3", "--missing", "0"];
    ok(dir, &[&simulate[..], &["--drift", "0", "--out", "log.parquet"]].concat());
    let methods = ["confidence-deferral", "token-cascade", "model-cascading"];
    let compare = ["compare", "--log", "log.parquet", "--folds", "0", "--methods", &methods.join(",")];
    let compared = json(dir, &compare);
    for method in methods {
        let trained = json(dir, &["train", method, "--log", "log.parquet", "--out", method]);
        let manifest = &trained["manifest"];
        assert_eq!(
            (&manifest["program"]["name"], &manifest["program"]["version"]),
            (&"cascade".into(), &2.into())
        );
        assert!(!manifest["program"]["config"]["confidence"].as_array().unwrap().is_empty(), "{manifest}");
        assert_eq!(run(dir, &["policy", "verify", method]).code, 0);
        let found = json(dir, &["evaluate", "--policy", method, "--log", "log.parquet"]);
        let policies = compared["policies"].as_array().unwrap();
        let same = policies.iter().find(|policy| policy["method"] == method).unwrap();
        assert_eq!(found["policies"][0]["score"], same["score"], "{method}");
        assert_eq!(found["policies"][0]["n_uncovered"], 0);
        let query = {
            let options = routewright_data::LoadOptions::split("test");
            let table = routewright_data::OutcomeTable::load(&dir.join("log.parquet"), &options).unwrap();
            table.queries[0].id.clone()
        };
        let asked = json(dir, &["ask", "--policy", method, "--log", "log.parquet", "--query", &query]);
        assert_eq!(asked["reply"]["kind"], "return", "{asked}");
    }
    // A promise is made with its bound, or refused with what could be promised.
    let train = ["train", "token-cascade", "--log", "log.parquet", "--out", "p", "--set", "confidence=0.9"];
    let trained = json(dir, &[&train[..], &["--set", "max_drop=0.1"]].concat());
    let metrics = &trained["manifest"]["metrics"];
    assert!(metrics["promise_bound"].as_f64().unwrap() <= 0.1 + 1e-6, "{metrics}");
    let refused = run(dir, &[&train[..], &["--set", "max_drop=0.001"]].concat());
    assert!(refused.code == 2 && refused.stderr.contains("needs at least 2302 rows"), "{}", refused.stderr);
}

#[test]
fn gates_and_cascade_routing_are_trained_evaluated_and_asked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let simulate =
        ["data", "simulate", "--queries", "900", "--models", "3", "--missing", "0", "--drift", "0"];
    ok(dir, &[&simulate[..], &["--answers", "--out", "log.parquet"]].concat());
    ok(dir, &[&simulate[..], &["--out", "plain.parquet"]].concat());
    let log = dir.join("log.parquet");
    let options = routewright_data::LoadOptions::split("test");
    let query = routewright_data::OutcomeTable::load(&log, &options).unwrap().queries[0].id.clone();
    // A plain log of outcomes has no texts: gates read the query alone, and the other methods refuse it.
    let cases = [
        ("gain-gate", "gate", "log"),
        ("gain-gate", "gate", "plain"),
        ("cascade-routing", "cascade-routing", "log"),
    ];
    for (method, program, name) in cases {
        let log = format!("{name}.parquet");
        let trained = json(dir, &["train", method, "--log", &log, "--out", "p"]);
        assert_eq!(trained["manifest"]["program"]["name"], program);
        assert_eq!(run(dir, &["policy", "verify", "p"]).code, 0);
        let found = json(dir, &["evaluate", "--policy", "p", "--log", &log]);
        let policy = &found["policies"][0];
        assert_eq!(policy["n_uncovered"], 0, "{policy}");
        let calls = policy["calls"].as_f64().unwrap();
        assert!((1.0..=3.0).contains(&calls) && (name == "log" || calls == 1.0), "{method} {name}: {calls}");
        assert!(policy["curve"].as_array().unwrap().len() > 1, "{policy}");
        let compare = ["compare", "--log", &log, "--folds", "0", "--methods", method];
        assert_eq!(json(dir, &compare)["policies"][0]["score"], policy["score"], "{method} {name}");
        let asked = json(dir, &["ask", "--policy", "p", "--log", &log, "--query", &query]);
        assert_eq!(asked["reply"]["kind"], "return", "{asked}");
    }
    let refused = run(dir, &["train", "cascade-routing", "--log", "plain.parquet", "--out", "q"]);
    assert!(refused.code == 2 && refused.stderr.contains("`response`"), "{}", refused.stderr);
}
