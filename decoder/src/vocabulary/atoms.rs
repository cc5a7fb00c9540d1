//! What a text is cut into before anything is merged: tokens of single characters, else of single bytes, else
//! the unknown token.

use super::Vocabulary;
use std::collections::HashSet;

/// The single-byte and unknown tokens of a vocabulary.
#[derive(Debug, Clone)]
pub(super) struct Atoms {
    /// The token of each byte, where there is one.
    pub(super) bytes: Box<[Option<u32>; 256]>,
    /// What stands for a character or byte that cannot be said; left out where there is none.
    pub(super) unknown: Option<u32>,
}

impl Atoms {
    /// Atoms without byte tokens.
    pub(super) fn new(unknown: Option<u32>) -> Self {
        Self { bytes: Box::new([None; 256]), unknown }
    }

    /// Takes the tokens of one byte for those of their bytes.
    pub(super) fn find_bytes(&mut self, vocabulary: &Vocabulary) {
        for byte in 0..=u8::MAX {
            self.bytes[usize::from(byte)] = vocabulary.ids(&[byte]).first().copied();
        }
    }

    /// Whether `id` is the token of a byte.
    pub(super) fn is_byte(&self, vocabulary: &Vocabulary, id: u32) -> bool {
        matches!(vocabulary.bytes(id), [byte] if self.bytes[usize::from(*byte)] == Some(id))
    }

    /// The token of a piece of text that is not that of a byte.
    pub(super) fn piece(&self, vocabulary: &Vocabulary, text: &[u8]) -> Option<u32> {
        vocabulary.ids(text).iter().copied().find(|id| !self.is_byte(vocabulary, *id))
    }

    /// Says a character, or a byte that belongs to none, by its bytes; unknown if not all of them have tokens.
    pub(super) fn spell(&self, text: &[u8], ids: &mut Vec<u32>) {
        let all: Option<Vec<u32>> = text.iter().map(|byte| self.bytes[usize::from(*byte)]).collect();
        ids.extend(all.unwrap_or_else(|| self.unknown.into_iter().collect()));
    }
}

/// Pairs of characters that stand beside each other inside some token: between any two others every text is
/// cut, whatever surrounds it, as long as tokens are chosen by nothing but the text they cover.
#[derive(Debug, Clone, Default)]
pub(super) struct Joints(HashSet<(char, char)>);

impl Joints {
    /// The joints of all tokens but those of single bytes.
    pub(super) fn of(vocabulary: &Vocabulary) -> Self {
        let mut joints = HashSet::new();
        let ids = 0..u32::try_from(vocabulary.len()).unwrap_or(u32::MAX);
        for text in ids.filter_map(|id| std::str::from_utf8(vocabulary.bytes(id)).ok()) {
            joints.extend(text.chars().zip(text.chars().skip(1)));
        }
        Self(joints)
    }

    /// Whether no token holds `left` followed by `right`.
    pub(super) fn part(&self, left: char, right: char) -> bool {
        !self.0.contains(&(left, right))
    }

    /// Hands `each` the runs of `text` that no token reaches across; every byte that is not UTF-8 alone.
    pub(super) fn words<'a>(&self, text: &'a [u8], mut each: impl FnMut(&'a [u8], bool)) {
        for chunk in text.utf8_chunks() {
            let valid = chunk.valid();
            let mut start = 0;
            let characters = valid.char_indices();
            for ((_, left), (at, right)) in characters.clone().zip(characters.skip(1)) {
                if self.part(left, right) {
                    each(&valid.as_bytes()[start..at], true);
                    start = at;
                }
            }
            if start < valid.len() {
                each(&valid.as_bytes()[start..], true);
            }
            chunk.invalid().chunks(1).for_each(|byte| each(byte, false));
        }
    }
}

/// The characters of a text that is UTF-8, as ranges of its bytes.
pub(super) fn characters(text: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let starts = |at: &usize| text.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    let starts = (0..=text.len()).filter(move |at| starts(at));
    starts.clone().zip(starts.skip(1))
}
