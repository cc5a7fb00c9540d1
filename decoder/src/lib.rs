//! Many models, one answer: fusion of tokens, spans, processes and responses.
//!
//! A [`backend::Backend`] is a model, a [`backend::Session`] one text it reads. Models cut text differently, so
//! everything they share is bytes: see [`vocabulary`].

pub mod backend;
pub mod backends;
pub mod distribution;
pub mod vocabulary;
