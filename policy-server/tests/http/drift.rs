//! A change of the queries is seen, told on both listeners, and widens exploration for a while.

use crate::client::until;
use crate::learner::Learner;
use routewright_policy::drift::DriftSettings;
use serde_json::json;

fn learner() -> Learner {
    Learner::start(|_, learning, _| {
        learning.drift =
            Some(DriftSettings { block: 20, epsilon: 0.4, hold: 10_000, ..DriftSettings::default() });
    })
}

/// Asks `n` times, with vectors around the one given.
fn ask(learner: &Learner, [x, y]: [f64; 2], n: usize) {
    for at in 0..n {
        let off = [-0.1, 0.0, 0.1, 0.05][at % 4];
        let reply = learner.ask(json!({ "vector": [x + off, y - off] }));
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
}

fn seen(learner: &Learner, n: usize) {
    until(&format!("{n} decisions are seen"), || learner.learning()["decisions"] == n);
}

#[test]
fn new_queries_are_an_alarm_that_widens_exploration_and_outlives_a_restart() {
    let mut learner = learner();
    ask(&learner, [1.0, 0.0], 100);
    seen(&learner, 100);
    let calm = learner.learning();
    let alarms = |kind: &str| learner_metric(kind);
    assert_eq!((&calm["epsilon"], &calm["last_alarm"]), (&json!(0.0), &json!(null)), "{calm}");
    assert_eq!(learner.metric(&alarms("features")), Some(0.0));
    assert_eq!(learner.decide()["propensity"], 1.0, "greedy");
    ask(&learner, [0.0, 1.0], 40);
    seen(&learner, 141);
    let found = learner.learning();
    let epsilon = found["epsilon"].as_f64().unwrap();
    assert!(epsilon > 0.35 && epsilon <= 0.4, "{found}");
    assert!(learner.metric(&alarms("features")).unwrap() >= 1.0);
    assert_eq!(learner.metric(&alarms("price")), Some(0.0));
    assert_eq!(learner.metric("routewright_drift_epsilon{policy=\"main\"}"), Some(epsilon));
    // Half of the random calls go to each of two arms.
    until("decisions explore", || {
        let propensity = learner.candidate("small")["propensity"].as_f64().unwrap();
        (propensity - epsilon / 2.0).abs() < 0.01
    });
    learner.restart();
    assert_eq!(learner.learning()["drift"], found["drift"]);
    assert!(learner.candidate("small")["propensity"].as_f64().unwrap() > 0.15);
}

fn learner_metric(kind: &str) -> String {
    format!("routewright_drift_alarms{{policy=\"main\",kind=\"{kind}\"}}")
}

#[test]
fn rewards_and_bills_that_change_are_told_apart() {
    let learner = learner();
    let report = |n: usize, value: f64, usd: f64| {
        for _ in 0..n {
            let id = learner.ask(json!({ "candidates": ["large"] })).json()["id"].clone();
            let reply = learner.report(json!({ "decision_id": id, "value": value, "cost_usd": usd }));
            assert_eq!(reply.status, 202, "{}", reply.body);
        }
    };
    let alarms = |kind: &str| learner.metric(&learner_metric(kind));
    report(60, 0.6, 0.01);
    learner.wait_lessons(60);
    assert_eq!(["features", "reward", "price"].map(alarms), [Some(0.0); 3]);
    report(20, 0.6, 0.02);
    learner.wait_lessons(80);
    assert_eq!(["features", "reward", "price"].map(alarms), [Some(0.0), Some(0.0), Some(1.0)]);
    report(20, 0.1, 0.02);
    learner.wait_lessons(100);
    assert_eq!(["features", "reward", "price"].map(alarms), [Some(0.0), Some(1.0), Some(1.0)]);
}
