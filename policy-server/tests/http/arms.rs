//! Arms that are added, removed and repriced while the policy serves and learns.

use crate::client::{Reply, post, until};
use crate::learner::{self, Learner};
use serde_json::{Value, json};

fn changed(learner: &Learner, arms: Value) -> Value {
    let reply = learner.change(arms);
    assert_eq!((reply.status, reply.json()["in_service"].as_bool()), (200, Some(true)), "{}", reply.body);
    reply.json()
}

#[test]
fn a_new_price_changes_the_next_decision_and_stands_after_a_restart() {
    let mut learner = Learner::start(|_, learning, _| learning.lambda = 10.0);
    // Worth: small 0.5 - 10 * 0.001, large 0.6 - 10 * 0.01
    assert_eq!(learner.model(), "large");
    // What was learned before the price changed is not priced at the old one.
    let id = learner.decide()["id"].clone();
    assert_eq!(learner.report(json!({ "decision_id": id, "value": 0.6, "cost_usd": 0.01 })).status, 202);
    learner.wait_lessons(1);
    changed(&learner, json!({ "large": { "cost_usd": 0.05 } }));
    assert_eq!(learner.metric("routewright_learning_updates{policy=\"main\"}"), Some(1.0));
    assert_eq!(learner.model(), "small", "0.6 - 10 * 0.05");
    assert_eq!(learner.candidate("large")["cost_usd"], 0.05);
    assert!((learner.score("large") - 0.6).abs() < 1e-6, "the price is not in what was learned");
    let reply = changed(&learner, json!({ "large": { "cost_usd": 0.002 } }));
    assert_eq!((learner.model().as_str(), &reply["changes"]), ("large", &json!(2)));
    let (arms, version) = (learner.arms(), learner.decide()["policy"]["version"].clone());
    assert!(version.as_str().unwrap().ends_with("+1.2"), "{version}");
    learner.restart();
    assert_eq!(learner.arms(), arms);
    assert_eq!(learner.model(), "large");
}

#[test]
fn a_removed_arm_is_never_chosen_and_what_is_known_of_it_stays() {
    let mut learner = Learner::start(|_, _, _| ());
    let id = learner.decide()["id"].clone();
    changed(&learner, json!({ "large": { "removed": true } }));
    assert_eq!(learner.model(), "small");
    let gone = learner.candidate("large");
    assert_eq!((&gone["eligible"], &gone["excluded_by"]), (&json!(false), &json!("removed")));
    assert_eq!(gone["propensity"], 0.0);
    let reply = learner.ask(json!({ "candidates": ["large"] }));
    assert_eq!((reply.status, reply.code().as_str()), (422, "no_eligible_candidate"));
    assert!(reply.message().contains("`large` was removed"), "{}", reply.body);
    // It was called before it was removed, so the report counts.
    assert_eq!(learner.report(json!({ "decision_id": id, "value": 1.0 })).status, 202);
    learner.wait_lessons(1);
    let known = learner.score("large");
    assert!(known > 0.6, "{known}");
    learner.restart();
    assert_eq!(learner.model(), "small");
    changed(&learner, json!({ "large": { "removed": false } }));
    assert_eq!(learner.model(), "large");
    assert!((learner.score("large") - known).abs() < 1e-6, "it comes back with what was learned");
}

#[test]
fn an_added_arm_starts_from_the_average_or_from_a_declared_quality_and_learns() {
    let mut learner = Learner::start(|_, _, _| ());
    changed(&learner, json!({ "average": { "cost_usd": 0.003, "tags": ["eu"] } }));
    // The mean of what is expected of the others.
    assert!((learner.score("average") - 0.55).abs() < 1e-6);
    assert_eq!(
        learner.ask(json!({ "constraints": { "tags": ["eu"] } })).json()["action"]["model"],
        "average"
    );
    let reply = changed(&learner, json!({ "better": { "quality": 0.9, "weight": 3, "latency_ms": 40 } }));
    let better = reply["arms"].as_array().unwrap().iter().find(|arm| arm["model"] == "better").unwrap();
    assert_eq!((&better["added"], &better["latency_ms"]), (&json!(true), &json!(40.0)));
    assert!((learner.score("better") - 0.9).abs() < 1e-6);
    let decision = learner.decide();
    assert_eq!(decision["action"]["model"], "better");
    assert_eq!(learner.report(json!({ "decision_id": decision["id"], "value": 0.0 })).status, 202);
    learner.wait_lessons(1);
    // A = diag(1, 1, 1 + 3) + x x' with x = (1, 0, 1); the residual is 0.9: theta.x falls by 0.9 s / (1 + s),
    // s = 1 + 1 / 4.
    let (known, s) = (learner.score("better"), 1.25);
    assert!((known - (0.9 - 0.9 * s / (1.0 + s))).abs() < 1e-5, "{known}");
    let arms = learner.arms();
    learner.restart();
    assert_eq!(learner.arms(), arms);
    assert!((learner.score("better") - known).abs() < 1e-6);
    assert!((learner.score("average") - 0.55).abs() < 1e-6, "the start of an arm is not worked out anew");
}

#[test]
fn what_cannot_be_applied_is_refused_and_nothing_of_it_is_kept() {
    let learner = Learner::start(|_, _, _| ());
    let before = learner.arms();
    for (arms, said) in [
        (json!({}), "at least one model"),
        (json!({ "smal": { "removed": true } }), "did you mean `small`"),
        (json!({ "small": { "quality": 0.5 } }), "what was learned of it is kept"),
        (json!({ "small": { "cost_usd": -1 } }), "`cost_usd` of `small` is `-1`"),
        (json!({ "new": { "quality": 1.5 } }), "[0, 1]"),
        (json!({ "new": {}, "small": { "removed": true, "cost_usd": 1e9 } }), "`cost_usd`"),
        (json!({ "small": { "removed": true }, "large": { "removed": true } }), "no arm would be left"),
        (json!({ "": {} }), "expected 1 to 256 bytes"),
        (json!({ "small": { "price": 1 } }), "unknown field `price`"),
    ] {
        let reply = learner.change(arms.clone());
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_request"), "{arms}: {}", reply.body);
        assert!(reply.message().contains(said), "{arms}: {}", reply.body);
    }
    let path = "/admin/v1/arms/change";
    let other = post(learner.running.admin, path, &json!({ "policy": "mian", "arms": { "small": {} } }));
    assert_eq!((other.status, other.code().as_str()), (404, "model_not_found"));
    assert!(other.message().contains("did you mean `main`"), "{}", other.body);
    assert_eq!(learner.arms(), before);
    let (plain, _dir) = crate::server::default_server(|_| ());
    let reply: Reply = post(plain.admin, path, &json!({ "policy": "main", "arms": { "small": {} } }));
    assert_eq!((reply.status, reply.code().as_str()), (501, "no_store"));
}

#[test]
fn what_was_said_of_arms_is_said_of_the_next_artifact_by_name() {
    let learner = Learner::start(|_, _, _| ());
    changed(&learner, json!({ "large": { "removed": true }, "small": { "cost_usd": 0.5 }, "new": {} }));
    let path = learner.dir.path().join("main");
    std::fs::remove_dir_all(&path).unwrap();
    learner::write(&path, &[("huge", 0.1, 0.2), ("large", 0.01, 0.9), ("small", 0.001, 0.4)]);
    let reload = post(learner.running.admin, "/admin/v1/policies/reload", &json!({}));
    assert_eq!(reload.status, 200, "{}", reload.body);
    assert_eq!(learner.model(), "small", "a removed arm is not chosen, even before the learner has looked");
    until("the new artifact learns", || {
        learner.arms()["arms"].as_array().is_some_and(|arms| arms.len() == 4)
    });
    let arms = learner.arms();
    let said: Vec<Value> = arms["arms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| json!([a["model"], a["cost_usd"], a["removed"]]))
        .collect();
    let expected =
        json!([["huge", 0.1, false], ["large", 0.01, true], ["small", 0.5, false], ["new", null, false]]);
    assert_eq!(json!(said), expected);
    assert!((learner.score("new") - 0.5).abs() < 1e-6, "the mean of 0.2, 0.9 and 0.4");
    assert_ne!(learner.model(), "large");
}

#[test]
fn the_arms_file_is_followed_and_a_later_word_of_the_operator_stands() {
    let write = |learner: &Learner, text: &str| {
        let path = learner.dir.path().join("arms.toml");
        std::fs::write(path.with_extension("new"), text).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
    };
    let mut learner = Learner::start(|_, learning, dir| {
        let file = dir.join("arms.toml");
        std::fs::write(&file, "[arms.large]\nremoved = true\n[arms.'org/new']\nquality = 0.3\n").unwrap();
        learning.arms_file = Some(file);
    });
    // In force before the first request.
    assert_eq!(learner.model(), "small");
    assert!((learner.score("org/new") - 0.3).abs() < 1e-6);
    write(&learner, "[arms.large]\nremoved = false\ncost_usd = 0.02\n[arms.'org/new']\nquality = 0.3\n");
    until("the file is followed", || learner.model() == "large");
    assert_eq!(learner.candidate("large")["cost_usd"], 0.02);
    write(&learner, "[arms.large]\ncost = 1\n");
    until("it is refused", || learner.running.log().contains("arms_file_refused"));
    assert!(learner.running.log().contains("unknown field `cost`"), "{}", learner.running.log());
    assert_eq!(learner.model(), "large", "what was served stays");
    write(&learner, "[arms.large]\nremoved = true\n");
    until("the file is followed again", || learner.model() == "small");
    changed(&learner, json!({ "large": { "removed": false } }));
    learner.restart();
    assert_eq!(learner.model(), "large", "the file says nothing new");
}
