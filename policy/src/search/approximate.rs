//! Approximate top-k by a navigable small world graph, optionally rescored exactly.
//!
//! For single queries over many rows: time grows with the logarithm of the rows. Below some 50,000 rows, or
//! for batches, [`super::ExactIndex`] is as fast and exact.
//!
//! Rows must have unit norm. Memory: `dim` rounded up to 64, plus `8 m + 10`, bytes a row; the f32 rows are
//! not kept. See [`super::graph`] for the source and the deviations.

use super::codes::MAX_DIM;
use super::error::{SearchError, check_dim, check_unit_norm, check_vectors};
use super::graph::{Graph, Scratch, closeness_of, row_of};
use super::kernel::Kernel;
use super::neighbor::{BestList, Neighbor};
use super::row_codes::{Probe, RowCodes};

/// How an approximate index is built and searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphOptions {
    /// Links a node gets, from 2 to 256; more raise recall, memory and build time.
    pub m: usize,
    /// Rows kept while looking for a new row's links; more raise recall and build time.
    pub ef_construction: usize,
    /// Rows kept while searching, at least `k`; more raise recall and search time.
    pub ef_search: usize,
    /// Seed of the layers of the rows.
    pub seed: u64,
}

impl Default for GraphOptions {
    fn default() -> Self {
        Self { m: 16, ef_construction: 100, ef_search: 96, seed: 1 }
    }
}

/// Approximate nearest-neighbor index over unit-norm rows.
#[derive(Debug)]
pub struct ApproximateIndex {
    pub(super) codes: RowCodes,
    pub(super) graph: Graph,
    pub(super) ef_search: usize,
}

impl ApproximateIndex {
    /// Builds an index over `rows`, shape `(n, dim)` row-major, on the calling thread. The same rows and
    /// options give the same index, byte for byte, on every processor.
    ///
    /// # Errors
    /// As [`super::ExactIndex::new`]; [`SearchError::NotUnit`] for rows without unit norm;
    /// [`SearchError::Graph`] for options out of range.
    pub fn new(rows: &[f32], dim: usize, options: GraphOptions) -> Result<Self, SearchError> {
        check_dim(dim, MAX_DIM)?;
        check_vectors("rows", rows, dim)?;
        check_unit_norm(rows, dim)?;
        let GraphOptions { m, ef_construction, ef_search, seed } = options;
        if !(2..=256).contains(&m) || ef_construction == 0 || ef_search == 0 {
            return Err(SearchError::Graph {
                attempt: "build",
                message: format!(
                    "m `{m}`, ef_construction `{ef_construction}`, ef_search `{ef_search}`: m from 2 to 256 \
                     and positive widths are accepted"
                ),
            });
        }
        let codes = RowCodes::new(rows, dim);
        let graph = Graph::new(&codes, m, ef_construction, seed);
        Ok(Self { codes, graph, ef_search })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.codes.len() == 0
    }

    /// Values a row.
    pub fn dim(&self) -> usize {
        self.codes.dim
    }

    /// Rows kept while searching.
    pub fn ef_search(&self) -> usize {
        self.ef_search
    }

    /// Sets the rows kept while searching; at least 1.
    pub fn set_ef_search(&mut self, ef_search: usize) {
        self.ef_search = ef_search.max(1);
    }

    /// About the `k` rows with the largest inner product, for each query of `queries`, shape `(m, dim)`.
    ///
    /// Similarities are estimates from the 8-bit codes (about 0.001 off at 384 dimensions); lists can be
    /// shorter than `min(k, len)` where parts of the graph cannot be reached.
    ///
    /// # Errors
    /// [`SearchError::Ragged`] or [`SearchError::Value`] for bad queries.
    pub fn search(&self, queries: &[f32], k: usize) -> Result<Vec<Vec<Neighbor>>, SearchError> {
        self.search_with(queries, k, |query, found, shift| {
            let _ = query;
            let estimate = |&(row, closeness): &(u32, f32)| Neighbor { row, similarity: closeness + shift };
            found[..found.len().min(k)].iter().map(estimate).collect()
        })
    }

    /// As [`search`](Self::search), with exact similarities from `rows`, the rows the index was built from,
    /// and the order they give: recall is that of the graph, not of the codes.
    ///
    /// # Errors
    /// Those of `search`, and [`SearchError::Graph`] if `rows` has another shape than the index.
    pub fn search_rescored(
        &self,
        queries: &[f32],
        k: usize,
        rows: &[f32],
    ) -> Result<Vec<Vec<Neighbor>>, SearchError> {
        if rows.len() != self.len() * self.dim() {
            return Err(SearchError::Graph {
                attempt: "rescore from",
                message: format!(
                    "`{}` row values do not make `{}` rows of `{}`",
                    rows.len(),
                    self.len(),
                    self.dim()
                ),
            });
        }
        let kernel = Kernel::detect();
        self.search_with(queries, k, |query, found, _| {
            let mut best = BestList::new(k);
            // the codes are good enough that a row of the k best is not far behind in their order
            for &(row, _) in &found[..found.len().min(2 * k + 16)] {
                let values = &rows[row as usize * self.dim()..][..self.dim()];
                best.offer(Neighbor { row, similarity: kernel.inner_product(query, values) as f32 + 0.0 });
            }
            best.into_vec()
        })
    }

    fn search_with(
        &self,
        queries: &[f32],
        k: usize,
        finish: impl Fn(&[f32], &[(u32, f32)], f32) -> Vec<Neighbor>,
    ) -> Result<Vec<Vec<Neighbor>>, SearchError> {
        let count = check_vectors("queries", queries, self.dim())?;
        let k = k.min(self.len());
        if k == 0 {
            return Ok(vec![Vec::new(); count]);
        }
        let (mut scratch, mut probe) = (Scratch::default(), Probe::default());
        let mut answer = |query: &[f32]| {
            self.codes.aim_at_query(query, &mut probe);
            let found = self.graph.search(&self.codes, &mut probe, self.ef_search.max(k), &mut scratch);
            let found: Vec<(u32, f32)> = found.iter().map(|&key| (row_of(key), closeness_of(key))).collect();
            finish(query, &found, self.shift(query))
        };
        Ok(queries.chunks_exact(self.dim()).map(&mut answer).collect())
    }

    /// What turns closeness into an inner product, for unit rows `x = center + y`:
    /// `q.x = y.(q - center) - |y|^2 / 2 + (|q|^2 + 1 - |q - center|^2) / 2`.
    fn shift(&self, query: &[f32]) -> f32 {
        let (mut square, mut centered) = (0.0f64, 0.0f64);
        for (&value, &mean) in query.iter().zip(&self.codes.center) {
            square += f64::from(value).powi(2);
            centered += (f64::from(value) - f64::from(mean)).powi(2);
        }
        ((square + 1.0 - centered) / 2.0) as f32
    }
}

#[cfg(test)]
mod tests;
