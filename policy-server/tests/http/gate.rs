//! A server that calls scripted models, and what its log says of the calls.

use crate::client::{Reply, post};
use crate::policies;
use crate::server::Running;
use routewright_policy::SelectorSpec;
use routewright_policy_server::ledger::{SqliteStore, Store};
use routewright_policy_server::{ModelConfig, ServerConfig, StoreConfig};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub(crate) const CHAT: &str = "/v1/chat/completions";

/// A server whose policy prefers `large` to `other` to `small`, with a log; each model is at its own upstream.
pub(crate) struct Gate {
    pub(crate) server: Running,
    dir: tempfile::TempDir,
}

impl Gate {
    pub(crate) fn start(models: &[(&str, &str)], change: impl FnOnce(&mut ServerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        policies::write_text(&dir.path().join("main"), SelectorSpec::named("argmax"));
        let mut config = ServerConfig::for_policies([dir.path().join("main")]);
        config.store = Some(StoreConfig { keep_prompt: true, ..StoreConfig::at(dir.path().join("log.db")) });
        for (name, base_url) in models {
            config.models.insert((*name).to_owned(), model(base_url));
        }
        change(&mut config);
        Self { server: Running::start(config, Vec::new()), dir }
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("log.db")
    }

    /// Stops the server; then its log is whole.
    pub(crate) fn stop(self) -> (PathBuf, tempfile::TempDir) {
        let log = self.log();
        let Self { server, dir } = self;
        drop(server);
        (log, dir)
    }
}

pub(crate) fn model(base_url: &str) -> ModelConfig {
    ModelConfig {
        input_usd_per_mtok: Some(1.0),
        cached_input_usd_per_mtok: Some(0.1),
        output_usd_per_mtok: Some(4.0),
        ..ModelConfig::at(base_url)
    }
}

pub(crate) fn body(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "why is the sky blue?" }] })
}

pub(crate) fn streaming(model: &str) -> Value {
    let mut body = body(model);
    body["stream"] = json!(true);
    body
}

pub(crate) fn ask(gate: &Gate, body: &Value) -> Reply {
    post(gate.server.address, CHAT, body)
}

/// Decisions of a log with their feedback, in order: model, whether active, price, outcome of the call.
pub(crate) fn logged(log: &Path) -> Vec<(String, bool, Option<f64>, Option<String>)> {
    let mut store = SqliteStore::open(log).unwrap();
    let Some(day) = store.days().unwrap().first().copied() else { return Vec::new() };
    let rows = store.of_day(day, 0, 100).unwrap();
    rows.into_iter()
        .map(|(_, found)| {
            let found = found.unwrap();
            let call = found.feedback.iter().find_map(|record| record.call.clone());
            (
                found.decision.model.clone(),
                found.feedback.iter().any(|record| record.activates),
                found.feedback.iter().find_map(|record| record.cost_usd),
                call.map(|call| call.outcome),
            )
        })
        .collect()
}
