//! From a text to token ids, by the tokenizer that belongs to a checkpoint.

use crate::features::{EncoderSettings, FeatureError};
use tokenizers::{Tokenizer, TruncationParams};

/// Least length of a text: `[CLS]`, `[SEP]` and some room.
const LENGTH_MIN: usize = 8;

/// A `tokenizer.json`, cutting texts to the length the settings say.
#[derive(Debug, Clone)]
pub struct BertTokenizer {
    json: Vec<u8>,
    tokenizer: Tokenizer,
    settings: EncoderSettings,
}

impl BertTokenizer {
    /// Reads the content of a `tokenizer.json`. Padding it may ask for is turned off: every text is encoded
    /// at its own length.
    ///
    /// # Errors
    /// If it is malformed, or the length leaves no room beside the special tokens.
    pub fn new(json: Vec<u8>, settings: EncoderSettings) -> Result<Self, FeatureError> {
        let error = |reason: String| FeatureError::Setup { name: super::ROW.name.to_owned(), reason };
        let max_length = settings.max_length;
        if max_length < LENGTH_MIN {
            return Err(error(format!("`max_length` is `{max_length}`, expected at least {LENGTH_MIN}")));
        }
        let malformed = |e: tokenizers::Error| error(format!("tokenizer.json: {e}"));
        let mut tokenizer = Tokenizer::from_bytes(&json).map_err(malformed)?;
        let truncation = TruncationParams { max_length, ..TruncationParams::default() };
        tokenizer.with_padding(None).with_truncation(Some(truncation)).map_err(malformed)?;
        Ok(Self { json, tokenizer, settings })
    }

    /// Content of the `tokenizer.json`.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// Ids of the tokens of a text, the special ones included.
    ///
    /// # Errors
    /// If the tokenizer refuses the text; `row` is named.
    pub fn encode(&self, row: usize, text: &str) -> Result<Vec<u32>, FeatureError> {
        let encoding = self.tokenizer.encode_fast(self.settings.head(text), true);
        let encoding = encoding.map_err(|e| FeatureError::Input { row, reason: e.to_string() })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Greatest id the tokenizer can return, where it knows any token.
    pub fn greatest_id(&self) -> Option<u32> {
        self.tokenizer.get_vocab(true).values().max().copied()
    }
}
