//! Section `[policies.NAME.learning]` of `server.toml`: what a policy learns while it serves.

use crate::config::ConfigError;
use crate::store::{Durability, StoreConfig};
use routewright_data::suggest::near_names;
use routewright_policy::SelectorSpec;
use serde::Deserialize;
use std::path::PathBuf;

/// How a policy learns from feedback.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningConfig {
    /// The metric that is the reward; on its range and direction it becomes a number in `[0, 1]`.
    #[serde(default = "score")]
    pub metric: String,
    /// Reward given up for one US dollar of what a call is predicted to cost.
    #[serde(default)]
    pub lambda: f64,
    /// What chooses, and explores, in place of the artifact's selector.
    #[serde(default)]
    pub selector: Option<SelectorSpec>,
    /// Mean price of a call that spend is paced to, US dollars.
    #[serde(default)]
    pub target_usd: Option<f64>,
    /// File that declares arms to be added, removed or repriced; followed while the server runs.
    #[serde(default)]
    pub arms_file: Option<PathBuf>,
}

fn score() -> String {
    "score".to_owned()
}

impl Default for LearningConfig {
    fn default() -> Self {
        Self { metric: score(), lambda: 0.0, selector: None, target_usd: None, arms_file: None }
    }
}

impl LearningConfig {
    /// Checks the section of a policy against the store it learns from.
    ///
    /// # Errors
    /// If there is no store that decisions go to, the metric is not declared, or a number is out of range.
    pub(crate) fn check(&self, policy: &str, store: Option<&StoreConfig>) -> Result<(), ConfigError> {
        let refuse = |field: &str, value: String, expected: String| {
            let key = format!("policies.{policy}.learning{field}");
            Err(ConfigError::Value { key, value, expected })
        };
        let Some(store) = store.filter(|store| store.durability != Durability::Off) else {
            let expected = "a section [store] whose durability is not `off`: a policy learns from its log";
            return refuse("", "on".to_owned(), expected.to_owned());
        };
        if !store.metrics.contains_key(&self.metric) {
            let hint = near_names(&self.metric, store.metrics.keys().map(String::as_str));
            return refuse(".metric", self.metric.clone(), format!("a declared metric; {hint}"));
        }
        if !(self.lambda.is_finite() && self.lambda >= 0.0) {
            return refuse(".lambda", self.lambda.to_string(), "a number of at least 0".to_owned());
        }
        match self.target_usd {
            Some(target) if !(target.is_finite() && target > 0.0) => {
                refuse(".target_usd", target.to_string(), "a number above 0".to_owned())
            }
            _ => Ok(()),
        }
    }
}
