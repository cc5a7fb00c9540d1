//! Late decisions: the default arm, marked.

use crate::client::{get, post, until};
use crate::server::obedient_server;
use routewright_policy_server::Execution;
use serde_json::{Value, json};

#[test]
fn a_late_decision_is_the_default_arm_and_says_so() {
    let (server, _seen) =
        obedient_server(Execution::Worker, |config| config.limits.decision_deadline_ms = 30);
    let reply = post(server.address, "/v1/route", &json!({ "input": "sleep 400" }));
    assert_eq!(reply.status, 200, "{}", reply.body);
    let body = reply.json();
    assert_eq!((&body["reason"], &body["action"]["model"]), (&json!("deadline_default"), &json!("large")));
    assert_eq!((&body["propensity"], &body["timings"]["batch"]), (&json!(1.0), &json!(0)));
    assert_eq!(body["exploration"]["strategy"], "default_arm");
    assert_eq!(body["fallbacks"], json!(["small", "other"]), "cheapest first, unknown prices last");
    let propensities: Vec<Value> =
        body["candidates"].as_array().unwrap().iter().map(|c| c["propensity"].clone()).collect();
    assert_eq!(propensities, [json!(0.0), json!(1.0), json!(0.0)]);
    assert_eq!(body["candidates"][0]["score"], Value::Null, "nothing was predicted");
    assert_eq!(reply.header("x-router-reason"), Some("deadline_default"));
    let text = get(server.address, "/metrics").body;
    assert!(text.contains("routewright_decision_timeouts_total{policy=\"slow\"} 1\n"), "{text}");
    assert!(text.contains("model=\"large\",reason=\"deadline_default\"} 1\n"), "{text}");
}

#[test]
fn the_default_arm_obeys_the_request_or_nobody_answers() {
    let (server, _seen) =
        obedient_server(Execution::Worker, |config| config.limits.decision_deadline_ms = 30);
    let late = |extra: Value| {
        let mut body = json!({ "input": "sleep 100" });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        post(server.address, "/v1/route", &body)
    };
    let limited = late(json!({ "constraints": { "max_cost_usd": 0.002 } }));
    assert_eq!(limited.json()["action"]["model"], "small");
    assert_eq!(late(json!({ "constraints": { "tags": ["moon"] } })).code(), "no_eligible_candidate");
    assert_eq!(late(json!({ "candidates": ["lagre"] })).code(), "unknown_candidate");
}

#[test]
fn weights_have_the_deadline_and_no_default() {
    let (server, seen) =
        obedient_server(Execution::Worker, |config| config.limits.decision_deadline_ms = 300);
    let address = server.address;
    let weights = || post(address, "/v1/weights", &json!({ "prompt": "x", "text": "y", "span": 2 }));
    let held =
        std::thread::spawn(move || post(address, "/v1/route", &json!({ "input": "sleep 3000" })).status);
    until("the worker is busy", || seen.predictions.load(std::sync::atomic::Ordering::SeqCst) > 0);
    let late = weights();
    assert_eq!((late.status, late.code().as_str()), (503, "overloaded"), "{}", late.body);
    assert_eq!(held.join().unwrap(), 200);
    until("the worker is free", || weights().status == 200);
    let reply = weights().json();
    assert_eq!((&reply["weights"], &reply["models"][1]), (&json!([0.0, 1.0, 0.0]), &json!("large")));
    let text = get(address, "/metrics").body;
    assert!(text.contains("endpoint=\"/v1/weights\",policy=\"slow\",outcome=\"overloaded\"}"), "{text}");
    assert!(!text.contains("reason=\"selected\"} 2"), "weights are no decisions: {text}");
}

#[test]
fn without_a_deadline_the_decision_is_waited_for() {
    let (server, _seen) = obedient_server(Execution::Worker, |config| config.limits.decision_deadline_ms = 0);
    let body = post(server.address, "/v1/route", &json!({ "input": "sleep 300" })).json();
    assert_eq!(body["reason"], "selected");
}

#[test]
fn a_full_queue_answers_by_default_or_says_overloaded() {
    for (deadline_ms, expected) in [(20_000, "deadline_default"), (0, "overloaded")] {
        let (server, seen) = obedient_server(Execution::Worker, |config| {
            config.limits.decision_deadline_ms = deadline_ms;
            config.limits.queue_max = 1;
        });
        let address = server.address;
        let ask = move |text: &str| post(address, "/v1/route", &json!({ "input": text }));
        let running = std::thread::spawn(move || ask("sleep 1500"));
        until("the worker is busy", || seen.predictions.load(std::sync::atomic::Ordering::SeqCst) > 0);
        // The worker is busy: of three more, one waits and at least one finds the queue full.
        let others: Vec<_> = (0..3).map(|_| std::thread::spawn(move || ask("hello"))).collect();
        let bodies: Vec<String> = others.into_iter().map(|thread| thread.join().unwrap().body).collect();
        assert!(bodies.iter().any(|body| body.contains(expected)), "{bodies:?}");
        assert!(bodies.iter().any(|body| body.contains("\"selected\"")), "{bodies:?}");
        running.join().unwrap();
    }
}
