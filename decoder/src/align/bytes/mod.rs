//! Next-byte probabilities of models that think in tokens (during-inference fusion without a common vocabulary).
//!
//! `P(next byte b | bytes x)` is the sum over all token sequences that cover `x` and then `b`. A cover is a sequence of
//! committed tokens and the beginning of one more; the models of several vocabularies meet byte by byte, with no token
//! compared to another. Idea: genlm-bytes and ByteSampler; "Exact Byte-Level Probabilities from Tokenized Language
//! Models" (arXiv 2410.09303).
//!
//! Deviations: 1. a beam of covers, cut by number and by share, instead of all of them; what is cut is scaled away.
//! 2. All covers count, not only those the tokenizer itself would write; the others have little mass. 3. What stands
//! before the last place where a text is cut whatever follows is covered as the tokenizer cuts it; where no such place
//! is known near the end, what stands before the last word.

mod cover;
mod trie;

pub use cover::{Beam, Cover};
pub use trie::{Masses, Trie};

use std::sync::LazyLock;

/// The units of bytes: the end of the answer, then the 256 bytes.
pub static UNITS: LazyLock<Vec<Box<[u8]>>> = LazyLock::new(|| {
    let bytes = (0..=u8::MAX).map(|byte| Box::from([byte]));
    std::iter::once(Box::default()).chain(bytes).collect()
});
