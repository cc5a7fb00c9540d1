//! Unigram: the cut of a text into pieces whose scores sum to the most.
//!
//! Source: Kudo 2018, as in SentencePiece 0.2: a character that is no piece scores 10 below the lowest piece and
//! is then spelled in bytes or unknown. Deviation: scores are summed exactly, in units of 2^-32, so that the cut
//! of a text does not depend on where summing began.

use super::Vocabulary;
use super::atoms::{Atoms, Joints, characters};

/// How far below the lowest piece an unknown character scores.
const UNKNOWN_PENALTY: f64 = 10.0;
const UNIT: f64 = 4_294_967_296.0;

/// Pieces with log-probabilities.
#[derive(Debug, Clone)]
pub(super) struct Unigram {
    scores: Vec<i64>,
    unknown_score: i64,
    atoms: Atoms,
    pub(super) joints: Joints,
}

/// The best way to reach a position: its score, where its last piece starts, and that piece.
type Step = (i64, usize, Option<u32>);

impl Unigram {
    /// Scores by id, all finite.
    pub(super) fn new(vocabulary: &Vocabulary, scores: &[f32], atoms: Atoms) -> Self {
        let lowest = scores.iter().copied().fold(0.0, f32::min);
        // The magnitude of a float fits: a file with larger scores is refused when it is read.
        let fixed = |score: f64| (score * UNIT).round() as i64;
        Self {
            scores: scores.iter().map(|score| fixed(f64::from(*score))).collect(),
            unknown_score: fixed(f64::from(lowest) - UNKNOWN_PENALTY),
            atoms,
            joints: Joints::of(vocabulary),
        }
    }

    /// Ids of `text`.
    pub(super) fn encode(&self, vocabulary: &Vocabulary, text: &[u8]) -> Vec<u32> {
        let mut ids = Vec::new();
        self.joints.words(text, |word, valid| match valid {
            true => self.word(vocabulary, word, &mut ids),
            false => self.atoms.spell(word, &mut ids),
        });
        ids
    }

    fn word(&self, vocabulary: &Vocabulary, word: &[u8], ids: &mut Vec<u32>) {
        let best = self.best(vocabulary, word);
        let mut path = Vec::new();
        let mut at = word.len();
        while let Some(Some((_, start, id))) = best.get(at).filter(|_| at > 0) {
            path.push((*start, at, *id));
            at = *start;
        }
        for (start, end, id) in path.into_iter().rev() {
            match id {
                Some(id) => ids.push(id),
                None => self.atoms.spell(&word[start..end], ids),
            }
        }
    }

    /// The best step to the end of every character.
    fn best(&self, vocabulary: &Vocabulary, word: &[u8]) -> Vec<Option<Step>> {
        let mut best: Vec<Option<Step>> = vec![None; word.len() + 1];
        best[0] = Some((0, 0, None));
        let bounds: Vec<(usize, usize)> = characters(word).collect();
        for (first, (start, single)) in bounds.iter().copied().enumerate() {
            let Some((so_far, ..)) = best[start] else { continue };
            let mut offer = |end: usize, score: i64, id: Option<u32>| {
                let total = so_far.saturating_add(score);
                if best[end].is_none_or(|(highest, ..)| total > highest) {
                    best[end] = Some((total, start, id));
                }
            };
            for (_, end) in &bounds[first..] {
                if end - start > vocabulary.longest() {
                    break;
                }
                match self.atoms.piece(vocabulary, &word[start..*end]) {
                    Some(id) => offer(*end, self.scores.get(id as usize).copied().unwrap_or(0), Some(id)),
                    None if *end == single => offer(single, self.unknown_score, None),
                    None => {}
                }
            }
            if single - start > vocabulary.longest() {
                offer(single, self.unknown_score, None);
            }
        }
        best
    }
}
