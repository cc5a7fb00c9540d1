//! Batches asked for, and batches made of concurrent requests.

use crate::client::{get, post, until};
use crate::server::{default_server, obedient_server};
use routewright_policy_server::Execution;
use routewright_policy_server::StoreConfig;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

#[test]
fn each_entry_of_a_batch_has_its_own_result_in_order() {
    let (server, _dir) = default_server(|_| {});
    let reply = post(
        server.address,
        "/v1/route/batch",
        &json!({ "requests": [
            { "vector": [1, 0], "source": "code" },
            { "vector": [1] },
            { "vectr": [1, 0] },
            { "vector": [1, 0], "policy": "nobody" },
            { "vector": [1, 0], "candidates": ["large"] },
        ] }),
    );
    assert_eq!(reply.status, 200, "{}", reply.body);
    let body = reply.json();
    assert_eq!(body["object"], "list");
    let results: Vec<String> = body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            entry["action"]["model"].as_str().or(entry["error"]["code"].as_str()).unwrap().to_owned()
        })
        .collect();
    assert_eq!(results, ["small", "invalid_request", "invalid_request", "model_not_found", "large"]);
    let empty = post(server.address, "/v1/route/batch", &json!({ "requests": [] }));
    assert_eq!(empty.json()["data"], json!([]));
    assert_eq!(body["summary"], json!({ "entries": 5, "decided": 2, "deadline_default": 0, "failed": 3 }));
}

#[test]
fn a_batch_is_one_prediction_and_equals_single_decisions() {
    let (server, seen) = obedient_server(Execution::Worker, |config| config.limits.decision_deadline_ms = 0);
    // The one worker is held, so that everything that follows waits and is taken together.
    let address = server.address;
    let held = std::thread::spawn(move || post(address, "/v1/route", &json!({ "input": "sleep 1500" })));
    until("the worker is busy", || seen.predictions.load(Ordering::SeqCst) > 0);
    let request = |seed: usize| json!({ "input": "hello", "seed": seed });
    let body = json!({ "requests": (0..40).map(request).collect::<Vec<_>>() });
    let batch = post(server.address, "/v1/route/batch", &body).json();
    held.join().unwrap();
    assert_eq!(seen.predictions.load(Ordering::SeqCst), 2, "one for the holder, one for the forty");
    assert_eq!(seen.queries.load(Ordering::SeqCst), 41);
    let strip = |mut decision: Value| {
        for key in ["id", "created", "timings"] {
            decision.as_object_mut().unwrap().remove(key);
        }
        decision
    };
    for (seed, entry) in batch["data"].as_array().unwrap().iter().enumerate() {
        assert_eq!(entry["timings"]["batch"], 40);
        let single = post(server.address, "/v1/route", &request(seed)).json();
        assert_eq!(strip(entry.clone()), strip(single));
    }
}

#[test]
fn one_poisoned_query_of_a_micro_batch_fails_alone() {
    let (server, _seen) = obedient_server(Execution::Worker, |config| config.limits.decision_deadline_ms = 0);
    let requests: Vec<Value> =
        (0..9).map(|i| json!({ "input": if i == 4 { "panic now" } else { "calm" } })).collect();
    let body = post(server.address, "/v1/route/batch", &json!({ "requests": requests })).json();
    for (i, entry) in body["data"].as_array().unwrap().iter().enumerate() {
        assert_eq!(entry.get("error").is_some(), i == 4, "{entry}");
    }
}

#[test]
fn a_batch_over_the_limit_is_refused_whole() {
    let (server, _dir) = default_server(|config| config.limits.batch_max = 2);
    let entry = json!({ "vector": [1, 0] });
    let reply = post(server.address, "/v1/route/batch", &json!({ "requests": [entry, entry, entry] }));
    assert_eq!((reply.status, reply.code().as_str()), (422, "batch_too_large"));
    assert!(reply.message().contains("3 entries, expected at most 2"), "{}", reply.message());
}

#[test]
fn a_batch_has_the_time_of_its_entries_and_says_what_became_of_them() {
    let (server, _seen) = obedient_server(Execution::Worker, |config| {
        config.limits.decision_deadline_ms = 200;
        config.limits.micro_batch_max = 1;
    });
    // Ten times 100 ms on one worker: each late for a request of its own, all within ten deadlines.
    let requests: Vec<Value> = (0..10).map(|_| json!({ "input": "sleep 100" })).collect();
    let mut body = json!({ "requests": requests });
    body["requests"].as_array_mut().unwrap().push(json!({}));
    let reply = post(server.address, "/v1/route/batch", &body);
    assert_eq!(reply.status, 200, "{}", reply.body);
    let summary = json!({ "entries": 11, "decided": 10, "deadline_default": 0, "failed": 1 });
    assert_eq!(reply.json()["summary"], summary);
}

#[test]
fn a_batch_that_mostly_missed_its_time_is_refused_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = StoreConfig::at(dir.path().join("log.db"));
    let (server, _seen) = obedient_server(Execution::Worker, |config| {
        config.limits.decision_deadline_ms = 50;
        config.store = Some(store);
    });
    let body = |slow: usize, quick: usize| {
        let texts = std::iter::repeat_n("sleep 3000", slow).chain(std::iter::repeat_n("x", quick));
        json!({ "requests": texts.map(|text| json!({ "input": text })).collect::<Vec<_>>() })
    };
    // One prediction of three seconds holds the one worker, and all entries with it.
    let reply = post(server.address, "/v1/route/batch", &body(1, 2));
    assert_eq!((reply.status, reply.code().as_str()), (503, "overloaded"));
    assert!(reply.message().contains("3 of 3 decisions were not made in time"), "{}", reply.message());
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(get(server.admin, "/admin/v1/statistics").json()["data"], json!([]), "nothing is in the log");
    let text = get(server.address, "/metrics").body;
    assert!(!text.contains("reason=\"deadline_default\"} 3"), "{text}");
}
