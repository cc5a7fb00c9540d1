//! What an exploring server logged, exported, is a log that `ope` takes.

use crate::run::{json, ok, run};
use crate::serving::{Serving, ask, connect};
use serde_json::{Value, json};
use std::path::Path;

const DECISIONS: usize = 300;
const SESSIONS: usize = 150;

/// A server of a policy that explores, and what was reported of its decisions.
fn serve(dir: &Path) -> Vec<f64> {
    ok(
        dir,
        &["data", "simulate", "--out", "log.parquet", "--queries", "300", "--models", "3", "--seed", "3"],
    );
    let train = ["train", "ridge", "--log", "log.parquet", "--dim", "24", "--out"];
    ok(dir, &[&train[..], &["plain"]].concat());
    let explorer = ["explorer", "--selector", "epsilon-greedy:{\"epsilon\":0.6}"];
    ok(dir, &[&train[..], &explorer].concat());
    let config = "[server]\nlisten = '127.0.0.1:0'\nadmin_listen = '127.0.0.1:0'\nadmin_open = true\n\
                  [store]\npath = 'log.db'\ndurability = 'async'\nkeep_prompt = true\n\
                  [metrics.score]\n[policies.main]\npath = 'explorer'\n";
    std::fs::write(dir.join("server.toml"), config).unwrap();
    let server = Serving::start(dir, &[]);
    let mut stream = connect(&server.data).unwrap();
    let mut models: Vec<String> = Vec::new();
    let mut values = Vec::new();
    for n in 0..DECISIONS {
        let session = format!("session {}", n % SESSIONS);
        let body = json!({"input": format!("What is the sum of {n} and {}?", n % 7), "seed": n, "session_id": session});
        let (status, decision) = ask(&mut stream, "POST /v1/route", &body.to_string()).unwrap();
        assert_eq!(status, 200, "{decision}");
        let model = decision["action"]["model"].as_str().unwrap().to_owned();
        if !models.contains(&model) {
            models.push(model.clone());
        }
        // A model is worth a quarter more than the one that was seen before it.
        let value = (1 + models.iter().position(|seen| *seen == model).unwrap()) as f64 / 4.0;
        let report = json!({"decision_id": decision["id"], "metric": "score", "value": value});
        let (status, reply) = ask(&mut stream, "POST /v1/feedback", &report.to_string()).unwrap();
        assert_eq!(status, 202, "{reply}");
        values.push(value);
    }
    assert_eq!(models.len(), 3, "epsilon is large: every model was tried");
    values
}

fn estimate<'a>(found: &'a Value, name: &str) -> &'a Value {
    found["estimates"].as_array().unwrap().iter().find(|e| e["estimator"] == name).unwrap()
}

#[test]
fn the_log_of_an_exploring_server_is_accepted_by_ope() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let values = serve(at);
    let exported = json(at, &["data", "from-store", "--config", "server.toml", "--out", "exported"]);
    assert_eq!(exported["decisions"], DECISIONS);
    assert_eq!(exported["feedback"], DECISIONS);
    let ope = |policy: &str| -> Value {
        let log = ["ope", "--log", "exported/decisions", "--feedback", "exported/feedback"];
        let rest = ["--policy", policy, "--bootstrap", "200", "--json"];
        let ran = run(at, &[&log[..], &rest].concat());
        // Code 1 says that the log is too short to be trusted, not that it cannot be read.
        assert!(ran.code == 0 || ran.code == 1, "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    };
    // The policy that was served has weights of one: its value is the mean of what was reported.
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let own = ope("explorer");
    let value = estimate(&own, "ips")["value"].as_f64().unwrap();
    assert!((value - mean).abs() < 1e-5, "{value}, and {mean} was reported");
    // Sessions are kept in the log, and their rounds count together.
    assert_eq!(own["overlap"]["clusters"], SESSIONS);
    // The policy without exploration picks among models that are worth 0.25, 0.5 and 0.75.
    let plain = ope("plain");
    for name in ["snips", "dr"] {
        let value = estimate(&plain, name)["value"].as_f64().unwrap();
        assert!((0.2..0.8).contains(&value), "{name}: {value}");
    }
}
