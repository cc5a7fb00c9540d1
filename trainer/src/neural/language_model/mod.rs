//! Tiny language models of the Llama kind, trained from scratch.
//!
//! The architecture is that of llama2.c: pre-norm blocks (RMSNorm, epsilon 1e-5), rotary positions on interleaved
//! pairs (base 10,000), grouped-query attention, SwiGLU, output tied to the embedding. Forward and backward pass are
//! by hand, as for the heads (`neural::cpu`). Texts of a batch stand one after another without padding; attention
//! stays inside a text. A batch is cut into [`SHARDS`] whatever the number of threads and gradients are added in
//! their order, so that a seed gives the same bits everywhere.
//!
//! Matrices are `(n_in, n_out)`, states `(tokens, dim)`.

mod attention;
mod layers;
mod pass;
mod training;
mod weights;

pub use training::{LmRecipe, LmTrainer, Text};
pub use weights::{LmBlock, LmShape, LmWeights};

/// Parts of a batch that are worked on side by side.
const SHARDS: usize = 4;

#[cfg(test)]
mod tests;
