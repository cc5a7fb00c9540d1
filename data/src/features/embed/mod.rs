//! Sentence embeddings of a local ONNX model, run by onnxruntime through fastembed.
//!
//! The artifact stores no weights: it names the digest of the model folder, and a policy refuses another
//! model. Where the folder is may differ from machine to machine, see [`Places`].
//!
//! Every text is run by itself, on one thread and without padding, so that it has the same vector alone and
//! in a batch; texts of a batch are shared between sessions. Vectors have unit length.

mod model;
mod sessions;

use super::vector_cache::VectorCache;
use super::{EncoderSettings, FeatureError, FeatureInput, Featurizer, FeaturizerRow, FeaturizerSpec};
use crate::{FeatureMatrix, Tensors};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sessions::Sessions;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const ROW: FeaturizerRow = FeaturizerRow {
    name: "embed",
    title: "sentence embeddings of a local ONNX model, run by onnxruntime",
    restore: |spec, _| Ok(Arc::new(Embed::restore(spec, &Places::from_environment())?)),
    open: Some(|dir, settings| Ok(Arc::new(Embed::open(dir, settings, &Places::from_environment())?))),
};

/// Where things are on this machine.
#[derive(Debug, Clone, Default)]
struct Places {
    /// `ROUTEWRIGHT_EMBED_DIR`: model folders looked at before the one an artifact names, separated as in
    /// `PATH`. The first of the right digest is taken.
    models: Vec<PathBuf>,
    /// `ROUTEWRIGHT_EMBED_CACHE`: folder that keeps vectors between runs; none are kept without.
    cache: Option<PathBuf>,
}

impl Places {
    fn from_environment() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let models = set("ROUTEWRIGHT_EMBED_DIR");
        Self {
            models: models.map(|dirs| std::env::split_paths(&dirs).collect()).unwrap_or_default(),
            cache: set("ROUTEWRIGHT_EMBED_CACHE").map(PathBuf::from),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Folder of the model when the policy was trained.
    dir: PathBuf,
    /// Digest of its files, 64 hex digits.
    model: String,
    encoder: EncoderSettings,
}

/// The featurizer: a model folder and sessions over it.
#[derive(Debug)]
pub struct Embed {
    spec: FeaturizerSpec,
    sessions: Sessions,
    cache: Option<VectorCache>,
}

fn error(reason: String) -> FeatureError {
    FeatureError::Setup { name: ROW.name.to_owned(), reason }
}

impl Embed {
    fn open(dir: &Path, encoder: EncoderSettings, places: &Places) -> Result<Self, FeatureError> {
        let model = model::digest(dir)?;
        let sessions = Sessions::start(dir, &model, encoder)?;
        let dim = sessions.embed("")?.len();
        let settings = Settings { dir: dir.to_path_buf(), model, encoder };
        let settings = serde_json::to_value(settings).map_err(|e| error(e.to_string()))?;
        let spec = FeaturizerSpec { name: ROW.name.to_owned(), dim, settings };
        Ok(Self { cache: cache(&spec, places), spec, sessions })
    }

    fn restore(spec: &FeaturizerSpec, places: &Places) -> Result<Self, FeatureError> {
        let settings: Settings =
            serde_json::from_value(spec.settings.clone()).map_err(|e| error(e.to_string()))?;
        let dir = find(&settings, places)?;
        let sessions = Sessions::start(&dir, &settings.model, settings.encoder)?;
        Ok(Self { cache: cache(spec, places), spec: spec.clone(), sessions })
    }

    fn vector(&self, text: &str) -> Result<Vec<f32>, FeatureError> {
        if let Some(known) = self.cache.as_ref().and_then(|cache| cache.get(text)) {
            return Ok(known);
        }
        let vector = self.sessions.embed(text)?;
        if let Some(cache) = &self.cache {
            cache.insert(text, &vector);
        }
        Ok(vector)
    }
}

/// The folder of the model an artifact names.
fn find(settings: &Settings, places: &Places) -> Result<PathBuf, FeatureError> {
    let mut looked_at = Vec::new();
    for dir in places.models.iter().chain([&settings.dir]) {
        match model::digest(dir) {
            Ok(found) if found == settings.model => return Ok(dir.clone()),
            Ok(found) => looked_at.push(format!("`{}` holds model {found}", dir.display())),
            Err(FeatureError::Setup { reason, .. }) => looked_at.push(reason),
            Err(other) => return Err(other),
        }
    }
    Err(error(format!(
        "the policy was trained with model {}; set ROUTEWRIGHT_EMBED_DIR to its folder. Looked at: {}",
        settings.model,
        looked_at.join("; ")
    )))
}

/// The cache of a model run in one way: its folder is named by both.
fn cache(spec: &FeaturizerSpec, places: &Places) -> Option<VectorCache> {
    let mut settings = spec.settings.clone();
    settings["dir"] = serde_json::Value::Null;
    let name = blake3::hash(settings.to_string().as_bytes()).to_hex();
    places.cache.as_ref().map(|folder| VectorCache::open(&folder.join(&name[..32]), spec.dim))
}

impl Featurizer for Embed {
    fn spec(&self) -> &FeaturizerSpec {
        &self.spec
    }

    fn tensors(&self) -> Tensors {
        Tensors::new()
    }

    fn featurize(&self, inputs: &[FeatureInput<'_>]) -> Result<FeatureMatrix, FeatureError> {
        let dim = self.spec.dim;
        let vectors: Result<Vec<Vec<f32>>, FeatureError> = match inputs {
            // One request must not wake the other threads.
            [input] => self.vector(input.text).map(|vector| vec![vector]),
            _ => inputs.par_iter().map(|input| self.vector(input.text)).collect(),
        };
        let vectors = vectors?;
        if let Some(row) = vectors.iter().position(|v| v.len() != dim || v.iter().any(|x| !x.is_finite())) {
            let reason = format!("the model did not return {dim} finite numbers");
            return Err(FeatureError::Input { row, reason });
        }
        Ok(FeatureMatrix::from_vec(inputs.len(), dim, vectors.concat()))
    }
}

#[cfg(test)]
mod tests;
