//! Pair logs through the real binary: trained on, judged by, exported from a server's feedback, served.

use crate::run::{json, ok, run};
use crate::serving::{Serving, ask, connect};
use routewright_data::Winner;
use routewright_data::log::{PairRow, RowWriter, WriteOptions};
use serde_json::{Value, json};
use std::path::Path;

/// Who is right about a prompt: `sums` on sums, `poems` on poems.
fn is_sum(n: usize) -> bool {
    n.is_multiple_of(2)
}

fn prompt(n: usize) -> String {
    match is_sum(n) {
        true => format!("What is the sum of {n} and {}, as a number?", n * 7 % 90),
        false => format!("Write a short poem with rhymes about clouds, verse {n}."),
    }
}

/// A pair log of three splits: `poor` always loses, every seventh judgement is a tie, and a second judge lies.
fn pairs(path: &Path, n: usize) {
    let mut writer = RowWriter::create(path, WriteOptions::default()).unwrap();
    for i in 0..n {
        let (best, second) = if is_sum(i) { ("sums", "poems") } else { ("poems", "sums") };
        let (winner, loser) = [(best, second), (second, "poor"), (best, "poor")][i % 3];
        let swapped = i % 5 < 2;
        let (a, b) = if swapped { (loser, winner) } else { (winner, loser) };
        let right = if swapped { Winner::B } else { Winner::A };
        let row = |judge: &str, winner: Winner| PairRow {
            query_id: format!("q{i}"),
            split: Some(if i % 4 == 3 { "test" } else { "train" }.to_owned()),
            source: None,
            prompt: prompt(i),
            model_a: a.to_owned(),
            model_b: b.to_owned(),
            winner,
            judge: Some(judge.to_owned()),
            weight: None,
            timestamp_ms: None,
            response_a: Some("word ".repeat(3 + i % 4)),
            response_b: Some("word ".repeat(3 + i % 6)),
        };
        writer.push(row("honest", if i % 7 == 0 { Winner::Tie } else { right })).unwrap();
        writer.push(row("liar", if swapped { Winner::A } else { Winner::B })).unwrap();
    }
    writer.finish().unwrap();
}

fn row<'a>(table: &'a Value, name: &str) -> &'a Value {
    table["rows"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()
}

#[test]
fn a_pair_log_trains_is_judged_and_served() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    pairs(&at.join("pairs.parquet"), 360);
    let honest = ["--pairs", "pairs.parquet", "--judge", "honest", "--dim", "16"];
    let train = ["train", "fgts-cdb", "--out", "policy"];
    let trained = json(at, &[&train[..], &honest].concat());
    assert_eq!(trained["manifest"]["arms"].as_array().unwrap().len(), 3);
    // Unlike judges weigh: with the liar at full weight nothing is left to learn.
    let compare = ["compare", "--methods", "fgts-cdb,routellm-mf", "--set", "routellm-mf.steps=600"];
    let fast = ["--set", "routellm-mf.folds=0", "--set", "routellm-mf.rate=0.01", "--folds", "2"];
    let table = json(at, &[&compare[..], &fast, &honest].concat())["pairs"].clone();
    let strengths = row(&table, "bradley-terry")["accuracy"]["mean"].as_f64().unwrap();
    for method in ["fgts-cdb", "routellm-mf"] {
        let accuracy = row(&table, method)["accuracy"]["mean"].as_f64().unwrap();
        assert!(
            accuracy > 0.95 && accuracy > strengths + 0.05,
            "{method}: {accuracy}, strengths {strengths}"
        );
        assert!(row(&table, method)["log_loss"]["mean"].as_f64().unwrap() < std::f64::consts::LN_2);
    }
    assert!(table["n_ties"].as_u64().unwrap() > 0 && row(&table, "bradley-terry+longer").is_object());
    let judged =
        json(at, &["evaluate", "--pairs", "pairs.parquet", "--judge", "honest", "--policy", "policy"]);
    assert!(row(&judged, "policy")["accuracy"]["mean"].as_f64().unwrap() > 0.95, "{judged}");
    // The artifact verifies, and is served.
    ok(at, &["policy", "verify", "policy"]);
    std::fs::write(
        at.join("server.toml"),
        "[server]\nlisten = '127.0.0.1:0'\nadmin_listen = '127.0.0.1:0'\nadmin_open = true\n\
                    [policies.main]\npath = 'policy'\n",
    )
    .unwrap();
    let server = Serving::start(at, &[]);
    let mut stream = connect(&server.data).unwrap();
    for n in [1001, 1002, 1003, 1004] {
        let body = json!({"input": prompt(n)}).to_string();
        let (status, decision) = ask(&mut stream, "POST /v1/route", &body).unwrap();
        assert_eq!(status, 200, "{decision}");
        assert_eq!(decision["action"]["model"], if is_sum(n) { "sums" } else { "poems" }, "{decision}");
    }
}

#[test]
fn a_method_that_cannot_is_refused_with_those_that_can() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    pairs(&at.join("pairs.parquet"), 40);
    for command in ["train knn --out policy", "compare --methods knn"] {
        let words: Vec<&str> = command.split(' ').chain(["--pairs", "pairs.parquet"]).collect();
        let ran = run(at, &words);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(
            ran.stderr.contains("`knn` does not learn from a pair log")
                && ran.stderr.contains("`routellm-mf`")
        );
    }
    let train = ["train", "fgts-cdb", "--out", "policy", "--pairs", "pairs.parquet"];
    let ran = run(at, &[&train[..], &["--judge", "onest"]].concat());
    assert!(
        ran.code == 2 && ran.stderr.contains("`onest`") && ran.stderr.contains("`honest`"),
        "{}",
        ran.stderr
    );
    let ran = run(at, &[&train[..], &["--features", "column:v"]].concat());
    assert!(ran.code == 2 && ran.stderr.contains("column"), "{}", ran.stderr);
    let ran = run(at, &[&train[..], &["--save", "30%"]].concat());
    assert!(ran.code == 2 && ran.stderr.contains("beside `--pairs`"), "{}", ran.stderr);
    assert!(!at.join("policy").exists());
}

#[test]
fn preferences_reported_to_a_server_train_the_next_policy() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    pairs(&at.join("pairs.parquet"), 60);
    // A first policy of few judgements by the liar: it is wrong about everything.
    let first = ["train", "fgts-cdb", "--pairs", "pairs.parquet", "--judge", "liar", "--dim", "8"];
    ok(at, &[&first[..], &["--set", "explores=true", "--out", "first"]].concat());
    let config = "[server]\nlisten = '127.0.0.1:0'\nadmin_listen = '127.0.0.1:0'\nadmin_open = true\n\
                  [store]\npath = 'log.db'\ndurability = 'async'\nkeep_prompt = true\n\
                  [metrics.score]\n[policies.main]\npath = 'first'\n";
    std::fs::write(at.join("server.toml"), config).unwrap();
    let server = Serving::start(at, &[]);
    let mut stream = connect(&server.data).unwrap();
    let mut reported = 0;
    for n in 0..200 {
        let body = json!({"input": prompt(n), "seed": n});
        let (status, decision) = ask(&mut stream, "POST /v1/route", &body.to_string()).unwrap();
        assert_eq!(status, 200, "{decision}");
        let chosen = decision["action"]["model"].as_str().unwrap().to_owned();
        let best = if is_sum(n) { "sums" } else { "poems" };
        let rival = if is_sum(n) { "poems" } else { "sums" };
        let loser = if chosen == best { rival.to_owned() } else { chosen };
        let preference = json!({"winner": best, "loser": loser});
        let report = json!({"decision_id": decision["id"], "metric": "score", "preference": preference});
        let (status, reply) = ask(&mut stream, "POST /v1/feedback", &report.to_string()).unwrap();
        assert_eq!(status, 202, "{reply}");
        reported += 1;
    }
    let exported = json(at, &["data", "from-store", "--config", "server.toml", "--out", "exported"]);
    assert_eq!(exported["pairs"], reported);
    let split = ["data", "split", "exported/pairs", "--out", "next.parquet"];
    ok(at, &split);
    let next = ["train", "fgts-cdb", "--pairs", "next.parquet", "--dim", "16", "--out", "next"];
    let trained = json(at, &next);
    assert_eq!(trained["manifest"]["method"], "fgts-cdb");
    let judged = json(at, &["evaluate", "--pairs", "next.parquet", "--policy", "next", "first"]);
    let accuracy = |name: &str| row(&judged, name)["accuracy"]["mean"].as_f64().unwrap();
    assert!(accuracy("next") > 0.9 && accuracy("next") > accuracy("first") + 0.2, "{judged}");
}
