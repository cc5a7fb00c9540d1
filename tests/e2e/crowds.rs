//! Methods that ask several models at once, from the command line: trained, verified, judged, compared and asked.

use crate::run::{json, ok, run};

const METHODS: [&str; 5] = ["answer-stacker", "smoothie", "dfpe", "llm-topla", "more"];

#[test]
fn answers_that_differ_are_fused_by_a_template() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let simulate = ["data", "simulate", "--answers", "--models", "4", "--missing", "0", "--drift", "0"];
    ok(dir, &[&simulate[..], &["--queries", "300", "--out", "log.parquet"]].concat());
    for method in ["panel", "symbolic-moe"] {
        let trained = json(dir, &["train", method, "--log", "log.parquet", "--out", method]);
        assert_eq!(trained["manifest"]["program"]["name"], "fuse", "{method}");
        assert_eq!(run(dir, &["policy", "verify", method]).code, 0, "{method}");
        let config = &trained["manifest"]["program"]["config"];
        let members = config["selection"]["members"].as_array().unwrap();
        let asked = config["selection"]["asked"].as_array().unwrap();
        assert_eq!(asked.len(), 3, "{method}");
        let name = |at: &serde_json::Value| members[at.as_u64().unwrap() as usize].as_str().unwrap();
        let line = |model: &str, answer: &str| {
            format!(r#"{{"model": "{model}", "text": "It is {answer}.", "answer": "{answer}"}}"#)
        };
        let mut lines: Vec<String> =
            asked.iter().zip(["4", "5", "6"]).map(|(at, answer)| line(name(at), answer)).collect();
        let fuser = config["fuser"].as_str().unwrap();
        lines.push(format!(r#"{{"model": "{fuser}", "prompt": "fuse", "text": "It is 7.", "answer": "7"}}"#));
        std::fs::write(dir.join("script.json"), format!("[{}]", lines.join(", "))).unwrap();
        let asked = json(dir, &["ask", "--policy", method, "--answers", "script.json", "How many?"]);
        let steps = asked["steps"].as_array().unwrap();
        let end = &steps[steps.len() - 1];
        assert_eq!((steps.len(), &asked["calls"], &end["reason"]), (3, &4.into(), &"fuse".into()), "{asked}");
        let found = json(dir, &["evaluate", "--policy", method, "--log", "log.parquet"]);
        assert!(found["policies"][0]["n_uncovered"].as_u64().unwrap() > 0, "{method}: {found}");
    }
}

#[test]
fn selections_are_trained_compared_evaluated_and_asked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let simulate = ["data", "simulate", "--answers", "--models", "4", "--missing", "0", "--drift", "0"];
    ok(dir, &[&simulate[..], &["--queries", "500", "--out", "log.parquet"]].concat());
    let methods = METHODS.join(",");
    let compare = ["compare", "--log", "log.parquet", "--methods", &methods, "--folds", "0"];
    let few = ["--set", "answer-stacker.repeats=1", "--set", "more.trees=20"];
    let compared = json(dir, &[&compare[..], &few].concat());
    let policies = compared["policies"].as_array().unwrap();
    let best = compared["baselines"]["best_single"]["score"].as_f64().unwrap();
    for method in METHODS {
        let few: &[&str] = match method {
            "answer-stacker" => &["--set", "repeats=1"],
            "more" => &["--set", "trees=20"],
            _ => &[],
        };
        let train = ["train", method, "--log", "log.parquet", "--out", method];
        let trained = json(dir, &[&train[..], few].concat());
        assert_eq!(trained["manifest"]["program"]["name"], "select", "{method}");
        assert_eq!(run(dir, &["policy", "verify", method]).code, 0, "{method}");
        let found = json(dir, &["evaluate", "--policy", method, "--log", "log.parquet"]);
        let row = policies.iter().find(|policy| policy["method"] == method).unwrap();
        // Answers equally near to the others are tied, and drawn.
        let slack = if method == "smoothie" { 0.03 } else { 1e-9 };
        let scores = [&found["policies"][0], row].map(|policy| policy["score"].as_f64().unwrap());
        assert!((scores[0] - scores[1]).abs() <= slack, "{method}: {scores:?}");
        let calls = found["policies"][0]["calls"].as_f64().unwrap();
        assert!((1.0..=4.0).contains(&calls), "{method}: {calls}");
        let models: Vec<&str> = trained["manifest"]["arms"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|arm| arm["model"].as_str())
            .collect();
        // One fails, one says something else.
        let line = |at: usize, model: &&str| match at {
            0 => format!(r#"{{"model": "{model}", "failed": "timed out"}}"#),
            1 => format!(r#"{{"model": "{model}", "text": "It is 5.", "answer": "5"}}"#),
            _ => format!(r#"{{"model": "{model}", "text": "It is 4.", "answer": "4"}}"#),
        };
        let lines: Vec<String> = models.iter().enumerate().map(|(at, model)| line(at, model)).collect();
        std::fs::write(dir.join("script.json"), format!("[{}]", lines.join(", "))).unwrap();
        let asked = json(dir, &["ask", "--policy", method, "--answers", "script.json", "How many?"]);
        let steps = asked["steps"].as_array().unwrap();
        assert_eq!((steps.len(), &steps[1]["action"]["kind"]), (2, &"return".into()), "{method}: {asked}");
    }
    let score = |method: &str| {
        policies.iter().find(|policy| policy["method"] == method).unwrap()["score"].as_f64().unwrap()
    };
    assert!(score("answer-stacker") > best && score("dfpe") > best, "{compared}");
}
