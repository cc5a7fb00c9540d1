//! A model that says what a function says: characters, or pieces of a list, from the text read so far.

use rand::Rng;
use routewright_decoder::backend::{
    Backend, BackendError, Capabilities, Draft, NextTokens, Session, Stop, Usage, Written,
};
use routewright_decoder::backends::writing;
use routewright_decoder::distribution::Distribution;
use routewright_decoder::vocabulary::Tokenizer;
use std::fmt;
use std::sync::Arc;

/// The next pieces and their probabilities, `""` for an end; all others share what is left.
type Says = dyn Fn(&str) -> Vec<(String, f32)> + Send + Sync;

/// A tokenizer of single characters and these pieces, a space before every text.
pub(crate) fn tokenizer(pieces: &[&str]) -> Arc<Tokenizer> {
    let mut lines = vec!["<unk>\t0".to_owned(), "<s>\t0".to_owned(), "</s>\t0".to_owned()];
    let characters = ('a'..='z').chain('0'..='9').chain(" .,?!+=-*\u{2581}ABY".chars());
    let characters = characters.filter(|c| *c != ' ').map(|c| c.to_string());
    let pieces = pieces.iter().map(|piece| piece.replace(' ', "\u{2581}"));
    for (at, piece) in characters.chain(pieces).enumerate() {
        lines.push(format!("{piece}\t-{at}"));
    }
    lines.push("<0x0A>\t0".to_owned());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.vocab");
    std::fs::write(&path, lines.join("\n")).unwrap();
    Arc::new(Tokenizer::open(&path).unwrap())
}

#[derive(Clone)]
pub(crate) struct Model {
    name: &'static str,
    tokenizer: Arc<Tokenizer>,
    says: Arc<Says>,
    dies_after: usize,
    context: usize,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Model {
    pub(crate) fn new(
        name: &'static str,
        says: impl Fn(&str) -> Vec<(String, f32)> + Send + Sync + 'static,
    ) -> Self {
        let (tokenizer, says) = (tokenizer(&[]), Arc::new(says));
        Self { name, tokenizer, says, dies_after: usize::MAX, context: 4096 }
    }

    /// Wants to write `text` and end, at the same length wherever it was led; its choice has this probability.
    pub(crate) fn text(name: &'static str, text: &'static str, p: f32) -> Self {
        Self::new(name, move |read| {
            let next = text.get(read.len()..).and_then(|rest| rest.chars().next());
            vec![(next.map_or(String::new(), |c| c.to_string()), p)]
        })
    }

    pub(crate) fn with(self, tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer, ..self }
    }

    /// It fails once it has read so many tokens.
    pub(crate) fn dying_after(self, dies_after: usize) -> Self {
        Self { dies_after, ..self }
    }

    pub(crate) fn with_context(self, context: usize) -> Self {
        Self { context, ..self }
    }

    pub(crate) fn arc(self) -> Arc<dyn Backend> {
        Arc::new(self)
    }

    fn tell(&self, ids: &[u32]) -> Result<Distribution, BackendError> {
        if ids.len() >= self.dies_after {
            let reason = "it died, as it was told to".to_owned();
            return Err(BackendError::Failed { model: self.name.to_owned(), reason });
        }
        let text = self.tokenizer.decode(&ids[1..]);
        let said = (self.says)(std::str::from_utf8(&text).unwrap());
        let vocabulary = self.tokenizer.vocabulary();
        let n = vocabulary.len() as f32;
        let left = 1.0 - said.iter().map(|(_, p)| p).sum::<f32>();
        let mut p = vec![left / n; vocabulary.len()];
        for (piece, share) in said {
            let id = match piece.as_str() {
                "" => vocabulary.ends()[1],
                piece => *vocabulary.ids(piece.as_bytes()).first().expect(piece),
            };
            p[id as usize] += share;
        }
        Ok(Distribution::from_logits(p.iter().map(|p| p.ln()).collect()).unwrap())
    }
}

impl Backend for Model {
    fn name(&self) -> &str {
        self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            next: NextTokens::Full,
            scoring: true,
            hidden: true,
            embeddings: false,
            cheap_rollback: true,
        }
    }

    fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        Some(&self.tokenizer)
    }

    fn context(&self) -> usize {
        self.context
    }

    fn open(&self, prompt: &[u8], stop: &Stop) -> Result<Box<dyn Session>, BackendError> {
        let ids = self.tokenizer.begin().into_iter().chain(self.tokenizer.encode(prompt)).collect();
        Ok(Box::new(Reading { model: self.clone(), ids, stop: stop.clone(), usage: Usage::default() }))
    }
}

#[derive(Debug, Clone)]
struct Reading {
    model: Model,
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
        let (tokens, context) = (self.ids.len() + ids.len(), self.model.context);
        if tokens > context {
            return Err(BackendError::Context { model: self.model.name.to_owned(), tokens, context });
        }
        self.ids.extend_from_slice(ids);
        self.usage.calls += 1;
        Ok(())
    }

    fn next(&mut self) -> Result<Distribution, BackendError> {
        self.model.tell(&self.ids)
    }

    fn rollback(&mut self, len: usize) -> Result<(), BackendError> {
        assert!(len >= 1 && len <= self.ids.len(), "{len} of {}", self.ids.len());
        self.ids.truncate(len);
        Ok(())
    }

    fn fork(&self) -> Result<Box<dyn Session>, BackendError> {
        Ok(Box::new(Self { usage: Usage::default(), ..self.clone() }))
    }

    fn score(&mut self, ids: &[u32]) -> Result<Vec<f32>, BackendError> {
        let mut text = self.ids.clone();
        self.usage.calls += 1;
        let mut scores = Vec::new();
        for id in ids {
            scores.push(self.model.tell(&text)?.log_prob(*id).unwrap());
            text.push(*id);
        }
        Ok(scores)
    }

    fn write(&mut self, draft: &Draft, rng: &mut dyn Rng) -> Result<Written, BackendError> {
        let stop = self.stop.clone();
        writing::write(self, draft, &stop, rng)
    }

    /// The logarithms of what it says.
    fn hidden(&mut self) -> Result<Vec<f32>, BackendError> {
        let told = self.model.tell(&self.ids)?;
        Ok((0..8).map(|id| told.log_prob(id).unwrap_or(-60.0).max(-60.0)).collect())
    }

    fn usage(&self) -> Usage {
        self.usage
    }
}
