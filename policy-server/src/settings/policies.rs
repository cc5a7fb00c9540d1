//! Section `[policies.NAME]` of `server.toml`.

use crate::settings::LearningConfig;
use crate::settings::arms::ArmSettings;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where decisions of a policy are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Execution {
    /// Measured when the policy is loaded: inline where a decision is cheap, else on the workers.
    #[default]
    Auto,
    /// In the task of the request.
    Inline,
    /// On the worker threads, with concurrent requests in one batch.
    Worker,
}

/// One policy to serve.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyEntry {
    /// Name it is served under; `None` takes the one of its manifest.
    pub name: Option<String>,
    /// Directory of the artifact.
    pub path: PathBuf,
    /// Arm that answers when the deadline passes; `None` means the cheapest by mean price.
    pub default_arm: Option<String>,
    /// Where its decisions are computed.
    pub execution: Execution,
    /// How it learns while it serves; `None` serves the artifact as it is.
    pub learning: Option<LearningConfig>,
    /// Folder of the registry that says which artifact is served; then `path` is empty.
    pub registry: Option<PathBuf>,
    /// Metric by which a canary is compared with the active version; `None` takes `score`, or the only one.
    pub canary_metric: Option<String>,
    /// Settings of its arms that replace those of the artifact, by model.
    pub arms: BTreeMap<String, ArmSettings>,
}

impl PolicyEntry {
    /// Serves the artifact in `path` under the name in its manifest.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            name: None,
            path: path.into(),
            default_arm: None,
            execution: Execution::Auto,
            learning: None,
            registry: None,
            canary_metric: None,
            arms: BTreeMap::new(),
        }
    }
}
