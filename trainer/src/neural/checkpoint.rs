//! Checkpoints: everything a run needs to go on as if it had never stopped.
//!
//! Random choices of a step are drawn from a stream named after the step, so that weights, moments and the
//! step number are the whole state. A checkpoint names the fit it belongs to and is refused by any other.

use crate::method::{FitContext, FitError};
use routewright_data::{Tensors, files};
use routewright_policy::artifact;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Where the checkpoints of a fit are kept.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    folder: Option<PathBuf>,
    identity: String,
}

const IDENTITY: &str = "checkpoint.identity";

impl Checkpoint {
    /// Checkpoints of a fit of `method` with `params`; none are written unless the context names a folder.
    pub fn new(method: &str, params: &impl Serialize, context: &FitContext<'_>) -> Self {
        let identity = context.checkpoint.map(|_| {
            let params = serde_json::to_string(params).unwrap_or_default();
            let data = context.train.digest();
            let mut features = blake3::Hasher::new();
            for value in context.features.values() {
                features.update(&value.to_le_bytes());
            }
            let (seed, device) = (context.seed, context.device);
            format!("{method} {seed} {device:?} {data} {} {params}", features.finalize().to_hex())
        });
        Self { folder: context.checkpoint.map(Path::to_path_buf), identity: identity.unwrap_or_default() }
    }

    /// Checkpoints in `folder` of a run that `identity` tells from all others; none are written without a folder.
    pub fn of(folder: Option<&Path>, identity: String) -> Self {
        Self { folder: folder.map(Path::to_path_buf), identity }
    }

    /// What was saved of a phase, if anything.
    ///
    /// # Errors
    /// If the file is damaged or belongs to another fit.
    pub(crate) fn load(&self, phase: &str) -> Result<Option<Tensors>, FitError> {
        let Some(path) = self.path(phase).filter(|path| path.is_file()) else {
            return Ok(None);
        };
        let error = |reason: String| failed("read", &path, reason);
        let bytes = files::read_up_to(&path, u64::MAX - 1).map_err(|e| error(e.to_string()))?;
        let mut tensors = artifact::decode_tensors(&bytes).map_err(&error)?;
        let shape = tensors.shape(IDENTITY).map_err(|e| error(e.to_string()))?;
        let identity = tensors.take_u8(IDENTITY, &shape).map_err(|e| error(e.to_string()))?;
        if identity != self.identity.as_bytes() {
            let reason = "it belongs to another log, seed, device or set of parameters; \
                          remove it or choose another folder";
            return Err(error(reason.to_owned()));
        }
        Ok(Some(tensors))
    }

    /// Saves the state of a phase: temporary name, fsync, rename.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn save(&self, phase: &str, mut tensors: Tensors) -> Result<(), FitError> {
        let Some(path) = self.path(phase) else { return Ok(()) };
        let identity = self.identity.as_bytes().to_vec();
        tensors.insert_u8(IDENTITY, &[identity.len()], identity);
        let bytes = artifact::encode_tensors(&tensors).map_err(|e| failed("write", &path, e))?;
        files::write_file(&path, &bytes).map_err(|e| failed("write", &path, e.to_string()))
    }

    /// Whether anything would be written.
    pub(crate) fn is_kept(&self) -> bool {
        self.folder.is_some()
    }

    /// The error of a checkpoint whose content does not fit the run.
    pub(crate) fn misfit(&self, phase: &str, reason: &impl ToString) -> FitError {
        failed("read", &self.path(phase).unwrap_or_default(), reason.to_string())
    }

    fn path(&self, phase: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(format!("{phase}.safetensors")))
    }
}

fn failed(action: &'static str, path: &Path, reason: String) -> FitError {
    FitError::Checkpoint { action, path: path.display().to_string(), reason }
}
