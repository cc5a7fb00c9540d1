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
    let now = serde_json::to_string_pretty(&openapi_document()).unwrap() + "\n";
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
    assert_eq!(document, openapi_document());
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        let at = if path.starts_with("/admin/") { server.admin } else { server.address };
        let method = item.as_object().unwrap().keys().next().unwrap().clone();
        let named = path.replace("{id}", "routewright/main");
        let reply = if method == "get" { get(at, &named) } else { post(at, path, &json!({})) };
        assert_ne!((reply.status, path.as_str()), (404, path.as_str()), "{}", reply.body);
        assert_ne!(reply.status, 405, "{method} {path}");
    }
}

/// What of a value does not fit the part of JSON Schema the document uses; `None` where all of it does.
fn misfit(value: &Value, schema: &Value, all: &Value, at: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return misfit(value, &all[name], all, name);
    }
    let any = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array());
    if let Some(any) = any {
        let misfits: Vec<String> = any.iter().filter_map(|one| misfit(value, one, all, at)).collect();
        if misfits.len() == any.len() {
            return Some(misfits.join(", and "));
        }
    }
    if schema.get("const").is_some_and(|constant| value != constant) {
        return Some(format!("{at}: {value} is not {}", schema["const"]));
    }
    if let Some(values) = schema["enum"].as_array().filter(|values| !values.contains(value)) {
        return Some(format!("{at}: {value} not in {values:?}"));
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        _ => value.is_null(),
    };
    let fits = match &schema["type"] {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().any(|name| is(name.as_str().unwrap())),
        _ => true,
    };
    if !fits {
        return Some(format!("{at}: {value} is no {}", schema["type"]));
    }
    let items = value.as_array().into_iter().flatten();
    let mut items = items.filter_map(|entry| misfit(entry, &schema["items"], all, &format!("{at}[]")));
    items.next().or_else(|| misfit_of_fields(value, schema, all, at))
}

/// As [`misfit`], of the fields of an object.
fn misfit_of_fields(value: &Value, schema: &Value, all: &Value, at: &str) -> Option<String> {
    let (object, properties) = (value.as_object()?, schema["properties"].as_object()?);
    let required = schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap());
    if let Some(name) = required.into_iter().find(|name| !object.contains_key(*name)) {
        return Some(format!("{at}: {name} is missing in {value}"));
    }
    object.iter().find_map(|(name, field)| match properties.get(name) {
        Some(schema) => misfit(field, schema, all, &format!("{at}.{name}")),
        None if schema["additionalProperties"] == false => Some(format!("{at}.{name} is not described")),
        None => None,
    })
}

fn check(value: &Value, schema: &Value, all: &Value, at: &str) {
    assert_eq!(misfit(value, schema, all, at), None);
}

#[test]
fn every_object_says_whether_it_may_have_other_fields() {
    let document = openapi_document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let says = schema["additionalProperties"].is_boolean();
        assert!(says || schema.get("properties").is_none(), "{name} does not say whether it is closed");
    }
}

#[test]
fn replies_are_as_described() {
    let document = openapi_document();
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
    let document = openapi_document();
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
