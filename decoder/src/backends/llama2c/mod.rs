//! Tiny Llama models in the file format of llama2.c, in process: a checkpoint and a tokenizer.
//!
//! What stories260K and models of a few million parameters need, and what experiments train: everything is shown
//! (all probabilities, hidden states, embeddings), rolling back and forking cost nothing to speak of. For larger
//! models there is the backend `candle`.

mod forward;
mod weights;

pub use weights::{Block, Shape, Weights};

use crate::backend::{Backend, BackendError, Capabilities, Embeddings, NextTokens, Session, Stop};
use crate::backends::reading::{Network, Reading};
use crate::backends::{BackendRow, path, settings};
use crate::vocabulary::Tokenizer;
use forward::Cache;
use std::path::Path;
use std::sync::Arc;

/// The row of this backend.
pub const ROW: BackendRow = BackendRow {
    name: "llama2c",
    title: "a tiny Llama model in the file format of llama2.c, in process",
    open: |name, value, folder| {
        let settings: Settings = settings(name, value)?;
        let model =
            Llama2c::open(name, &path(folder, &settings.checkpoint), &path(folder, &settings.tokenizer))?;
        Ok(Arc::new(model))
    },
};

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    checkpoint: String,
    tokenizer: String,
}

/// A loaded model.
#[derive(Debug, Clone)]
pub struct Llama2c {
    name: Arc<str>,
    weights: Arc<Weights>,
    tokenizer: Arc<Tokenizer>,
    /// Rows of the output projection, `(vocabulary, dim)`; made when first asked for.
    output_rows: Arc<std::sync::OnceLock<Vec<f32>>>,
}

impl Llama2c {
    /// A model of these weights.
    ///
    /// # Errors
    /// If the tokenizer has another number of ids.
    pub fn new(name: &str, weights: Weights, tokenizer: Arc<Tokenizer>) -> Result<Self, BackendError> {
        let (model, told) = (weights.shape.vocabulary, tokenizer.vocabulary().len());
        if model != told {
            let reason = format!("its checkpoint has {model} ids, its tokenizer {told}");
            return Err(BackendError::Failed { model: name.to_owned(), reason });
        }
        let weights = Arc::new(weights);
        Ok(Self { name: name.into(), weights, tokenizer, output_rows: Arc::default() })
    }

    /// Reads a checkpoint and its tokenizer.
    ///
    /// # Errors
    /// If a file cannot be read, is damaged, or does not fit the other.
    pub fn open(name: &str, checkpoint: &Path, tokenizer: &Path) -> Result<Self, BackendError> {
        let failed = |reason: String| BackendError::Failed { model: name.to_owned(), reason };
        let read =
            |reason: String| failed(format!("cannot read checkpoint `{}`: {reason}", checkpoint.display()));
        let bytes = std::fs::read(checkpoint).map_err(|error| read(error.to_string()))?;
        let weights = Weights::read(&bytes).map_err(read)?;
        let tokenizer = Tokenizer::open(tokenizer).map_err(|error| failed(error.to_string()))?;
        Self::new(name, weights, Arc::new(tokenizer))
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }
}

impl Backend for Llama2c {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            next: NextTokens::Full,
            scoring: true,
            hidden: true,
            embeddings: true,
            cheap_rollback: true,
        }
    }

    fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        Some(&self.tokenizer)
    }

    fn context(&self) -> usize {
        self.weights.shape.context
    }

    fn open(&self, prompt: &[u8], stop: &Stop) -> Result<Box<dyn Session>, BackendError> {
        Ok(Box::new(Reading::open(self.clone(), prompt, stop)?))
    }

    fn embeddings(&self) -> Option<Embeddings<'_>> {
        let Shape { dim, vocabulary, .. } = self.weights.shape;
        let output = self.output_rows.get_or_init(|| {
            let rows = 0..vocabulary;
            rows.flat_map(|id| (0..dim).map(move |at| self.weights.output[at * vocabulary + id])).collect()
        });
        Some(Embeddings { input: &self.weights.embedding, output, dim })
    }
}

impl Network for Llama2c {
    type Cache = Cache;

    fn name(&self) -> &str {
        &self.name
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn vocabulary(&self) -> usize {
        self.weights.shape.vocabulary
    }

    fn context(&self) -> usize {
        self.weights.shape.context
    }

    fn dim(&self) -> usize {
        self.weights.shape.dim
    }

    fn cache(&self) -> Cache {
        Cache::new(&self.weights.shape)
    }

    fn truncate(&self, cache: &mut Cache, len: usize) {
        cache.truncate(len);
    }

    fn copy(&self, cache: &Cache) -> Result<Cache, String> {
        Ok(cache.clone())
    }

    fn read(&self, cache: &mut Cache, ids: &[u32]) -> Result<Vec<f32>, String> {
        Ok(forward::read(&self.weights, cache, ids))
    }

    fn logits(&self, states: &[f32]) -> Result<Vec<f32>, String> {
        Ok(forward::logits(&self.weights, states))
    }
}
