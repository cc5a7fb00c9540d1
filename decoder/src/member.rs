//! A model taking part in one generation: its session, kept in step with the text all of them write.
//!
//! The text is bytes. A unit that was chosen is remembered and fed when the member is next asked for something, so
//! that a member that is not asked (a gate was closed) does no work, and all feed at the same time.
//!
//! Commit rule. A unit that is one token of the member is pushed as that token: the member gave it its probability
//! as what comes next. Any other unit is encoded together with the text before it; where that changes earlier ids,
//! the session is rolled back to the longest common prefix and reads the difference, never the whole text again.

use crate::backend::{BackendError, Draft, Session, Usage, Written};
use crate::distribution::Distribution;
use crate::vocabulary::{Tokenizer, Vocabulary};
use rand::Rng;

/// One member.
#[derive(Debug)]
pub struct Member {
    name: String,
    session: Box<dyn Session>,
    pending: Vec<(Vec<u8>, Option<u32>)>,
    changes: Changes,
    /// What sessions beside its own have cost.
    beside: Usage,
}

/// What feeding the text has cost in ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// Ids read.
    pub pushed: u64,
    /// Ids forgotten because a longer text is cut differently.
    pub rolled_back: u64,
    /// Units that were not read as one id more.
    pub multi_token: u64,
}

impl Member {
    /// A member that has read the prompt.
    pub fn new(name: &str, session: Box<dyn Session>) -> Self {
        Self {
            name: name.to_owned(),
            session,
            pending: Vec::new(),
            changes: Changes::default(),
            beside: Usage::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it cuts text.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.session.tokenizer()
    }

    /// Its tokens.
    pub fn vocabulary(&self) -> &Vocabulary {
        self.session.tokenizer().vocabulary()
    }

    /// Remembers `text` as what was chosen, with the member's own token for it where it has one.
    pub fn commit(&mut self, text: &[u8], own: Option<u32>) {
        if !text.is_empty() {
            self.pending.push((text.to_vec(), own));
        }
    }

    /// What comes next: text and ends only, other tokens left out.
    ///
    /// # Errors
    /// If the model fails.
    pub fn next(&mut self) -> Result<Distribution, BackendError> {
        self.flush()?;
        let next = self.session.next()?;
        Ok(crate::backends::writing::said(next, &*self.session))
    }

    /// Natural log-probability of `text`, were it to follow.
    ///
    /// Where the text before it would be cut differently, the tail that changes is counted on both sides:
    /// `log p(tail, text) - log p(tail)`.
    ///
    /// # Errors
    /// If the model cannot score or fails.
    pub fn score(&mut self, text: &[u8]) -> Result<f64, BackendError> {
        self.flush()?;
        let change = self.session.tokenizer().extend(self.text_ids(), text);
        let keep = self.begin() + change.keep;
        let tail = self.session.ids()[keep..].to_vec();
        self.session.rollback(keep)?;
        let sum = |scores: Vec<f32>| scores.into_iter().map(f64::from).sum::<f64>();
        let scored = self.session.score(&change.push).map(sum);
        let before = if tail.is_empty() { Ok(0.0) } else { self.session.score(&tail).map(sum) };
        self.session.feed(&tail)?;
        Ok(scored? - before?)
    }

    /// Natural log-probability of all the text it has read, from the beginning on.
    ///
    /// # Errors
    /// If the model cannot score or fails.
    pub fn prompt_log_prob(&mut self) -> Result<f64, BackendError> {
        self.flush()?;
        let ids = self.session.ids().to_vec();
        let Some((_, rest)) = ids.split_first() else { return Ok(0.0) };
        self.session.rollback(1)?;
        let scores = self.session.score(rest);
        self.session.feed(rest)?;
        Ok(scores?.into_iter().map(f64::from).sum())
    }

    /// Writes on; what it wrote is then part of its text, and not of anyone else's.
    ///
    /// # Errors
    /// If the model fails.
    pub fn write(&mut self, draft: &Draft, rng: &mut dyn Rng) -> Result<Written, BackendError> {
        self.flush()?;
        self.session.write(draft, rng)
    }

    /// Writes on and forgets it again.
    ///
    /// # Errors
    /// If the model fails.
    pub fn propose(&mut self, draft: &Draft, rng: &mut dyn Rng) -> Result<Written, BackendError> {
        self.flush()?;
        let len = self.session.ids().len();
        let written = self.session.write(draft, rng);
        self.session.rollback(len)?;
        written
    }

    /// Reads `ids` ahead of what was chosen: what it says before the first and after each of them, text and ends only.
    /// [`Self::settle`] says how many of them were chosen.
    ///
    /// # Errors
    /// If the model fails.
    pub fn read_ahead(&mut self, ids: &[u32]) -> Result<Vec<Distribution>, BackendError> {
        self.flush()?;
        let told = self.session.feed_and_tell(ids)?;
        self.changes.pushed += ids.len() as u64;
        Ok(told.into_iter().map(|told| crate::backends::writing::said(told, &*self.session)).collect())
    }

    /// Forgets the last `n` ids it has read.
    ///
    /// # Errors
    /// If the model fails.
    pub fn settle(&mut self, n: usize) -> Result<(), BackendError> {
        self.flush()?;
        self.changes.rolled_back += n as u64;
        let len = self.session.ids().len() - n;
        self.session.rollback(len)
    }

    /// Hidden state of the last position.
    ///
    /// # Errors
    /// If the model does not show it.
    pub fn hidden(&mut self) -> Result<Vec<f32>, BackendError> {
        self.flush()?;
        self.session.hidden()
    }

    /// A second member at the same text.
    ///
    /// # Errors
    /// If the model fails.
    pub fn fork(&mut self) -> Result<Self, BackendError> {
        self.flush()?;
        Ok(Self::new(&self.name, self.session.fork()?))
    }

    /// A second session at the same text.
    ///
    /// # Errors
    /// If the model fails.
    pub fn fork_session(&mut self) -> Result<Box<dyn Session>, BackendError> {
        self.flush()?;
        self.session.fork()
    }

    /// The session, with everything committed read.
    ///
    /// # Errors
    /// If the model fails.
    pub fn session(&mut self) -> Result<&mut dyn Session, BackendError> {
        self.flush()?;
        Ok(&mut *self.session)
    }

    /// Ids of the text, without the beginning-of-text token.
    pub fn text_ids(&self) -> &[u32] {
        &self.session.ids()[self.begin()..]
    }

    /// What its sessions have cost.
    pub fn usage(&self) -> Usage {
        self.session.usage() + self.beside
    }

    /// Says what sessions beside its own, forks of it, have cost together so far.
    pub fn spent_beside(&mut self, usage: Usage) {
        self.beside = usage;
    }

    /// What keeping in step has cost.
    pub fn changes(&self) -> Changes {
        self.changes
    }

    fn begin(&self) -> usize {
        let begin = self.session.tokenizer().begin();
        usize::from(begin.is_some() && self.session.ids().first().copied() == begin)
    }

    fn flush(&mut self) -> Result<(), BackendError> {
        for (text, own) in std::mem::take(&mut self.pending) {
            if let Some(id) = own {
                self.session.feed(&[id])?;
                self.changes.pushed += 1;
                continue;
            }
            let change = self.session.tokenizer().extend(self.text_ids(), &text);
            let keep = self.begin() + change.keep;
            self.changes.rolled_back += (self.session.ids().len() - keep) as u64;
            self.changes.pushed += change.push.len() as u64;
            let is_one = keep == self.session.ids().len() && change.push.len() == 1;
            self.changes.multi_token += u64::from(!is_one);
            self.session.rollback(keep)?;
            self.session.feed(&change.push)?;
        }
        Ok(())
    }
}
