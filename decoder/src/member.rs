//! A model taking part in one generation: its session, kept in step with the text all of them write.
//!
//! The text is bytes. A unit that was chosen is remembered and fed when the member is next asked for something, so
//! that a member that is not asked (a gate was closed) does no work, and all feed at the same time.
//!
//! Commit rule. A unit that is one token of the member is pushed as that token: the member gave it its probability
//! as what comes next. Any other unit is encoded together with the text before it; where that changes earlier ids,
//! the session is rolled back to the longest common prefix and reads the difference, never the whole text again.

use crate::backend::{BackendError, Draft, Session, Usage};
use crate::distribution::Distribution;
use crate::vocabulary::{Role, Tokenizer, Vocabulary};
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

/// What a member would write on its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proposed {
    /// The text.
    pub text: Vec<u8>,
    /// Its tokens; their bytes are the text.
    pub ids: Vec<u32>,
    /// Tokens written, an end included.
    pub tokens: usize,
    /// It ended the answer after it.
    pub ends: bool,
}

/// What a member thinks of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scored {
    /// Natural log-probability.
    pub log_prob: f64,
    /// Its tokens.
    pub tokens: usize,
    /// Its bytes.
    pub bytes: usize,
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
        match (self.pending.last_mut(), own) {
            _ if text.is_empty() => {}
            (Some((before, None)), None) => before.extend_from_slice(text),
            _ => self.pending.push((text.to_vec(), own)),
        }
    }

    /// The same of a text it wrote as `ids`, which it keeps as far as they make it up.
    pub fn commit_own(&mut self, text: &[u8], ids: &[u32]) {
        let mut rest = text;
        for id in ids {
            let bytes = self.vocabulary().bytes(*id).to_vec();
            let Some(left) = rest.strip_prefix(bytes.as_slice()) else { break };
            self.commit(&bytes, Some(*id));
            rest = left;
        }
        self.commit(rest, None);
    }

    /// What comes next: text and ends only, other tokens left out.
    ///
    /// # Errors
    /// If the model fails.
    #[expect(clippy::should_implement_trait, reason = "it is a question, not an iterator")]
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
        Ok(self.score_with(text, None)?.0)
    }

    /// Natural log-probability of `text` and the end of the answer after it; `None` where the member has no end.
    ///
    /// # Errors
    /// If the model cannot score or fails.
    pub fn score_end(&mut self, text: &[u8]) -> Result<Option<f64>, BackendError> {
        let ends = self.vocabulary().ends().to_vec();
        let mut p = 0.0;
        let mut before = 0.0;
        for end in &ends {
            let (score, of_end) = self.score_with(text, Some(*end))?;
            before = score;
            p += of_end.exp();
        }
        Ok((!ends.is_empty()).then(|| before + p.ln()))
    }

    /// Of `text`, and of `then` after it.
    fn score_with(&mut self, text: &[u8], then: Option<u32>) -> Result<(f64, f64), BackendError> {
        self.flush()?;
        let (keep, push) = self.change(text);
        let tail = self.session.ids()[keep..].to_vec();
        let ids: Vec<u32> = push.iter().copied().chain(then).collect();
        self.session.rollback(keep)?;
        let sum = |scores: &[f32]| scores.iter().copied().map(f64::from).sum::<f64>();
        let scored = if ids.is_empty() { Ok(Vec::new()) } else { self.session.score(&ids) };
        let before = if tail.is_empty() { Ok(0.0) } else { self.session.score(&tail).map(|all| sum(&all)) };
        self.session.feed(&tail)?;
        let scored = scored?;
        let (text, then) = scored.split_at(push.len().min(scored.len()));
        Ok((sum(text) - before?, sum(then)))
    }

    /// Natural log-probability of the text it has read: of the tokens that begin at byte `from` or later, but a first
    /// token that nothing precedes.
    ///
    /// # Errors
    /// If the model cannot score or fails.
    pub fn prompt_log_prob(&mut self, from: usize) -> Result<Scored, BackendError> {
        self.flush()?;
        let starts = self.text_starts();
        let first = starts.partition_point(|start| *start < from).max(usize::from(!self.scores_first()));
        let Some(start) = starts.get(first) else { return Ok(Scored::default()) };
        let bytes = self.text_length() - start;
        let ids = self.session.ids().to_vec();
        let (_, rest) = ids.split_at(self.begin() + first);
        self.session.rollback(ids.len() - rest.len())?;
        let scores = self.session.score(rest);
        self.session.feed(rest)?;
        let log_prob = scores?.into_iter().map(f64::from).sum();
        Ok(Scored { log_prob, tokens: rest.len(), bytes })
    }

    /// Where the tokens of its text begin, in bytes of the text; a space that the tokenizer put first is none of them.
    pub fn text_starts(&self) -> Vec<usize> {
        let (space, vocabulary) = (self.space(), self.vocabulary());
        let mut at = 0;
        let mut start = |id: &u32| {
            let start = at;
            at += vocabulary.bytes(*id).len();
            usize::saturating_sub(start, space)
        };
        self.text_ids().iter().map(&mut start).collect()
    }

    fn text_length(&self) -> usize {
        let bytes = self.text_ids().iter().map(|id| self.vocabulary().bytes(*id).len()).sum::<usize>();
        bytes.saturating_sub(self.space())
    }

    /// 1 where its text begins with a space that the tokenizer put there.
    fn space(&self) -> usize {
        let first = self.text_ids().first().map(|id| self.vocabulary().bytes(*id));
        usize::from(self.tokenizer().has_dummy_prefix() && first.is_some_and(|bytes| bytes.starts_with(b" ")))
    }

    /// Whether a beginning-of-text token precedes its text.
    pub fn begins(&self) -> bool {
        self.session.begins()
    }

    /// Whether it gives the probability of the first token of a text.
    pub fn scores_first(&self) -> bool {
        self.session.scores_first()
    }

    /// Whether marks of a template stand in its text.
    pub fn has_marks(&self) -> bool {
        self.text_ids().iter().any(|id| self.vocabulary().role(*id) != Role::Text)
    }

    /// Writes on until `missing`, given the text and the tokens written so far, returns that no token is missing; what
    /// it wrote is forgotten again. So many tokens as are missing are asked for at once.
    ///
    /// # Errors
    /// If the model fails.
    pub fn propose(
        &mut self,
        draft: &Draft,
        missing: impl Fn(&[u8], usize) -> usize,
        rng: &mut dyn Rng,
    ) -> Result<Proposed, BackendError> {
        self.flush()?;
        let len = self.session.ids().len();
        let mut proposed = Proposed::default();
        let mut tokens = 0;
        let wrote = loop {
            let n = missing(&proposed.text, tokens).min(draft.tokens.saturating_sub(tokens));
            if n == 0 {
                break Ok(());
            }
            match self.session.write(&Draft { tokens: n, ..draft.clone() }, rng) {
                // A deadline has passed.
                Ok(written) if written.tokens == 0 => break Ok(()),
                Ok(written) => {
                    tokens += written.tokens;
                    proposed.text.extend_from_slice(&written.text);
                    proposed.ends = written.ended;
                }
                // It has read all it can; what it wrote is there to be used.
                Err(error) if error.is_full() && !proposed.text.is_empty() => break Ok(()),
                Err(error) => break Err(error),
            }
            if proposed.ends {
                break Ok(());
            }
        };
        proposed.tokens = tokens;
        proposed.ids = self.session.ids().get(len..).unwrap_or_default().to_vec();
        self.session.rollback(len)?;
        wrote.map(|()| proposed)
    }

    /// Does something as if `ahead` had been chosen, and forgets that again.
    ///
    /// # Errors
    /// If the model fails.
    pub fn after<T>(
        &mut self,
        ahead: &[u8],
        act: impl FnOnce(&mut Self) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        self.flush()?;
        let (keep, push) = self.change(ahead);
        let tail = self.session.ids()[keep..].to_vec();
        self.session.rollback(keep)?;
        let done = self.session.feed(&push).and_then(|()| act(self));
        self.session.rollback(keep)?;
        self.session.feed(&tail)?;
        done
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
        usize::from(self.session.begins())
    }

    /// What becomes of its ids when `text` follows: how many stay, and what is read then.
    fn change(&self, text: &[u8]) -> (usize, Vec<u32>) {
        let tokenizer = self.session.tokenizer();
        // The space that is put before a first word may have come with it.
        let first = self.text_ids().is_empty() && tokenizer.has_dummy_prefix();
        let text = if first { text.strip_prefix(b" ").unwrap_or(text) } else { text };
        let change = tokenizer.extend(self.text_ids(), text);
        (self.begin() + change.keep, change.push)
    }

    /// Reads what was committed since, in as few calls as it goes.
    fn flush(&mut self) -> Result<(), BackendError> {
        let mut own = Vec::new();
        for (text, id) in std::mem::take(&mut self.pending) {
            if let Some(id) = id {
                own.push(id);
                continue;
            }
            self.read_own(&mut own)?;
            let (keep, push) = self.change(&text);
            self.changes.rolled_back += (self.session.ids().len() - keep) as u64;
            self.changes.pushed += push.len() as u64;
            let is_one = keep == self.session.ids().len() && push.len() == 1;
            self.changes.multi_token += u64::from(!is_one);
            self.session.rollback(keep)?;
            self.session.feed(&push)?;
        }
        self.read_own(&mut own)
    }

    fn read_own(&mut self, own: &mut Vec<u32>) -> Result<(), BackendError> {
        if own.is_empty() {
            return Ok(());
        }
        self.changes.pushed += own.len() as u64;
        self.session.feed(&std::mem::take(own))
    }
}
