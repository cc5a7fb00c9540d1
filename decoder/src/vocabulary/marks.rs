//! The marks by which vocabularies display bytes, and how they are undone.
//!
//! SentencePiece writes U+2581 for a space and `<0xNN>` for a byte; byte-level BPE writes every byte as one
//! printable character; WordPiece writes `##` before what continues a word.

use super::Role;

/// How SentencePiece shows a space.
pub(super) const SPACE: char = '\u{2581}';

/// Names by which the tokens that end an answer are known, where a file does not say which do.
const END_NAMES: [&str; 11] = [
    "</s>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|EOT|>",
    "<EOT>",
    "<eos>",
    "<end_of_turn>",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
];

/// What a token that stands for no text is for.
pub(super) fn special(id: usize, name: &str, begin: Option<u32>, ends: &[u32]) -> Role {
    let is = |other: u32| other as usize == id;
    if END_NAMES.contains(&name) || ends.iter().copied().any(is) {
        Role::End
    } else if begin.is_some_and(is) {
        Role::Begin
    } else {
        Role::Control
    }
}

/// The text of a SentencePiece piece.
pub(super) fn piece(shown: &str) -> Vec<u8> {
    shown.replace(SPACE, " ").into_bytes()
}

/// The byte that `<0xNN>` stands for.
pub(super) fn byte_piece(shown: &str) -> Option<u8> {
    let digits = shown.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2 && !digits.starts_with('+')).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// How byte-level BPE shows a byte: as the character of its number where that is printable, else as the
/// next unused one from U+0100 on.
pub(super) fn byte_level_char(byte: u8) -> char {
    let number = u32::from(byte);
    let shown = match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => number,
        0x00..=0x20 => 0x100 + number,
        0x7f..=0xa0 => 0x100 + number - 0x7f + 0x21,
        0xad => 0x100 + 0x21 + 0x22,
    };
    char::from_u32(shown).unwrap_or_default()
}

/// Undoes [`byte_level_char`] for whole tokens.
#[derive(Debug)]
pub(super) struct ByteLevel(std::collections::HashMap<char, u8>);

impl ByteLevel {
    pub(super) fn new() -> Self {
        Self((0..=u8::MAX).map(|byte| (byte_level_char(byte), byte)).collect())
    }

    /// The bytes of a token; those of the text itself where it was not written in this alphabet.
    pub(super) fn bytes(&self, shown: &str) -> Vec<u8> {
        let bytes: Option<Vec<u8>> = shown.chars().map(|c| self.0.get(&c).copied()).collect();
        bytes.unwrap_or_else(|| shown.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_level_shows_every_byte_as_a_character_of_its_own() {
        let shown: std::collections::HashSet<char> = (0..=u8::MAX).map(byte_level_char).collect();
        assert_eq!(shown.len(), 256);
        // GPT-2's vocabulary shows space as U+0120, newline as U+010A and soft hyphen as U+0143.
        assert_eq!([byte_level_char(b' '), byte_level_char(b'\n'), byte_level_char(0xad)], ['Ġ', 'Ċ', 'Ń']);
        assert_eq!(ByteLevel::new().bytes("Ġé"), [0x20, 0xe9]);
        assert_eq!(ByteLevel::new().bytes("a b"), b"a b");
    }

    #[test]
    fn byte_pieces_are_six_characters() {
        assert_eq!(byte_piece("<0x0A>"), Some(10));
        assert_eq!(byte_piece("<0xff>"), Some(255));
        for other in ["<0x0>", "<0x+1>", "<0x001>", "0x0A", "<0xZZ>", "<0xé>"] {
            assert_eq!(byte_piece(other), None, "{other}");
        }
    }
}
