//! Models of GGUF and safetensors files against the implementations of candle-transformers, on random weights, and
//! against our own of llama2.c.

#![cfg(feature = "candle")]
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../http/gguf.rs"]
mod gguf;
mod kinds;
mod llama2c;
mod models;
#[cfg(feature = "candle-reference")]
mod reference;
mod sessions;
