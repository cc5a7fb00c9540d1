//! What is logged, and the numbers made from it.
//!
//! An *outcome log* says how each arm did on each query: one row per (query, model) with a score in
//! `[0, 1]` and a price in US dollars. A *pair log* says which of two answers was preferred. Both are
//! Parquet files whose columns are listed in [`schema`]. This crate reads, checks, imports, splits and
//! simulates logs, turns them into matrices ([`OutcomeTable`], [`Cells`]) and texts into feature vectors
//! ([`features`]).
//!
//! It knows no burn, no HTTP and no policy. Missing cells are normal: they are `NaN` in [`Cells`] and
//! `None` at every accessor.

pub mod answers;
pub mod calendar;
pub mod decisions;
pub mod dense;
pub mod features;
pub mod files;
pub mod fusion;
pub mod importers;
pub mod linalg;
pub mod log;
mod matrix;
pub mod names;
mod outcomes;
mod pairs;
mod pipeline;
pub mod price;
pub mod product;
pub mod query_text;
pub mod rng;
pub mod row_keys;
pub mod schema;
pub mod simd;
pub mod split;
pub mod stats;
pub mod suggest;
pub mod synthetic;
pub mod tasks;
mod tensor;
#[doc(hidden)]
pub mod testing;

pub use log::{LoadOptions, LogError};
pub use matrix::{Cells, FeatureMatrix};
pub use outcomes::{OutcomeTable, Query};
pub use pairs::{Judge, Judges, JudgesError, Pair, PairTable, Winner};
pub use query_text::QueryText;
pub use tensor::{Tensor, TensorData, TensorError, Tensors};
