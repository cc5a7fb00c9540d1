//! How a model cuts text: tokens as bytes ([`Vocabulary`]), and text to ids and back ([`Tokenizer`]).
//!
//! A token is the bytes it stands for, whatever its vocabulary displays: the marks of SentencePiece and of
//! byte-level BPE are undone when a vocabulary is read. Several ids may stand for the same bytes. Special
//! tokens have a [`Role`] and no bytes, so that the end of one model's answer meets the end of another's.

use std::collections::HashMap;
use std::path::Path;

mod llama2c;
mod merges;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It stands for its bytes.
    Text,
    /// The model ends its answer with it.
    End,
    /// Put before a text; never part of an answer.
    Begin,
    /// Everything else that stands for no text: unknown, padding, control and unused tokens.
    Control,
}

/// Tokens of a model by id.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    tokens: Vec<(Box<[u8]>, Role)>,
    ids: HashMap<Box<[u8]>, Vec<u32>>,
    ends: Vec<u32>,
    longest: usize,
}

impl Vocabulary {
    /// A vocabulary from the bytes and role of every id; bytes of tokens that are not text are dropped.
    pub fn new(tokens: impl IntoIterator<Item = (Vec<u8>, Role)>) -> Self {
        let mut vocabulary = Self::default();
        for (bytes, role) in tokens {
            vocabulary.push(bytes, role);
        }
        vocabulary
    }

    /// Appends a token and returns its id. Text without bytes is a control token.
    pub fn push(&mut self, bytes: Vec<u8>, role: Role) -> u32 {
        let id = u32::try_from(self.tokens.len()).unwrap_or(u32::MAX);
        let role = if role == Role::Text && bytes.is_empty() { Role::Control } else { role };
        let bytes = if role == Role::Text { bytes.into_boxed_slice() } else { Box::default() };
        match role {
            Role::Text => {
                self.longest = self.longest.max(bytes.len());
                self.ids.entry(bytes.clone()).or_default().push(id);
            }
            Role::End => self.ends.push(id),
            Role::Begin | Role::Control => {}
        }
        self.tokens.push((bytes, role));
        id
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are no ids.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The bytes a token stands for; none for a special or unknown id.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.tokens.get(id as usize).map_or(&[], |(bytes, _)| bytes)
    }

    /// What a token is for; an unknown id is a control token.
    pub fn role(&self, id: u32) -> Role {
        self.tokens.get(id as usize).map_or(Role::Control, |(_, role)| *role)
    }

    /// The ids that stand for exactly these bytes, lowest first.
    pub fn ids(&self, bytes: &[u8]) -> &[u32] {
        self.ids.get(bytes).map_or(&[], Vec::as_slice)
    }

    /// The ids that end an answer.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Length of the longest token in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }
}

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

/// The change that makes the ids of a text those of a longer text: keep some, then add some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// How many of the old ids stay.
    pub keep: usize,
    /// The ids that follow them.
    pub push: Vec<u32>,
}

/// Text to ids and back.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    begin: Option<u32>,
    kind: Kind,
}

/// How text is cut.
#[derive(Debug, Clone)]
enum Kind {
    /// Merges of adjacent pieces by score, a space before the text (SentencePiece BPE).
    Scores(merges::Scores),
    /// One id a token that was ever seen: the text as it came.
    Open,
}

impl Tokenizer {
    /// Reads a tokenizer file; its kind is known by its content.
    ///
    /// # Errors
    /// If the file cannot be read or is no tokenizer this build knows.
    pub fn open(path: &Path) -> Result<Self, TokenizerError> {
        let failed = |reason: String| TokenizerError::Read { path: path.display().to_string(), reason };
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        llama2c::read(&bytes).map_err(failed)
    }

    /// A tokenizer that knows no tokens yet and makes them up from whatever it is handed.
    pub fn empty() -> Self {
        Self { vocabulary: Vocabulary::default(), begin: None, kind: Kind::Open }
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
        matches!(self.kind, Kind::Scores(_))
    }

    /// The canonical ids of a whole text, nothing put before it but the space of [`Self::has_dummy_prefix`].
    pub fn encode(&self, text: &[u8]) -> Vec<u32> {
        match &self.kind {
            Kind::Scores(scores) if text.is_empty() => {
                let _ = scores;
                Vec::new()
            }
            Kind::Scores(scores) => scores.encode(&self.vocabulary, &[b" ", text].concat()),
            Kind::Open => self.vocabulary.ids(text).first().copied().into_iter().collect(),
        }
    }

    /// The bytes of ids, special ones left out; one space at the start dropped where one was put before.
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        let text: Vec<u8> = ids.iter().flat_map(|id| self.vocabulary.bytes(*id)).copied().collect();
        match text.strip_prefix(b" ") {
            Some(rest) if self.has_dummy_prefix() => rest.to_vec(),
            _ => text,
        }
    }

    /// What becomes of `ids`, the text ids of a text from its start, when `appended` follows: the canonical
    /// ids of both together, said as a change.
    pub fn extend(&self, ids: &[u32], appended: &[u8]) -> Extension {
        let mut text = self.decode(ids);
        text.extend_from_slice(appended);
        let new = self.encode(&text);
        let keep = ids.iter().zip(&new).take_while(|(a, b)| a == b).count();
        Extension { keep, push: new[keep..].to_vec() }
    }
}
