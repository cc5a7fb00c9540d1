//! SentencePiece BPE: merge the adjacent pair whose joined piece has the highest score, until none is left; what
//! is then no piece is spelled in bytes.
//!
//! Source: the BPE segmenter of SentencePiece 0.2. Deviations: (1) a run of unknown characters is as many
//! unknown tokens, so that a text can be extended at any character; (2) spaces are kept as they are, also where
//! a model was trained with doubled ones removed, so that a text is its bytes.

use super::Vocabulary;
use super::atoms::{Atoms, Joints, characters};
use super::merges::{Symbol, merge};
use super::pairs::Pairs;

/// Pieces with scores.
#[derive(Debug, Clone)]
pub(super) struct Scores {
    order: Order,
    atoms: Atoms,
    pub(super) joints: Joints,
}

/// Which pieces merge, and which of them first.
#[derive(Debug, Clone)]
enum Order {
    /// One an id, whatever it is made of: lower merges first.
    Ranks(Vec<u32>),
    /// Only those of a list.
    Pairs(Pairs),
}

impl Scores {
    /// Scores by id, none of them `NaN`.
    pub(super) fn new(vocabulary: &Vocabulary, scores: &[f32], atoms: Atoms) -> Self {
        let ranks = scores.iter().map(|score| descending(*score)).collect();
        Self { order: Order::Ranks(ranks), atoms, joints: Joints::of(vocabulary) }
    }

    /// Merges by a list instead, as Hugging Face tokenizers do.
    pub(super) fn merge_by(&mut self, pairs: Pairs) {
        self.order = Order::Pairs(pairs);
    }

    /// Ids of `text`, of which what is no UTF-8 is spelled in bytes.
    pub(super) fn encode(&self, vocabulary: &Vocabulary, text: &[u8]) -> Vec<u32> {
        let mut ids = Vec::new();
        self.joints.words(text, |word, valid| match valid {
            true => self.word(vocabulary, word, &mut ids),
            false => self.atoms.spell(word, &mut ids),
        });
        ids
    }

    fn word(&self, vocabulary: &Vocabulary, word: &[u8], ids: &mut Vec<u32>) {
        let piece = |start: usize, end: usize| self.atoms.piece(vocabulary, &word[start..end]);
        let mut symbols: Vec<Symbol> =
            characters(word).map(|(start, end)| Symbol { start, end, id: piece(start, end) }).collect();
        merge(&mut symbols, |left, right| match &self.order {
            Order::Pairs(pairs) => pairs.get(&(left.id?, right.id?)).copied(),
            Order::Ranks(ranks) => {
                let id = piece(left.start, right.end)?;
                Some((ranks.get(id as usize).copied().unwrap_or(u32::MAX), id))
            }
        });
        for symbol in symbols {
            match symbol.id {
                Some(id) => ids.push(id),
                None => self.atoms.spell(&word[symbol.start..symbol.end], ids),
            }
        }
    }
}

/// Numbers in the opposite order of `score`. Zero and minus zero are one.
fn descending(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { !(bits | 1 << 31) } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_descend_with_scores() {
        let scores = [f32::INFINITY, 3.5, 1e-9, 0.0, -1e-9, -1.0, -1000.0, f32::NEG_INFINITY];
        let ranks: Vec<u32> = scores.iter().map(|score| descending(*score)).collect();
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
        assert_eq!(descending(-0.0), descending(0.0));
    }
}
