//! Section `[policies.NAME.learning]` of `server.toml`: what a policy learns while it serves.

use crate::settings::ConfigError;
use crate::settings::{Durability, StoreConfig};
use routewright_data::suggest::near_names;
use routewright_policy::SelectorSpec;
use routewright_policy::drift::DriftSettings;
use routewright_policy::trust::TrustSettings;
use serde::Deserialize;
use std::collections::BTreeMap;
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
    /// Which of several reports on one decision are learned from.
    #[serde(default)]
    pub observations: Observations,
    /// What chooses, and explores, in place of the artifact's selector.
    #[serde(default)]
    pub selector: Option<SelectorSpec>,
    /// Mean price of a call that spend is paced to, US dollars.
    #[serde(default)]
    pub target_usd: Option<f64>,
    /// US dollars that may be spent in a day (UTC), evenly over its hours.
    #[serde(default)]
    pub day_usd: Option<f64>,
    /// Budgets of keys, by their names.
    #[serde(default)]
    pub keys: BTreeMap<String, Budget>,
    /// Who is believed how far; none believes everybody as declared.
    #[serde(default)]
    pub trust: Option<TrustSettings>,
    /// What is watched for changes; none watches nothing.
    #[serde(default)]
    pub drift: Option<DriftSettings>,
    /// File that declares arms to be added, removed or repriced; followed while the server runs.
    #[serde(default)]
    pub arms_file: Option<PathBuf>,
}

/// Which of several reports of the metric on one decision by one reporter are learned from. A reporter is a key, with
/// the source where the metric declares sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observations {
    /// The first that arrives: no caller can turn a policy by reporting on one decision again and again.
    #[default]
    First,
    /// All of them.
    All,
}

/// What may be spent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Mean price of a call to aim at, US dollars.
    pub target_usd: Option<f64>,
    /// US dollars of a day (UTC).
    pub day_usd: Option<f64>,
}

fn score() -> String {
    "score".to_owned()
}

impl Default for LearningConfig {
    fn default() -> Self {
        Self {
            metric: score(),
            lambda: 0.0,
            observations: Observations::default(),
            selector: None,
            target_usd: None,
            day_usd: None,
            keys: BTreeMap::new(),
            trust: None,
            drift: None,
            arms_file: None,
        }
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
        let whole = ("".to_owned(), Budget { target_usd: self.target_usd, day_usd: self.day_usd });
        let keys = self.keys.iter().map(|(name, budget)| (format!(".keys.{name}"), *budget));
        for (at, budget) in std::iter::once(whole).chain(keys) {
            for (field, usd) in [("target_usd", budget.target_usd), ("day_usd", budget.day_usd)] {
                if let Some(usd) = usd.filter(|usd| !(usd.is_finite() && *usd > 0.0)) {
                    return refuse(&format!("{at}.{field}"), usd.to_string(), "a number above 0".to_owned());
                }
            }
        }
        let wrong = self.watched().find(|(_, value, least, most)| !(least..=most).contains(&value));
        match wrong {
            Some((field, value, least, most)) => {
                refuse(field, value.to_string(), format!("a number in [{least}, {most}]"))
            }
            None => Ok(()),
        }
    }

    /// Numbers of the sections `trust` and `drift`, with their bounds.
    fn watched(&self) -> impl Iterator<Item = (&'static str, f64, f64, f64)> {
        let trust = self.trust.iter().flat_map(|trust| {
            let cap = trust.cap.map(|cap| (".trust.cap", cap, 0.0, 1e9));
            cap.into_iter().chain([(".trust.window", trust.window as f64, 1.0, 1e9)])
        });
        let drift = self.drift.iter().flat_map(|drift| {
            [
                (".drift.block", drift.block as f64, 2.0, 1e9),
                (".drift.z", drift.z, 1.0, 100.0),
                (".drift.epsilon", drift.epsilon, 0.0, 1.0),
                (".drift.hold", drift.hold as f64, 1.0, 1e9),
            ]
        });
        trust.chain(drift)
    }
}
