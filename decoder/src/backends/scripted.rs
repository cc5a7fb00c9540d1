//! A model that says what a script says: for tests, demonstrations, and to see what an ensemble does with a member that
//! is slow, cut off or dying.
//!
//! ```toml
//! [[members]]
//! name = "polite"
//! backend = "scripted"
//! tokenizer = "tokenizer.json"     # of the pieces and single bytes where none is given
//! script = [
//!     { after = "Hello", next = { ", " = 0.9, "!" = 0.1 } },
//!     { after = ", ", next = { "world" = 1.0 } },
//!     { after = "", next = { "" = 1.0 } },    # the end of the answer
//! ]
//! ```
//!
//! The line with the longest `after` that the text ends with counts; what it leaves over is shared by all tokens.
//!
//! With `embeddings = true` it has an embedding of every token, made of the letters in it: tokens that are spelled
//! alike are alike, in every such model, and its hidden state is the mean embedding of what it would say. So every
//! system runs.

use crate::backend::{
    Backend, BackendError, Capabilities, Draft, Embeddings, NextTokens, Session, Stop, Usage, Written,
};
use crate::backends::{BackendRow, path, settings, writing};
use crate::distribution::Distribution;
use crate::vocabulary::Tokenizer;
use rand::Rng;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The row of this backend.
pub const ROW: BackendRow = BackendRow {
    name: "scripted",
    title: "a model that follows a script: slowly, cut off or failing where the script says so",
    open: |name, value, folder| {
        let settings: Settings = settings(name, value)?;
        let failed = |reason: String| BackendError::Failed { model: name.to_owned(), reason };
        let open = |file: &String| Tokenizer::open(&path(folder, file)).map_err(|e| failed(e.to_string()));
        let tokenizer = match &settings.tokenizer {
            Some(file) => open(file)?,
            None => settings.pieces(),
        };
        let script = settings.script(&tokenizer).map_err(failed)?;
        let says = move |text: &[u8]| script.say(text);
        let mut model = Scripted::new(name, Arc::new(tokenizer), says);
        model.dies_after = settings.dies_after.unwrap_or(usize::MAX);
        model.context = settings.context.unwrap_or(1 << 20);
        model.waits = Duration::from_millis(settings.waits_ms);
        model.next = settings.top.map_or(NextTokens::Full, |top| NextTokens::Top(top.max(1)));
        model.rows = settings.embeddings.then(|| Arc::new(rows(&model.tokenizer)));
        Ok(Arc::new(model))
    },
};

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    tokenizer: Option<String>,
    script: Vec<Line>,
    /// Pieces its tokenizer has besides those of the script, before them, where no tokenizer is given.
    #[serde(default)]
    pieces: Vec<String>,
    /// It shows embeddings.
    #[serde(default)]
    embeddings: bool,
    /// It lists so many candidates; all where `None`.
    top: Option<u32>,
    /// It fails once it has read so many tokens.
    dies_after: Option<usize>,
    /// Tokens it can read.
    context: Option<usize>,
    /// It thinks so long before every reply, milliseconds.
    #[serde(default)]
    waits_ms: u64,
}

/// What comes after a text.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    after: String,
    next: BTreeMap<String, f32>,
}

/// Lines, the longest `after` first.
#[derive(Debug)]
struct Script(Vec<Line>);

impl Settings {
    /// A tokenizer of the pieces of the script and of single bytes.
    fn pieces(&self) -> Tokenizer {
        let mut tokenizer = Tokenizer::seen();
        let said = self.script.iter().flat_map(|line| line.next.keys());
        for piece in self.pieces.iter().chain(said).filter(|piece| !piece.is_empty()) {
            tokenizer.learn(piece.as_bytes());
        }
        tokenizer
    }

    fn script(&self, tokenizer: &Tokenizer) -> Result<Script, String> {
        let mut lines = self.script.clone();
        lines.sort_by_key(|line| std::cmp::Reverse(line.after.len()));
        for Line { after, next } in &lines {
            let sum: f32 = next.values().sum();
            if next.values().any(|p| !(0.0..=1.0).contains(p)) || sum > 1.0 + 1e-3 {
                return Err(format!("after `{after}` its probabilities sum to {sum}; at most 1 is accepted"));
            }
            let known = |piece: &str| !tokenizer.vocabulary().ids(piece.as_bytes()).is_empty();
            let ends = tokenizer.vocabulary().ends();
            let bad =
                next.keys().find(|piece| if piece.is_empty() { ends.is_empty() } else { !known(piece) });
            if let Some(piece) = bad {
                return Err(format!("after `{after}` it says `{piece}`, which is no token of its tokenizer"));
            }
        }
        Ok(Script(lines))
    }
}

impl Script {
    fn say(&self, text: &[u8]) -> Vec<(String, f32)> {
        let line = self.0.iter().find(|line| text.ends_with(line.after.as_bytes()));
        line.into_iter().flat_map(|line| &line.next).map(|(piece, p)| (piece.clone(), *p)).collect()
    }
}

/// The next pieces of a text and their probabilities, `""` for an end; all tokens share what is left.
type Says = dyn Fn(&[u8]) -> Vec<(String, f32)> + Send + Sync;

/// A model made of a function.
#[derive(Clone)]
pub struct Scripted {
    name: Arc<str>,
    tokenizer: Arc<Tokenizer>,
    says: Arc<Says>,
    /// It fails once it has read so many tokens.
    pub dies_after: usize,
    /// Tokens it can read.
    pub context: usize,
    /// It thinks so long before every reply.
    pub waits: Duration,
    /// How many candidates it lists.
    pub next: NextTokens,
    /// Embeddings `(n_tokens, EMBEDDING)`, where it shows some.
    rows: Option<Arc<Vec<f32>>>,
}

/// Width of an embedding.
const EMBEDDING: usize = 16;

/// Embeddings of all tokens: the runs of up to three bytes in a token, hashed (FNV-1a) to signed places.
fn rows(tokenizer: &Tokenizer) -> Vec<f32> {
    let vocabulary = tokenizer.vocabulary();
    let mut rows = vec![0.0; vocabulary.len() * EMBEDDING];
    for (row, id) in rows.chunks_exact_mut(EMBEDDING).zip(0..) {
        let bytes = vocabulary.bytes(id);
        // An end has no bytes; it is like itself alone.
        let bytes = if bytes.is_empty() { &[0xff, 0xff] } else { bytes };
        for run in (1..=3).flat_map(|n| bytes.windows(n)) {
            let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
            let hash = run.iter().fold(0xcbf2_9ce4_8422_2325, hash);
            let sign = if hash >> 40 & 1 == 0 { 1.0 } else { -1.0 };
            row[(hash >> 20) as usize % EMBEDDING] += sign;
        }
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-6);
        row.iter_mut().for_each(|x| *x /= length);
    }
    rows
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Scripted {
    /// A model that says `says` of the text read so far: pieces that are tokens, `""` for an end, and probabilities.
    pub fn new(
        name: &str,
        tokenizer: Arc<Tokenizer>,
        says: impl Fn(&[u8]) -> Vec<(String, f32)> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            tokenizer,
            says: Arc::new(says),
            dies_after: usize::MAX,
            context: 4096,
            waits: Duration::ZERO,
            next: NextTokens::Full,
            rows: None,
        }
    }

    fn failed(&self, reason: String) -> BackendError {
        BackendError::Failed { model: self.name.to_string(), reason }
    }

    /// All next-token probabilities after `ids`.
    fn tell(&self, ids: &[u32], stop: &Stop) -> Result<Distribution, BackendError> {
        self.think(stop)?;
        if ids.len() >= self.dies_after {
            return Err(self.failed("it died, as it was told to".to_owned()));
        }
        let said = (self.says)(&self.tokenizer.decode(ids));
        let vocabulary = self.tokenizer.vocabulary();
        let left = (1.0 - said.iter().map(|(_, p)| p).sum::<f32>()).max(0.0);
        let mut p = vec![left / vocabulary.len() as f32; vocabulary.len()];
        for (piece, share) in said {
            // The end that is shown last is what models end an answer with; the first may be padding.
            let id = match piece.as_str() {
                "" => vocabulary.ends().last(),
                piece => vocabulary.ids(piece.as_bytes()).first(),
            };
            let id = id.ok_or_else(|| {
                self.failed(format!("it says `{piece}`, which is no token of its tokenizer"))
            })?;
            p[*id as usize] += share;
        }
        Distribution::from_logits(p.iter().map(|p| p.ln()).collect())
            .map_err(|source| BackendError::Distribution { model: self.name.to_string(), source })
    }

    fn think(&self, stop: &Stop) -> Result<(), BackendError> {
        let since = Instant::now();
        while since.elapsed() < self.waits {
            if stop.is_cancelled() {
                return Err(BackendError::Cancelled);
            }
            if stop.is_late() {
                return Err(self.failed("it did not reply before the deadline".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(1).min(self.waits));
        }
        Ok(())
    }
}

impl Backend for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        let embeddings = self.rows.is_some();
        Capabilities { next: self.next, scoring: true, hidden: true, embeddings, cheap_rollback: true }
    }

    fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        Some(&self.tokenizer)
    }

    fn context(&self) -> usize {
        self.context
    }

    fn open(&self, prompt: &[u8], stop: &Stop) -> Result<Box<dyn Session>, BackendError> {
        let ids: Vec<u32> = self.tokenizer.begin().into_iter().chain(self.tokenizer.encode(prompt)).collect();
        let mut session =
            Reading { model: self.clone(), ids: Vec::new(), stop: stop.clone(), usage: Usage::default() };
        session.feed(&ids)?;
        Ok(Box::new(session))
    }

    fn embeddings(&self) -> Option<Embeddings<'_>> {
        let rows = self.rows.as_ref()?;
        Some(Embeddings { input: rows, output: rows, dim: EMBEDDING })
    }
}

#[derive(Debug, Clone)]
struct Reading {
    model: Scripted,
    ids: Vec<u32>,
    stop: Stop,
    usage: Usage,
}

impl Session for Reading {
    fn tokenizer(&self) -> &Tokenizer {
        &self.model.tokenizer
    }

    fn ids(&self) -> &[u32] {
        &self.ids
    }

    fn feed(&mut self, ids: &[u32]) -> Result<(), BackendError> {
        if self.stop.is_cancelled() {
            return Err(BackendError::Cancelled);
        }
        let (tokens, context) = (self.ids.len() + ids.len(), self.model.context);
        if tokens > context {
            return Err(BackendError::Context { model: self.model.name.to_string(), tokens, context });
        }
        let n = self.model.tokenizer.vocabulary().len();
        if let Some(id) = ids.iter().find(|id| **id as usize >= n) {
            return Err(self.model.failed(format!("it has no token {id}; its ids end at {}", n - 1)));
        }
        self.ids.extend_from_slice(ids);
        self.usage.calls += 1;
        self.usage.read += ids.len() as u64;
        Ok(())
    }

    fn next(&mut self) -> Result<Distribution, BackendError> {
        self.usage.told += 1;
        let told = self.model.tell(&self.ids, &self.stop)?;
        match self.model.next {
            NextTokens::Top(k) => Distribution::from_top(told.top(k as usize))
                .map_err(|source| BackendError::Distribution { model: self.model.name.to_string(), source }),
            NextTokens::Full | NextTokens::None => Ok(told),
        }
    }

    fn rollback(&mut self, len: usize) -> Result<(), BackendError> {
        if len == 0 || len > self.ids.len() {
            return Err(self.model.failed(format!("it cannot go back to {len} of {} ids", self.ids.len())));
        }
        self.ids.truncate(len);
        Ok(())
    }

    fn fork(&self) -> Result<Box<dyn Session>, BackendError> {
        Ok(Box::new(Self { usage: Usage::default(), ..self.clone() }))
    }

    fn score(&mut self, ids: &[u32]) -> Result<Vec<f32>, BackendError> {
        self.usage.calls += 1;
        self.usage.told += ids.len() as u64;
        let mut text = self.ids.clone();
        let mut scores = Vec::with_capacity(ids.len());
        for id in ids {
            let told = self.model.tell(&text, &self.stop)?;
            scores.push(told.log_prob(*id).unwrap_or(f32::NEG_INFINITY));
            text.push(*id);
        }
        Ok(scores)
    }

    fn write(&mut self, draft: &Draft, rng: &mut dyn Rng) -> Result<Written, BackendError> {
        let stop = self.stop.clone();
        writing::write(self, draft, &stop, rng)
    }

    /// The mean embedding of what it would say. Without embeddings the logarithms of what it says of the first eight
    /// tokens: a state that separates texts, as a trained one would.
    fn hidden(&mut self) -> Result<Vec<f32>, BackendError> {
        let told = self.model.tell(&self.ids, &self.stop)?;
        if let Some(rows) = &self.model.rows {
            let mut mean = vec![0.0; EMBEDDING];
            for (id, log) in told.top(usize::MAX) {
                let row = &rows[id as usize * EMBEDDING..][..EMBEDDING];
                mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += log.exp() * value);
            }
            return Ok(mean);
        }
        Ok((0..8).map(|id| told.log_prob(id).unwrap_or(-60.0).max(-60.0)).collect())
    }

    fn usage(&self) -> Usage {
        self.usage
    }
}
