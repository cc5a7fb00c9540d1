//! Models that can take part. One file or folder a kind, one row in [`ALL`].

#[cfg(feature = "candle")]
pub mod candle;
pub mod http;
pub mod llama2c;
mod member_file;
mod reading;
mod row;
pub mod scripted;
mod templated;
pub mod writing;

pub use member_file::MemberFile;
pub use row::{BackendRow, Open};
pub(crate) use row::{path, settings};

use crate::backend::{Backend, BackendError};
use routewright_data::suggest::near_names;
use std::path::Path;
use std::sync::Arc;
use templated::Templated;

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
