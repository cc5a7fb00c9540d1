//! The description of the API: a golden file, held against what the server reads and writes.

use crate::client::{Reply, get, post, send};
use crate::server::{default_server, obedient_server};
use routewright_policy::{drift::DriftSettings, trust::TrustSettings};
use routewright_policy_server::StoreConfig;
use routewright_policy_server::{Execution, openapi_document};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Set to rewrite the golden file.
const REGENERATE: &str = "ROUTEWRIGHT_REGENERATE";

#[test]
fn the_golden_file_holds() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/openapi.json");
    let now = serde_json::to_string_pretty(&openapi_document().unwrap()).unwrap() + "\n";
    if std::env::var_os(REGENERATE).is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        golden == now,
        "openapi.json changed; if that is meant, run again with {REGENERATE}=1 and commit it"
    );
}

#[test]
fn it_is_served_and_every_reference_leads_somewhere() {
    let (server, _dir) = default_server(|_| {});
    let document = get(server.address, "/openapi.json").json();
    assert_eq!(document, openapi_document().unwrap());
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        let at = if path.starts_with("/admin/") { server.admin } else { server.address };
        let method = item.as_object().unwrap().keys().next().unwrap().clone();
        let reply = if method == "get" { get(at, path) } else { post(at, path, &json!({})) };
        assert_ne!((reply.status, path.as_str()), (404, path.as_str()), "{}", reply.body);
        assert_ne!(reply.status, 405, "{method} {path}");
    }
}

/// Checks a value against the part of JSON Schema the document uses.
fn check(value: &Value, schema: &Value, all: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return check(value, &all[name], all, name);
    }
    if let Some(one_of) = schema["oneOf"].as_array() {
        let fits = one_of.iter().find(|s| {
            let name = s["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
            value.get("error").is_some() == (name == "Error")
        });
        return check(value, fits.unwrap(), all, at);
    }
    if let Some(constant) = schema.get("const") {
        assert_eq!(value, constant, "{at}");
    }
    if let Some(values) = schema["enum"].as_array() {
        assert!(values.contains(value), "{at}: {value} not in {values:?}");
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        _ => value.is_null(),
    };
    match &schema["type"] {
        Value::String(name) => assert!(is(name), "{at}: {value} is no {name}"),
        Value::Array(names) => assert!(names.iter().any(|n| is(n.as_str().unwrap())), "{at}: {value}"),
        _ => {}
    }
    if let (Some(object), Some(properties)) = (value.as_object(), schema["properties"].as_object()) {
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(object.contains_key(name.as_str().unwrap()), "{at}: {name} is missing in {value}");
        }
        for (name, field) in object {
            match properties.get(name) {
                Some(schema) => check(field, schema, all, &format!("{at}.{name}")),
                None => assert_eq!(schema["additionalProperties"], true, "{at}.{name} is not described"),
            }
        }
    }
    for entry in value.as_array().into_iter().flatten() {
        check(entry, &schema["items"], all, &format!("{at}[]"));
    }
}

#[test]
fn replies_are_as_described() {
    let document = openapi_document().unwrap();
    let all = &document["components"]["schemas"];
    let fits = |reply: Reply, schema: &str| check(&reply.json(), &all[schema], all, schema);
    let (slow, _seen) = obedient_server(Execution::Worker, |config| config.limits.decision_deadline_ms = 50);
    let ask = |text: &str| {
        let body =
            json!({ "input": text, "explain": "full", "session_id": "s", "candidates": ["small", "large"] });
        post(slow.address, "/v1/route", &body)
    };
    fits(ask("hello"), "Decision");
    fits(ask("sleep 200"), "Decision");
    let (server, _dir) = default_server(|_| {});
    fits(post(server.address, "/v1/route", &json!({ "vector": [1, 0], "explain": "none" })), "Decision");
    fits(post(server.address, "/v1/route", &json!({})), "Error");
    let batch = json!({ "requests": [{ "vector": [1, 0] }, {}] });
    fits(post(server.address, "/v1/route/batch", &batch), "BatchReply");
    let folder = tempfile::tempdir().unwrap();
    let store = StoreConfig::at(folder.path().join("log.db"));
    let (logging, _dir) = default_server(|config| config.store = Some(store));
    let decided = post(logging.address, "/v1/route", &json!({ "vector": [1, 0], "deferred": true })).json();
    let report = json!({ "decision_id": decided["id"], "metric": "score", "value": 1, "activation": true });
    fits(post(logging.address, "/v1/feedback", &report), "FeedbackReply");
    fits(post(logging.address, "/v1/feedback", &report), "FeedbackReply");
    let ndjson = [("content-type", "application/x-ndjson")];
    for line in [report.to_string(), "{}".to_owned()] {
        fits(send(logging.address, "POST", "/v1/feedback", &ndjson, &line), "FeedbackLine");
    }
    fits(get(logging.admin, "/admin/v1/statistics"), "StatisticsReply");
    let slot = crate::registry::Slot::start(true);
    let shadowed = slot.promote(json!({ "version": slot.worse, "to": "shadow" }));
    fits(shadowed, "RegistrySlot");
    let tried = json!({ "version": slot.worse, "to": "canary:0.9", "force": true, "reason": "x" });
    fits(slot.promote(tried), "RegistrySlot");
    fits(slot.promote(json!({ "version": slot.worse, "to": "active" })), "Error");
    fits(slot.decide_and_report(), "Decision");
    fits(get(slot.running.admin, "/admin/v1/registry"), "RegistryReply");
    let learner = crate::learner::Learner::start(|_, learning, _| {
        (learning.trust, learning.drift) = (Some(TrustSettings::default()), Some(DriftSettings::default()));
    });
    let id = learner.decide()["id"].clone();
    assert_eq!(learner.report(json!({ "decision_id": id, "value": 1 })).status, 202);
    learner.wait_lessons(1);
    fits(get(learner.running.admin, "/admin/v1/learning"), "LearningReply");
    fits(get(learner.running.admin, "/admin/v1/arms"), "ArmsReply");
    fits(get(server.address, "/v1/models"), "ModelList");
    fits(get(server.address, "/health"), "Status");
    fits(get(server.address, "/ready"), "Status");
    fits(get(server.admin, "/admin/v1/policies"), "PolicyList");
    fits(post(server.admin, "/admin/v1/policies/reload", &json!({})), "ReloadReply");
}

#[test]
fn requests_are_as_described() {
    // The server itself lists the fields it accepts when it meets one that it does not.
    let (server, _dir) = default_server(|_| {});
    let document = openapi_document().unwrap();
    let names = |at, path: &str, body: Value| -> BTreeSet<String> {
        let message = post(at, path, &body).message();
        let list = message.split(" at line").next().unwrap().split("expected one of").nth(1).unwrap();
        list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let accepted = |body: Value| names(server.address, "/v1/route", body);
    let promote = names(server.admin, "/admin/v1/promote", json!({ "?": 0 }));
    let described = document["components"]["schemas"]["PromoteRequest"]["properties"].as_object().unwrap();
    assert_eq!(promote, described.keys().cloned().collect());
    for (schema, body) in [
        ("RouteRequest", json!({ "?": 0 })),
        ("Objective", json!({ "objective": { "?": 0 } })),
        ("Constraints", json!({ "constraints": { "?": 0 } })),
    ] {
        let described = document["components"]["schemas"][schema]["properties"].as_object().unwrap();
        assert_eq!(accepted(body), described.keys().cloned().collect(), "{schema}");
    }
}
