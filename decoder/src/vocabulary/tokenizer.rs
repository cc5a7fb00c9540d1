//! A tokenizer, whatever file it was read from.

use super::literals::Literals;
use super::pairs::Merges;
use super::scores::Scores;
use super::specials::Special;
use super::tokens::{Role, Vocabulary};
use super::unigram::Unigram;
use super::wordpiece::WordPiece;

/// Why a tokenizer could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file cannot be read.
    #[error("cannot read tokenizer `{path}`: {reason}")]
    Read {
        /// Path of the file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Text to ids and back.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    pub(super) vocabulary: Vocabulary,
    pub(super) begin: Option<u32>,
    /// A space is put before a text.
    pub(super) prefix: bool,
    /// It is not put before what follows a special token.
    pub(super) prefix_once: bool,
    /// Special tokens by how they are shown.
    pub(super) specials: Vec<Special>,
    pub(super) literals: Literals,
    pub(super) kind: Kind,
}

/// How text is cut.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Merges of adjacent pieces by score (SentencePiece BPE).
    Scores(Scores),
    /// Merges of adjacent tokens by a list (byte-level BPE).
    Merges(Merges),
    /// Pieces of the highest sum of scores.
    Unigram(Unigram),
    /// Longest match inside words.
    WordPiece(WordPiece),
    /// The longest tokens that were ever seen, and single bytes.
    Open,
}

impl Tokenizer {
    /// A tokenizer for a model whose own is not known: every byte and an end of the answer, and more tokens as
    /// [`Self::learn`] has seen them. Any text can be cut, into the longest tokens.
    pub fn seen() -> Self {
        let literals = Literals::default();
        let bytes = (0..=u8::MAX).map(|byte| (vec![byte], Role::Text));
        let vocabulary = Vocabulary::new(bytes.chain([(Vec::new(), Role::End)]));
        Self::of(vocabulary, None, false, literals, Kind::Open)
    }

    pub(super) fn of(
        vocabulary: Vocabulary,
        begin: Option<u32>,
        prefix: bool,
        literals: Literals,
        kind: Kind,
    ) -> Self {
        Self { vocabulary, begin, prefix, prefix_once: false, specials: Vec::new(), literals, kind }
    }

    /// The id of a token; a new one where none has these bytes yet. Made for [`Self::seen`].
    pub fn learn(&mut self, bytes: &[u8]) -> u32 {
        match self.vocabulary.ids(bytes).first() {
            Some(id) => *id,
            None => self.vocabulary.push(bytes.to_vec(), Role::Text),
        }
    }

    /// The tokens.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The id that is put before a text, where there is one.
    pub fn begin(&self) -> Option<u32> {
        self.begin
    }

    /// Whether a space is put before a text, which the ids then contain and [`Self::decode`] drops.
    pub fn has_dummy_prefix(&self) -> bool {
        self.prefix
    }

    /// The canonical ids of a whole text, nothing put before it but the space of [`Self::has_dummy_prefix`].
    pub fn encode(&self, text: &[u8]) -> Vec<u32> {
        match self.prefix && !text.is_empty() {
            true => self.encode_part(&[b" ", text].concat()),
            false => self.encode_part(text),
        }
    }

    /// Ids of a text that something may stand before.
    pub(super) fn encode_part(&self, text: &[u8]) -> Vec<u32> {
        self.literals.encode(text, |text| match &self.kind {
            Kind::Scores(scores) => scores.encode(&self.vocabulary, text),
            Kind::Merges(merges) => merges.encode(&self.vocabulary, text),
            Kind::Unigram(unigram) => unigram.encode(&self.vocabulary, text),
            Kind::WordPiece(wordpiece) => wordpiece.encode(&self.vocabulary, text),
            Kind::Open => self.vocabulary.greedy(text),
        })
    }

    /// The bytes of ids, special ones left out; one space at the start dropped where one was put before.
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        let text = self.text(ids);
        match text.strip_prefix(b" ") {
            Some(rest) if self.prefix => rest.to_vec(),
            _ => text,
        }
    }

    pub(super) fn text(&self, ids: &[u32]) -> Vec<u8> {
        ids.iter().flat_map(|id| self.vocabulary.bytes(*id)).copied().collect()
    }
}
