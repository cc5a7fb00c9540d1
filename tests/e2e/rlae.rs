//! Weights of an ensemble: drawn and logged by `fuse`, learned by `train`, used by `fuse` again and over HTTP.

use crate::run::{json, ok, run};
use crate::serving::{Serving, ask, connect};
use routewright_data::log::{RowWriter, TaskRow, WriteOptions};
use routewright_data::rng;
use routewright_decoder::backends::llama2c::{Shape, Weights};
use routewright_decoder::ensemble::Ensemble;
use routewright_decoder::vocabulary::llama2c;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// Two models of random weights, and `ensemble.toml`: weights are drawn once an answer.
fn write_ensemble(dir: &Path) {
    let mut text = "system = 'rlae'\n[params]\nexplore = true\nspan = { units = 6, marks = [] }\n\
                    [limits]\nsteps = 6\n"
        .to_owned();
    let words: [&[u8]; 2] = [b"ab", b" the"];
    let vocabulary = 259 + words.len();
    let shape = Shape { dim: 16, hidden: 24, layers: 1, heads: 2, kv_heads: 1, vocabulary, context: 64 };
    for (name, seed) in [("one", 1), ("two", 2)] {
        let weights = Weights::random(shape, &mut rng::stream(seed, "weights"));
        std::fs::write(dir.join(format!("{name}.bin")), weights.write()).unwrap();
        writeln!(
            text,
            "[[members]]\nname = '{name}'\nbackend = 'llama2c'\ncheckpoint = '{name}.bin'\n\
             tokenizer = 'words.bin'"
        )
        .unwrap();
    }
    std::fs::write(dir.join("words.bin"), llama2c::write(&words)).unwrap();
    std::fs::write(dir.join("ensemble.toml"), text).unwrap();
}

/// Prompts that name the member whose answer is right.
fn write_tasks(dir: &Path) {
    let alone = |weights: &str| {
        let text = std::fs::read_to_string(dir.join("ensemble.toml")).unwrap();
        let (head, rest) = text.split_once("[limits]").unwrap();
        assert!(head.contains("rlae"));
        let path = dir.join("alone.toml");
        std::fs::write(&path, format!("system = 'gac'\nparams = {{ weights = {weights} }}\n[limits]{rest}"))
            .unwrap();
        Ensemble::open(&path).unwrap()
    };
    let models = [("red", alone("[1.0, 0.0]")), ("blue", alone("[0.0, 1.0]"))];
    let mut writer = RowWriter::create(&dir.join("tasks.parquet"), WriteOptions::default()).unwrap();
    for at in 0..460 {
        let (word, model) = &models[at % 2];
        let prompt = format!("{word} {}", at / 2);
        let answer = model.answer(model.ask(prompt.as_bytes()), Box::new(|_| {})).unwrap();
        let split = if at < 400 { "train" } else { "test" };
        writer
            .push(TaskRow {
                task_id: at.to_string(),
                split: Some(split.to_owned()),
                prompt,
                reference: answer.text,
                ..TaskRow::default()
            })
            .unwrap();
    }
    writer.finish().unwrap();
}

fn accuracy(dir: &Path, more: &[&str]) -> f64 {
    let fuse = ["fuse", "--ensemble", "ensemble.toml", "--tasks", "tasks.parquet", "--split", "test"];
    let judged = json(dir, &[&fuse[..], more].concat());
    judged["accuracy"].as_f64().unwrap()
}

const SMALL: [&str; 8] =
    ["--set", "rounds=150", "--set", "width=32", "--set", "hidden=[16]", "--set", "spans=2"];

#[test]
fn traces_of_fuse_train_a_policy_that_changes_what_fuse_writes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_ensemble(dir);
    write_tasks(dir);
    let fixed = accuracy(dir, &["--system", "gac"]);
    let fuse = ["fuse", "--ensemble", "ensemble.toml", "--tasks", "tasks.parquet", "--split", "train"];
    ok(dir, &[&fuse[..], &["--trace", "traces.parquet"]].concat());
    let train = ["train", "rlae", "--log", "traces.parquet", "--out", "policy"];
    let trained = json(dir, &[&train[..], &SMALL].concat());
    let metrics = &trained["manifest"]["metrics"];
    assert!(metrics["estimated_reward"].as_f64() > metrics["logged_reward"].as_f64(), "{metrics}");
    ok(dir, &["policy", "verify", "policy"]);
    let learned = accuracy(dir, &["--set", "explore=false", "--set", "policy=policy"]);
    assert!(learned > fixed + 0.4, "{fixed} -> {learned}");

    // The same policy over HTTP: who is right by the prompt has the greater weight.
    let config = "[server]\nlisten = '127.0.0.1:0'\nadmin_listen = '127.0.0.1:0'\nadmin_open = true\n\
         [policies.main]\npath = 'policy'\n";
    std::fs::write(dir.join("server.toml"), config).unwrap();
    let server = Serving::start(dir, &[]);
    let weights = |prompt: &str| {
        let body = serde_json::json!({ "prompt": prompt }).to_string();
        let (status, reply) = ask(&mut connect(&server.data).unwrap(), "POST /v1/weights", &body).unwrap();
        assert_eq!(status, 200, "{reply}");
        assert_eq!(reply["models"], serde_json::json!(["one", "two"]));
        assert_eq!(reply["span"]["units"], 8);
        reply["weights"].as_array().unwrap().iter().map(|w| w.as_f64().unwrap()).collect::<Vec<f64>>()
    };
    // The decoder asks the server span by span and writes the same.
    let url = format!("policy=http://{}", server.data);
    assert_eq!(accuracy(dir, &["--set", "explore=false", "--set", &url]), learned);
    let named = ["--set", "explore=false", "--set", &url, "--set", "served=\"other\""];
    let fuse = ["fuse", "--ensemble", "ensemble.toml", "--prompt", "red 7"];
    let refused = run(dir, &[&fuse[..], &named].concat());
    assert!(refused.code != 0 && refused.stderr.contains("other"), "{}", refused.stderr);

    let (red, blue) = (weights("red 7"), weights("blue 7"));
    assert!(red[0] > red[1] && blue[0] < blue[1], "{red:?} {blue:?}");
    let (status, reply) =
        ask(&mut connect(&server.data).unwrap(), "POST /v1/weights", "{\"text\": \"x\"}").unwrap();
    assert!(status == 400 && reply["error"]["message"].as_str().unwrap().contains("prompt"), "{reply}");
}

#[test]
fn weights_are_learned_by_play_and_a_seed_gives_one_artifact() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_ensemble(dir);
    write_tasks(dir);
    let train = |out: &str, more: &[&str]| -> Value {
        let train =
            ["train", "rlae", "--ensemble", "ensemble.toml", "--tasks", "tasks.parquet", "--out", out];
        json(dir, &[&train[..], &SMALL, &["--set", "rounds=40", "--set", "episodes=64"], more].concat())
    };
    let first = train("a", &[]);
    let curve = first["curve"].as_array().unwrap();
    assert!(curve.last().unwrap()["valid"].as_f64() > Some(0.85), "{curve:?}");
    train("b", &["--name", "rlae"]);
    let read = |folder: &str| std::fs::read(dir.join(folder).join("predictor.safetensors")).unwrap();
    assert_eq!(read("a"), read("b"));
    // What the file says of spans is what the policy is trained with.
    assert_eq!(first["manifest"]["params"]["span"]["units"], 6);
    let refused = run(dir, &["train", "rlae", "--tasks", "tasks.parquet", "--out", "c"]);
    assert!(refused.code == 2 && refused.stderr.contains("--ensemble"), "{}", refused.stderr);
    let typo = ["train", "rlae", "--log", "x.parquet", "--out", "c", "--set", "round=3"];
    assert!(run(dir, &typo).stderr.contains("unknown field `round`"));
}

/// Tasks whose references no member can write, and answers that were logged on them.
#[test]
fn learning_where_nothing_earns_a_reward_warns() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_ensemble(dir);
    let mut writer = RowWriter::create(&dir.join("tasks.parquet"), WriteOptions::default()).unwrap();
    for at in 0..40 {
        let (task_id, prompt) = (at.to_string(), format!("red {at}"));
        let (split, reference) = (Some("train".to_owned()), "what no member can write".to_owned());
        writer.push(TaskRow { task_id, split, prompt, reference, ..TaskRow::default() }).unwrap();
    }
    writer.finish().unwrap();
    let warns = |more: &[&str]| {
        let told = ok(dir, &[&["train", "rlae"][..], more, &SMALL, &["--set", "rounds=2"]].concat()).stderr;
        assert!(told.contains("warning: every answer") && told.contains("has reward 0"), "{told}");
    };
    let play = ["--ensemble", "ensemble.toml", "--tasks", "tasks.parquet"];
    warns(&[&play[..], &["--set", "episodes=8", "--out", "a"]].concat());
    ok(dir, &[&["fuse"][..], &play, &["--trace", "traces.parquet"]].concat());
    warns(&["--log", "traces.parquet", "--out", "b"]);
}
