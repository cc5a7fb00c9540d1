//! The little dense linear algebra that fitting needs, in f64: the one module that names ndarray 0.16.

use linfa_linalg::cholesky::CholeskyInplace;
use linfa_linalg::eigh::EigSort;
use linfa_linalg::triangular::{SolveTriangularInplace, UPLO};
use ndarray16::{Array1, Array2};

/// Why a system could not be solved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot solve the {dim} x {dim} system: {reason}")]
pub struct LinalgError {
    /// Size of the system.
    pub dim: usize,
    /// What the factorisation said.
    pub reason: String,
}

/// A symmetric positive definite matrix, factorised: `A = L L^T`.
#[derive(Debug, Clone)]
pub struct Cholesky {
    /// `L` in the lower triangle; the part above it is never read.
    lower: Array2<f64>,
}

impl Cholesky {
    /// Factorises `A` of shape `(dim, dim)`, row-major.
    ///
    /// # Errors
    /// If `A` is not positive definite.
    pub fn of(a: Vec<f64>, dim: usize) -> Result<Self, LinalgError> {
        let error = |reason: String| LinalgError { dim, reason };
        let lower = Array2::from_shape_vec((dim, dim), a).map_err(|e| error(e.to_string()))?;
        Ok(Self { lower: lower.cholesky_into_dirty().map_err(|e| error(e.to_string()))? })
    }

    /// Solves `A X = B` for `B` of shape `(dim, n_rhs)`, row-major; returns `X` of the same shape.
    ///
    /// # Errors
    /// If `B` has another shape.
    pub fn solve(&self, b: Vec<f64>, n_rhs: usize) -> Result<Vec<f64>, LinalgError> {
        let dim = self.lower.nrows();
        let error = |reason: String| LinalgError { dim, reason };
        let mut b = Array2::from_shape_vec((dim, n_rhs), b).map_err(|e| error(e.to_string()))?;
        self.lower.solve_triangular_inplace(&mut b, UPLO::Lower).map_err(|e| error(e.to_string()))?;
        self.lower.t().solve_triangular_inplace(&mut b, UPLO::Upper).map_err(|e| error(e.to_string()))?;
        Ok(b.into_raw_vec_and_offset().0)
    }
}

/// Solves `A X = B` for symmetric positive definite `A` of shape `(dim, dim)` and `B` of shape
/// `(dim, n_rhs)`, both row-major; returns `X` of shape `(dim, n_rhs)`.
///
/// # Errors
/// If `A` is not positive definite.
pub fn solve_spd(a: Vec<f64>, b: Vec<f64>, dim: usize, n_rhs: usize) -> Result<Vec<f64>, LinalgError> {
    Cholesky::of(a, dim)?.solve(b, n_rhs)
}

/// Eigenvalues in descending order and eigenvectors (columns of a `(dim, dim)` row-major matrix, same
/// order) of a symmetric matrix. The sign of each vector is fixed: its greatest entry by magnitude is positive.
///
/// # Errors
/// If the iteration does not converge.
pub fn eigh_descending(a: Vec<f64>, dim: usize) -> Result<(Vec<f64>, Vec<f64>), LinalgError> {
    use linfa_linalg::eigh::Eigh;
    let error = |reason: String| LinalgError { dim, reason };
    let a = Array2::from_shape_vec((dim, dim), a).map_err(|e| error(e.to_string()))?;
    let (values, mut vectors): (Array1<f64>, Array2<f64>) =
        a.eigh().map_err(|e| error(e.to_string()))?.sort_eig_desc();
    for mut column in vectors.columns_mut() {
        let largest = column.iter().copied().fold(0.0_f64, |m, v| if v.abs() > m.abs() { v } else { m });
        if largest < 0.0 {
            column.mapv_inplace(|v| -v);
        }
    }
    let vectors = vectors.as_standard_layout().to_owned();
    Ok((values.to_vec(), vectors.into_raw_vec_and_offset().0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_a_system_checked_by_hand() {
        // [[4, 2], [2, 3]] x = [8, 7]  =>  x = [1.25, 1.5]
        let x = solve_spd(vec![4.0, 2.0, 2.0, 3.0], vec![8.0, 7.0], 2, 1).unwrap();
        assert!((x[0] - 1.25).abs() < 1e-12 && (x[1] - 1.5).abs() < 1e-12, "{x:?}");
        assert!(solve_spd(vec![1.0, 2.0, 2.0, 1.0], vec![1.0, 1.0], 2, 1).is_err());
    }

    #[test]
    fn eigenpairs_checked_by_hand() {
        // [[2, 1], [1, 2]]: 3 with (1, 1) / sqrt 2 and 1 with (1, -1) / sqrt 2
        let (values, vectors) = eigh_descending(vec![2.0, 1.0, 1.0, 2.0], 2).unwrap();
        assert!((values[0] - 3.0).abs() < 1e-12 && (values[1] - 1.0).abs() < 1e-12);
        assert!((vectors[0] - vectors[2]).abs() < 1e-12 && (vectors[1] + vectors[3]).abs() < 1e-12);
    }
}
