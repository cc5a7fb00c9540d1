//! `fuse --demo`: every system writes with the two models it makes, and routers are learned from its tasks.

use crate::run::{json, ok, run};
use serde_json::Value;
use std::path::Path;

const PROMPT: &str = "Once upon a time";

fn fuse(dir: &Path, ensemble: &str, more: &[&str]) -> Value {
    let arguments = ["fuse", "--ensemble", ensemble, "--prompt", PROMPT];
    json(dir, &arguments.iter().chain(more).copied().collect::<Vec<_>>())
}

#[test]
fn every_system_writes_with_models_made_of_scripts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let told = ok(dir, &["fuse", "--demo", "demo"]).stdout;
    assert!(told.contains("routewright fuse --ensemble demo/ensemble.toml"), "{told}");
    let again = run(dir, &["fuse", "--demo", "demo"]);
    assert!(again.code == 2 && again.stderr.contains("it exists"), "{}", again.stderr);
    let systems = [
        "gac",
        "unite",
        "deepen",
        "eva",
        "packllm",
        "byte-mixture",
        "agreement",
        "cool-fusion",
        "sweetspan",
        "specfuse",
        "le-mcts",
        "citer",
    ];
    for system in systems {
        let said = fuse(dir, "demo/ensemble.toml", &["--system", system, "--steps", "40"]);
        let text = said["text"].as_str().unwrap();
        assert!(text.starts_with(", there was a little girl"), "{system}: {text}");
        assert_eq!(said["dropped"], Value::Array(Vec::new()), "{system}");
    }
    for system in ["speculative-ensemble", "purify"] {
        let said = fuse(dir, "demo/twice.toml", &["--system", system, "--steps", "12"]);
        assert!(said["text"].as_str().unwrap().starts_with(", there was a little girl"), "{system}: {said}");
    }
    let said =
        fuse(dir, "demo/ensemble.toml", &["--system", "rlae", "--set", "explore=true", "--steps", "9"]);
    assert_eq!(said["n_steps"], 9);
}

#[test]
fn each_of_its_models_knows_half_of_its_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    ok(dir, &["fuse", "--demo", "demo"]);
    let on = |split: &'static str| {
        [
            "fuse",
            "--ensemble",
            "demo/ensemble.toml",
            "--tasks",
            "demo/tasks.parquet",
            "--stop",
            ".",
            "--split",
            split,
        ]
    };
    let with = |split: &'static str, more: &[&'static str]| {
        on(split).into_iter().chain(more.iter().copied()).collect::<Vec<_>>()
    };
    // Each alone knows its half.
    for weights in ["weights=[1,0]", "weights=[0,1]"] {
        let alone = json(dir, &with("test", &["--system", "gac", "--set", weights]));
        assert_eq!((&alone["n_tasks"], &alone["n_right"]), (&24.into(), &12.into()), "{weights}");
    }
    // Hidden states of scripts are simulated, so rows learned from them only have to load.
    ok(dir, &with("train", &["--system", "citer", "--expert-rows", "demo/rows.safetensors"]));
    let rows = "rows=rows.safetensors";
    let handed = json(dir, &with("test", &["--system", "expert-token", "--set", rows]));
    assert_eq!(handed["n_tasks"], 24, "{handed}");
}
