//! The loop of byte-level fusion: every member gives its next-byte probabilities, one byte is chosen for all.

use super::looping::choose;
use crate::align::bytes::{Beam, Cover, Trie, UNITS};
use crate::align::{Aligned, Unlisted};
use crate::backend::{Backend, BackendError, Usage};
use crate::generation::{FuseError, Generation};
use crate::member::Member;
use crate::pool::Pool;
use crate::weigh::{View, Weigh, Weigher};
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// What is put together to a byte-level system.
#[derive(Debug)]
pub struct ByteLoop {
    tries: Vec<Arc<Trie>>,
    beam: Beam,
    pool: Pool,
    weigh: Box<dyn Weigh>,
}

impl ByteLoop {
    /// A loop for these members, which all have tokenizers; members of one tokenizer share its tree.
    pub fn new(backends: &[Arc<dyn Backend>], beam: Beam, pool: Pool, weigh: Box<dyn Weigh>) -> Self {
        let mut tries: Vec<Arc<Trie>> = Vec::new();
        let tokenizers: Vec<_> = backends.iter().filter_map(|backend| backend.tokenizer()).collect();
        for (at, tokenizer) in tokenizers.iter().enumerate() {
            let same = tokenizers[..at].iter().position(|other| Arc::ptr_eq(other, tokenizer));
            tries.push(match same {
                Some(same) => tries[same].clone(),
                None => Arc::new(Trie::new(tokenizer.vocabulary())),
            });
        }
        Self { tries, beam, pool, weigh }
    }

    /// Writes the answer, a byte a step.
    ///
    /// # Errors
    /// If no member is left, none may fail and one does, or nothing has any probability.
    pub fn run(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        let mut weigher = self.weigh.start(generation)?;
        self.run_with(generation, &mut *weigher)
    }

    /// Writes the answer with weights from elsewhere.
    ///
    /// # Errors
    /// If no member is left, none may fail and one does, or nothing has any probability.
    pub fn run_with(
        &self,
        generation: &mut Generation<'_>,
        weigher: &mut dyn Weigher,
    ) -> Result<(), FuseError> {
        let empty = generation.prompt().is_empty();
        let covers: Vec<Mutex<Option<Cover>>> = self.tries.iter().map(|_| Mutex::new(None)).collect();
        let spent: Vec<AtomicU64> = self.tries.iter().map(|_| AtomicU64::new(0)).collect();
        let mut last: Option<u8> = None;
        while !generation.is_over()? {
            let told = generation.ask(|at, member| {
                let mut slot = covers[at].lock().unwrap_or_else(PoisonError::into_inner);
                let cover = match slot.take() {
                    Some(mut cover) => match last.map_or(Ok(true), |byte| cover.advance(byte))? {
                        true => cover,
                        // Its distribution was cut off before this: it reads the text as its tokenizer cuts it.
                        false => {
                            spent[at].fetch_add(cover.usage().calls, Relaxed);
                            self.cover(at, member, b"")?
                        }
                    },
                    None => {
                        // The space a tokenizer puts before a text is not part of what is shared.
                        let lead: &[u8] =
                            if empty && member.tokenizer().has_dummy_prefix() { b" " } else { b"" };
                        self.cover(at, member, lead)?
                    }
                };
                let lost = Usage { calls: spent[at].load(Relaxed), ..Usage::default() };
                member.spent_beside(cover.usage() + lost);
                Ok(slot.insert(cover).tell())
            })?;
            let unlisted = |told: &Option<(Vec<f32>, f32)>| {
                let mass = told.as_ref().map_or(0.0, |(_, unlisted)| *unlisted);
                Unlisted { mass, has: None }
            };
            let unlisted = told.iter().map(unlisted).collect();
            let mass: Vec<_> = told.into_iter().map(|told| told.map(|(mass, _)| mass)).collect();
            let aligned = Aligned { units: Cow::Borrowed(&UNITS[..]), mass, unlisted };
            let told = vec![None; aligned.mass.len()];
            let (step, prompt, text) = (generation.steps(), generation.prompt(), generation.text());
            let weights = weigher.weigh(&View { step, prompt, text, told: &told, aligned: &aligned })?;
            choose(self.pool, generation, &told, &aligned, weights)?;
            last = generation.text().last().copied();
        }
        Ok(())
    }

    /// Covers of what a member has read.
    fn cover(&self, at: usize, member: &mut Member, lead: &[u8]) -> Result<Cover, BackendError> {
        let session = member.fork_session()?;
        Cover::start(member.name(), session, self.tries[at].clone(), self.beam, lead)
    }
}
