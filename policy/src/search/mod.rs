//! Nearest-neighbor search over the stored queries of a kNN router.
//!
//! Three engines answer the same question, "which `k` rows have the largest inner product with this
//! query", with the same [`Neighbor`] lists. Rows are expected to have unit norm, so the inner product is
//! the cosine similarity; other finite rows are answered correctly too.
//!
//! | engine | answer | when |
//! |---|---|---|
//! | [`ExactIndex`] | exact by construction | default, every dimension |
//! | `ApproximateIndex` | HNSW graph | single queries over more than about 50,000 rows |
//! | `LowDimIndex` | exact trees | at most 16 dimensions |
//!
//! Every engine is deterministic: the same rows and query give the same list, whatever the batch the query
//! travels in. One call uses one thread; an index is `Sync`, so callers split batches over threads.

mod approximate;
mod bound;
mod codes;
mod collect;
mod engine;
mod error;
mod exact;
mod graph;
mod graph_bytes;
mod kernel;
mod low_dim;
mod neighbor;
#[cfg(test)]
mod oracle;
mod row_codes;
mod scan;

pub use approximate::{ApproximateIndex, GraphOptions};
pub use engine::{Engine, EngineKind};
pub use error::SearchError;
pub use exact::ExactIndex;
pub use low_dim::LowDimIndex;
pub use neighbor::Neighbor;
