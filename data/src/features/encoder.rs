//! Settings shared by the featurizers that run a sentence encoder: `bert` and `embed`.

use serde::{Deserialize, Serialize};

/// How the vectors of the tokens become the vector of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Their mean.
    #[default]
    Mean,
    /// The first one, `[CLS]`.
    Cls,
}

impl std::str::FromStr for Pooling {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mean" => Ok(Self::Mean),
            "cls" => Ok(Self::Cls),
            other => Err(format!("unknown pooling `{other}`; known: `mean`, `cls`")),
        }
    }
}

/// What is asked of an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderSettings {
    /// How tokens are pooled.
    pub pooling: Pooling,
    /// Tokens read of one text, `[CLS]` and `[SEP]` included; the rest is cut off.
    pub max_length: usize,
}

impl Default for EncoderSettings {
    fn default() -> Self {
        Self { pooling: Pooling::Mean, max_length: 256 }
    }
}

impl EncoderSettings {
    /// The same with at most `n` tokens.
    #[must_use]
    pub fn within(self, n: usize) -> Self {
        Self { max_length: self.max_length.min(n), ..self }
    }

    /// The part of a text a tokenizer is shown. Its cost grows with the text, however little of it is kept
    /// in the end; a token of more than 64 bytes of text on average is no text.
    pub fn head<'a>(&self, text: &'a str) -> &'a str {
        text.get(..text.floor_char_boundary(self.max_length.saturating_mul(64))).unwrap_or(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let settings = EncoderSettings { max_length: 1, ..EncoderSettings::default() };
        assert_eq!(settings.head("short"), "short");
        let text = format!("{}é and more", "a".repeat(63));
        assert_eq!(settings.head(&text).len(), 63);
    }
}
