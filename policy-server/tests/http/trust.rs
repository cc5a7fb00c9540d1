//! A poisoned source does not flip a decision, an honest one does.

use crate::learner::Learner;
use routewright_policy::trust::TrustSettings;
use serde_json::{Value, json};

/// Reports `n` decisions at once, each as `value`. All name the better model: with the choice left open, how many
/// reports reach it would depend on how soon the first of them are learned.
fn reports(learner: &Learner, source: &str, value: f64, n: usize) {
    for _ in 0..n {
        let id = learner.ask(json!({ "candidates": ["large"] })).json()["id"].clone();
        let reply = learner.report(json!({ "decision_id": id, "source": source, "value": value }));
        assert_eq!(reply.status, 202, "{}", reply.body);
    }
}

fn of(learner: &Learner, reporter: &str) -> Value {
    let reporters = learner.learning()["reporters"].take();
    let found = reporters.as_array().unwrap().iter().find(|told| told["reporter"] == reporter);
    found.cloned().unwrap_or_else(|| panic!("no {reporter} in {reporters}"))
}

#[test]
fn a_source_moves_an_arm_by_at_most_its_cap_and_a_trusted_one_by_what_it_says() {
    let mut learner = Learner::start(|config, learning, _| {
        let metric = config.store.as_mut().unwrap().metrics.get_mut("score").unwrap();
        metric.sources = [("user", 1.0), ("judge", 1.0)].map(|(name, trust)| (name.to_owned(), trust)).into();
        learning.trust = Some(TrustSettings {
            cap: Some(3.0),
            window: 100_000,
            trusted: vec!["judge".to_owned()],
            ..TrustSettings::default()
        });
    });
    reports(&learner, "judge", 1.0, 10);
    learner.wait_lessons(10);
    // The source that anybody may name says that the best arm is worthless, again and again.
    reports(&learner, "user", 0.0, 30);
    learner.wait_lessons(40);
    assert_eq!(learner.model(), "large", "a poisoned source flipped the decision");
    // x = (1, 0, 1), precision 1, prior 0.6: ten of 1 and three of 0 at s = 2.
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-3, "{found} {expected}");
    close(learner.score("large"), (0.6 + 2.0 * 10.0) / (1.0 + 2.0 * 13.0));
    let user = of(&learner, "user");
    assert_eq!((&user["reports"], &user["withheld"]), (&json!(30), &json!(27.0)));
    let withheld = "routewright_reporter_withheld{policy=\"main\",reporter=\"user\"}";
    assert_eq!(learner.metric(withheld), Some(27.0));
    learner.restart();
    assert_eq!(of(&learner, "user"), user, "a restart does not open the window anew");
    reports(&learner, "judge", 0.0, 30);
    learner.wait_lessons(70);
    assert_eq!(learner.model(), "small", "an honest source flips the decision");
    assert_eq!(of(&learner, "judge")["withheld"], json!(0.0));
}

#[test]
fn trust_is_learned_from_what_others_say() {
    let learner = Learner::start(|config, learning, _| {
        let metric = config.store.as_mut().unwrap().metrics.get_mut("score").unwrap();
        metric.sources = [("user", 1.0), ("bot", 1.0)].map(|(name, trust)| (name.to_owned(), trust)).into();
        learning.trust = Some(TrustSettings { learned: true, ..TrustSettings::default() });
    });
    // Queries of one kind go well and those of the other do not; one report in four says the opposite.
    for at in 0..80 {
        let (vector, worth) = if at % 2 == 0 { ([1, 0], 1.0) } else { ([0, 1], 0.0) };
        let id = learner.ask(json!({ "vector": vector, "candidates": ["large"] })).json()["id"].clone();
        let lies = at % 8 < 2;
        let (source, value) = if lies { ("bot", 1.0 - worth) } else { ("user", worth) };
        let reply = learner.report(json!({ "decision_id": id, "source": source, "value": value }));
        assert_eq!(reply.status, 202, "{}", reply.body);
    }
    learner.wait_lessons(80);
    assert!(of(&learner, "user")["trust"].as_f64().unwrap() > 0.9);
    assert_eq!(of(&learner, "bot")["trust"], 0.0);
    let score = |vector: [i32; 2]| {
        let reply = learner.ask(json!({ "vector": vector, "dry_run": true })).json();
        let all = reply["candidates"].as_array().unwrap();
        all.iter().find(|candidate| candidate["model"] == "large").unwrap()["score"].as_f64().unwrap()
    };
    assert!(score([1, 0]) > 0.85 && score([0, 1]) < 0.15, "{} {}", score([1, 0]), score([0, 1]));
}
