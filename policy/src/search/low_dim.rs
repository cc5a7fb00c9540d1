//! Exact top-k in at most 16 dimensions with the k-d tree of `linfa-nn`.
//!
//! For unit rows `|q - x|^2 = |q|^2 + 1 - 2 q.x`, so the nearest rows by distance have the largest inner
//! products. The tree gives the k-th smallest distance; every row within it plus a margin (rounding of the
//! tree's f32 distances, norms that are not quite 1) is then scored as in [`super::exact`], so the answer is
//! the same list, ties included.
//!
//! Rows that are equal bit by bit enter the tree once: a tree cannot split them. The ball tree of `linfa-nn`
//! is not offered: it is slower here, and its recursion is as deep as the longest run of rows that agree in
//! one coordinate.
//!
//! Above 16 dimensions a tree visits nearly every row and [`super::ExactIndex`] is faster.

use linfa_nn::distance::L2Dist;
use linfa_nn::{KdTree, NearestNeighbour, NearestNeighbourIndex};
use ndarray16::{Array2, aview1};
use self_cell::self_cell;

use super::error::{SearchError, check_dim, check_unit_norm, check_vectors};
use super::neighbor::{BestList, Neighbor, inner_product};

/// Largest dimension of this engine.
const MAX_DIM: usize = 16;

/// Margin on squared distances: norms are within 1e-4 of 1 on both sides (2e-4 each), f32 sums of 16 terms
/// add about 1e-5.
const MARGIN: f32 = 5e-4;

type Tree<'a> = Box<dyn 'a + Send + Sync + NearestNeighbourIndex<f32>>;

self_cell!(
    /// The tree borrows its points, so both live together.
    struct Owned {
        owner: Array2<f32>,
        #[not_covariant]
        dependent: Tree,
    }
);

/// Exact nearest-neighbor index over unit-norm rows of at most 16 dimensions.
pub struct LowDimIndex {
    rows: Vec<f32>,
    dim: usize,
    tree: Owned,
    /// Rows of each point of the tree.
    copies: Vec<Vec<u32>>,
}

impl std::fmt::Debug for LowDimIndex {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let points = self.copies.len();
        formatter.debug_struct("LowDimIndex").field("dim", &self.dim).field("points", &points).finish()
    }
}

impl LowDimIndex {
    /// Builds an index over `rows`, shape `(n, dim)` row-major.
    ///
    /// # Errors
    /// As [`super::ExactIndex::new`], with at most 16 dimensions; [`SearchError::NotUnit`] for rows without
    /// unit norm.
    pub fn new(rows: Vec<f32>, dim: usize) -> Result<Self, SearchError> {
        check_dim(dim, MAX_DIM)?;
        let count = check_vectors("rows", &rows, dim)?;
        check_unit_norm(&rows, dim)?;
        let copies = group_equal(&rows, dim, count);
        let points = copies.iter().filter_map(|rows| rows.first());
        let values = points.flat_map(|&row| rows[row as usize * dim..][..dim].iter().copied()).collect();
        let points = Array2::from_shape_vec((copies.len(), dim), values).map_err(refused)?;
        let tree = Owned::try_new(points, |points| KdTree.from_batch(points, L2Dist).map_err(refused))?;
        Ok(Self { rows, dim, tree, copies })
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

    /// The `k` rows with the largest inner product for each query of `queries`, shape `(m, dim)`: the list
    /// [`super::ExactIndex::search`] gives.
    ///
    /// # Errors
    /// [`SearchError::Ragged`] or [`SearchError::Value`] for bad queries, [`SearchError::Tree`] if the tree
    /// refuses one.
    pub fn search(&self, queries: &[f32], k: usize) -> Result<Vec<Vec<Neighbor>>, SearchError> {
        check_vectors("queries", queries, self.dim)?;
        let k = k.min(self.len());
        queries.chunks_exact(self.dim).map(|query| self.search_one(query, k)).collect()
    }

    fn search_one(&self, query: &[f32], k: usize) -> Result<Vec<Neighbor>, SearchError> {
        let mut best = BestList::new(k);
        if k == 0 {
            return Ok(best.into_vec());
        }
        let mut offer = |point: usize| {
            for &row in &self.copies[point] {
                let values = &self.rows[row as usize * self.dim..][..self.dim];
                best.offer(Neighbor { row, similarity: inner_product(query, values) as f32 + 0.0 });
            }
        };
        // the order of inner products does not depend on the query's length, that of distances does
        let length = inner_product(query, query).sqrt();
        if length == 0.0 {
            (0..self.copies.len()).for_each(offer);
            return Ok(best.into_vec());
        }
        let unit: Vec<f32> = query.iter().map(|&value| (f64::from(value) / length) as f32).collect();
        self.tree.with_dependent(|_, tree| {
            let nearest = tree.k_nearest(aview1(&unit), k.min(self.copies.len())).map_err(refused)?;
            let farthest = nearest.iter().map(|(point, _)| squared_distance(point.as_slice(), &unit));
            let reach = farthest.fold(0.0, f32::max) + MARGIN;
            // `within_range` takes a distance, not its square
            for (_, point) in tree.within_range(aview1(&unit), reach.sqrt()).map_err(refused)? {
                offer(point);
            }
            Ok(())
        })?;
        Ok(best.into_vec())
    }
}

fn squared_distance(point: Option<&[f32]>, query: &[f32]) -> f32 {
    point.unwrap_or_default().iter().zip(query).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn refused(error: impl std::fmt::Display) -> SearchError {
    SearchError::Tree { message: error.to_string() }
}

/// Lists of rows with equal bits, in order of their first row.
fn group_equal(rows: &[f32], dim: usize, count: usize) -> Vec<Vec<u32>> {
    let bits = |row: u32| rows[row as usize * dim..][..dim].iter().map(|value| value.to_bits());
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.sort_by(|&left, &right| bits(left).cmp(bits(right)));
    let mut groups: Vec<Vec<u32>> =
        order.chunk_by(|&left, &right| bits(left).eq(bits(right))).map(<[u32]>::to_vec).collect();
    groups.sort_by_key(|group| group.first().copied());
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ExactIndex;
    use crate::oracle::unit_rows;

    fn assert_same(rows: Vec<f32>, dim: usize, queries: &[f32], k: usize) {
        let exact = ExactIndex::new(rows.clone(), dim).unwrap();
        let tree = LowDimIndex::new(rows, dim).unwrap();
        assert_eq!(tree.search(queries, k).unwrap(), exact.search(queries, k).unwrap(), "dim {dim}, k {k}");
    }

    #[test]
    fn equals_the_exact_index() {
        for dim in [1, 2, 3, 8, 16] {
            for n in [0, 1, 2, 50, 600] {
                for k in [0, 1, 20] {
                    assert_same(unit_rows(1, n, dim), dim, &unit_rows(2, 8, dim), k);
                }
            }
        }
    }

    #[test]
    fn equals_it_on_duplicates_axes_and_odd_queries() {
        let dim = 4;
        let mut rows = unit_rows(3, 300, dim);
        let first = rows[..dim].to_vec();
        rows[..100 * dim].chunks_exact_mut(dim).for_each(|row| row.copy_from_slice(&first));
        for (row, values) in rows.chunks_exact_mut(dim).enumerate().skip(200) {
            values.fill(0.0);
            values[row % dim] = if row % 2 == 0 { 1.0 } else { -1.0 };
        }
        let mut queries = unit_rows(4, 4, dim);
        queries[..dim].fill(0.0);
        queries[dim..2 * dim].iter_mut().for_each(|value| *value *= 1e4);
        queries.extend(&first);
        queries.extend([1.0, 0.0, 0.0, 0.0]);
        assert_same(rows, dim, &queries, 20);
    }

    #[test]
    fn refuses_bad_input() {
        assert!(matches!(LowDimIndex::new(vec![1.0; 17], 17), Err(SearchError::Dim { dim: 17, max: 16 })));
        assert!(matches!(LowDimIndex::new(vec![2.0, 0.0], 2), Err(SearchError::NotUnit { row: 0, .. })));
        assert!(LowDimIndex::new(vec![1.0, 0.0], 2).unwrap().search(&[1.0], 1).is_err());
    }
}
