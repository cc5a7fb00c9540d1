//! Sections `[store]` and `[metrics.NAME]` of `server.toml`.

use crate::settings::{ConfigError, NAME_RULE, Secret, is_name};
use routewright_data::decisions::Combine;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// When a decision is replied. Feedback is always durable before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Once it is on disk; where it cannot be written the request fails.
    #[default]
    BeforeAck,
    /// Once it is queued; what cannot be written is counted.
    Async,
    /// Decisions are not logged, so feedback finds none.
    Off,
}

/// Section `[store]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// The file, where the log is kept in one.
    #[serde(default)]
    pub path: PathBuf,
    /// The name of the environment variable with the address of a database, as `env::NAME`.
    #[serde(default)]
    pub postgres: Option<String>,
    /// The address itself.
    #[serde(skip)]
    pub postgres_url: Option<Secret>,
    /// When a decision is replied.
    #[serde(default)]
    pub durability: Durability,
    /// Most entries waiting for the writer.
    #[serde(default = "queue_max")]
    pub queue_max: usize,
    /// Entries of one transaction, about: requests are not split.
    #[serde(default = "group_max")]
    pub group_max: usize,
    /// Whether the text of the query is kept.
    #[serde(default)]
    pub keep_prompt: bool,
    /// Whether the features the policy saw are kept.
    #[serde(default)]
    pub keep_features: bool,
    /// Whole days (UTC) that are kept; 0 keeps all.
    #[serde(default)]
    pub retention_days: u32,
    /// Time after a decision from which on feedback is late, milliseconds.
    #[serde(default = "reward_window_ms")]
    pub reward_window_ms: u64,
    /// Sections `[metrics.NAME]`.
    #[serde(skip)]
    pub metrics: BTreeMap<String, MetricConfig>,
}

fn queue_max() -> usize {
    65_536
}

fn group_max() -> usize {
    4096
}

fn reward_window_ms() -> u64 {
    24 * 3600 * 1000
}

/// Which values are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Greater ones.
    #[default]
    Higher,
    /// Lesser ones.
    Lower,
}

/// Section `[metrics.NAME]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricConfig {
    /// Least and greatest value.
    pub range: [f64; 2],
    /// Which values are better.
    pub direction: Direction,
    /// Value of a decision without feedback once the reward window is over; `None` leaves it unknown.
    pub default: Option<f64>,
    /// How several outcomes of one decision make one value.
    pub combine: Combine,
    /// Who may report, and how far each is trusted, `[0, 1]`; empty admits everybody with trust 1.
    pub sources: BTreeMap<String, f32>,
}

impl Default for MetricConfig {
    fn default() -> Self {
        Self {
            range: [0.0, 1.0],
            direction: Direction::default(),
            default: None,
            combine: Combine::default(),
            sources: BTreeMap::new(),
        }
    }
}

impl MetricConfig {
    /// A value as a reward: on `[0, 1]`, greater for better.
    pub(crate) fn reward(&self, value: f64) -> f64 {
        let [lo, hi] = self.range;
        let score = (value - lo) / (hi - lo);
        if self.direction == Direction::Lower { 1.0 - score } else { score }
    }

    /// What a loss and a win are worth on its scale.
    pub(crate) fn scale(&self) -> [f64; 2] {
        let [lo, hi] = self.range;
        if self.direction == Direction::Lower { [hi, lo] } else { [lo, hi] }
    }
}

impl StoreConfig {
    /// A store at `path` with every setting at its default and the metric `score`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let metrics = BTreeMap::from([("score".to_owned(), MetricConfig::default())]);
        Self {
            path: path.into(),
            postgres: None,
            postgres_url: None,
            durability: Durability::default(),
            queue_max: queue_max(),
            group_max: group_max(),
            keep_prompt: false,
            keep_features: false,
            retention_days: 0,
            reward_window_ms: reward_window_ms(),
            metrics,
        }
    }

    /// Takes in the metric sections; without any there is one metric, `score` in [0, 1].
    pub(crate) fn with_metrics(mut self, metrics: BTreeMap<String, MetricConfig>) -> Self {
        self.metrics = if metrics.is_empty() { Self::at("").metrics } else { metrics };
        self
    }

    /// The reward window as feedback is judged by it.
    pub(crate) fn window_ms(&self) -> i64 {
        i64::try_from(self.reward_window_ms).unwrap_or(i64::MAX)
    }

    /// Refuses what no type can.
    ///
    /// # Errors
    /// If a value is not accepted; the key is named.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key: String, value: String, expected: &str| {
            Err(ConfigError::Value { key, value, expected: expected.to_owned() })
        };
        if self.path.as_os_str().is_empty() == self.postgres_url.is_none() {
            let path = self.path.display().to_string();
            return refuse("store.path".to_owned(), path, "a file, or else `store.postgres`, and not both");
        }
        for (key, value) in [("queue_max", self.queue_max), ("group_max", self.group_max)] {
            if value == 0 {
                return refuse(format!("store.{key}"), "0".to_owned(), "a number of at least 1");
            }
        }
        for (name, metric) in &self.metrics {
            let key = |field: &str| format!("metrics.{name}.{field}");
            if !is_name(name) {
                return refuse("metrics".to_owned(), name.clone(), NAME_RULE);
            }
            let [lo, hi] = metric.range;
            if !(lo.is_finite() && hi.is_finite() && lo < hi) {
                return refuse(key("range"), format!("[{lo}, {hi}]"), "two finite numbers, the lesser first");
            }
            if let Some(value) = metric.default.filter(|value| !(lo..=hi).contains(value)) {
                return refuse(key("default"), value.to_string(), "a number within the range");
            }
            let trusted = |weight: &f32| (0.0..=1.0).contains(weight);
            if let Some((source, weight)) = metric.sources.iter().find(|(_, weight)| !trusted(weight)) {
                return refuse(key(&format!("sources.{source}")), weight.to_string(), "a number in [0, 1]");
            }
        }
        Ok(())
    }
}
