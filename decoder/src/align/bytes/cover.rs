//! The covers of a text by the tokens of one model, and what they say of the next byte.

use super::trie::{Masses, Trie};
use crate::backend::{BackendError, Session, Usage};
use crate::backends::writing::said;
use std::sync::Arc;

/// How many covers are kept.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Beam {
    /// At most so many.
    pub width: usize,
    /// Only those with at least this share of the mass of the best.
    pub share: f64,
}

impl Default for Beam {
    /// Within 0.001 bits per byte of a beam of 8 on the models it was measured on, for 1.4 times the calls of plain
    /// decoding.
    fn default() -> Self {
        Self { width: 3, share: 0.01 }
    }
}

/// Bytes of the end of a text that are covered again at most.
const REOPEN_MAX: usize = 64;
/// Covers kept while they are.
const REOPEN_WIDTH: usize = 8;

/// All covers that are kept of one model's text.
#[derive(Debug)]
pub struct Cover {
    model: String,
    trie: Arc<Trie>,
    beam: Beam,
    states: Vec<State>,
    spent: Usage,
}

/// Committed tokens, and the node the bytes after them have led to.
#[derive(Debug)]
struct State {
    session: Box<dyn Session>,
    /// Natural logarithm of the probability of the committed tokens, less what all states have in common.
    log_weight: f64,
    node: u32,
    masses: Arc<Masses>,
}

/// A state that could be kept.
struct Candidate {
    from: usize,
    /// The token to commit; `None` to go on with longer ones.
    commit: Option<u32>,
    log_mass: f64,
}

impl Cover {
    /// Begins at a session that has read a text. Its last tokens may be others once the text goes on, so it is taken
    /// back to the last place where the tokenizer cuts whatever follows ([`crate::vocabulary::Tokenizer::settled`]) and
    /// covered again from there. Where the distribution is cut off before those tokens, only the last token
    /// is, or none. `lead` is covered before any distribution is given, e.g. the space a tokenizer puts first.
    ///
    /// # Errors
    /// If the model fails, or its tokens cannot spell `lead`.
    pub fn start(
        model: &str,
        mut session: Box<dyn Session>,
        trie: Arc<Trie>,
        beam: Beam,
        lead: &[u8],
    ) -> Result<Self, BackendError> {
        let begin = usize::from(session.begins());
        let ids = session.ids().to_vec();
        let settled = begin + session.tokenizer().settled(&ids[begin..], REOPEN_MAX);
        let model = model.to_owned();
        let mut cover = Self { model, trie, beam, states: Vec::new(), spent: Usage::default() };
        // Without anything before it a token stays: a model has to have read something to predict.
        for keep in [settled.max(1), ids.len().saturating_sub(1).max(1)] {
            if keep >= ids.len() || !cover.states.is_empty() {
                continue;
            }
            let vocabulary = session.tokenizer().vocabulary();
            let text: Vec<u8> = ids[keep..].iter().flat_map(|id| vocabulary.bytes(*id)).copied().collect();
            session.rollback(keep)?;
            cover.states = vec![cover.state(session.fork()?, 0.0)?];
            if text.is_empty() || !cover.reopen(&text)? {
                cover.states.clear();
                session.feed(&ids[keep..])?;
            }
        }
        if cover.states.is_empty() {
            cover.states = vec![cover.state(session, 0.0)?];
        }
        if !cover.spell(lead)? {
            let reason = format!("its tokens cannot begin with {:?}", String::from_utf8_lossy(lead));
            return Err(BackendError::Failed { model: cover.model, reason });
        }
        Ok(cover)
    }

    /// Covers a text that is known, with a wider beam than one that is being written: the cover that the next byte
    /// needs may be an unlikely one here.
    fn reopen(&mut self, text: &[u8]) -> Result<bool, BackendError> {
        let beam = self.beam;
        if beam.width > 1 {
            self.beam = Beam { width: beam.width.max(REOPEN_WIDTH), share: beam.share.min(1e-6) };
        }
        let spelled = self.spell(text);
        self.beam = beam;
        spelled
    }

    fn spell(&mut self, text: &[u8]) -> Result<bool, BackendError> {
        for byte in text {
            if !self.advance(*byte)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Probabilities of what comes next: the end, then the 256 bytes; they sum to 1. With them what a byte has that no
    /// listed token goes on with: as much as one token that the list lacks, in the same scale.
    pub fn tell(&self) -> (Vec<f32>, f32) {
        let mut sums = vec![0.0_f64; 257];
        let mut unlisted = 0.0;
        for state in &self.states {
            let weight = state.log_weight.exp();
            unlisted += weight * f64::from(state.masses.unlisted());
            if state.node == 0 {
                sums[0] += weight * f64::from(state.masses.end());
            }
            for child in self.trie.children(state.node) {
                let mass = f64::from(state.masses.below(child));
                sums[1 + usize::from(self.trie.byte(child))] += weight * mass;
            }
        }
        let all: f64 = sums.iter().sum();
        let scaled = |sum: f64| if all > 0.0 { (sum / all) as f32 } else { 0.0 };
        (sums.into_iter().map(scaled).collect(), scaled(unlisted))
    }

    /// Takes `byte` as what came next; `false` where no listed token that was kept can go on so. The cover is
    /// then of no more use.
    ///
    /// # Errors
    /// If the model fails.
    pub fn advance(&mut self, byte: u8) -> Result<bool, BackendError> {
        let trie = self.trie.clone();
        let mut alive = Vec::new();
        let mut dead = Vec::new();
        for mut state in std::mem::take(&mut self.states) {
            match trie.child(state.node, byte).filter(|child| state.masses.below(*child) > 0.0) {
                Some(child) => {
                    state.node = child;
                    alive.push(state);
                }
                None => dead.push(state),
            }
        }
        dead.iter().for_each(|state| self.count(state));
        let kept = self.keep(&alive);
        if kept.is_empty() {
            alive.iter().for_each(|state| self.count(state));
            return Ok(false);
        }
        self.realise(alive, &kept)?;
        Ok(true)
    }

    /// Calls and tokens of all sessions so far.
    pub fn usage(&self) -> Usage {
        self.states.iter().fold(self.spent, |sum, state| sum + state.session.usage())
    }

    /// How many covers there are.
    pub fn width(&self) -> usize {
        self.states.len()
    }

    /// The best ways to go on, best first.
    fn keep(&self, alive: &[State]) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for (from, state) in alive.iter().enumerate() {
            let mut longer = f64::from(state.masses.below(state.node));
            for id in self.trie.tokens(state.node) {
                let p = f64::from(state.masses.token(*id));
                longer -= p.exp();
                candidates.push(Candidate { from, commit: Some(*id), log_mass: state.log_weight + p });
            }
            // What rounding leaves where no token is longer is no mass.
            if self.trie.children(state.node).next().is_some() && longer > 0.0 {
                let log_mass = state.log_weight + longer.ln();
                candidates.push(Candidate { from, commit: None, log_mass });
            }
        }
        candidates.retain(|candidate| candidate.log_mass > f64::NEG_INFINITY);
        candidates.sort_by(|a, b| b.log_mass.total_cmp(&a.log_mass));
        candidates.truncate(self.beam.width.max(1));
        let least = candidates.first().map_or(0.0, |best| best.log_mass + self.beam.share.max(1e-300).ln());
        candidates.retain(|candidate| candidate.log_mass >= least);
        candidates
    }

    /// Makes the states that are kept; a session is moved where it is needed once, and forked where more often.
    fn realise(&mut self, alive: Vec<State>, kept: &[Candidate]) -> Result<(), BackendError> {
        let best = kept.first().map_or(0.0, |candidate| candidate.log_mass);
        for (from, state) in alive.into_iter().enumerate() {
            let mut uses = kept.iter().filter(|candidate| candidate.from == from).peekable();
            if uses.peek().is_none() {
                self.count(&state);
                continue;
            }
            let mut state = Some(state);
            while let Some(candidate) = uses.next() {
                let Some(owner) = state.take() else { break };
                let (used, rest) = if uses.peek().is_some() {
                    let twin = owner.session.fork()?;
                    let masses = owner.masses.clone();
                    let (log_weight, node) = (owner.log_weight, owner.node);
                    (State { session: twin, log_weight, node, masses }, Some(owner))
                } else {
                    (owner, None)
                };
                state = rest;
                let state = match candidate.commit {
                    None => used,
                    Some(id) => {
                        let mut session = used.session;
                        session.feed(&[id])?;
                        self.state(session, candidate.log_mass)?
                    }
                };
                self.states.push(state);
            }
        }
        self.states.iter_mut().for_each(|state| state.log_weight -= best);
        Ok(())
    }

    fn state(&self, mut session: Box<dyn Session>, log_weight: f64) -> Result<State, BackendError> {
        let told = session.next()?;
        let masses = Arc::new(self.trie.masses(said(told, &*session)));
        Ok(State { session, log_weight, node: 0, masses })
    }

    fn count(&mut self, state: &State) {
        self.spent = self.spent + state.session.usage();
    }
}
