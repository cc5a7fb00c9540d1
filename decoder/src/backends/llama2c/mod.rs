//! Tiny Llama models in the file format of llama2.c, in process: a checkpoint and a tokenizer.
//!
//! What stories260K and models of a few million parameters need, and what experiments train: everything is shown
//! (all probabilities, hidden states, embeddings), rolling back and forking cost nothing to speak of. For larger
//! models there is the cargo feature `candle`.

mod forward;
mod weights;

pub use weights::{Block, Shape, Weights};

use crate::backend::{
    Backend, BackendError, Capabilities, Draft, Embeddings, NextTokens, Session, Stop, Usage, Written,
};
use crate::backends::{BackendRow, path, settings, writing};
use crate::distribution::Distribution;
use crate::vocabulary::Tokenizer;
use forward::Cache;
use rand::Rng;
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
        let mut ids: Vec<u32> = self.tokenizer.begin().into_iter().collect();
        ids.extend(self.tokenizer.encode(prompt));
        let mut session = Reading {
            model: self.clone(),
            stop: stop.clone(),
            ids: Vec::new(),
            cache: Cache::new(&self.weights.shape),
            states: Vec::new(),
            told: None,
            usage: Usage::default(),
        };
        session.feed(&ids)?;
        Ok(Box::new(session))
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

/// One text it reads.
#[derive(Debug, Clone)]
struct Reading {
    model: Llama2c,
    stop: Stop,
    ids: Vec<u32>,
    cache: Cache,
    /// Normed states, `(ids.len(), dim)`: what rolling back needs to tell again.
    states: Vec<f32>,
    told: Option<Distribution>,
    usage: Usage,
}

impl Reading {
    fn dim(&self) -> usize {
        self.model.weights.shape.dim
    }

    fn check(&self, ids: &[u32]) -> Result<(), BackendError> {
        if self.stop.is_cancelled() {
            return Err(BackendError::Cancelled);
        }
        let shape = &self.model.weights.shape;
        let tokens = self.ids.len() + ids.len();
        if tokens > shape.context {
            let model = self.model.name.to_string();
            return Err(BackendError::Context { model, tokens, context: shape.context });
        }
        match ids.iter().find(|id| **id as usize >= shape.vocabulary) {
            None => Ok(()),
            Some(id) => Err(BackendError::Failed {
                model: self.model.name.to_string(),
                reason: format!("it has no token {id}; its ids end at {}", shape.vocabulary - 1),
            }),
        }
    }

    /// Distributions of states `(n, dim)`.
    fn tell(&self, states: &[f32]) -> Result<Vec<Distribution>, BackendError> {
        let logits = forward::logits(&self.model.weights, states);
        let rows = logits.chunks_exact(self.model.weights.shape.vocabulary);
        let failed = |source| BackendError::Distribution { model: self.model.name.to_string(), source };
        rows.map(|row| Distribution::from_logits(row.to_vec()).map_err(failed)).collect()
    }
}

impl Session for Reading {
    fn tokenizer(&self) -> &Tokenizer {
        &self.model.tokenizer
    }

    fn ids(&self) -> &[u32] {
        &self.ids
    }

    fn feed(&mut self, ids: &[u32]) -> Result<(), BackendError> {
        self.check(ids)?;
        if ids.is_empty() {
            return Ok(());
        }
        self.states.extend(forward::read(&self.model.weights, &mut self.cache, ids));
        self.ids.extend_from_slice(ids);
        self.told = None;
        self.usage.calls += 1;
        self.usage.read += ids.len() as u64;
        Ok(())
    }

    fn next(&mut self) -> Result<Distribution, BackendError> {
        if let Some(told) = &self.told {
            return Ok(told.clone());
        }
        let from = self.states.len().saturating_sub(self.dim());
        let told = self.tell(&self.states[from..])?.pop();
        let told = told.ok_or_else(|| BackendError::Failed {
            model: self.model.name.to_string(),
            reason: "it has read nothing, and its tokenizer has no beginning-of-text token".to_owned(),
        })?;
        self.usage.told += 1;
        self.told = Some(told.clone());
        Ok(told)
    }

    fn rollback(&mut self, len: usize) -> Result<(), BackendError> {
        if len < self.ids.len() {
            self.ids.truncate(len);
            self.cache.truncate(len);
            self.states.truncate(len * self.dim());
            self.told = None;
        }
        Ok(())
    }

    fn fork(&self) -> Result<Box<dyn Session>, BackendError> {
        Ok(Box::new(Self { usage: Usage::default(), ..self.clone() }))
    }

    fn score(&mut self, ids: &[u32]) -> Result<Vec<f32>, BackendError> {
        let len = self.ids.len();
        let told = self.feed_and_tell(ids)?;
        self.rollback(len)?;
        Ok(ids.iter().zip(&told).map(|(id, told)| told.log_prob(*id).unwrap_or(f32::NEG_INFINITY)).collect())
    }

    fn feed_and_tell(&mut self, ids: &[u32]) -> Result<Vec<Distribution>, BackendError> {
        let from = self.states.len().saturating_sub(self.dim());
        self.feed(ids)?;
        let told = self.tell(&self.states[from..])?;
        self.usage.told += told.len() as u64;
        Ok(told)
    }

    fn write(&mut self, draft: &Draft, rng: &mut dyn Rng) -> Result<Written, BackendError> {
        let stop = self.stop.clone();
        writing::write(self, draft, &stop, rng)
    }

    fn hidden(&mut self) -> Result<Vec<f32>, BackendError> {
        Ok(self.states[self.states.len().saturating_sub(self.dim())..].to_vec())
    }

    fn usage(&self) -> Usage {
        self.usage
    }
}
