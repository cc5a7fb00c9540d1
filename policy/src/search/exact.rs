//! Exact top-k inner product by a quantized scan and exact rescoring.
//!
//! 1. Scan: every row's 8-bit code is multiplied with the query's 8-bit code in exact integers; with the
//!    proven error bound of [`super::bound`] this gives an interval for every inner product. A row stays a
//!    candidate while its upper end reaches the k-th largest lower end.
//! 2. Rescore: candidates are scored from the f32 rows in f64, best upper end first, until the next upper end
//!    is below the k-th exact score.
//!
//! Recall is 1 by construction. The scan reads a quarter of the bytes of the f32 rows, which is the limit for
//! single queries, and does four times the multiply-adds an instruction, which is the limit for batches.
//!
//! Similarities are the f64 inner product rounded to f32; order is by that value, ties by lower row. The
//! result has the same bits on every processor and for every batch composition.
//!
//! Cost: `n * dim` byte multiply-adds a query plus `k` and some more exact inner products (at `k = 400` of 7,800
//! rows of width 136 some 500). The worst case is rows that differ by less than the bound (many copies of one
//! query): then every such row is rescored, which costs as much as a plain f32 scan. Memory: `5 dim + 16` bytes a row.

use super::bound::QueryCode;
use super::codes::{Codes, MAX_DIM};
use super::collect::Collector;
use super::error::{SearchError, check_dim, check_vectors};
use super::kernel::Kernel;
use super::neighbor::Neighbor;
use super::scan::Scan;

/// Queries that share one pass over the codes; their codes and candidates stay in the second-level cache.
const PASS: usize = 256;

/// Exact nearest-neighbor index over unit-norm f32 rows.
///
/// ```
/// # use routewright_policy::search::{ExactIndex, SearchError};
/// let index = ExactIndex::new(vec![1.0, 0.0, 0.0, 1.0, 0.6, 0.8], 2)?;
/// let found = index.search(&[1.0, 0.0], 2)?;
/// assert_eq!(found[0].iter().map(|neighbor| neighbor.row).collect::<Vec<_>>(), [0, 2]);
/// # Ok::<(), SearchError>(())
/// ```
#[derive(Debug)]
pub struct ExactIndex {
    rows: Vec<f32>,
    dim: usize,
    codes: Codes,
    kernel: Kernel,
}

impl ExactIndex {
    /// Builds an index over `rows`, shape `(n, dim)` row-major; `n` may be zero.
    ///
    /// # Errors
    /// [`SearchError::Dim`], [`SearchError::Ragged`], [`SearchError::Value`] for NaN, infinite or huge
    /// values, [`SearchError::TooManyRows`].
    pub fn new(rows: Vec<f32>, dim: usize) -> Result<Self, SearchError> {
        check_dim(dim, MAX_DIM)?;
        check_vectors("rows", &rows, dim)?;
        let codes = Codes::new(&rows, dim);
        Ok(Self { rows, dim, codes, kernel: Kernel::detect() })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len() / self.dim
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Values a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The rows as given, shape `(len, dim)` row-major.
    pub fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// The `k` rows with the largest inner product for each query of `queries`, shape `(m, dim)` row-major.
    ///
    /// Gives `m` lists of `min(k, len)` neighbors, best first, ties by lower row.
    ///
    /// # Errors
    /// [`SearchError::Ragged`] or [`SearchError::Value`] for bad queries.
    pub fn search(&self, queries: &[f32], k: usize) -> Result<Vec<Vec<Neighbor>>, SearchError> {
        self.search_where(queries, k, |_, _| true)
    }

    /// As [`search`](Self::search), leaving row `excluded[i]` out of the answer of query `i`: leave-one-out
    /// estimates, where every query is itself a row. A row number past the end excludes nothing.
    ///
    /// # Errors
    /// [`SearchError::Excluded`] if `excluded` is not as long as the batch, and those of `search`.
    pub fn search_excluding(
        &self,
        queries: &[f32],
        k: usize,
        excluded: &[u32],
    ) -> Result<Vec<Vec<Neighbor>>, SearchError> {
        if excluded.len() * self.dim != queries.len() {
            let count = check_vectors("queries", queries, self.dim)?;
            return Err(SearchError::Excluded { excluded: excluded.len(), queries: count });
        }
        self.search_where(queries, k, |query, row| excluded[query] != row)
    }

    /// As [`search`](Self::search) over the rows for which `keep(query, row)` holds: cross-validation folds,
    /// rows without an outcome for an arm. `keep` must answer the same for the same numbers; it is asked only
    /// for rows that could enter the answer, about `k ln(n / k)` times a query.
    ///
    /// # Errors
    /// Those of `search`.
    pub fn search_where(
        &self,
        queries: &[f32],
        k: usize,
        keep: impl Fn(usize, u32) -> bool,
    ) -> Result<Vec<Vec<Neighbor>>, SearchError> {
        let count = check_vectors("queries", queries, self.dim)?;
        let k = k.min(self.len());
        if k == 0 {
            return Ok(vec![Vec::new(); count]);
        }
        let mut found = Vec::with_capacity(count);
        for pass in queries.chunks(PASS * self.dim) {
            let first = found.len();
            self.pass(pass, k, |query, row| keep(first + query, row), &mut found);
        }
        Ok(found)
    }

    fn pass(
        &self,
        queries: &[f32],
        k: usize,
        keep: impl Fn(usize, u32) -> bool,
        found: &mut Vec<Vec<Neighbor>>,
    ) {
        let queries = queries.chunks_exact(self.dim);
        let codes: Vec<QueryCode> = queries.clone().map(|query| QueryCode::new(query, &self.codes)).collect();
        let mut collectors: Vec<Collector> = codes.iter().map(|_| Collector::new(k)).collect();
        let scan = Scan { kernel: self.kernel, codes: &self.codes, queries: &codes, rows: self.len(), keep };
        scan.run(&mut collectors);
        for ((query, code), collector) in queries.zip(&codes).zip(collectors) {
            found.push(collector.finish(code, |row| self.similarity(query, row)));
        }
    }

    fn similarity(&self, query: &[f32], row: u32) -> f32 {
        let row = &self.rows[row as usize * self.dim..][..self.dim];
        // adding zero turns a negative zero into zero, so that both tie
        self.kernel.inner_product(query, row) as f32 + 0.0
    }
}

#[cfg(test)]
mod tests;
