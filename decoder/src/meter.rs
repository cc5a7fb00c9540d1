//! How long an answer is in tokens: those of the first member that declares a tokenizer.
//!
//! A unit is a byte, a token or a span, depending on the system; callers count tokens.

use crate::backend::Backend;
use crate::vocabulary::Tokenizer;
use std::sync::Arc;

/// Counts the tokens of an answer while it is written.
#[derive(Debug)]
pub(crate) struct Meter {
    tokenizer: Option<Arc<Tokenizer>>,
    ids: Vec<u32>,
    /// Bytes taken.
    length: usize,
    /// Units taken: what is counted where no member declares a tokenizer.
    units: usize,
    most: usize,
}

impl Meter {
    /// Counts up to `most` tokens.
    pub(crate) fn new(backends: &[Arc<dyn Backend>], most: usize) -> Self {
        let tokenizer = backends.iter().find_map(|backend| backend.tokenizer()).cloned();
        Self { tokenizer, ids: Vec::new(), length: 0, units: 0, most }
    }

    /// Takes a unit; how many of its bytes are within the limit, a whole number of characters.
    pub(crate) fn take(&mut self, unit: &[u8]) -> usize {
        self.units += 1;
        let Some(tokenizer) = &self.tokenizer else {
            self.length += unit.len();
            return unit.len();
        };
        let change = tokenizer.extend_after(&self.ids, self.ids.len(), unit);
        self.ids.truncate(change.keep);
        self.ids.extend(change.push);
        let mut kept = unit.len();
        if self.ids.len() > self.most {
            self.ids.truncate(self.most);
            // The space that is put before a first word is not part of the unit.
            kept = tokenizer.decode(&self.ids).len().saturating_sub(self.length).min(unit.len());
            while kept > 0 && unit.get(kept).is_some_and(|byte| byte & 0xc0 == 0x80) {
                kept -= 1;
            }
        }
        self.length += kept;
        kept
    }

    /// Tokens taken.
    pub(crate) fn tokens(&self) -> usize {
        if self.tokenizer.is_some() { self.ids.len() } else { self.units }
    }

    /// Whether no more are within the limit.
    pub(crate) fn is_full(&self) -> bool {
        self.tokens() >= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::scripted::Scripted;

    fn meter(most: usize) -> Meter {
        let mut tokenizer = Tokenizer::seen();
        [&b" cat"[..], b" sat", b"\xc3\xa9t\xc3\xa9"].iter().for_each(|piece| _ = tokenizer.learn(piece));
        let backend: Arc<dyn Backend> = Arc::new(Scripted::new("m", Arc::new(tokenizer), |_| Vec::new()));
        Meter::new(&[backend], most)
    }

    #[test]
    fn tokens_of_bytes_and_of_spans_are_the_same() {
        let mut bytes = meter(usize::MAX);
        let mut spans = meter(usize::MAX);
        // An open tokenizer reads what it is given, so units of whole tokens are needed here.
        for unit in [" cat", " sat", "!"] {
            assert_eq!(bytes.take(unit.as_bytes()), unit.len());
        }
        assert_eq!(spans.take(b" cat sat!"), 9);
        assert_eq!((bytes.tokens(), spans.tokens()), (3, 3));
    }

    #[test]
    fn a_unit_beyond_the_limit_is_cut_to_whole_characters() {
        let mut meter = meter(2);
        assert_eq!(meter.take(b" cat"), 4);
        assert!(!meter.is_full());
        assert_eq!(meter.take(b" sat on"), 4);
        assert!(meter.is_full());
        assert_eq!(meter.tokens(), 2);
        let mut meter = self::meter(2);
        // `x`, then the first of two bytes of a character.
        assert_eq!(meter.take("x\u{ea}".as_bytes()), 1);
        let mut none = Meter { tokenizer: None, ids: Vec::new(), length: 0, units: 0, most: 2 };
        assert_eq!((none.take(b"abc"), none.take(b"d"), none.is_full()), (3, 1, true));
    }
}
