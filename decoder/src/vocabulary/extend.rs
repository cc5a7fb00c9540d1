//! The ids of a text that grows: only what the new end can change is cut again.

use super::{Kind, Role, Tokenizer};

/// Ids looked at first for a place where the text is cut whatever follows.
const TAIL: usize = 16;

/// The change that makes the ids of a text those of a longer text: keep some, then add some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// How many of the old ids stay.
    pub keep: usize,
    /// The ids that follow them.
    pub push: Vec<u32>,
}

impl Tokenizer {
    /// What becomes of `ids`, the text ids of a text from its start, when `appended` follows: the canonical
    /// ids of both together, said as a change.
    ///
    /// `ids` may be any, also such as this tokenizer would not cut the text into; the change starts at the first
    /// that is not canonical. That takes a look at the whole text: see [`Self::extend_after`] for one that does
    /// not. Ids that stand for no text stay where they are and part the text; only what follows the last of
    /// them is cut again. [`Tokenizer::seen`] keeps all ids and adds
    /// those of `appended`.
    pub fn extend(&self, ids: &[u32], appended: &[u8]) -> Extension {
        self.extend_after(ids, 0, appended)
    }

    /// [`Self::extend`], knowing that the first `canonical` of `ids` begin the canonical ids of some text: what
    /// [`Self::encode`] returned or an [`Extension`] left, cut to any length.
    ///
    /// It costs as much as the ids after those and a word before them are long. Whoever keeps ids keeps the
    /// number with them: `keep + push.len()` after an extension, at most the new length after a rollback, and
    /// the same as before when ids are added directly.
    pub fn extend_after(&self, ids: &[u32], canonical: usize, appended: &[u8]) -> Extension {
        if matches!(self.kind, Kind::Open) {
            return Extension { keep: ids.len(), push: self.encode(appended) };
        }
        let special = |id: &u32| self.vocabulary.role(*id) != Role::Text;
        let start = ids.iter().rposition(special).map_or(0, |last| last + 1);
        let known = &ids[start.min(canonical)..canonical.min(ids.len())];
        let cut = start + if canonical > start { self.last_cut(known) } else { 0 };
        let from_start = cut == 0 || cut == 1 && self.begin == ids.first().copied();
        let new = match from_start {
            true => self.encode(&[&self.decode(&ids[cut..]), appended].concat()),
            false => self.encode_part(&[&self.text(&ids[cut..]), appended].concat()),
        };
        let same = ids[cut..].iter().zip(&new).take_while(|(old, new)| old == new).count();
        Extension { keep: cut + same, push: new[same..].to_vec() }
    }

    /// How many of `ids`, those of a text from its start, stay whatever text follows: those up to the last place where
    /// the text is cut whatever surrounds it. Where there is none within `most` bytes of the end, up to the last word;
    /// where there is no word either, all but the last.
    pub fn settled(&self, ids: &[u32], most: usize) -> usize {
        let special = |id: &u32| self.vocabulary.role(*id) != Role::Text;
        let start = ids.iter().rposition(special).map_or(0, |last| last + 1);
        let text = &ids[start..];
        let bytes = |ids: &[u32]| ids.iter().map(|id| self.vocabulary.bytes(*id).len()).sum::<usize>();
        let cut = if matches!(self.kind, Kind::Open) { text.len() } else { self.last_cut(text) };
        if cut < text.len() && bytes(&text[cut..]) <= most {
            return start + cut;
        }
        let is_word = |at: &usize| {
            let word = self.vocabulary.bytes(text[*at]);
            word.first().is_some_and(u8::is_ascii_whitespace) && bytes(&text[*at..]) <= most
        };
        start + (1..text.len()).rev().find(is_word).unwrap_or(text.len().saturating_sub(1))
    }

    /// The last place in canonical `ids` where their text is cut whatever comes before and after, as a number
    /// of ids; 0 if there is none.
    fn last_cut(&self, ids: &[u32]) -> usize {
        let mut first = ids.len();
        let mut length = TAIL;
        while first > 0 {
            first = ids.len().saturating_sub(length);
            length *= 2;
            let mut ends = Vec::new();
            let mut text = Vec::new();
            for id in &ids[first..] {
                text.extend_from_slice(self.vocabulary.bytes(*id));
                ends.push(text.len());
            }
            let ids_before = |cut: usize| ends.binary_search(&cut).ok().map(|at| first + at + 1);
            if let Some(cut) = self.cuts(&text).into_iter().rev().find_map(ids_before) {
                return cut;
            }
        }
        0
    }

    /// Where a text is cut whatever surrounds it. A character that is not whole may yet become one, so only
    /// whole ones count.
    fn cuts(&self, text: &[u8]) -> Vec<usize> {
        let mut cuts = Vec::new();
        let mut start = 0;
        for chunk in text.utf8_chunks() {
            let characters = chunk.valid().char_indices();
            for ((_, left), (at, right)) in characters.clone().zip(characters.skip(1)) {
                if self.parts(left, right) {
                    cuts.push(start + at);
                }
            }
            start += chunk.valid().len() + chunk.invalid().len();
        }
        cuts
    }

    /// Whether every text is cut between these two characters, whatever surrounds them.
    pub fn parts(&self, left: char, right: char) -> bool {
        let kind = match &self.kind {
            Kind::Scores(scores) => scores.joints.part(left, right),
            Kind::Merges(merges) => merges.split.part(left, right),
            Kind::Unigram(unigram) => unigram.joints.part(left, right),
            Kind::WordPiece(_) => right == ' ' && !left.is_whitespace(),
            Kind::Open => false,
        };
        kind && self.literals.part(left, right)
    }
}
