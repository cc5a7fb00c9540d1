//! What a language model must be able to do to take part: a [`Backend`] is a model, a [`Session`] one text it
//! is reading.
//!
//! Everything is blocking: the members of an ensemble run on threads of their own (see [`crate::member_threads`]), and
//! a session that waits for a network gives up when the [`Stop`] it was opened with says so.

use crate::chat::{Message, joined};
use crate::distribution::{Distribution, DistributionError};
use crate::vocabulary::Tokenizer;
use rand::Rng;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What a backend can give; checked against what a fuser needs before the first token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// How many of the most probable next tokens it lists.
    pub next: NextTokens,
    /// It gives the log-probability of a text it is handed ([`Session::score`]).
    pub scoring: bool,
    /// It gives the last hidden state ([`Session::hidden`]).
    pub hidden: bool,
    /// It gives the rows of its input and output embeddings ([`Backend::embeddings`]).
    pub embeddings: bool,
    /// Its sessions cost nothing to fork and roll back; otherwise either means reading the text again.
    pub cheap_rollback: bool,
}

/// How much of the next-token distribution a backend lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NextTokens {
    /// None: it writes text only.
    None,
    /// At most so many.
    Top(u32),
    /// All of them.
    Full,
}

/// When to give up: a deadline and a flag anyone may raise.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    cancelled: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl Stop {
    /// Stops at `deadline`, or when [`Self::cancel`] is called on a clone.
    pub fn at(deadline: Option<Instant>) -> Self {
        Self { cancelled: Arc::default(), deadline }
    }

    /// Asks everything opened with a clone of this to end.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// The instant to give up at, where there is one.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the deadline has passed.
    pub fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// Why a model could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// It cannot do that at all.
    #[error("model `{model}` cannot {what}")]
    Unable {
        /// Name of the model.
        model: String,
        /// What was asked.
        what: &'static str,
    },
    /// The text does not fit.
    #[error("the text has {tokens} tokens, and model `{model}` reads at most {context}")]
    Context {
        /// Name of the model.
        model: String,
        /// Tokens of the text.
        tokens: usize,
        /// Tokens it reads.
        context: usize,
    },
    /// The text does not fit, as the server of the model says.
    #[error("model `{model}` cannot read on: {reason}")]
    Full {
        /// Name of the model.
        model: String,
        /// What the server said.
        reason: String,
    },
    /// What it said is no distribution.
    #[error("model `{model}` gave no distribution: {source}")]
    Distribution {
        /// Name of the model.
        model: String,
        /// What is wrong with it.
        source: DistributionError,
    },
    /// It did not answer, or not in time, or not in its language.
    #[error("model `{model}` failed: {reason}")]
    Failed {
        /// Name of the model.
        model: String,
        /// What happened.
        reason: String,
    },
    /// Whoever asked has gone.
    #[error("cancelled")]
    Cancelled,
}

impl BackendError {
    /// Whether the text is longer than the model reads.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Context { .. } | Self::Full { .. })
    }
}

/// Matrices of a model's embeddings, `(n_tokens, dim)` by rows.
#[derive(Debug, Clone, Copy)]
pub struct Embeddings<'a> {
    /// Rows of the input embedding.
    pub input: &'a [f32],
    /// Rows of the output projection.
    pub output: &'a [f32],
    /// Length of a row.
    pub dim: usize,
}

/// A language model, loaded or reachable; shared by all generations.
pub trait Backend: Send + Sync + Debug {
    /// Name in the ensemble file, in traces and in errors.
    fn name(&self) -> &str;

    /// What it can give.
    fn capabilities(&self) -> Capabilities;

    /// How it cuts text; `None` where that is not known, and its sessions then make ids up as they go.
    fn tokenizer(&self) -> Option<&Arc<Tokenizer>>;

    /// Tokens it can read, prompt and answer together.
    fn context(&self) -> usize;

    /// Starts to read `prompt`, which may be empty; the beginning-of-text token is put before it.
    ///
    /// # Errors
    /// If the prompt does not fit or the model cannot be reached.
    fn open(&self, prompt: &[u8], stop: &Stop) -> Result<Box<dyn Session>, BackendError>;

    /// Starts to read a conversation: by the model's own template where it has one, else as [`joined`] text.
    ///
    /// # Errors
    /// If the conversation does not fit, cannot be put in the template, or the model cannot be reached.
    fn open_chat(&self, chat: &[Message], stop: &Stop) -> Result<Box<dyn Session>, BackendError> {
        self.open(joined(chat).as_bytes(), stop)
    }

    /// Whether its sessions read the very ids they are fed; otherwise a server cuts their text itself.
    fn reads_ids(&self) -> bool {
        true
    }

    /// Its embedding matrices, where `capabilities().embeddings`.
    fn embeddings(&self) -> Option<Embeddings<'_>> {
        None
    }
}

/// How far to write without asking.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Tokens at most.
    pub tokens: usize,
    /// Ends as soon as the written text contains one of these; what comes before it is kept.
    pub stop: Vec<Vec<u8>>,
    /// 0 picks the most probable token.
    pub temperature: f32,
    /// Samples from the smallest set of tokens that has this probability; 1 is all.
    pub top_p: f32,
}

/// What a model wrote on its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Written {
    /// The text.
    pub text: Vec<u8>,
    /// Its log-probability under the model that wrote it, untempered; `None` where the model does not say.
    pub log_prob: Option<f64>,
    /// Tokens written.
    pub tokens: usize,
    /// The model ended its answer.
    pub ended: bool,
}

/// One text a model is reading. Ids are those of [`Session::tokenizer`].
pub trait Session: Send + Debug {
    /// How it cuts text. Where the backend has none, ids made up so far.
    fn tokenizer(&self) -> &Tokenizer;

    /// Ids read so far, the prompt and the beginning-of-text token included.
    fn ids(&self) -> &[u32];

    /// Reads on.
    ///
    /// # Errors
    /// If the text gets too long or the model fails; the session is then as before.
    fn feed(&mut self, ids: &[u32]) -> Result<(), BackendError>;

    /// What comes next after everything read. Asking twice costs nothing more.
    ///
    /// # Errors
    /// If the model fails.
    fn next(&mut self) -> Result<Distribution, BackendError>;

    /// Forgets all but the first `len` ids; `len` is at least 1 and at most `ids().len()`.
    ///
    /// # Errors
    /// If the model fails.
    fn rollback(&mut self, len: usize) -> Result<(), BackendError>;

    /// A second session that has read the same.
    ///
    /// # Errors
    /// If the model fails.
    fn fork(&self) -> Result<Box<dyn Session>, BackendError>;

    /// Natural log-probability of each of `ids`, were they to follow; the session stays as it is.
    ///
    /// # Errors
    /// If the model cannot score or fails.
    fn score(&mut self, ids: &[u32]) -> Result<Vec<f32>, BackendError>;

    /// Distributions after everything read and after each of `ids`: `ids.len() + 1` of them; the session then
    /// has read `ids`.
    ///
    /// # Errors
    /// If the model fails.
    fn feed_and_tell(&mut self, ids: &[u32]) -> Result<Vec<Distribution>, BackendError> {
        let mut told = vec![self.next()?];
        for id in ids {
            self.feed(&[*id])?;
            told.push(self.next()?);
        }
        Ok(told)
    }

    /// Whether a beginning-of-text token precedes the text.
    fn begins(&self) -> bool {
        let begin = self.tokenizer().begin();
        begin.is_some() && self.ids().first().copied() == begin
    }

    /// Whether [`Self::score`] knows the first token of a text: something has to stand before it.
    fn scores_first(&self) -> bool {
        self.begins()
    }

    /// Writes on; the session has then read what it wrote, up to where the text was cut.
    ///
    /// # Errors
    /// If the model fails.
    fn write(&mut self, draft: &Draft, rng: &mut dyn Rng) -> Result<Written, BackendError>;

    /// Hidden state of the last position, as the output projection sees it.
    ///
    /// # Errors
    /// If the model does not show it.
    fn hidden(&mut self) -> Result<Vec<f32>, BackendError>;

    /// What the session has cost so far.
    fn usage(&self) -> Usage;
}

/// What a session has cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Usage {
    /// Calls of the model: forward passes in process, requests over a network.
    pub calls: u64,
    /// Tokens it read, prompt included, each time it read them.
    pub read: u64,
    /// Tokens it wrote or was asked about.
    pub told: u64,
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { calls: self.calls + other.calls, read: self.read + other.read, told: self.told + other.told }
    }
}
