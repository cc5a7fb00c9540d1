//! Silence is learned once its window is over, and the first late report takes its place.

use crate::client::{get, until};
use crate::learner::Learner;
use serde_json::json;

fn learner() -> Learner {
    Learner::start(|config, _, _| {
        let store = config.store.as_mut().unwrap();
        store.reward_window_ms = 50;
        let score = store.metrics.get_mut("score").unwrap();
        score.default = Some(0.0);
        // Declared, so that both are observers of their own.
        score.sources = [("user", 1.0), ("judge", 1.0)].map(|(name, trust)| (name.to_owned(), trust)).into();
    })
}

#[test]
fn a_default_is_learned_and_a_late_report_replaces_it_once() {
    let mut learner = learner();
    let id = learner.decide()["id"].clone();
    learner.wait_lessons(1);
    // x = (1, 0, 1), precision 1: a reward r moves 0.6 by (r - 0.6) s / (1 + s), s = 2.
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    close(learner.score("large"), 0.6 - 0.6 * 2.0 / 3.0);
    let report = |source: &str, value: f64| {
        learner.report(json!({ "decision_id": id, "source": source, "value": value }))
    };
    let late = report("user", 1.0);
    assert_eq!((late.status, &late.json()["late"]), (202, &json!(true)), "{}", late.body);
    until("the report is learned", || learner.score("large") > 0.6);
    let replaced = 0.6 + 0.4 * 2.0 / 3.0;
    close(learner.score("large"), replaced);
    assert_eq!(learner.lessons(), 1, "one reward, no longer the default");
    assert_eq!(report("user", 1.0).status, 200, "a repeat changes nothing");
    // Another reporter's late report is one more observation; the default is gone already.
    assert_eq!(report("judge", 1.0).status, 202);
    learner.wait_lessons(2);
    close(learner.score("large"), 0.6 + 0.4 * 4.0 / 5.0);
    let statistics = get(learner.running.admin, "/admin/v1/statistics").json();
    let score = &statistics["data"][0]["models"][0]["metrics"][0];
    assert_eq!((&score["count"], &score["mean"]), (&json!(2), &json!(1.0)), "{statistics}");
    assert_eq!(learner.metric("routewright_defaults_total"), Some(1.0));
    learner.restart();
    close(learner.score("large"), 0.6 + 0.4 * 4.0 / 5.0);
    assert_eq!(learner.lessons(), 2);
}

#[test]
fn a_deferred_decision_that_nobody_acted_upon_has_no_default_and_a_key_cannot_pose_as_one() {
    let learner = learner();
    let deferred = learner.ask(json!({ "deferred": true })).json()["id"].clone();
    let id = learner.decide()["id"].clone();
    let posed = format!("\u{1}default/score/{}", id.as_str().unwrap());
    let reply = learner.report(json!({ "decision_id": id, "value": 1.0, "idempotency_key": posed }));
    assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_request"));
    assert!(reply.message().contains("control character"), "{}", reply.body);
    // Both windows are over when that of the second one is closed.
    learner.wait_lessons(1);
    assert_eq!(learner.report(json!({ "decision_id": deferred, "value": 1.0 })).status, 202);
    learner.wait_lessons(2);
    assert!(learner.metric("routewright_defaults_total") == Some(1.0));
}
