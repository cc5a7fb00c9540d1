//! BPE by a list of merges: the adjacent pair that comes first in the list is merged, until none is left.
//!
//! It starts from bytes inside the stretches of a [`Split`] (byte-level BPE: Sennrich et al. 2016, GPT-2). Bytes
//! that are not UTF-8 are a stretch of their own; a byte without a token is the unknown token, or left out where
//! there is none.

use super::Vocabulary;
use super::atoms::Atoms;
use super::merges::{Symbol, merge};
use super::split::Split;
use std::collections::HashMap;
use unicode_normalization::UnicodeNormalization as _;

/// Two tokens, and the rank and token of their merge.
pub(super) type Pairs = HashMap<(u32, u32), (u32, u32)>;

/// A list of merges.
#[derive(Debug, Clone)]
pub(super) struct Merges {
    pub(super) pairs: Pairs,
    pub(super) atoms: Atoms,
    pub(super) split: Split,
    /// A stretch that is a token is that token, whatever the merges say.
    pub(super) whole: bool,
    /// Text is composed (NFC) before it is split.
    pub(super) nfc: bool,
}

impl Merges {
    /// Ids of `text`.
    pub(super) fn encode(&self, vocabulary: &Vocabulary, text: &[u8]) -> Vec<u32> {
        let mut ids = Vec::new();
        for chunk in text.utf8_chunks() {
            let composed = self.nfc.then(|| chunk.valid().nfc().collect::<String>());
            for stretch in self.split.stretches(composed.as_deref().unwrap_or(chunk.valid())) {
                self.stretch(vocabulary, stretch.as_bytes(), &mut ids);
            }
            self.stretch(vocabulary, chunk.invalid(), &mut ids);
        }
        ids
    }

    fn stretch(&self, vocabulary: &Vocabulary, text: &[u8], ids: &mut Vec<u32>) {
        if let ([id, ..], true) = (vocabulary.ids(text), self.whole) {
            return ids.push(*id);
        }
        let symbol = |(start, byte): (usize, &u8)| {
            let id = self.atoms.bytes[usize::from(*byte)].or(self.atoms.unknown)?;
            Some(Symbol { start, end: start + 1, id: Some(id) })
        };
        self.merge(text.iter().enumerate().filter_map(symbol).collect(), ids);
    }

    fn merge(&self, mut symbols: Vec<Symbol>, ids: &mut Vec<u32>) {
        merge(&mut symbols, |left, right| self.pairs.get(&(left.id?, right.id?)).copied());
        ids.extend(symbols.iter().filter_map(|symbol| symbol.id));
    }
}

/// Looks up the tokens of a list of merges: the two that merge, and the one they become, by how they are shown.
pub(super) fn pairs<'a>(
    merges: impl Iterator<Item = (&'a str, &'a str)>,
    id: impl Fn(&str) -> Option<u32>,
) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    for (rank, (left, right)) in (0..u32::MAX).zip(merges) {
        let joined = format!("{left}{right}");
        let find = |shown: &str| {
            id(shown)
                .ok_or_else(|| format!("its merge {rank}, `{left} {right}`, needs `{shown}`, no token of it"))
        };
        pairs.entry((find(left)?, find(right)?)).or_insert((rank, find(&joined)?));
    }
    Ok(pairs)
}
