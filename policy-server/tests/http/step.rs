//! Steps over HTTP: one server asked from the first call to the reply, another one given the same answers.

use crate::client::{Reply, post};
use crate::policies::write_cascade;
use crate::server::{Running, default_server};
use routewright_data::decisions::DecisionReader;
use routewright_policy_server::ledger::{ExportOptions, SqliteStore, Store, export};
use routewright_policy_server::{ServerConfig, StoreConfig};
use serde_json::{Value, json};
use std::path::Path;

/// Two servers with copies of one artifact; the first keeps a log.
struct Replicas {
    dir: tempfile::TempDir,
    first: Running,
    second: Running,
}

impl Replicas {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let serve = |name: &str, store: Option<StoreConfig>| {
            let path = dir.path().join(name);
            write_cascade(&path);
            Running::start(ServerConfig { store, ..ServerConfig::for_policies([path]) }, Vec::new())
        };
        let first = serve("a", Some(StoreConfig::at(dir.path().join("log.db"))));
        let second = serve("b", None);
        Self { dir, first, second }
    }
}

fn step(server: &Running, body: &Value) -> Reply {
    post(server.address, "/v1/step", body)
}

/// What a replica must repeat: all of a reply but when it was made.
fn repeated(reply: &Value) -> Value {
    let mut reply = reply.clone();
    reply.as_object_mut().unwrap().remove("created");
    reply
}

/// The answer of a model: `small` hedges.
fn answer(call: &Value) -> Value {
    let (text, cost) = match call["model"].as_str().unwrap() {
        "small" => ("not sure", 0.001),
        _ => ("a long and well founded answer, with all its reasons given one after the other", 0.01),
    };
    json!({ "call": call["call"], "text": text, "cost_usd": cost, "latency_ms": 100.0 })
}

#[test]
fn an_episode_replayed_on_another_server_takes_the_same_steps() {
    let replicas = Replicas::start();
    let mut body = json!({ "input": "why is the sky blue?" });
    let (mut seen, mut answers) = (Vec::new(), Vec::new());
    loop {
        let reply = step(&replicas.first, &body);
        assert_eq!(reply.status, 200, "{}", reply.body);
        let reply = reply.json();
        seen.push(reply.clone());
        for key in ["episode_id", "seed"] {
            body[key] = reply[key].clone();
        }
        body["policy"] = json!(format!("main@{}", reply["policy"]["version"].as_str().unwrap()));
        if reply["action"]["kind"] == "return" {
            break;
        }
        answers.extend(reply["action"]["calls"].as_array().unwrap().iter().map(answer));
        body["answers"] = json!(answers);
    }
    let kinds: Vec<(&str, &str)> =
        seen.iter().map(|s| (s["action"]["kind"].as_str().unwrap(), s["reason"].as_str().unwrap())).collect();
    assert_eq!(kinds, [("call", "start"), ("call", "escalated"), ("return", "exhausted")]);
    assert_eq!(seen[2]["action"]["model"], "large");
    assert_eq!(seen[2]["spent_usd"], 0.011);
    assert!(seen[1]["certain"] == true && seen[0]["certain"] == false);
    // The other server has never heard of it: each prefix of the answers gives the step that followed it.
    for (n, expected) in seen.iter().enumerate() {
        let given: Vec<&Value> = answers.iter().take(n).collect();
        let body = json!({
            "input": "why is the sky blue?", "episode_id": seen[0]["episode_id"], "seed": seen[0]["seed"],
            "policy": body["policy"], "answers": given,
        });
        assert_eq!(repeated(&step(&replicas.second, &body).json()), repeated(expected), "step {n}");
        // Asked again, the first server says the same and logs nothing new.
        assert_eq!(repeated(&step(&replicas.first, &body).json()), repeated(expected), "step {n}");
    }
    // Its id with another answer is another episode, which the log would lose.
    let answers = json!([{ "call": 0, "text": "other", "cost_usd": 0.02, "latency_ms": 5.0 }]);
    let other = json!({
        "input": "why is the sky blue?", "episode_id": seen[0]["episode_id"], "seed": seen[0]["seed"],
        "answers": answers,
    });
    let refused = step(&replicas.first, &other);
    assert!(refused.status == 409 && refused.body.contains("decision_conflict"), "{}", refused.body);
    let log = replicas.dir.path().join("log.db");
    drop(replicas.first);
    logged(&log, &seen);
}

/// The log has each step once, with its answers.
fn logged(log: &Path, seen: &[Value]) {
    let mut store = SqliteStore::open(log).unwrap();
    let day = store.days().unwrap()[0];
    let records: Vec<_> =
        store.of_day(day, 0, 10).unwrap().into_iter().map(|(_, r)| r.unwrap().decision).collect();
    assert_eq!(records.len(), 3);
    for (at, record) in records.iter().enumerate() {
        let episode = record.episode.as_ref().unwrap();
        assert_eq!(
            json!([record.decision_id, episode.episode_id, episode.step]),
            json!([seen[at]["id"], seen[at]["episode_id"], at])
        );
        assert_eq!(episode.answers.len(), usize::from(at > 0));
        assert_eq!(record.reason, seen[at]["reason"].as_str().unwrap());
    }
    assert_eq!(records[0].decision_id, records[0].episode.as_ref().unwrap().episode_id);
    let models: Vec<&str> = records.iter().map(|record| record.model.as_str()).collect();
    assert_eq!(models, ["small", "large", "return"]);
    assert_eq!(records[2].episode.as_ref().unwrap().answers[0].cost_usd, Some(0.01));
    exported(&mut store, &seen[0]);
}

/// The export has every step; evaluation reads the first.
fn exported(store: &mut SqliteStore, first: &Value) {
    let out = tempfile::tempdir().unwrap();
    let options = ExportOptions { config: None, rows_per_file: 10, now_ms: 0 };
    assert_eq!(export(store, out.path(), &options).unwrap().decisions, 3);
    let mut reader = DecisionReader::open(&out.path().join("decisions")).unwrap();
    let rows: Vec<_> = reader.by_ref().flat_map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].step, rows[0].episode_id.as_deref()), (Some(0), first["episode_id"].as_str()));
    assert_eq!(reader.n_later_steps(), 2);
}

#[test]
fn budgets_failures_and_wrong_answers_are_heeded() {
    let replicas = Replicas::start();
    let server = &replicas.first;
    let first = step(server, &json!({ "input": "x", "dry_run": true })).json();
    let with = |answers: Value, extra: Value| {
        let mut body = json!({
            "input": "x", "dry_run": true, "episode_id": first["episode_id"], "seed": first["seed"], "answers": answers,
        });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        step(server, &body)
    };
    let hedge = json!([{ "call": 0, "text": "not sure", "cost_usd": 0.001, "latency_ms": 1.0 }]);
    // 0.001 of 0.005 is spent and `large` costs 0.01: what there is is returned.
    let cut = with(hedge.clone(), json!({ "budget": { "usd": 0.005 } })).json();
    assert_eq!((&cut["action"]["model"], &cut["reason"]), (&json!("small"), &json!("limit")));
    let failed = |call: usize| json!({ "call": call, "failed": "timed out" });
    let next = with(json!([failed(0)]), json!({})).json();
    assert_eq!((&next["action"]["calls"][0]["model"], &next["reason"]), (&json!("large"), &json!("failed")));
    let none = with(json!([failed(0), failed(1)]), json!({})).json();
    assert_eq!((&none["action"]["kind"], &none["action"]["abstained"]), (&json!("return"), &json!(true)));
    for (answers, says) in [
        (json!([{ "call": 7, "text": "x" }]), "expected each of [0.0]"),
        (json!([failed(0), failed(1), failed(2)]), "has ended"),
        (json!([{ "call": 0, "text": "x", "cost_usd": -1.0 }]), "`cost_usd`"),
        (json!([{ "call": 0, "words": "x" }]), "`answers`"),
    ] {
        let refused = with(answers, json!({}));
        assert!(refused.status == 400 && refused.body.contains(says), "{says}: {}", refused.body);
    }
    assert_eq!(step(server, &json!({ "input": "x", "answers": hedge })).status, 400, "of no episode");
    let limits = json!({ "input": "x", "budget": { "usd": -1.0 } });
    assert!(step(server, &limits).body.contains("budget.usd"));
    assert_eq!(step(server, &json!({ "input": "x", "anwsers": [] })).status, 400);
    // A policy of several steps has no decision of one.
    let refused = post(server.address, "/v1/route", &json!({ "input": "x" }));
    assert!(refused.status == 400 && refused.body.contains("/v1/step"), "{}", refused.body);
}

#[test]
fn a_policy_of_one_step_takes_the_step_its_decision_is() {
    let (running, _dir) = default_server(|_| {});
    let body = json!({ "vector": [0.1, 0.2], "seed": 5 });
    let decision = post(running.address, "/v1/route", &body).json();
    let first = step(&running, &body).json();
    assert_eq!(first["action"]["calls"][0]["model"], decision["action"]["model"]);
    assert_eq!((&first["propensity"], &first["reason"]), (&decision["propensity"], &decision["reason"]));
    let body = json!({
        "vector": [0.1, 0.2], "seed": 5, "episode_id": first["episode_id"], "answers": [{ "call": 0, "text": "yes" }],
    });
    let last = step(&running, &body).json();
    assert_eq!((&last["action"]["text"], &last["step"]), (&json!("yes"), &json!(1)));
}
