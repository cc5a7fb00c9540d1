//! What a name may be: a model, a tag, a metric, a source, a key of feedback.
//!
//! Names cross every boundary (HTTP headers, metric labels, JSON, PostgreSQL, Parquet, a terminal), so one rule
//! holds for all of them, and everything that takes a name in asks it here. PostgreSQL stores no U+0000, a line break
//! ends a header or a label, and an unbounded name is memory that a caller spends for the server.

use std::fmt;

/// Longest name, bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 256;

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// It has no character.
    Empty,
    /// It is longer than [`NAME_BYTES_MAX`].
    TooLong {
        /// Its length, bytes.
        bytes: usize,
    },
    /// It holds a character that no name has.
    Character {
        /// The character.
        character: char,
        /// Its position, bytes.
        at: usize,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "is empty, expected 1 to {NAME_BYTES_MAX} bytes"),
            Self::TooLong { bytes } => {
                write!(f, "has {bytes} bytes, expected 1 to {NAME_BYTES_MAX}")
            }
            Self::Character { character, at } => {
                let code = u32::from(*character);
                write!(f, "has the control character U+{code:04X} at byte {at}, expected printable text")
            }
        }
    }
}

impl std::error::Error for NameError {}

/// Whether a character may stand in no name: control characters, the separators of lines and paragraphs, and the marks
/// that turn the direction of what follows.
fn is_refused(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Checks a name.
///
/// # Errors
/// If it is empty, longer than [`NAME_BYTES_MAX`], or holds a control character; the message goes on after the name.
pub fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { bytes: name.len() });
    }
    match name.char_indices().find(|(_, character)| is_refused(*character)) {
        Some((at, character)) => Err(NameError::Character { character, at }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_field_pass_and_what_breaks_a_boundary_does_not() {
        for name in ["gpt-4o", "azure/gpt-4o:2024", "モデル 1", "a\"b\\c", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        assert_eq!(check(""), Err(NameError::Empty));
        assert_eq!(check(&"x".repeat(257)), Err(NameError::TooLong { bytes: 257 }));
        for (name, character, at) in [
            ("a\u{0}b", '\u{0}', 1),
            ("ab\n", '\n', 2),
            ("\u{7f}", '\u{7f}', 0),
            ("é\u{202E}", '\u{202E}', 2),
            ("a\u{2028}", '\u{2028}', 1),
        ] {
            assert_eq!(check(name), Err(NameError::Character { character, at }));
        }
        let said = check("a\u{0}b").unwrap_err().to_string();
        assert_eq!(said, "has the control character U+0000 at byte 1, expected printable text");
    }
}
