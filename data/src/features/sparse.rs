//! Sparse rows and their product with a dense matrix.

use rayon::prelude::*;

/// Columns summed at once: the sums stay in registers.
const STRIP: usize = 48;
/// Rows a thread takes at once.
const ROWS_TOGETHER: usize = 32;

/// A sparse matrix of shape `(n_rows, n_cols)`, stored by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SparseRows {
    pub(super) n_cols: usize,
    /// Where each row begins in `cols` and `values`; one more entry than rows.
    pub(super) starts: Vec<usize>,
    pub(super) cols: Vec<u32>,
    pub(super) values: Vec<f32>,
}

impl SparseRows {
    pub(super) fn from_rows(n_cols: usize, rows: &[Vec<(u32, f32)>]) -> Self {
        let mut sparse = Self { n_cols, starts: vec![0], cols: Vec::new(), values: Vec::new() };
        for row in rows {
            for &(col, value) in row {
                sparse.cols.push(col);
                sparse.values.push(value);
            }
            sparse.starts.push(sparse.cols.len());
        }
        sparse
    }

    pub(super) fn n_rows(&self) -> usize {
        self.starts.len() - 1
    }

    #[inline(always)]
    fn row(&self, row: usize) -> impl Iterator<Item = (usize, f32)> {
        let range = self.starts[row]..self.starts[row + 1];
        self.cols[range.clone()].iter().map(|c| *c as usize).zip(self.values[range].iter().copied())
    }

    /// The same matrix with rows and columns exchanged.
    pub(super) fn transposed(&self) -> Self {
        let mut counts = vec![0_usize; self.n_cols + 1];
        for &col in &self.cols {
            counts[col as usize + 1] += 1;
        }
        for at in 0..self.n_cols {
            counts[at + 1] += counts[at];
        }
        let starts = counts.clone();
        let (mut cols, mut values) = (vec![0_u32; self.cols.len()], vec![0.0_f32; self.cols.len()]);
        for row in 0..self.n_rows() {
            for (col, value) in self.row(row) {
                let at = counts[col];
                counts[col] += 1;
                cols[at] = row as u32;
                values[at] = value;
            }
        }
        Self { n_cols: self.n_rows(), starts, cols, values }
    }

    /// `self * dense`, dense of shape `(n_cols, width)` row-major; shape `(n_rows, width)`.
    ///
    /// Each sum adds the entries of its row in order and is never fused or split: the same bits on every
    /// processor and for any number of threads.
    pub(super) fn times(&self, dense: &[f32], width: usize) -> Vec<f32> {
        let mut out = vec![0.0_f32; self.n_rows() * width];
        out.par_chunks_mut(width * ROWS_TOGETHER).enumerate().for_each(|(block, out)| {
            crate::simd::widest(
                #[inline(always)]
                || {
                    for (row, out) in (block * ROWS_TOGETHER..).zip(out.chunks_exact_mut(width)) {
                        self.sum(row, dense, out);
                    }
                },
            );
        });
        out
    }

    /// One row of [`Self::times`], a strip of columns at a time.
    #[inline(always)]
    fn sum(&self, row: usize, dense: &[f32], out: &mut [f32]) {
        let width = out.len();
        let mut strips = out.chunks_exact_mut(STRIP);
        for (strip, out) in strips.by_ref().enumerate() {
            let mut sums = [0.0_f32; STRIP];
            for (col, value) in self.row(row) {
                let at = col * width + strip * STRIP;
                for (sum, x) in sums.iter_mut().zip(&dense[at..at + STRIP]) {
                    *sum += value * x;
                }
            }
            out.copy_from_slice(&sums);
        }
        let rest = strips.into_remainder();
        for (col, value) in self.row(row) {
            let end = (col + 1) * width;
            for (sum, x) in rest.iter_mut().zip(&dense[end - width % STRIP..end]) {
                *sum += value * x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_with_the_transpose_is_the_transposed_product() {
        let matrix = SparseRows::from_rows(3, &[vec![(0, 1.0), (2, 2.0)], vec![(1, 3.0)]]);
        assert_eq!(matrix.times(&[1.0, 10.0, 100.0], 1), [201.0, 30.0]);
        assert_eq!(matrix.transposed().times(&[1.0, 10.0], 1), [1.0, 30.0, 2.0]);
    }

    #[test]
    fn a_product_wider_than_a_strip_equals_its_columns_one_by_one() {
        let (n_rows, n_cols, width) = (70, 9, 2 * STRIP + 5);
        let row = |i: usize| (0..n_cols as u32).filter(move |c| (i + *c as usize).is_multiple_of(3));
        let rows: Vec<Vec<(u32, f32)>> =
            (0..n_rows).map(|i| row(i).map(|c| (c, (i as f32 - c as f32) / 8.0)).collect()).collect();
        let dense: Vec<f32> = (0..n_cols * width).map(|i| ((i * 37 % 101) as f32 - 50.0) / 16.0).collect();
        let matrix = SparseRows::from_rows(n_cols, &rows);
        let found = matrix.times(&dense, width);
        for j in 0..width {
            let column: Vec<f32> = dense.iter().skip(j).step_by(width).copied().collect();
            let one: Vec<f32> = found.iter().skip(j).step_by(width).copied().collect();
            assert_eq!(one, matrix.times(&column, 1), "column {j}");
        }
    }
}
