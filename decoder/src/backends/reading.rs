//! A text that a model in process reads: what its tokens, cache and states do together, whatever computes them.

use crate::backend::{BackendError, Draft, Session, Stop, Usage, Written};
use crate::backends::writing;
use crate::distribution::Distribution;
use crate::vocabulary::Tokenizer;
use rand::Rng;
use std::fmt::Debug;

/// Tokens read before it is asked again whether to go on.
const CHUNK: usize = 256;

/// A model in process: tokens to states, states to logits.
pub(super) trait Network: Clone + Send + Sync + Debug + 'static {
    /// Keys and values of what was read.
    type Cache: Send + Debug;

    /// Name in the ensemble file.
    fn name(&self) -> &str;

    /// How it cuts text.
    fn tokenizer(&self) -> &Tokenizer;

    /// Number of ids, at most that of the tokenizer.
    fn vocabulary(&self) -> usize;

    /// Tokens it can read.
    fn context(&self) -> usize;

    /// Width of a state.
    fn dim(&self) -> usize;

    /// Nothing read.
    fn cache(&self) -> Self::Cache;

    /// Forgets all but the first `len` positions.
    fn truncate(&self, cache: &mut Self::Cache, len: usize);

    /// A cache of its own that holds the same.
    fn copy(&self, cache: &Self::Cache) -> Result<Self::Cache, String>;

    /// Reads `ids` after what is in the cache; the normed last states, `(ids.len(), dim)`. Where it fails the cache
    /// may hold more than before.
    fn read(&self, cache: &mut Self::Cache, ids: &[u32]) -> Result<Vec<f32>, String>;

    /// Logits `(n, vocabulary)` of states `(n, dim)`.
    fn logits(&self, states: &[f32]) -> Result<Vec<f32>, String>;
}

/// One text it reads.
#[derive(Debug)]
pub(super) struct Reading<N: Network> {
    model: N,
    stop: Stop,
    ids: Vec<u32>,
    cache: N::Cache,
    /// Normed states, `(ids.len(), dim)`: what rolling back needs to give the same again.
    states: Vec<f32>,
    told: Option<Distribution>,
    usage: Usage,
}

impl<N: Network> Reading<N> {
    /// Reads the beginning-of-text token, where there is one, and `prompt`.
    pub(super) fn open(model: N, prompt: &[u8], stop: &Stop) -> Result<Self, BackendError> {
        let tokenizer = model.tokenizer();
        let mut ids: Vec<u32> = tokenizer.begin().into_iter().collect();
        ids.extend(tokenizer.encode(prompt));
        let (cache, stop) = (model.cache(), stop.clone());
        let (states, usage) = (Vec::new(), Usage::default());
        let mut session = Self { model, stop, ids: Vec::new(), cache, states, told: None, usage };
        session.feed(&ids)?;
        Ok(session)
    }

    fn failed(&self, reason: String) -> BackendError {
        BackendError::Failed { model: self.model.name().to_owned(), reason }
    }

    fn check(&self, ids: &[u32]) -> Result<(), BackendError> {
        let (tokens, context) = (self.ids.len() + ids.len(), self.model.context());
        if tokens > context {
            let model = self.model.name().to_owned();
            return Err(BackendError::Context { model, tokens, context });
        }
        let vocabulary = self.model.vocabulary();
        match ids.iter().find(|id| **id as usize >= vocabulary) {
            None => Ok(()),
            Some(id) => {
                Err(self
                    .failed(format!("it has no token {id}; its ids end at {}", vocabulary.saturating_sub(1))))
            }
        }
    }

    /// Distributions of states `(n, dim)`.
    fn tell(&self, states: &[f32]) -> Result<Vec<Distribution>, BackendError> {
        let logits = self.model.logits(states).map_err(|reason| self.failed(reason))?;
        let rows = logits.chunks_exact(self.model.vocabulary());
        let failed = |source| BackendError::Distribution { model: self.model.name().to_owned(), source };
        rows.map(|row| Distribution::from_logits(row.to_vec()).map_err(failed)).collect()
    }

    /// Where the last state begins.
    fn last(&self) -> usize {
        self.states.len().saturating_sub(self.model.dim())
    }

    fn cut(&mut self, len: usize) {
        self.ids.truncate(len);
        self.model.truncate(&mut self.cache, len);
        self.states.truncate(len * self.model.dim());
        self.told = None;
    }
}

impl<N: Network> Session for Reading<N> {
    fn tokenizer(&self) -> &Tokenizer {
        self.model.tokenizer()
    }

    fn ids(&self) -> &[u32] {
        &self.ids
    }

    fn feed(&mut self, ids: &[u32]) -> Result<(), BackendError> {
        self.check(ids)?;
        let before = self.ids.len();
        for chunk in ids.chunks(CHUNK) {
            if self.stop.is_cancelled() {
                self.cut(before);
                return Err(BackendError::Cancelled);
            }
            match self.model.read(&mut self.cache, chunk) {
                Ok(states) => self.states.extend(states),
                Err(reason) => {
                    self.cut(before);
                    return Err(self.failed(reason));
                }
            }
            self.ids.extend_from_slice(chunk);
            self.told = None;
        }
        self.usage.calls += u64::from(!ids.is_empty());
        self.usage.read += ids.len() as u64;
        Ok(())
    }

    fn next(&mut self) -> Result<Distribution, BackendError> {
        if self.stop.is_cancelled() {
            return Err(BackendError::Cancelled);
        }
        if let Some(told) = &self.told {
            return Ok(told.clone());
        }
        let told = self.tell(&self.states[self.last()..])?.pop();
        let told = told.ok_or_else(|| {
            self.failed("it has read nothing, and its tokenizer has no beginning-of-text token".to_owned())
        })?;
        self.usage.told += 1;
        self.told = Some(told.clone());
        Ok(told)
    }

    fn rollback(&mut self, len: usize) -> Result<(), BackendError> {
        if len < self.ids.len() {
            self.cut(len);
        }
        Ok(())
    }

    fn fork(&self) -> Result<Box<dyn Session>, BackendError> {
        let cache = self.model.copy(&self.cache).map_err(|reason| self.failed(reason))?;
        let Self { model, stop, ids, states, told, .. } = self;
        let (model, stop, ids) = (model.clone(), stop.clone(), ids.clone());
        let (states, told, usage) = (states.clone(), told.clone(), Usage::default());
        Ok(Box::new(Self { model, stop, ids, cache, states, told, usage }))
    }

    fn score(&mut self, ids: &[u32]) -> Result<Vec<f32>, BackendError> {
        let len = self.ids.len();
        let told = self.feed_and_tell(ids)?;
        self.rollback(len)?;
        Ok(ids.iter().zip(&told).map(|(id, told)| told.log_prob(*id).unwrap_or(f32::NEG_INFINITY)).collect())
    }

    fn feed_and_tell(&mut self, ids: &[u32]) -> Result<Vec<Distribution>, BackendError> {
        let from = self.last();
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
        Ok(self.states[self.last()..].to_vec())
    }

    fn usage(&self) -> Usage {
        self.usage
    }
}
