//! Attacks on everything that reads what others wrote: valid inputs, damaged by structure and by byte, fed to the real
//! entry points. Nothing may panic, abort, hang or take memory out of proportion; what is refused is refused in words,
//! and what is accepted is sound.
//!
//! A run is a fixed function of its seed. CONTRIBUTING.md says how to run for longer and how to run one case again.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod admin;
mod arms_file;
mod artifact;
mod bytes;
mod dialect;
mod dialect_streams;
mod gguf;
mod harness;
mod importers;
mod json;
mod memory;
mod parquet;
mod programs;
mod random;
mod replies;
mod running;
mod scratch;
mod sse;
mod text;
mod tokenizers;
mod toml_files;
mod wire;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;
