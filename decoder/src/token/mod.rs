//! Fusion token by token. One file a system; the loop they share is [`TokenLoop`].

pub mod gac;
mod looping;
pub mod purify;
pub mod unite;

pub use looping::TokenLoop;
