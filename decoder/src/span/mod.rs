//! Fusion span by span: every member writes on in its own tokens, all judge what was written, one text is taken.
//!
//! Nothing but text is shared, so vocabularies need not match: each member reads the chosen text as its own tokenizer
//! cuts it, the one that wrote it keeps its tokens. One file a system; what they share: where a span ends
//! ([`Until`]), what members think of a text (`score`), who of them is listened to ([`Filter`]), the loop.

mod boundary;
pub mod cool_fusion;
mod filter;
mod looping;
mod propose;
mod score;
pub mod specfuse;
pub mod sweetspan;

pub use boundary::Boundary;
pub use filter::Filter;
pub use propose::{Proposer, Span, Until};
