//! The row a kind of backend is registered by, and what every kind reads of an ensemble file.

use crate::backend::{Backend, BackendError};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opens a model: its name, its settings, the folder that paths are relative to.
pub type Open = fn(&str, serde_json::Value, &Path) -> Result<Arc<dyn Backend>, BackendError>;

/// A registered kind of backend.
#[derive(Debug, Clone, Copy)]
pub struct BackendRow {
    /// Name in ensemble files.
    pub name: &'static str,
    /// What it is, in one line.
    pub title: &'static str,
    /// Opens a model of this kind.
    pub open: Open,
}

/// Settings of a member as their type.
pub(crate) fn settings<T: DeserializeOwned>(
    model: &str,
    value: serde_json::Value,
) -> Result<T, BackendError> {
    serde_json::from_value(value).map_err(|error| BackendError::Failed {
        model: model.to_owned(),
        reason: format!("its settings are not valid: {error}"),
    })
}

/// A path of an ensemble file.
pub(crate) fn path(folder: &Path, path: &str) -> PathBuf {
    folder.join(path)
}
