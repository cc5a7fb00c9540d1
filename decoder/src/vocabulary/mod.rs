//! How a model cuts text: tokens as bytes ([`Vocabulary`]), and text to ids and back ([`Tokenizer`]).
//!
//! A token is the bytes it stands for, whatever its vocabulary displays: the marks of SentencePiece and of
//! byte-level BPE are undone when a vocabulary is read. Several ids may stand for the same bytes. Special
//! tokens have a [`Role`] and no bytes, so that the end of one model's answer meets the end of another's.

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
mod tokenizer;
mod tokenizer_json;
mod tokens;
mod unigram;
mod wordpiece;

pub use extend::Extension;
pub use gguf::Chat as GgufChat;
pub use specials::Special;
use tokenizer::Kind;
pub use tokenizer::{Tokenizer, TokenizerError};
pub use tokens::{Role, Vocabulary};

/// Bytes of a file that are read at most: enough for every vocabulary, of a model file its start.
const FILE_MAX: u64 = 64 << 20;

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
