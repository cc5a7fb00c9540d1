//! Many models, one answer: fusion of tokens, spans, processes and responses.
//!
//! A [`backend::Backend`] is a model, a [`backend::Session`] one text it reads. Models cut text differently, so
//! everything they share is bytes: see [`vocabulary`]. A [`generation::Generation`] is one answer being written by
//! the members of an ensemble; a [`fuse::Fuser`] is the loop that writes it, one row of [`fuse::ALL`] a system.
//!
//! Token level, by step: members give distributions ([`distribution`]), meet in one space ([`align`]), count as much
//! as they should ([`weigh`]), are pooled ([`pool`]), and one unit is committed to all of them ([`member`]).
//!
//! Span level ([`span`]): members write a few words, all judge. Process level ([`tree`]): members write steps, a search
//! looks for the best chain of them. In both only text is shared.

pub mod align;
pub mod backend;
pub mod backends;
pub mod chat;
pub mod client;
pub mod distribution;
pub mod draw;
mod emit;
pub mod ensemble;
pub mod environment;
pub mod fuse;
pub mod generation;
pub mod log;
mod mass;
pub mod member;
mod member_threads;
mod meter;
pub mod pick;
pub mod pool;
pub mod span;
mod system;
pub mod template;
pub mod token;
pub mod trace;
pub mod tree;
pub mod vocabulary;
pub mod weigh;
