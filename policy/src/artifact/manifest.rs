//! `manifest.json`: everything about a policy that is not a weight.

use super::{Promise, TrainingRows};
use crate::{Arm, SelectorSpec};
use routewright_data::QueryText;
use routewright_data::features::FeaturizerSpec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The manifest of an artifact.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`super::KIND`].
    pub kind: String,
    /// Layout of the artifact, at most [`super::FORMAT`].
    pub format: u32,
    /// Name the policy is served under.
    pub name: String,
    /// Registered method that made it.
    pub method: String,
    /// Version of routewright that made it.
    pub crate_version: String,
    /// Seed it was trained with.
    pub seed: u64,
    /// The learned shape of a policy of one step; of format 2, empty here and in [`Self::parts`].
    #[serde(default, skip_serializing_if = "FormRecord::is_absent")]
    pub form: FormRecord,
    /// Arms, in the order of every prediction.
    pub arms: Vec<Arm>,
    /// How features are made; as [`Self::form`].
    #[serde(default, skip_serializing_if = "FeaturizerRecord::is_absent")]
    pub featurizer: FeaturizerRecord,
    /// How an arm is chosen from a prediction; as [`Self::form`].
    #[serde(default, skip_serializing_if = "SelectorSpec::is_absent")]
    pub selector: SelectorSpec,
    /// What it does, step by step; `None` in format 1, which is `one-call`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramRecord>,
    /// Routers of the program, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, PartRecord>,
    /// File of each prompt, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prompts: BTreeMap<String, String>,
    /// What of a request is its text; absent in older artifacts, see [`Policy::query_text`](crate::Policy::query_text).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_text: Option<QueryText>,
    /// What the selector was calibrated to save; absent where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promise: Option<Promise>,
    /// Parameters of the method, as resolved.
    pub params: serde_json::Value,
    /// What it was trained on.
    pub data: DataRecord,
    /// Headline figures on the validation slice, by name.
    pub metrics: BTreeMap<String, f64>,
    /// Every other file of the artifact, by name.
    pub files: BTreeMap<String, FileRecord>,
    /// Keys this build does not know; kept as they are.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

/// Program and its configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProgramRecord {
    /// Name in [`crate::programs::ALL`].
    pub name: String,
    /// Layout of its configuration.
    pub version: u32,
    /// Sizes, thresholds, orders.
    pub config: serde_json::Value,
}

/// A router of a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartRecord {
    /// How features are made.
    pub featurizer: FeaturizerRecord,
    /// The learned shape.
    pub form: FormRecord,
    /// How an arm is chosen from a prediction.
    pub selector: SelectorSpec,
}

/// Form and its configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FormRecord {
    /// Name in [`crate::forms::ALL`].
    pub name: String,
    /// Layout of its state.
    pub version: u32,
    /// Sizes and switches.
    pub config: serde_json::Value,
}

impl FormRecord {
    fn is_absent(&self) -> bool {
        self.name.is_empty()
    }
}

impl FeaturizerRecord {
    fn is_absent(&self) -> bool {
        self.digest.is_empty()
    }
}

/// Featurizer and its digest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FeaturizerRecord {
    /// Name, width, settings.
    #[serde(flatten)]
    pub spec: FeaturizerSpec,
    /// blake3 over spec and weights, 64 hex digits: two featurizers of one digest make the same features.
    pub digest: String,
}

/// The log a policy was trained on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DataRecord {
    /// Digest of the rows the method saw.
    pub digest: String,
    /// Split they came from.
    pub split: String,
    /// Number of queries.
    pub n_queries: usize,
    /// Number of cells with a score.
    pub n_cells: usize,
    /// Time of the last row, ms since 1970-01-01 UTC; absent where the rows have no times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ms: Option<i64>,
    /// How it was learned from logged decisions; absent where it was learned from an outcome log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decisions: Option<DecisionsRecord>,
    /// Keys of the rows, kept in a file of their own; `None` for artifacts of earlier builds.
    #[serde(skip)]
    pub rows: Option<Arc<TrainingRows>>,
}

/// How a policy was learned from logged decisions: what it takes to fit its method again on some of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DecisionsRecord {
    /// What stood in the cells of arms that were not chosen.
    pub targets: String,
    /// Kind of feedback that was the score.
    pub metric: String,
    /// How several outcomes of one decision were combined.
    pub combine: String,
    /// Score of decisions without feedback; they were left out where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_reward: Option<f64>,
    /// Parameters of the method as given, before anything was chosen on the rows.
    pub params: serde_json::Value,
    /// Average that hyper-parameters were chosen by.
    pub average: String,
}

/// Length and digest of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Length in bytes.
    pub bytes: u64,
    /// blake3, 64 hex digits.
    pub blake3: String,
}
