//! WordPiece: the longest token that begins the rest of a word, again and again; a word that ends up with a rest
//! is one unknown token.
//!
//! Source: Schuster and Nakajima 2012 as in BERT. A token stands for its letters, the first of a word for a space
//! before them, so what is decoded differs from what was encoded in spaces (and in case and accents, where the
//! model knows none).

use super::Vocabulary;
use fancy_regex::Regex;
use unicode_normalization::UnicodeNormalization;

/// Words longer than this many characters are unknown.
const WORD_MAX: usize = 100;

/// What is done to a text before it is cut.
#[derive(Debug, Clone)]
pub(super) struct WordPiece {
    /// Token of a word that cannot be said.
    pub(super) unknown: Option<u32>,
    pub(super) lowercase: bool,
    pub(super) strip_accents: bool,
    /// Matches one character: punctuation, or a Chinese one, which is a word by itself.
    pub(super) alone: Regex,
    /// Matches a nonspacing mark.
    pub(super) mark: Regex,
}

impl WordPiece {
    /// The patterns of BERT.
    pub(super) fn new(unknown: Option<u32>, lowercase: bool, strip_accents: bool) -> Result<Self, String> {
        let compile = |pattern: &str| Regex::new(pattern).map_err(|error| error.to_string());
        let alone = concat!(
            r"[\p{P}$+<=>^`|~\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2CEAF}",
            r"\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}]",
        );
        Ok(Self { unknown, lowercase, strip_accents, alone: compile(alone)?, mark: compile(r"\p{Mn}")? })
    }

    /// Ids of `text`; what is no UTF-8 cannot be said.
    pub(super) fn encode(&self, vocabulary: &Vocabulary, text: &[u8]) -> Vec<u32> {
        let text = self.normal(&String::from_utf8_lossy(text));
        let mut ids = Vec::new();
        for run in text.split_whitespace() {
            let mut start = 0;
            for (at, character) in run.char_indices() {
                if self.matches(&self.alone, character) {
                    self.word(vocabulary, &run[start..at], &mut ids);
                    start = at + character.len_utf8();
                    self.word(vocabulary, &run[at..start], &mut ids);
                }
            }
            self.word(vocabulary, &run[start..], &mut ids);
        }
        ids
    }

    fn normal(&self, text: &str) -> String {
        let unseen = |c: &char| !matches!(c, '\0' | '\u{fffd}') && (c.is_whitespace() || !c.is_control());
        let seen: String = text.chars().filter(unseen).collect();
        let mut text = seen;
        if self.strip_accents {
            text = text.nfd().filter(|c| !self.matches(&self.mark, *c)).collect();
        }
        if self.lowercase { text.chars().flat_map(char::to_lowercase).collect() } else { text }
    }

    fn matches(&self, class: &Regex, character: char) -> bool {
        class.is_match(character.encode_utf8(&mut [0; 4])).unwrap_or(false)
    }

    fn word(&self, vocabulary: &Vocabulary, word: &str, ids: &mut Vec<u32>) {
        // Before anything is looked up: the time of that grows with the square of the length.
        if word.chars().nth(WORD_MAX).is_some() {
            return ids.extend(self.unknown);
        }
        let before = ids.len();
        let mut rest = word;
        while !rest.is_empty() {
            let lead = if rest.len() == word.len() { " " } else { "" };
            let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8()).collect::<Vec<_>>();
            let longest = ends.into_iter().rev().find_map(|end| {
                let ids = vocabulary.ids([lead, &rest[..end]].concat().as_bytes());
                ids.first().map(|id| (*id, end))
            });
            let Some((id, end)) = longest else {
                ids.truncate(before);
                return ids.extend(self.unknown);
            };
            ids.push(id);
            rest = &rest[end..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Role;

    #[test]
    fn a_word_that_is_too_long_is_unknown_at_once() {
        let vocabulary = Vocabulary::new([(b" a".to_vec(), Role::Text), (b"a".to_vec(), Role::Text)]);
        let wordpiece = WordPiece::new(Some(7), true, true).unwrap();
        assert_eq!(wordpiece.encode(&vocabulary, "a".repeat(WORD_MAX).as_bytes()).len(), WORD_MAX);
        // A prompt without a space once took hours.
        assert_eq!(wordpiece.encode(&vocabulary, "a".repeat(1 << 20).as_bytes()), [7]);
    }
}
