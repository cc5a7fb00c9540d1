//! A router judged on a log of chats is served what it was judged on.

use crate::run::{json, ok, run};
use serde_json::{Value, json as object};
use std::path::Path;

/// A chat of several turns whose first turn says what it is about and whose last says nothing.
fn chat(at: usize) -> Value {
    let topic = if at % 2 == 1 { "write a sql join over two tables" } else { "suggest a name for my cat" };
    object!([
        { "role": "system", "content": "You are a careful assistant of the Acme company." },
        { "role": "user", "content": format!("{topic} {at}") },
        { "role": "assistant", "content": "Sure, here is a first part." },
        { "role": "user", "content": "ok please go on" },
    ])
}

/// `small` can name cats, `large` can do all, at a price.
fn write_log(dir: &Path) {
    let mut lines = Vec::new();
    for at in 0..160 {
        for (model, is_right, cost) in [("small", at % 2 == 0, 0.0001), ("large", true, 0.01)] {
            let split = if at < 100 { "train" } else { "test" };
            let row = object!({ "query_id": at.to_string(), "split": split, "model": model, "messages": chat(at),
                "score": u8::from(is_right), "cost": cost });
            lines.push(row.to_string());
        }
    }
    std::fs::write(dir.join("log.jsonl"), lines.join("\n")).unwrap();
}

fn train(dir: &Path, rule: &str) -> String {
    let log = format!("{rule}.parquet");
    ok(dir, &["data", "import", "openai", "log.jsonl", "--out", &log, "--query-text", rule]);
    let selector = "utility:{\"lambda\":10}";
    let told = ok(
        dir,
        &["train", "ridge", "--log", &log, "--out", rule, "--selector", selector, "--set", "alpha=[0.01]"],
    );
    assert!(told.stdout.contains(&format!("`{rule}`")), "{}", told.stdout);
    assert!(!told.stdout.contains("does not name"), "{}", told.stdout);
    log
}

#[test]
fn what_was_judged_right_on_the_log_is_served_right() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write_log(at);
    for (rule, expected) in [("users", 20), ("with-system", 20), ("full", 20), ("last-user", 10)] {
        let log = train(at, rule);
        assert_eq!(json(at, &["policy", "show", rule])["manifest"]["query_text"], rule);
        // Twenty requests of the test split, as a client sends them.
        let mut right = 0;
        for query in 100..120 {
            let body = object!({ "model": "auto", "messages": chat(query) }).to_string();
            std::fs::write(at.join("request.json"), body).unwrap();
            let served = json(at, &["route", "--policy", rule, "--request", "request.json"]);
            right += usize::from(served["model"] == if query % 2 == 1 { "large" } else { "small" });
        }
        assert_eq!(right, expected, "{rule}: the last turn alone tells nothing, all else everything");
        let judged = json(at, &["evaluate", "--policy", rule, "--log", &log]);
        // Half of the queries are beyond `small`, which is what the last turn alone must settle for.
        let score = judged["policies"][0]["score"].as_f64().unwrap();
        assert!(score >= if expected == 20 { 0.999 } else { 0.499 }, "{rule}: {score}");
    }
}

#[test]
fn another_rule_than_the_logs_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write_log(at);
    train(at, "users");
    train(at, "last-user");
    let refused = run(at, &["train", "knn", "--log", "users.parquet", "--out", "x", "--query-text", "full"]);
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(refused.stderr.contains("made by `users`"), "{}", refused.stderr);
    assert!(!at.join("x").exists());
    let refused = run(at, &["evaluate", "--policy", "last-user", "--log", "users.parquet"]);
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    let message = refused.stderr;
    assert!(message.contains("`last-user`") && message.contains("`users`"), "{message}");
    let unknown =
        run(at, &["data", "import", "openai", "log.jsonl", "--out", "y", "--query-text", "user"]).stderr;
    assert!(unknown.contains("last-user"), "{unknown}");
    // A folder of parts made by two rules is no log.
    std::fs::create_dir(at.join("parts")).unwrap();
    for rule in ["users", "last-user"] {
        std::fs::copy(at.join(format!("{rule}.parquet")), at.join(format!("parts/{rule}.parquet"))).unwrap();
    }
    let refused = run(at, &["data", "stats", "parts"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("one `--query-text`"), "{}", refused.stderr);
    // A log that names no rule is taken as the user says, and the user is told.
    ok(at, &["data", "simulate", "--out", "plain.parquet", "--queries", "200", "--models", "2"]);
    let told = ok(at, &["train", "knn", "--log", "plain.parquet", "--out", "plain"]).stdout;
    assert!(told.contains("does not name its rule"), "{told}");
    ok(at, &["train", "knn", "--log", "plain.parquet", "--out", "plain", "--query-text", "with-system"]);
    assert_eq!(json(at, &["policy", "show", "plain"])["manifest"]["query_text"], "with-system");
}

#[test]
fn decisions_with_estimated_propensities_name_the_rule_of_their_log() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    // One model a chat, as a gateway logs it.
    let line = |i: usize| {
        let (model, score) =
            if i.is_multiple_of(3) { ("small", i.is_multiple_of(2)) } else { ("large", true) };
        object!({ "query_id": i.to_string(), "model": model, "messages": chat(i), "score": u8::from(score) })
            .to_string()
    };
    std::fs::write(at.join("gateway.jsonl"), (0..120).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let import = ["data", "import", "openai", "gateway.jsonl", "--out", "gateway.parquet"];
    ok(at, &[&import[..], &["--query-text", "full"]].concat());
    ok(at, &["data", "log-decisions", "--estimate", "--log", "gateway.parquet", "--out", "logged"]);
    write_log(at);
    train(at, "users");
    train(at, "full");
    let logs = ["--log", "logged/decisions.parquet", "--feedback", "logged/feedback.parquet"];
    let judged = |policy: &str| run(at, &[&["ope", "--policy", policy], &logs[..]].concat());
    let refused = judged("users");
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(refused.stderr.contains("made by `full`"), "{}", refused.stderr);
    let read = judged("full");
    assert!(read.code < 2 && read.stdout.contains("effective"), "{}{}", read.stdout, read.stderr);
}
