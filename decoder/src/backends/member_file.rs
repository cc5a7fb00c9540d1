//! One model of an ensemble file.

use serde::Deserialize;

/// One model of an ensemble file.
#[derive(Debug, Clone, Deserialize)]
pub struct MemberFile {
    /// Name in traces and errors, and of its weight.
    pub name: String,
    /// Kind of backend, a row of [`crate::backends::ALL`].
    pub backend: String,
    /// Settings of that backend.
    #[serde(flatten)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}
