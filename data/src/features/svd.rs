//! The randomized truncated SVD of sparse rows.
//!
//! Subspace iteration with one normalisation a round, on the side of the rows: a product with the matrix and one
//! with its transpose cost a few passes over the entries, a normalisation some dense products (in f64, by
//! [`crate::product`]). The blocks that the dense products are cut into are fixed and summed in order, so the
//! result does not depend on the number of threads; its last bits may differ between processors.

use super::sparse::SparseRows;
use crate::linalg::{self, LinalgError};
use crate::product::{View, product};
use crate::rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

/// Rounds of subspace iteration; the spectrum of text decays slowly, so a few are needed.
const ITERATIONS: usize = 4;
/// Directions carried beyond those asked for.
const OVERSAMPLING: usize = 16;
/// Rows of a block of a dense product: they fit in the second-level cache.
const BLOCK: usize = 512;
/// Share of its squared length that a column must keep beside the earlier ones; less is rounding of its f32.
const FLOOR: f64 = 1e-12;

/// The `dim` leading right singular vectors as columns of a `(n_cols, dim)` row-major matrix
/// (Halko, Martinsson and Tropp, arXiv 0909.4061, algorithm 4.4 with the final step of 5.1).
///
/// Columns beyond the rank are zero. `dim` must not exceed the smaller side.
///
/// # Errors
/// If the eigenvalues of the final small system do not converge.
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
    let mut images = matrix.times(&basis, width);
    for _ in 0..ITERATIONS {
        let orthonormal = combine(&images, &orthonormalizer(&gram(&images, width), width), width);
        basis = transposed.times(&orthonormal, width);
        images = matrix.times(&basis, width);
    }
    // Rayleigh and Ritz on the orthonormal `basis * onto`, without forming it.
    let onto = orthonormalizer(&gram(&basis, width), width);
    let onto_view = View::new(&onto, width, width);
    let (mut half, mut small) = (vec![0.0; width * width], vec![0.0; width * width]);
    product(View::new(&gram(&images, width), width, width), onto_view, &mut half, false);
    product(onto_view.transposed(), View::new(&half, width, width), &mut small, false);
    let (_, rotation) = linalg::eigh_descending(small, width)?;
    let leading: Vec<f64> = rotation.chunks_exact(width).flat_map(|row| &row[..dim]).copied().collect();
    let mut onto_leading = vec![0.0; width * dim];
    product(onto_view, View::new(&leading, width, dim), &mut onto_leading, false);
    let mut vectors = combine(&basis, &onto_leading, width);
    fix_signs(&mut vectors, dim);
    Ok(vectors)
}

/// Turns every column of a `(n, dim)` matrix so that its greatest entry by magnitude is positive: a
/// singular vector is only known up to its sign.
fn fix_signs(vectors: &mut [f32], dim: usize) {
    let mut greatest = vec![0.0_f32; dim];
    for row in vectors.chunks_exact(dim) {
        for (greatest, v) in greatest.iter_mut().zip(row) {
            if v.abs() > greatest.abs() {
                *greatest = *v;
            }
        }
    }
    for row in vectors.chunks_exact_mut(dim) {
        row.iter_mut().zip(&greatest).filter(|(_, g)| **g < 0.0).for_each(|(v, _)| *v = -*v);
    }
}

/// `A^T A` of a `(n, width)` row-major matrix, in f64.
fn gram(a: &[f32], width: usize) -> Vec<f64> {
    let partial: Vec<Vec<f64>> = a
        .par_chunks(width * BLOCK)
        .map(|block| {
            let block: Vec<f64> = block.iter().map(|x| f64::from(*x)).collect();
            let block = View::new(&block, block.len() / width, width);
            let mut sum = vec![0.0; width * width];
            product(block.transposed(), block, &mut sum, false);
            sum
        })
        .collect();
    let mut gram = vec![0.0_f64; width * width];
    for block in partial {
        gram.iter_mut().zip(block).for_each(|(g, b)| *g += b);
    }
    gram
}

/// `A * columns` in f32, `A` of shape `(n, width)` and `columns` `(width, n_out)`, row-major.
fn combine(a: &[f32], columns: &[f64], width: usize) -> Vec<f32> {
    let n_out = columns.len() / width;
    let columns: Vec<f32> = columns.iter().map(|x| *x as f32).collect();
    let mut out = vec![0.0_f32; a.len() / width * n_out];
    out.par_chunks_mut(n_out * BLOCK).zip(a.par_chunks(width * BLOCK)).for_each(|(out, a)| {
        product(View::new(a, a.len() / width, width), View::new(&columns, width, n_out), out, false);
    });
    out
}

/// The upper triangular `(width, width)` matrix `T` that makes the columns of `A` orthonormal, `A T`, from
/// `gram = A^T A`: the inverse of the Cholesky factor. A column that depends on earlier ones becomes zero.
fn orthonormalizer(gram: &[f64], width: usize) -> Vec<f64> {
    let mut lower = vec![0.0_f64; width * width];
    let mut inverse = vec![0.0_f64; width];
    for i in 0..width {
        for j in 0..=i {
            let (row_i, row_j) = (&lower[i * width..i * width + j], &lower[j * width..j * width + j]);
            let rest = gram[i * width + j] - row_i.iter().zip(row_j).map(|(a, b)| a * b).sum::<f64>();
            if i > j {
                lower[i * width + j] = rest * inverse[j];
            } else if rest > FLOOR * gram[i * width + i] {
                inverse[i] = 1.0 / rest.sqrt();
            }
        }
    }
    // Row `j` of the transpose holds column `j` of `T`; `upper[i][k] = lower[k][i]`.
    let mut columns = vec![0.0_f64; width * width];
    for (j, column) in columns.chunks_exact_mut(width).enumerate() {
        column[j] = inverse[j];
        for k in (1..=j).rev() {
            // All that is to be taken from the entries above is taken as soon as `column[k]` is known.
            let factor = column[k];
            for i in 0..k {
                column[i] -= lower[k * width + i] * factor;
            }
            column[k - 1] *= inverse[k - 1];
        }
    }
    let mut out = vec![0.0_f64; width * width];
    for (j, column) in columns.chunks_exact(width).enumerate() {
        column.iter().enumerate().for_each(|(i, x)| out[i * width + j] = *x);
    }
    out
}

#[cfg(test)]
#[path = "svd_tests.rs"]
mod tests;
