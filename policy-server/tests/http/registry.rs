//! A slot of a registry over HTTP: who decides, what is refused, what a broken registry does.

use crate::client::{Reply, get, post};
use crate::policies;
use crate::server::Running;
use routewright_policy::{SelectorSpec, artifact};
use routewright_policy_server::StoreConfig;
use routewright_policy_server::registry::{Ask, Grounds, Registry, Target, Verb};
use routewright_policy_server::{PolicyEntry, ServerConfig};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// A server of one slot: `large` is active, `worse` (which takes `small`) a candidate.
pub(crate) struct Slot {
    pub(crate) running: Running,
    /// Digest of the candidate.
    pub(crate) worse: String,
    dir: tempfile::TempDir,
}

fn add(registry: &Registry, path: &Path, scores: [f32; 3], to: Target) -> String {
    policies::write(path, "main", scores, SelectorSpec::named("argmax"));
    let digest = artifact::load(path).unwrap().digest;
    let verb = Verb::Promote { digest: digest.clone(), path: Some(path.to_owned()), to };
    let (who, reason, grounds) = ("test".to_owned(), "made".to_owned(), Grounds::Nothing);
    registry.apply(&Ask { who, verb, reason, grounds, revision: None }).unwrap();
    digest
}

impl Slot {
    pub(crate) fn start(logs: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::at(dir.path().join("slot"));
        add(&registry, &dir.path().join("better"), [0.5, 0.8, 0.6], Target::Active);
        let worse = add(&registry, &dir.path().join("worse"), [0.9, 0.8, 0.6], Target::Candidate);
        let entry = PolicyEntry {
            name: Some("main".to_owned()),
            registry: Some(registry.dir().to_owned()),
            ..PolicyEntry::at("")
        };
        let store = logs.then(|| StoreConfig::at(dir.path().join("log.db")));
        let config =
            ServerConfig { policies: vec![entry], reload_poll_ms: 0, store, ..ServerConfig::default() };
        Self { running: Running::start(config, Vec::new()), worse, dir }
    }

    pub(crate) fn promote(&self, mut body: Value) -> Reply {
        body["policy"] = "main".into();
        post(self.running.admin, "/admin/v1/promote", &body)
    }

    fn decide(&self, more: Value) -> Value {
        let mut body = json!({ "vector": [1, 0] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post(self.running.address, "/v1/route", &body).json()
    }

    /// A decision that is reported on, once the report is in the figures.
    pub(crate) fn decide_and_report(&self) -> Reply {
        let decided = post(self.running.address, "/v1/route", &json!({ "vector": [1, 0] }));
        let report = json!({ "decision_id": decided.json()["id"], "metric": "score", "value": 1 });
        assert_eq!(post(self.running.address, "/v1/feedback", &report).status, 202);
        while self.slot()["trial"].is_null() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        decided
    }

    fn slot(&self) -> Value {
        get(self.running.admin, "/admin/v1/registry").json()["data"][0].take()
    }
}

fn canary(share: f64, version: &str) -> Value {
    json!({ "version": version, "to": format!("canary:{share}"), "force": true, "reason": "a try" })
}

#[test]
fn a_canary_decides_its_share_alone_and_in_batches_and_a_pinned_version_always() {
    let slot = Slot::start(false);
    assert_eq!(slot.promote(canary(0.5, &slot.worse)).status, 200);
    assert!(slot.running.log().contains("canary_unwatched"), "without a log nothing watches it");
    let of = |reply: &Value| {
        let (state, model) = (&reply["policy"]["state"], &reply["action"]["model"]);
        (state.as_str().unwrap().to_owned(), model.as_str().unwrap().to_owned())
    };
    let pairs = |replies: &[Value]| replies.iter().map(of).collect::<BTreeSet<_>>();
    let both = [("active", "large"), ("canary", "small")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    let alone: Vec<Value> = (0..40).map(|seed| slot.decide(json!({ "seed": seed }))).collect();
    assert_eq!(pairs(&alone), BTreeSet::from(both.clone()));
    let requests: Vec<Value> = (0..40).map(|seed| json!({ "vector": [1, 0], "seed": seed })).collect();
    let batch = post(slot.running.address, "/v1/route/batch", &json!({ "requests": requests })).json();
    let states = |replies: &[Value]| replies.iter().map(of).collect::<Vec<_>>();
    assert_eq!(states(batch["data"].as_array().unwrap()), states(&alone), "a seed decides, not the route");
    let active = slot.slot()["versions"][0]["version"].as_str().unwrap().to_owned();
    for (version, expected) in [(&active, &both[0]), (&slot.worse, &both[1])] {
        let pinned: Vec<Value> = (0..10)
            .map(|seed| slot.decide(json!({ "seed": seed, "policy": format!("main@{version}") })))
            .collect();
        assert_eq!(pairs(&pinned), BTreeSet::from([expected.clone()]));
    }
    let metrics = get(slot.running.address, "/metrics").body;
    assert!(metrics.contains("routewright_canary_decisions_total{policy=\"main\""), "{metrics}");
    assert_eq!(slot.promote(json!({ "to": "rollback", "reason": "enough" })).status, 200);
    assert_eq!(slot.decide(json!({ "seed": 0 }))["policy"]["state"], "active");
    assert_eq!(slot.slot()["versions"][1]["state"], "retired");
}

#[test]
fn what_the_admin_may_not_do_is_refused() {
    let slot = Slot::start(false);
    for (body, status, code) in [
        (json!({ "version": slot.worse, "to": "active" }), 409, "promotion_refused"),
        (json!({ "version": slot.worse, "to": "active", "force": true }), 409, "promotion_refused"),
        (json!({ "to": "rollback" }), 409, "promotion_refused"),
        (json!({ "version": slot.worse, "to": "king" }), 400, "invalid_request"),
        (json!({ "version": "000000000000", "to": "shadow" }), 400, "invalid_request"),
        (json!({ "to": "shadow" }), 400, "invalid_request"),
    ] {
        let reply = slot.promote(body);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{}", reply.body);
    }
    let other = post(slot.running.admin, "/admin/v1/promote", &json!({ "policy": "mian", "to": "rollback" }));
    assert!(other.status == 404 && other.message().contains("`main`"), "{}", other.body);
    assert_eq!(
        post(slot.running.address, "/admin/v1/promote", &json!({})).status,
        404,
        "not on the data listener"
    );
}

#[test]
fn a_broken_registry_or_a_changed_artifact_leaves_what_is_served() {
    let slot = Slot::start(false);
    // The artifact is no longer the one that was registered.
    let worse = slot.dir.path().join("worse");
    policies::write(&worse, "main", [0.1, 0.2, 0.9], SelectorSpec::named("argmax"));
    let reply = slot.promote(canary(0.5, &slot.worse));
    assert!(reply.status == 422 && reply.message().contains("that was registered"), "{}", reply.body);
    let served = slot.slot();
    assert!(served["serving_revision"] == 2 && served["revision"] == 3, "{served}");
    std::fs::write(slot.dir.path().join("slot/registry.json"), "{").unwrap();
    let reply = post(slot.running.admin, "/admin/v1/policies/reload", &json!({}));
    assert!(reply.status == 422 && reply.message().contains("registry.json"), "{}", reply.body);
    assert_eq!(slot.decide(json!({}))["action"]["model"], "large");
}
