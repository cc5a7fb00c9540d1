//! A policy that learns, on disk, and a server of it that can be started again on the same log.

use crate::client::{Reply, get, post, send, until};
use crate::server::Running;
use routewright_data::features::Column;
use routewright_policy::artifact::{self, DataRecord, RouterDraft};
use routewright_policy::forms::{BayesianRidge, CostModel, RidgeShape};
use routewright_policy::online::Forgetting;
use routewright_policy::{Arm, Price, SelectorSpec};
use routewright_policy_server::StoreConfig;
use routewright_policy_server::{LearningConfig, PolicyEntry, ServerConfig};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Name, price and expected reward of the arms of the default artifact.
pub(crate) const ARMS: [(&str, f64, f32); 2] = [("small", 0.001, 0.5), ("large", 0.01, 0.6)];

/// Writes a linear bandit over a vector of width 2 that has learned nothing yet; greedy.
pub(crate) fn write(path: &Path, arms: &[(&str, f64, f32)]) {
    let forgetting = Forgetting::default();
    let shape = RidgeShape { dim: 2, intercept: true, precision: 1.0, noise: 0.5, forgetting, shared: None };
    let prior = arms.iter().flat_map(|(_, _, score)| [0.0, 0.0, *score]).collect();
    let cost = CostModel::constant(arms.iter().map(|(_, usd, _)| *usd as f32).collect());
    let arm = |(model, usd, _): &(&str, f64, f32)| Arm {
        model: (*model).to_owned(),
        price: Price { mean_cost_usd: Some(*usd), ..Price::default() },
        ..Arm::default()
    };
    let draft = RouterDraft {
        name: "bandit".to_owned(),
        method: "linucb".to_owned(),
        seed: 0,
        arms: arms.iter().map(arm).collect(),
        featurizer: Arc::new(Column::new("embedding", 2)),
        predictor: Box::new(BayesianRidge::new(shape, prior, cost).unwrap()),
        selector: SelectorSpec::named("argmax"),
        query_text: routewright_data::QueryText::default(),
        params: json!({}),
        data: DataRecord::default(),
        metrics: BTreeMap::new(),
    };
    artifact::save(&draft, path).unwrap();
}

/// A server of one policy `main` that learns.
pub(crate) struct Learner {
    pub(crate) running: Running,
    pub(crate) dir: tempfile::TempDir,
    config: ServerConfig,
}

impl Learner {
    pub(crate) fn start(change: impl FnOnce(&mut ServerConfig, &mut LearningConfig, &Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("main"), &ARMS);
        let mut config = ServerConfig { reload_poll_ms: 0, ..ServerConfig::default() };
        config.store = Some(StoreConfig::at(dir.path().join("log.db")));
        let mut learning = LearningConfig::default();
        change(&mut config, &mut learning, dir.path());
        config.policies = vec![PolicyEntry {
            name: Some("main".to_owned()),
            learning: Some(learning),
            ..PolicyEntry::at(dir.path().join("main"))
        }];
        Self { running: Running::start(config.clone(), Vec::new()), dir, config }
    }

    /// Stops the server and starts another one on what it left.
    pub(crate) fn restart(&mut self) {
        self.running.join().unwrap();
        self.running = Running::start(self.config.clone(), Vec::new());
    }

    pub(crate) fn ask(&self, more: Value) -> Reply {
        let mut body = json!({ "vector": [1, 0] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post(self.running.address, "/v1/route", &body)
    }

    /// As the bearer of a key.
    pub(crate) fn ask_as(&self, key: &str, more: Value) -> Reply {
        let mut body = json!({ "vector": [1, 0] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        send(self.running.address, "POST", "/v1/route", &[("x-api-key", key)], &body.to_string())
    }

    /// What the admin listener says of what was learned.
    pub(crate) fn learning(&self) -> Value {
        get(self.running.admin, "/admin/v1/learning").json()["data"][0].take()
    }

    pub(crate) fn decide(&self) -> Value {
        let reply = self.ask(json!({}));
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.json()
    }

    /// The model that would be called now.
    pub(crate) fn model(&self) -> String {
        let reply = self.ask(json!({ "dry_run": true })).json();
        reply["action"]["model"].as_str().unwrap().to_owned()
    }

    /// What is expected of a model now.
    pub(crate) fn candidate(&self, model: &str) -> Value {
        let reply = self.ask(json!({ "dry_run": true })).json();
        let candidates = reply["candidates"].as_array().unwrap();
        candidates.iter().find(|candidate| candidate["model"] == model).cloned().unwrap_or_default()
    }

    pub(crate) fn score(&self, model: &str) -> f64 {
        self.candidate(model)["score"].as_f64().unwrap()
    }

    pub(crate) fn report(&self, more: Value) -> Reply {
        let mut body = json!({ "metric": "score" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post(self.running.address, "/v1/feedback", &body)
    }

    /// Rewards learned from.
    pub(crate) fn lessons(&self) -> u64 {
        let reply = self.ask(json!({ "dry_run": true })).json();
        let version = reply["policy"]["version"].as_str().unwrap().to_owned();
        let learned = version.split_once('+').map_or("0", |(_, rest)| rest);
        learned.split('.').next().unwrap().parse().unwrap()
    }

    pub(crate) fn wait_lessons(&self, n: u64) {
        until(&format!("{n} rewards are learned"), || self.lessons() == n);
    }

    pub(crate) fn change(&self, arms: Value) -> Reply {
        post(self.running.admin, "/admin/v1/arms/change", &json!({ "policy": "main", "arms": arms }))
    }

    pub(crate) fn arms(&self) -> Value {
        get(self.running.admin, "/admin/v1/arms").json()["data"]
            .get_mut(0)
            .map(Value::take)
            .unwrap_or_default()
    }

    /// A figure of `/metrics`.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = get(self.running.address, "/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{series} ")).map(str::to_owned));
        line.map(|value| value.parse().unwrap())
    }
}
