//! How a model cuts text: tokens as bytes ([`Vocabulary`]), and text to ids and back ([`Tokenizer`]).
//!
//! A token is the bytes it stands for, whatever its vocabulary displays: the marks of SentencePiece and of
//! byte-level BPE are undone when a vocabulary is read. Several ids may stand for the same bytes. Special
//! tokens have a [`Role`] and no bytes, so that the end of one model's answer meets the end of another's.

use std::collections::HashMap;
use std::path::Path;

mod atoms;
mod bytes;
mod columns;
mod extend;
mod gguf;
mod literals;
pub mod llama2c;
mod marks;
mod merges;
mod pairs;
mod pieces;
mod scores;
mod sentencepiece;
mod specials;
mod split;
mod tokenizer_json;
mod unigram;
mod wordpiece;

pub use extend::Extension;
pub use gguf::Chat as GgufChat;
pub use specials::Special;

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

    /// Ids that make up a text, the longest token first at every place; bytes no token begins with are left out.
    pub fn greedy(&self, text: &[u8]) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let longest = self.longest.min(text.len() - at);
            let found = (1..=longest).rev().find_map(|n| Some((self.ids(&text[at..at + n]).first()?, n)));
            ids.extend(found.map(|(id, _)| *id));
            at += found.map_or(1, |(_, n)| n);
        }
        ids
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

/// Bytes of a file that are read at most: enough for every vocabulary, of a model file its start.
const FILE_MAX: u64 = 64 << 20;

/// Text to ids and back.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    begin: Option<u32>,
    /// A space is put before a text.
    prefix: bool,
    /// It is not put before what follows a special token.
    prefix_once: bool,
    /// Special tokens by how they are shown.
    specials: Vec<Special>,
    literals: literals::Literals,
    kind: Kind,
}

/// How text is cut.
#[derive(Debug, Clone)]
enum Kind {
    /// Merges of adjacent pieces by score (SentencePiece BPE).
    Scores(scores::Scores),
    /// Merges of adjacent tokens by a list (byte-level BPE).
    Merges(pairs::Merges),
    /// Pieces of the highest sum of scores.
    Unigram(unigram::Unigram),
    /// Longest match inside words.
    WordPiece(wordpiece::WordPiece),
    /// The longest tokens that were ever seen, and single bytes.
    Open,
}

impl Tokenizer {
    /// Reads a tokenizer file: GGUF, `tokenizer.json`, SentencePiece `.model` or `.vocab`, `tokenizer.bin` of
    /// llama2.c. Its kind is known by its content.
    ///
    /// # Errors
    /// If the file cannot be read or is no tokenizer this build knows.
    pub fn open(path: &Path) -> Result<Self, TokenizerError> {
        let failed = |reason: String| TokenizerError::Read { path: path.display().to_string(), reason };
        let bytes = routewright_data::files::read_up_to(path, FILE_MAX);
        let bytes = bytes.map_err(|error| failed(error.source.to_string()))?;
        read(&bytes).map_err(failed)
    }

    /// A tokenizer for a model whose own is not known: every byte and an end of the answer, and more tokens as
    /// [`Self::learn`] has seen them. Any text can be cut, into the longest tokens.
    pub fn seen() -> Self {
        let literals = literals::Literals::default();
        let bytes = (0..=u8::MAX).map(|byte| (vec![byte], Role::Text));
        let vocabulary = Vocabulary::new(bytes.chain([(Vec::new(), Role::End)]));
        Self::of(vocabulary, None, false, literals, Kind::Open)
    }

    fn of(
        vocabulary: Vocabulary,
        begin: Option<u32>,
        prefix: bool,
        literals: literals::Literals,
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
    fn encode_part(&self, text: &[u8]) -> Vec<u32> {
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

    fn text(&self, ids: &[u32]) -> Vec<u8> {
        ids.iter().flat_map(|id| self.vocabulary.bytes(*id)).copied().collect()
    }
}

/// Reads a tokenizer of any kind.
fn read(bytes: &[u8]) -> Result<Tokenizer, String> {
    let is_whole = bytes.len() as u64 <= FILE_MAX;
    let tokenizer = match bytes {
        _ if bytes.starts_with(gguf::MAGIC) => gguf::read(bytes),
        _ if !is_whole => Err(format!("it is no GGUF file and longer than {FILE_MAX} bytes")),
        // The longest piece of `tokenizer.bin` is far below 65,536 bytes.
        [_, _, 0, 0, ..] => llama2c::read(bytes),
        _ if bytes.trim_ascii_start().starts_with(b"{") => match std::str::from_utf8(bytes) {
            Ok(text) => tokenizer_json::read(text),
            Err(error) => Err(format!("it is no UTF-8 from byte {} on", error.valid_up_to())),
        },
        // A field of a message whose first field is text.
        [0x0a, _, 0x0a, ..] => sentencepiece::read(bytes),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) if text.lines().next().is_some_and(|line| line.contains('\t')) => columns::read(text),
            _ => Err(concat!(
                "it is none of GGUF, `tokenizer.json`, SentencePiece `.model` or `.vocab`, ",
                "and `tokenizer.bin` of llama2.c"
            )
            .into()),
        },
    }?;
    match tokenizer.begin.filter(|id| *id as usize >= tokenizer.vocabulary.len()) {
        Some(id) => {
            Err(format!("it begins texts with token {id} and has {} tokens", tokenizer.vocabulary.len()))
        }
        None => Ok(tokenizer),
    }
}
