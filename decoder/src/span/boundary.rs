//! Where words end, for people and for tokenizers.

use crate::backend::Backend;
use crate::vocabulary::Tokenizer;
use std::sync::Arc;

/// Places where every one of several tokenizers cuts a text, whatever surrounds it, and a word ends.
#[derive(Debug, Clone, Default)]
pub struct Boundary(Vec<Arc<Tokenizer>>);

impl Boundary {
    /// The boundaries that the members have in common; one that declares no tokenizer reads text, and has any.
    pub fn of(backends: &[Arc<dyn Backend>]) -> Self {
        Self(backends.iter().filter_map(|backend| backend.tokenizer().cloned()).collect())
    }

    /// The first boundary in a text, in bytes: before white space, after something else.
    pub fn first(&self, text: &[u8]) -> Option<usize> {
        let text = std::str::from_utf8(&text[..whole(text)]).ok()?;
        let right = text.char_indices().skip(1);
        let mut pairs = text.chars().zip(right);
        let parts = |left, right| self.0.iter().all(|tokenizer| tokenizer.parts(left, right));
        let is_end = |left: char, right: char| !left.is_whitespace() && right.is_whitespace();
        pairs.find(|(left, (_, right))| is_end(*left, *right) && parts(*left, *right)).map(|(_, (at, _))| at)
    }
}

/// Where the words of a text end, in bytes: those that white space follows.
pub(super) fn word_ends(text: &[u8]) -> impl Iterator<Item = usize> {
    (1..text.len()).filter(|at| !text[at - 1].is_ascii_whitespace() && text[*at].is_ascii_whitespace())
}

/// Bytes of a text without a character that is not finished; all where nothing else is there.
pub(super) fn whole(text: &[u8]) -> usize {
    match std::str::from_utf8(text) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => text.len(),
    }
}
