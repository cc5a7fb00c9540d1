//! Sparse rows and the randomized truncated SVD over them.

use crate::linalg::{self, LinalgError};
use crate::rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

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

    fn row(&self, row: usize) -> impl Iterator<Item = (usize, f32)> {
        let range = self.starts[row]..self.starts[row + 1];
        self.cols[range.clone()].iter().map(|c| *c as usize).zip(self.values[range].iter().copied())
    }

    /// The same matrix with rows and columns exchanged.
    fn transposed(&self) -> Self {
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
    fn times(&self, dense: &[f32], width: usize) -> Vec<f32> {
        let mut out = vec![0.0_f32; self.n_rows() * width];
        out.par_chunks_mut(width).enumerate().for_each(|(row, out)| {
            for (col, value) in self.row(row) {
                for (out, x) in out.iter_mut().zip(&dense[col * width..(col + 1) * width]) {
                    *out += value * x;
                }
            }
        });
        out
    }
}

/// Rounds of subspace iteration; the spectrum of text decays slowly, so a few are needed.
const ITERATIONS: usize = 4;
/// Directions carried beyond those asked for.
const OVERSAMPLING: usize = 16;

/// The `dim` leading right singular vectors as columns of a `(n_cols, dim)` row-major matrix
/// (Halko, Martinsson and Tropp, arXiv 0909.4061, algorithm 4.4 with the final step of 5.1).
///
/// Deterministic for a seed, whatever the number of threads. `dim` must not exceed the smaller side.
pub(super) fn right_singular_vectors(
    matrix: &SparseRows,
    dim: usize,
    seed: u64,
) -> Result<Vec<f32>, LinalgError> {
    let width = (dim + OVERSAMPLING).min(matrix.n_cols).min(matrix.n_rows());
    let transposed = matrix.transposed();
    let mut generator = rng::stream(seed, "svd");
    let mut basis: Vec<f32> =
        (0..matrix.n_cols * width).map(|_| StandardNormal.sample(&mut generator)).collect();
    for _ in 0..ITERATIONS {
        let mut images = matrix.times(&basis, width);
        orthonormalize(&mut images, width);
        basis = transposed.times(&images, width);
        orthonormalize(&mut basis, width);
    }
    let projected = matrix.times(&basis, width);
    let (_, rotation) = linalg::eigh_descending(gram(&projected, width), width)?;
    let mut vectors = vec![0.0_f32; matrix.n_cols * dim];
    vectors.par_chunks_mut(dim).zip(basis.par_chunks(width)).for_each(|(out, basis)| {
        for (j, out) in out.iter_mut().enumerate() {
            let sum: f64 =
                basis.iter().enumerate().map(|(i, b)| f64::from(*b) * rotation[i * width + j]).sum();
            *out = sum as f32;
        }
    });
    fix_signs(&mut vectors, dim);
    Ok(vectors)
}

/// Turns every column of a `(n, dim)` matrix so that its greatest entry by magnitude is positive: a
/// singular vector is only known up to its sign.
fn fix_signs(vectors: &mut [f32], dim: usize) {
    for col in 0..dim {
        let column = || vectors.iter().skip(col).step_by(dim).copied();
        let greatest = column().fold(0.0_f32, |m, v| if v.abs() > m.abs() { v } else { m });
        if greatest < 0.0 {
            vectors.iter_mut().skip(col).step_by(dim).for_each(|v| *v = -*v);
        }
    }
}

/// `A^T A` of a `(n, width)` row-major matrix, in f64.
fn gram(a: &[f32], width: usize) -> Vec<f64> {
    // Fixed blocks, summed in order: the result does not depend on the number of threads.
    let partial: Vec<Vec<f64>> = a
        .par_chunks(width * 4096)
        .map(|block| {
            let mut sum = vec![0.0_f64; width * width];
            for row in block.chunks_exact(width) {
                for (i, x) in row.iter().enumerate() {
                    let x = f64::from(*x);
                    for (s, y) in sum[i * width..i * width + i + 1].iter_mut().zip(row) {
                        *s += x * f64::from(*y);
                    }
                }
            }
            sum
        })
        .collect();
    let mut gram = vec![0.0_f64; width * width];
    for block in partial {
        gram.iter_mut().zip(block).for_each(|(g, b)| *g += b);
    }
    for i in 0..width {
        for j in 0..i {
            gram[j * width + i] = gram[i * width + j];
        }
    }
    gram
}

/// Makes the columns of a `(n, width)` row-major matrix orthonormal, by the eigenvectors of its Gram
/// matrix, twice (the second pass removes what rounding left). Directions without mass become zero.
fn orthonormalize(a: &mut [f32], width: usize) {
    for _ in 0..2 {
        let Ok((values, vectors)) = linalg::eigh_descending(gram(a, width), width) else { return };
        let floor = values.first().copied().unwrap_or(0.0).max(0.0) * 1e-12;
        let scale: Vec<f64> = values.iter().map(|v| if *v > floor { 1.0 / v.sqrt() } else { 0.0 }).collect();
        a.par_chunks_mut(width).for_each(|row| {
            let old: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            let mut new = vec![0.0_f64; width];
            for (i, x) in old.iter().enumerate() {
                for (n, v) in new.iter_mut().zip(&vectors[i * width..(i + 1) * width]) {
                    *n += x * v;
                }
            }
            for ((out, n), s) in row.iter_mut().zip(new).zip(&scale) {
                *out = (n * s) as f32;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix of rank 3 with singular values 9, 4, 1 on known directions.
    #[test]
    fn finds_the_leading_directions_of_a_known_matrix() {
        let rows: Vec<Vec<(u32, f32)>> =
            vec![vec![(0, 9.0)], vec![(1, 4.0)], vec![(2, 1.0)], vec![], vec![(0, 0.0)]];
        let matrix = SparseRows::from_rows(6, &rows);
        let vectors = right_singular_vectors(&matrix, 2, 1).unwrap();
        for row in 0..6 {
            let (first, second) = (vectors[row * 2], vectors[row * 2 + 1]);
            let expected = if row == 0 {
                (1.0, 0.0)
            } else if row == 1 {
                (0.0, 1.0)
            } else {
                (0.0, 0.0)
            };
            assert!(
                (first - expected.0).abs() < 1e-4 && (second - expected.1).abs() < 1e-4,
                "{row}: {first} {second}"
            );
        }
    }

    #[test]
    fn the_product_with_the_transpose_is_the_transposed_product() {
        let matrix = SparseRows::from_rows(3, &[vec![(0, 1.0), (2, 2.0)], vec![(1, 3.0)]]);
        assert_eq!(matrix.times(&[1.0, 10.0, 100.0], 1), [201.0, 30.0]);
        assert_eq!(matrix.transposed().times(&[1.0, 10.0], 1), [1.0, 30.0, 2.0]);
    }
}
