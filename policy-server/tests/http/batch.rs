//! Batches asked for, and batches made of concurrent requests.

use crate::client::{post, until};
use crate::server::{default_server, obedient_server};
use routewright_policy_server::Execution;
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
