//! Models that can take part. One file or folder a kind, one row in [`ALL`].

#[cfg(feature = "candle")]
pub mod candle;
pub mod http;
pub mod llama2c;
mod reading;
pub mod scripted;
mod templated;
pub mod writing;

use crate::backend::{Backend, BackendError};
use crate::ensemble::MemberFile;
use routewright_data::suggest::near_names;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use templated::Templated;

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

/// Every kind of backend of this build.
pub static ALL: &[BackendRow] = &[
    llama2c::ROW,
    #[cfg(feature = "candle")]
    candle::ROW,
    http::ROW,
    scripted::ROW,
];

/// Backends that a build may lack: their names, and the cargo features that bring them.
const BY_FEATURE: [(&str, &str); 1] = [("candle", "candle")];

/// Opens the model of a member.
///
/// # Errors
/// If there is no such kind, a setting is not known, or the model cannot be had.
pub fn open(member: &MemberFile, folder: &Path) -> Result<Arc<dyn Backend>, BackendError> {
    let Some(row) = ALL.iter().find(|row| row.name == member.backend) else {
        let hint = near_names(&member.backend, ALL.iter().map(|row| row.name));
        let lacks = BY_FEATURE.iter().find(|(backend, _)| *backend == member.backend);
        let reason = match lacks {
            Some((backend, feature)) => {
                format!("this build lacks the backend `{backend}`; build with `--features {feature}`")
            }
            None => format!("there is no backend `{}`; {hint}", member.backend),
        };
        return Err(BackendError::Failed { model: member.name.clone(), reason });
    };
    let mut settings = member.settings.clone();
    let template = templated::take(&mut settings);
    let model = (row.open)(&member.name, serde_json::Value::Object(settings.clone()), folder)?;
    match template {
        Some(template) => Ok(Arc::new(Templated::open(model, &template, &settings, folder)?)),
        None => Ok(model),
    }
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
