//! From candidate to active with the real binary: evidence, shadow, canary, rollback by itself, and the audit of it.

use crate::crash::events;
use crate::ope::folder;
use crate::run::{json, ok, run};
use crate::serving::{Serving, ask, connect, exchange};
use routewright_policy_server::ledger::{EventBody, SqliteStore};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

const LOGS: [&str; 4] = ["--log", "dec/decisions.parquet", "--feedback", "dec/feedback.parquet"];

fn promote<'a>(registry: &'a str, policy: &'a str, to: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let base = ["policy", "promote", "--registry", registry, "--policy", policy, "--to", to];
    base.into_iter().chain(more.iter().copied()).collect()
}

fn history(dir: &Path, registry: &str) -> Value {
    json(dir, &["policy", "history", "--registry", registry])
}

#[test]
fn a_better_policy_is_promoted_and_a_worse_one_refused_with_numbers() {
    let dir = folder();
    let at = dir.path();
    // The first one has nobody to be compared with.
    ok(at, &promote("up", "ridge", "active", &[]));
    ok(at, &promote("up", "source-best", "active", &LOGS));
    let told = history(at, "up");
    let evidence = &told["history"][1]["evidence"];
    assert!(evidence["trusted"] == true && evidence["lower_bound"].as_f64().unwrap() > 0.0, "{evidence}");
    assert_eq!(told["slot"]["entries"][0]["state"], "retired");

    ok(at, &promote("down", "source-best", "active", &[]));
    let refused = |arguments: &[&str], words: &str| {
        let ran = run(at, arguments);
        assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.starts_with("refused: ") && ran.stdout.contains(words), "{}", ran.stdout);
        let lines = history(at, "down")["history"].as_array().unwrap().clone();
        let last = lines.last().unwrap();
        assert!(last["outcome"] == "refused" && last["refusal"].as_str().unwrap().contains(words), "{last}");
    };
    refused(&promote("down", "ridge", "canary:0.1", &LOGS), "the lower bound must be above 0");
    refused(&promote("down", "ridge", "active", &LOGS), "not shown to be better than the active policy");
    refused(&promote("down", "ridge", "active", &[]), "needs evidence");
    assert_eq!(history(at, "down")["slot"]["entries"].as_array().unwrap().len(), 1);
    assert_eq!(run(at, &promote("down", "ridge", "active", &["--force"])).code, 2, "no reason is given");
    let force = ["--force", "--reason", "I know better"];
    ok(at, &promote("down", "ridge", "active", &LOGS.into_iter().chain(force).collect::<Vec<_>>()));
    let line = history(at, "down")["history"][4].clone();
    assert!(line["forced"] == true && line["reason"] == "I know better", "{line}");
    assert!(line["evidence"]["lower_bound"].as_f64().unwrap() < 0.0, "what was overruled is kept: {line}");
    ok(at, &["policy", "rollback", "--registry", "down", "--reason", "I did not"]);
    assert_eq!(history(at, "down")["slot"]["entries"][0]["state"], "active");
    assert_eq!(run(at, &["policy", "rollback", "--registry", "typo"]).code, 2);
    assert!(!at.join("typo").exists(), "a mistyped registry is not made");
}

/// The registry as the server returns it, once `wanted` holds; a few seconds at most.
fn until(admin: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let (_, reply) = ask(&mut connect(admin).unwrap(), "GET /admin/v1/registry", "").unwrap();
        let slot = reply["data"][0].clone();
        if wanted(&slot) {
            return slot;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain: {slot}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The replies to the same thirty requests, without what differs from time to time.
fn replies(data: &str) -> Vec<Value> {
    let mut stream = connect(data).unwrap();
    let reply = |seed| {
        let body = json!({ "input": "What is the sum of 3 and 4?", "seed": seed });
        let (status, mut reply) = ask(&mut stream, "POST /v1/route", &body.to_string()).unwrap();
        assert_eq!(status, 200, "{reply}");
        for changing in ["id", "created", "timings"] {
            reply[changing].take();
        }
        reply
    };
    (0..30).map(reply).collect()
}

/// Decides, then reports in one group: the canary's answers are bad, the others good. Returns ids by the side that
/// decided. A report sent before the last decision could end the trial while decisions are still made.
fn play(data: &str, from: u64, n: u64) -> BTreeMap<String, (bool, f64)> {
    let mut stream = connect(data).unwrap();
    let mut decided = BTreeMap::new();
    let mut reports = String::new();
    for seed in from..from + n {
        let body = json!({ "input": "Name a river.", "seed": seed }).to_string();
        let (_, reply) = ask(&mut stream, "POST /v1/route", &body).unwrap();
        let (id, by_canary) = (reply["id"].as_str().unwrap(), reply["policy"]["state"] == "canary");
        let value = f64::from(!by_canary);
        reports += &json!({ "decision_id": id, "metric": "score", "value": value }).to_string();
        reports.push('\n');
        decided.insert(id.to_owned(), (by_canary, reply["propensity"].as_f64().unwrap()));
    }
    let (status, results) =
        exchange(&mut stream, "POST /v1/feedback", "application/x-ndjson", &reports).unwrap();
    let results = String::from_utf8(results).unwrap();
    let accepted = results.lines().filter(|line| line.contains("\"status\":202")).count() as u64;
    assert_eq!((status, accepted), (200, n), "{results}");
    decided
}

fn sessions_stick(data: &str) {
    let mut stream = connect(data).unwrap();
    let mut seen = BTreeSet::new();
    for session in 0..12 {
        let states: BTreeSet<String> = (0..4)
            .map(|seed| {
                let body =
                    json!({ "input": "x", "session_id": format!("s{session}"), "seed": seed * 31 + session });
                let (_, reply) = ask(&mut stream, "POST /v1/route", &body.to_string()).unwrap();
                reply["policy"]["state"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(states.len(), 1, "session {session} changed sides");
        seen.extend(states);
    }
    assert_eq!(seen.len(), 2, "twelve sessions at a share of a half stand on both sides");
}

/// Every decision is in the log under the version that made it, with the trial and that version's propensity.
fn log_says(dir: &Path, decided: &BTreeMap<String, (bool, f64)>) {
    let mut found = 0;
    for event in events(&mut SqliteStore::open_existing(&dir.join("log.db")).unwrap()) {
        let EventBody::Decision(decision) = event.body else { continue };
        let Some((by_canary, propensity)) = decided.get(&decision.decision_id) else { continue };
        let trial = decision.trial.as_ref().unwrap();
        assert_eq!(decision.policy_digest == trial.canary, *by_canary);
        assert!(trial.share == 0.5 && (f64::from(decision.propensity) - propensity).abs() < 1e-6);
        found += 1;
    }
    assert_eq!(found, decided.len());
}

/// Every change and refusal is listed, in order, and the rollback with its evidence.
fn history_says(at: &Path) {
    let told = history(at, "slot");
    let lines: Vec<String> = told["history"].as_array().unwrap().iter().map(told_line).collect();
    let expected = [
        "active done",
        "shadow done",
        "canary:0.5 refused",
        "admin canary:0.5 refused",
        "admin canary:0.5 done",
        "watch retired done",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    assert!(lines.iter().zip(expected).all(|(line, end)| line.ends_with(end)), "{lines:?}");
    let evidence = &told["history"][5]["evidence"];
    assert_eq!(
        evidence["canary"]["count"].as_u64().unwrap() + evidence["active"]["count"].as_u64().unwrap(),
        70
    );
    let text = ok(at, &["policy", "history", "--registry", "slot"]).stdout;
    assert!(text.contains("rollback") && text.contains("score fell"), "{text}");
}

#[test]
fn a_shadow_only_looks_on_and_a_forced_canary_that_falls_is_rolled_back_by_itself() {
    let dir = folder();
    let at = dir.path();
    ok(at, &promote("slot", "ridge", "active", &[]));
    let config = "[server]\nlisten = '127.0.0.1:0'\nadmin_listen = '127.0.0.1:0'\nadmin_open = true\n\
                  reload_poll_ms = 30\n\
                  [store]\npath = 'log.db'\nkeep_prompt = true\n[policies.main]\nregistry = 'slot'\n";
    std::fs::write(at.join("server.toml"), config).unwrap();
    let mut server = Serving::start(at, &[]);

    let before = replies(&server.data);
    ok(at, &promote("slot", "source-best", "shadow", &[]));
    until(&server.admin, |slot| slot["serving_revision"] == 2);
    assert_eq!(replies(&server.data), before, "a shadow changes no reply");
    let ran = run(at, &promote("slot", "source-best", "canary:0.5", &["--store", "log.db"]));
    assert!(
        ran.code == 1 && ran.stdout.contains("60 decisions and 0 reports"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    let slot = until(&server.admin, |slot| {
        let shadow = &slot["versions"][1]["shadow"];
        shadow["agreed"].as_u64().zip(shadow["differed"].as_u64()).is_some_and(|(a, d)| a + d == 30)
    });
    let version = slot["versions"][1]["version"].as_str().unwrap();
    let logged = events(&mut SqliteStore::open_existing(&at.join("log.db")).unwrap());
    assert_eq!(logged.len(), 60, "the decisions of a shadow enter no log");

    let mut admin = connect(&server.admin).unwrap();
    let mut ask_for = |more: Value| {
        let mut body = json!({ "policy": "main", "version": version, "to": "canary:0.5" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(&mut admin, "POST /admin/v1/promote", &body.to_string()).unwrap()
    };
    let (status, reply) = ask_for(json!({}));
    assert_eq!((status, &reply["error"]["code"]), (409, &json!("promotion_refused")), "{reply}");
    let (status, reply) = ask_for(json!({ "force": true, "reason": "a try" }));
    assert_eq!((status, &reply["versions"][1]["state"]), (200, &json!("canary")), "{reply}");
    sessions_stick(&server.data);

    let mut decided = play(&server.data, 0, 20);
    until(&server.admin, |slot| !slot["trial"].is_null());
    assert_eq!(history(at, "slot")["slot"]["entries"][1]["state"], "canary", "twenty reports say too little");
    server.kill();
    let mut server = Serving::start(at, &[]);
    decided.extend(play(&server.data, 20, 50));
    let slot = until(&server.admin, |slot| slot["versions"][1]["state"] == "retired");
    assert!(slot["versions"][1]["reason"].as_str().unwrap().starts_with("score fell"), "{slot}");
    until(&server.admin, |slot| slot["serving_revision"] == slot["revision"]);
    assert_eq!(replies(&server.data), before, "the active version decides alone again");
    server.kill();

    log_says(at, &decided);
    history_says(at);
    // What was served without chance is no evidence for anybody.
    let candidate = ["policy", "promote", "--registry", "slot", "--policy", version, "--to", "candidate"];
    ok(at, &candidate);
    let ran = run(at, &promote("slot", "source-best", "active", &["--store", "log.db"]));
    assert!(ran.code == 1 && ran.stdout.contains("the logs say too little"), "{}{}", ran.stdout, ran.stderr);
}

fn told_line(line: &Value) -> String {
    ["who", "to", "outcome"].map(|field| line[field].as_str().unwrap()).join(" ")
}
