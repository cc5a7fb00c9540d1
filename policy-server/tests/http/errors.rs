//! Every error a caller can make, its status, its code, and what its message offers.

use crate::client::{get, post, send};
use crate::server::{Running, default_server, obedient_server};
use routewright_policy_server::Execution;
use serde_json::json;

fn raw(server: &Running, body: &str) -> crate::client::Reply {
    send(server.address, "POST", "/v1/route", &[], body)
}

#[test]
fn every_bad_request_is_told_what_is_wrong_and_what_is_accepted() {
    let (server, _dir) = default_server(|_| {});
    for (body, status, code, said) in [
        ("", 400, "invalid_json", "line 1 column 0"),
        ("{\"input\": \"x\",}", 400, "invalid_json", "line 1 column 15"),
        ("\u{1}", 400, "invalid_json", "line 1"),
        (" []", 400, "invalid_request", "expected an object"),
        ("3", 400, "invalid_request", "expected struct RouteRequest"),
        ("{\"inputs\": \"x\"}", 400, "invalid_request", "did you mean `input`"),
        ("{\"input\": 3}", 400, "invalid_request", "expected a string"),
        ("{\"vector\": [\"a\"]}", 400, "invalid_request", "expected f32"),
        ("{\"vector\": [1e99, 0]}", 400, "invalid_json", "number out of range at line 1 column 16"),
        ("{}", 400, "invalid_request", "nothing to route on"),
        ("{\"input\": \"x\", \"request\": {}}", 400, "invalid_request", "not both"),
        ("{\"input\": \"x\"}", 400, "invalid_request", "precomputed vector of width 2"),
        ("{\"vector\": [1]}", 400, "invalid_request", "width 1, expected 2"),
        ("{\"request\": {\"messages\": []}}", 400, "invalid_request", "`request.messages` has no text"),
        ("{\"input_format\": \"openai\"}", 400, "invalid_request", "`openai_chat`"),
        ("{\"vector\": [1,0], \"seed\": -1}", 400, "invalid_request", "expected u64"),
        ("{\"vector\": [1,0], \"explain\": \"a lot\"}", 400, "invalid_request", "`summary`"),
        ("{\"vector\": [1,0], \"objective\": {\"price\": 1}}", 400, "invalid_request", "`cost`"),
        (
            "{\"vector\": [1,0], \"objective\": {\"cost\": -1}}",
            400,
            "invalid_request",
            "`objective.cost` is `-1`",
        ),
        ("{\"vector\": [1,0], \"constraints\": {\"max_cost\": 1}}", 400, "invalid_request", "`max_cost_usd`"),
        ("{\"vector\": [1,0], \"candidates\": [\"smal\"]}", 400, "unknown_candidate", "did you mean `small`"),
        ("{\"vector\": [1,0], \"candidates\": []}", 422, "no_eligible_candidate", "not a candidate"),
        (
            "{\"vector\": [1,0], \"constraints\": {\"tags\": [\"moon\"]}}",
            422,
            "no_eligible_candidate",
            "`large` lacks a tag",
        ),
        ("{\"vector\": [1,0], \"policy\": \"mian\"}", 404, "model_not_found", "did you mean `main`"),
        ("{\"vector\": [1,0], \"policy\": \"main@123456789012\"}", 404, "model_not_found", "has version"),
    ] {
        let reply = raw(&server, body);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{body}: {}", reply.body);
        assert!(reply.message().contains(said), "{body}: {}", reply.message());
    }
}

#[test]
fn errors_name_the_field_at_fault() {
    let (server, _dir) = default_server(|_| {});
    for (body, param) in [
        (json!({ "vectr": [] }), "vectr"),
        (json!({ "vector": [1, 0], "candidates": ["x"] }), "candidates"),
        (json!({ "vector": [1, 0], "policy": "x" }), "policy"),
        (json!({ "vector": [1, 0], "objective": { "latency": -2 } }), "objective.latency"),
        (json!({ "request": { "messages": 1 } }), "request.messages"),
    ] {
        let reply = post(server.address, "/v1/route", &body);
        assert_eq!(reply.json()["error"]["param"], param, "{}", reply.body);
    }
}

#[test]
fn unknown_paths_and_wrong_methods_have_the_same_shape() {
    let (server, _dir) = default_server(|_| {});
    let reply = get(server.address, "/v1/rout");
    assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"));
    assert!(reply.message().contains("did you mean `/v1/route`"), "{}", reply.message());
    let reply = get(server.address, "/v1/route");
    assert_eq!((reply.status, reply.code().as_str()), (405, "method_not_allowed"));
    assert_eq!(reply.header("allow"), Some("POST"));
    let reply = post(server.address, "/health", &json!({}));
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET")));
    let reply = get(server.address, "/admin/v1/policies");
    assert_eq!(reply.status, 404, "the data listener has no admin routes");
}

#[test]
fn a_panic_is_a_500_in_the_same_shape_and_the_server_lives_on() {
    for execution in [Execution::Inline, Execution::Worker] {
        let (server, _seen) = obedient_server(execution, |config| config.limits.decision_deadline_ms = 0);
        for _ in 0..3 {
            let reply = post(server.address, "/v1/route", &json!({ "input": "panic now" }));
            assert_eq!((reply.status, reply.code().as_str()), (500, "internal_error"));
            assert!(!reply.body.contains("told to panic"), "the inside stays inside: {}", reply.body);
            assert_eq!(post(server.address, "/v1/route", &json!({ "input": "calm" })).status, 200);
        }
        assert!(server.log().contains("told to panic"), "{}", server.log());
        let text = get(server.address, "/metrics").body;
        assert!(text.contains("policy=\"slow\",outcome=\"internal_error\"} 3\n"), "{text}");
    }
}
