//! Budgets of keys and of days: decisions count without feedback, and a restart goes on with the same price.

use crate::client::until;
use crate::learner::Learner;
use routewright_policy_server::{Budget, keys};
use serde_json::json;

#[test]
fn a_key_is_paced_by_its_own_budget_over_a_restart() {
    let [thrifty, rich] = ["thrifty", "rich"].map(|name| keys::generate(name).unwrap());
    let file = thrifty.record.to_toml() + &rich.record.to_toml();
    let mut learner = Learner::start(|config, learning, dir| {
        std::fs::write(dir.join("keys.toml"), file).unwrap();
        config.keys_file = Some(dir.join("keys.toml"));
        config.metrics_open = true;
        learning.day_usd = Some(1000.0);
        let budget = Budget { target_usd: Some(0.0015), day_usd: Some(500.0) };
        learning.keys = [("thrifty".to_owned(), budget)].into();
    });
    let [thrifty, rich] = [thrifty, rich].map(|new| new.key.reveal().to_owned());
    let model = |learner: &Learner, key: &str, dry_run: bool| {
        let reply = learner.ask_as(key, json!({ "dry_run": dry_run }));
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.json()["action"]["model"].as_str().unwrap().to_owned()
    };
    assert_eq!([&thrifty, &rich].map(|key| model(&learner, key, false)), ["large", "large"]);
    until("both are booked", || learner.learning()["decisions"] == 2);
    // One call of 0.01 is 5.67 targets over: price 0.005 * 5.67 / 0.0015 a dollar, and 0.1 of score buys 0.009.
    let price = "routewright_key_spend_lambda{policy=\"main\",key=\"thrifty\"}";
    let lambda = learner.metric(price).unwrap();
    assert!((lambda - 0.005 * (0.0085 / 0.0015) / 0.0015).abs() < 0.05, "{lambda}");
    assert_eq!([&thrifty, &rich].map(|key| model(&learner, key, true)), ["small", "large"]);
    let before = learner.learning();
    assert_eq!(before["keys"][0]["key"], "thrifty");
    assert_eq!(before["keys"][0]["spend"]["day_usd"], 0.01);
    assert_eq!(before["spend"]["day_usd"], 0.02, "both count for the whole");
    learner.restart();
    assert_eq!(learner.metric(price), Some(lambda), "the same price");
    let after = learner.learning();
    assert_eq!((&after["keys"], &after["spend"]), (&before["keys"], &before["spend"]));
    assert_eq!([&thrifty, &rich].map(|key| model(&learner, key, true)), ["small", "large"]);
    // Cheap calls pay the debt off, and then a dear one is made again.
    until("the dear one is called again", || model(&learner, &thrifty, false) == "large");
    let mean = || learner.learning()["keys"][0]["spend"]["mean_usd"].as_f64().unwrap();
    until("it is paced", || mean() < 0.004);
}

#[test]
fn what_cannot_be_a_budget_or_a_cap_is_refused_by_its_key() {
    use routewright_policy::{drift::DriftSettings, trust::TrustSettings};
    use routewright_policy_server::{LearningConfig, PolicyEntry, Server, ServerConfig, StoreConfig};
    let dir = tempfile::tempdir().unwrap();
    crate::learner::write(&dir.path().join("main"), &crate::learner::ARMS);
    let refused = |learning: LearningConfig| {
        let policies =
            vec![PolicyEntry { learning: Some(learning), ..PolicyEntry::at(dir.path().join("main")) }];
        let store = Some(StoreConfig::at(dir.path().join("log.db")));
        let config = ServerConfig { policies, store, ..ServerConfig::default() };
        Server::load(config).unwrap_err().to_string()
    };
    let budget = Budget { target_usd: None, day_usd: Some(-1.0) };
    let key = LearningConfig { keys: [("a".to_owned(), budget)].into(), ..LearningConfig::default() };
    assert!(refused(key).contains("learning.keys.a.day_usd` is `-1`"));
    let nan = LearningConfig { day_usd: Some(f64::NAN), ..LearningConfig::default() };
    assert!(refused(nan).contains("learning.day_usd` is `NaN`"));
    let trust = TrustSettings { cap: Some(-2.0), ..TrustSettings::default() };
    let cap = LearningConfig { trust: Some(trust), ..LearningConfig::default() };
    assert!(refused(cap).contains("learning.trust.cap` is `-2`, expected a number in [0,"));
    let drift = DriftSettings { epsilon: 2.0, ..DriftSettings::default() };
    let wild = LearningConfig { drift: Some(drift), ..LearningConfig::default() };
    assert!(refused(wild).contains("learning.drift.epsilon` is `2`, expected a number in [0, 1]"));
}
