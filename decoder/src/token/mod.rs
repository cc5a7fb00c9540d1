//! Fusion token by token. One file a system; the loop they share is [`TokenLoop`].

pub mod agreement;
mod byte_loop;
pub mod byte_mixture;
pub mod citer;
pub mod deepen;
pub mod eva;
pub mod expert_rows;
pub mod expert_token;
pub mod gac;
mod looping;
pub mod packllm;
pub mod purify;
pub mod rlae;
pub mod speculative;
pub mod state;
pub mod unite;

pub use byte_loop::ByteLoop;
pub use looping::TokenLoop;
