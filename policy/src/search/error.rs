//! What can be wrong with the rows, queries and bytes handed to a search index.

use super::codes::{MAX_DIM, MAX_MAGNITUDE};

/// How far from 1 the norm of a row may be where unit norm is needed; f32 normalization leaves about 1e-7.
pub(super) const NORM_TOLERANCE: f64 = 1e-4;

/// Why an index was not built or a search not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The dimension is zero or above the engine's limit.
    #[error("cannot search in `{dim}` dimensions: from 1 to {max} are accepted")]
    Dim {
        /// The dimension asked for.
        dim: usize,
        /// The largest dimension the engine accepts.
        max: usize,
    },
    /// A flat row-major buffer does not hold a whole number of vectors.
    #[error(
        "cannot read {what} as vectors of `{dim}` values: got `{len}` values, need a multiple of `{dim}`"
    )]
    Ragged {
        /// `rows` or `queries`.
        what: &'static str,
        /// Values in the buffer.
        len: usize,
        /// Values a vector.
        dim: usize,
    },
    /// A value is NaN, infinite or absurdly large.
    #[error(
        "cannot search {what} with value `{value}` in row `{row}`, column `{column}`: \
         finite values of magnitude at most {MAX_MAGNITUDE:e} are accepted"
    )]
    Value {
        /// `rows` or `queries`.
        what: &'static str,
        /// Vector that holds the value.
        row: usize,
        /// Position inside the vector.
        column: usize,
        /// The value itself.
        value: f32,
    },
    /// More rows than a `u32` row number can name.
    #[error("cannot index `{rows}` rows: at most {max} are accepted", max = u32::MAX - 64)]
    TooManyRows {
        /// Rows offered.
        rows: usize,
    },
    /// A row of an engine that needs unit norm has another.
    #[error("cannot index row `{row}` of norm `{norm}`: rows of norm 1 within {NORM_TOLERANCE} are accepted")]
    NotUnit {
        /// The row.
        row: usize,
        /// Its Euclidean norm.
        norm: f64,
    },
    /// The list of excluded rows is not as long as the batch.
    #[error("cannot exclude `{excluded}` rows from `{queries}` queries: one row for each query is needed")]
    Excluded {
        /// Length of the list of excluded rows.
        excluded: usize,
        /// Queries in the batch.
        queries: usize,
    },
    /// Options, rows or bytes that make no graph.
    #[cfg(feature = "ann")]
    #[error("cannot {attempt} the neighbor graph: {message}")]
    Graph {
        /// What was attempted, as a verb.
        attempt: &'static str,
        /// What is wrong and what would be accepted.
        message: String,
    },
    /// The tree library refused the rows or a query.
    #[cfg(feature = "linfa")]
    #[error("cannot use the neighbor tree: {message}")]
    Tree {
        /// The library's message.
        message: String,
    },
}

/// Checks a dimension against an engine's limit.
pub(super) fn check_dim(dim: usize, max: usize) -> Result<(), SearchError> {
    if dim == 0 || dim > max.min(MAX_DIM) {
        return Err(SearchError::Dim { dim, max });
    }
    Ok(())
}

/// Checks a flat row-major buffer: whole vectors of `dim` finite values. Returns how many vectors it holds.
pub(super) fn check_vectors(what: &'static str, values: &[f32], dim: usize) -> Result<usize, SearchError> {
    if !values.len().is_multiple_of(dim) {
        return Err(SearchError::Ragged { what, len: values.len(), dim });
    }
    // a NaN fails the comparison too
    let is_good = |value: &f32| value.abs() <= MAX_MAGNITUDE;
    // the sum is branch-free and fast; the position is looked for only when something is wrong
    if values.iter().filter(|value| !is_good(value)).count() > 0
        && let Some(at) = values.iter().position(|value| !is_good(value))
    {
        return Err(SearchError::Value { what, row: at / dim, column: at % dim, value: values[at] });
    }
    let count = values.len() / dim;
    if what == "rows" && count > (u32::MAX - 64) as usize {
        return Err(SearchError::TooManyRows { rows: count });
    }
    Ok(count)
}

/// Checks that all rows have unit norm.
#[cfg(any(feature = "ann", feature = "linfa"))]
pub(super) fn check_unit_norm(rows: &[f32], dim: usize) -> Result<(), SearchError> {
    for (row, values) in rows.chunks_exact(dim).enumerate() {
        let norm = super::codes::norm(values.iter().map(|&value| f64::from(value)));
        if (norm - 1.0).abs() > NORM_TOLERANCE {
            return Err(SearchError::NotUnit { row, norm });
        }
    }
    Ok(())
}
