//! Nearest-neighbor search over the stored queries of a kNN router.
//!
//! Three engines answer the same question, "which `k` rows have the largest inner product with this
//! query", with the same [`Neighbor`] lists. Rows are expected to have unit norm, so the inner product is
//! the cosine similarity; other finite rows are answered correctly too.
//!
//! | engine | answer | when |
//! |---|---|---|
//! | [`ExactIndex`] | exact by construction | default, every dimension |
//! | `ApproximateIndex` (feature `ann`) | HNSW graph | single queries over more than about 50,000 rows |
//! | `LowDimIndex` (feature `linfa`) | exact trees | at most 16 dimensions |
//!
//! Every engine is deterministic: the same rows and query give the same list, whatever the batch the query
//! travels in. One call uses one thread; an index is `Sync`, so callers split batches over threads.

mod bound;
mod codes;
mod collect;
mod error;
mod exact;
mod kernel;
mod neighbor;
#[cfg(test)]
mod oracle;
mod scan;

#[cfg(feature = "ann")]
mod approximate;
#[cfg(feature = "ann")]
mod graph;
#[cfg(feature = "ann")]
mod graph_bytes;
#[cfg(feature = "linfa")]
mod low_dim;
#[cfg(feature = "ann")]
mod row_codes;

pub use error::SearchError;
pub use exact::ExactIndex;
pub use neighbor::Neighbor;

#[cfg(feature = "ann")]
pub use approximate::{ApproximateIndex, GraphOptions};
#[cfg(feature = "linfa")]
pub use low_dim::LowDimIndex;
