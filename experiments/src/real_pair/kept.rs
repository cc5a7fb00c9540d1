//! A model with a cache: the distribution after the same ids is computed once for all sessions.
//!
//! Sessions of one [`Kept`] share a single session of the model. They only remember ids; where what comes next is not
//! known yet, the shared session goes back to what both have read and reads on. So the examples at the beginning of
//! every prompt are read once, and all ways to weigh the members share the forward passes of one prompt. What a
//! session says it used is what it would have used alone.

use rand::Rng;
use routewright_decoder::backend::{
    Backend, BackendError, Capabilities, Draft, Embeddings, Session, Stop, Usage, Written,
};
use routewright_decoder::distribution::Distribution;
use routewright_decoder::vocabulary::Tokenizer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a model says after some ids.
#[derive(Debug, Clone)]
struct Said {
    next: Arc<Distribution>,
    hidden: Arc<Vec<f32>>,
}

/// What all sessions of a model share.
#[derive(Debug, Default)]
struct Shared {
    session: Option<Box<dyn Session>>,
    said: HashMap<Vec<u32>, Said>,
    /// Log-probability of the last of some ids after those before it.
    scores: HashMap<Vec<u32>, f32>,
    /// Ids the model has really read.
    read: u64,
}

/// A model with a cache of its distributions and scores.
#[derive(Debug, Clone)]
pub struct Kept {
    model: Arc<dyn Backend>,
    tokenizer: Arc<Tokenizer>,
    shared: Arc<Mutex<Shared>>,
}

impl Kept {
    /// Keeps what `model` says.
    ///
    /// # Errors
    /// If it declares no tokenizer.
    pub fn new(model: Arc<dyn Backend>) -> Result<Self, BackendError> {
        let Some(tokenizer) = model.tokenizer().cloned() else {
            return Err(BackendError::Unable { model: model.name().to_owned(), what: "declare a tokenizer" });
        };
        Ok(Self { model, tokenizer, shared: Arc::default() })
    }

    /// Forgets what was said, but not what the shared session has read, nor the scores of the first `n` ids.
    pub fn forget_beyond(&self, n: usize) {
        let mut shared = self.lock();
        shared.said.clear();
        shared.scores.retain(|ids, _| ids.len() <= n);
    }

    /// Ids the model has really read so far.
    pub fn read(&self) -> u64 {
        self.lock().read
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the model says after `ids`.
    fn said(&self, ids: &[u32], stop: &Stop) -> Result<Said, BackendError> {
        let mut shared = self.lock();
        if let Some(said) = shared.said.get(ids) {
            return Ok(said.clone());
        }
        let session = self.at(&mut shared, ids, stop)?;
        let next = Arc::new(session.next()?);
        let hidden = if self.model.capabilities().hidden { session.hidden()? } else { Vec::new() };
        let said = Said { next, hidden: Arc::new(hidden) };
        shared.said.insert(ids.to_vec(), said.clone());
        Ok(said)
    }

    /// The shared session, having read `ids`.
    fn at<'a>(
        &self,
        shared: &'a mut Shared,
        ids: &[u32],
        stop: &Stop,
    ) -> Result<&'a mut Box<dyn Session>, BackendError> {
        let common =
            |session: &dyn Session| session.ids().iter().zip(ids).take_while(|(a, b)| a == b).count();
        // A session cannot go back to nothing.
        let open = shared.session.take().filter(|session| common(&**session) > 0);
        let mut session = match open {
            Some(session) => session,
            None => self.model.open(b"", stop)?,
        };
        let keep = common(&*session);
        if keep < session.ids().len() {
            session.rollback(keep)?;
        }
        session.feed(&ids[keep..])?;
        shared.read += (ids.len() - keep) as u64;
        Ok(shared.session.insert(session))
    }

    /// Log-probabilities of `ids` after `before`.
    fn scores(&self, before: &[u32], ids: &[u32], stop: &Stop) -> Result<Vec<f32>, BackendError> {
        let mut shared = self.lock();
        let all = [before, ids].concat();
        let known = (before.len() + 1..=all.len()).take_while(|end| shared.scores.contains_key(&all[..*end]));
        let from = before.len() + known.count();
        if from < all.len() {
            // Not `score`, after which the session would have to read them again.
            let told = self.at(&mut shared, &all[..from], stop)?.feed_and_tell(&all[from..])?;
            shared.read += (all.len() - from) as u64;
            for (at, told) in (from..all.len()).zip(told) {
                let score = told.log_prob(all[at]).unwrap_or(f32::NEG_INFINITY);
                shared.scores.insert(all[..=at].to_vec(), score);
            }
        }
        let score = |end: usize| shared.scores.get(&all[..end]).copied().unwrap_or(f32::NEG_INFINITY);
        Ok((before.len() + 1..=all.len()).map(score).collect())
    }
}

impl Backend for Kept {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.model.capabilities()
    }

    fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        Some(&self.tokenizer)
    }

    fn context(&self) -> usize {
        self.model.context()
    }

    fn open(&self, prompt: &[u8], stop: &Stop) -> Result<Box<dyn Session>, BackendError> {
        let mut session =
            Remembering { model: self.clone(), ids: Vec::new(), stop: stop.clone(), usage: Usage::default() };
        let mut ids: Vec<u32> = self.tokenizer.begin().into_iter().collect();
        ids.extend(self.tokenizer.encode(prompt));
        session.feed(&ids)?;
        Ok(Box::new(session))
    }

    fn embeddings(&self) -> Option<Embeddings<'_>> {
        self.model.embeddings()
    }
}

/// A session that remembers ids only.
#[derive(Debug, Clone)]
struct Remembering {
    model: Kept,
    ids: Vec<u32>,
    stop: Stop,
    usage: Usage,
}

impl Session for Remembering {
    fn tokenizer(&self) -> &Tokenizer {
        &self.model.tokenizer
    }

    fn ids(&self) -> &[u32] {
        &self.ids
    }

    fn feed(&mut self, ids: &[u32]) -> Result<(), BackendError> {
        let (tokens, context) = (self.ids.len() + ids.len(), self.model.context());
        if tokens > context {
            return Err(BackendError::Context { model: self.model.name().to_owned(), tokens, context });
        }
        self.ids.extend_from_slice(ids);
        self.usage.calls += u64::from(!ids.is_empty());
        self.usage.read += ids.len() as u64;
        Ok(())
    }

    fn next(&mut self) -> Result<Distribution, BackendError> {
        self.usage.told += 1;
        Ok((*self.model.said(&self.ids, &self.stop)?.next).clone())
    }

    fn rollback(&mut self, len: usize) -> Result<(), BackendError> {
        self.ids.truncate(len);
        Ok(())
    }

    fn fork(&self) -> Result<Box<dyn Session>, BackendError> {
        Ok(Box::new(Self { usage: Usage::default(), ..self.clone() }))
    }

    fn score(&mut self, ids: &[u32]) -> Result<Vec<f32>, BackendError> {
        self.model.scores(&self.ids, ids, &self.stop)
    }

    fn write(&mut self, _draft: &Draft, _rng: &mut dyn Rng) -> Result<Written, BackendError> {
        Err(BackendError::Unable { model: self.model.name().to_owned(), what: "write on its own here" })
    }

    fn hidden(&mut self) -> Result<Vec<f32>, BackendError> {
        Ok((*self.model.said(&self.ids, &self.stop)?.hidden).clone())
    }

    fn usage(&self) -> Usage {
        self.usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_decoder::backends::scripted::Scripted;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A model that says how many tokens of two kinds it has read, and counts what it is asked.
    fn model(asked: Arc<AtomicUsize>) -> Arc<dyn Backend> {
        let mut tokenizer = Tokenizer::seen();
        for piece in ["a", "b"] {
            tokenizer.learn(piece.as_bytes());
        }
        Arc::new(Scripted::new("counts", Arc::new(tokenizer), move |read: &[u8]| {
            asked.fetch_add(1, Ordering::Relaxed);
            let share = |byte: u8| read.iter().filter(|other| **other == byte).count() as f32 + 1.0;
            let sum = share(b'a') + 2.0 * share(b'b');
            vec![("a".to_owned(), share(b'a') / sum), ("b".to_owned(), 2.0 * share(b'b') / sum)]
        }))
    }

    #[test]
    fn sessions_say_what_the_model_says_and_each_text_is_asked_about_once() {
        let asked = Arc::new(AtomicUsize::new(0));
        let plain = model(Arc::default());
        let kept = Kept::new(model(asked.clone())).unwrap();
        let stop = Stop::default();
        let mut first = None;
        for _ in 0..3 {
            let (mut a, mut b) = (plain.open(b"ab", &stop).unwrap(), kept.open(b"ab", &stop).unwrap());
            let ids = a.ids().to_vec();
            assert_eq!(ids, b.ids());
            for step in 0..6 {
                assert_eq!(a.next().unwrap(), b.next().unwrap(), "{step}");
                let id = ids[ids.len() - 1 - step % 2];
                a.feed(&[id]).unwrap();
                b.feed(&[id]).unwrap();
            }
            let (mut c, mut d) = (a.fork().unwrap(), b.fork().unwrap());
            c.rollback(ids.len() + 1).unwrap();
            d.rollback(ids.len() + 1).unwrap();
            assert_eq!(c.next().unwrap(), d.next().unwrap());
            assert_eq!((a.ids(), c.ids()), (b.ids(), d.ids()));
            assert_eq!(a.score(&ids).unwrap(), b.score(&ids).unwrap());
            // Nothing is asked again.
            let so_far = asked.load(Ordering::Relaxed);
            assert_eq!(*first.get_or_insert(so_far), so_far);
        }
        kept.forget_beyond(0);
        assert!(kept.lock().said.is_empty() && kept.lock().scores.is_empty());
        assert!(kept.read() > 0);
    }
}
