//! A softmax classifier on features, of sources among others: `p = softmax(W^T x + b)`.
//!
//! `min -sum_i ln p(y_i | x_i) + alpha / 2 |W|^2`, by Newton steps with the fixed bound `X^T X / 2 + alpha I` on
//! every block of the Hessian (Böhning 1992), with Nesterov's momentum; the bound is factorised once. The number
//! of steps is fixed: sources that are easy to tell apart would otherwise push the weights on and on.

use crate::dense::{add_product, exp};
use crate::linalg::{Cholesky, LinalgError};

/// Newton steps.
const STEPS: usize = 100;

/// The fitted classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    /// `(dim, n_sources)`.
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Posterior {
    /// From `weights` of shape `(dim, n_sources)` and `bias` of shape `(n_sources)`.
    pub(super) fn new(weights: Vec<f32>, bias: Vec<f32>) -> Self {
        Self { weights, bias }
    }

    /// Fits on `x` of shape `(n, dim)` and the class of each row, in `0..n_sources`; `alpha` penalises the squared
    /// weights, the bias is free.
    ///
    /// # Errors
    /// If `alpha` is too small for the bound to be factorised.
    pub fn fit(
        x: Vec<f32>,
        dim: usize,
        labels: &[u32],
        n_sources: usize,
        alpha: f64,
    ) -> Result<Self, LinalgError> {
        let (width, n) = (dim + 1, labels.len());
        let design = Design::new(&x, dim);
        let bound = design.bound(alpha)?;
        let mut at = vec![0.0_f64; width * n_sources];
        let mut ahead = at.clone();
        let mut momentum = 1.0_f64;
        for _ in 0..STEPS {
            let posterior = Self::from_rows(&ahead, n_sources);
            let mut residual = vec![0.0_f32; n * n_sources];
            posterior.of(&x, &mut residual);
            for (row, &label) in residual.chunks_exact_mut(n_sources).zip(labels) {
                row.iter_mut().for_each(|p| *p = -*p);
                row[label as usize] += 1.0;
            }
            let mut gradient = design.transposed_times(&residual, n_sources);
            for (g, w) in gradient[..dim * n_sources].iter_mut().zip(&ahead) {
                *g -= alpha * w;
            }
            let step = bound.solve(gradient, n_sources)?;
            let next: Vec<f64> = ahead.iter().zip(step).map(|(w, s)| w + s).collect();
            let faster = f64::midpoint(1.0, (1.0 + 4.0 * momentum * momentum).sqrt());
            let push = (momentum - 1.0) / faster;
            ahead = next.iter().zip(&at).map(|(new, old)| new + push * (new - old)).collect();
            (at, momentum) = (next, faster);
        }
        Ok(Self::from_rows(&at, n_sources))
    }

    /// Splits `(dim + 1, n_sources)`, the bias last.
    fn from_rows(rows: &[f64], n_sources: usize) -> Self {
        let (weights, bias) = rows.split_at(rows.len() - n_sources);
        let narrow = |values: &[f64]| values.iter().map(|v| *v as f32).collect();
        Self { weights: narrow(weights), bias: narrow(bias) }
    }

    pub(super) fn n_sources(&self) -> usize {
        self.bias.len()
    }

    pub(super) fn weights(&self) -> &[f32] {
        &self.weights
    }

    pub(super) fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// Writes the posterior `(n, n_sources)` of `x` `(n, dim)`.
    pub fn of(&self, x: &[f32], out: &mut [f32]) {
        let k = self.n_sources();
        out.chunks_exact_mut(k).for_each(|row| row.copy_from_slice(&self.bias));
        add_product(x, &self.weights, self.weights.len() / k, k, out);
        for row in out.chunks_exact_mut(k) {
            let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|z| *z = exp(*z - greatest));
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|p| *p /= sum);
        }
    }
}

/// The rows with a one appended, transposed: shape `(dim + 1, n)`.
struct Design {
    columns: Vec<f32>,
    width: usize,
    n: usize,
}

impl Design {
    fn new(x: &[f32], dim: usize) -> Self {
        let (width, n) = (dim + 1, x.len() / dim.max(1));
        let mut columns = vec![1.0_f32; width * n];
        for (row, values) in x.chunks_exact(dim.max(1)).enumerate() {
            values.iter().enumerate().for_each(|(col, v)| columns[col * n + row] = *v);
        }
        Self { columns, width, n }
    }

    /// `X^T Y` for `Y` `(n, k)`, in f64.
    fn transposed_times(&self, y: &[f32], k: usize) -> Vec<f64> {
        let mut out = vec![0.0_f32; self.width * k];
        add_product(&self.columns, y, self.n, k, &mut out);
        out.into_iter().map(f64::from).collect()
    }

    /// `X^T X / 2 + alpha I`, factorised; a hair on the bias keeps it definite.
    fn bound(&self, alpha: f64) -> Result<Cholesky, LinalgError> {
        let mut rows = vec![0.0_f32; self.width * self.n];
        for (col, values) in self.columns.chunks_exact(self.n.max(1)).enumerate() {
            values.iter().enumerate().for_each(|(row, v)| rows[row * self.width + col] = *v);
        }
        let mut bound = self.transposed_times(&rows, self.width);
        bound.iter_mut().for_each(|v| *v /= 2.0);
        for i in 0..self.width {
            bound[i * self.width + i] += if i + 1 < self.width { alpha } else { 1e-6 };
        }
        Cholesky::of(bound, self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against `LogisticRegression(C=1/0.3)` of scikit-learn 1.9.1, run to a tolerance of 1e-12.
    #[test]
    fn the_posterior_is_that_of_the_reference() {
        let point = |i: f64| [i.cos(), (2.0 * i).sin(), (3.0 * i).cos()];
        let x: Vec<f32> = (0..60).flat_map(|i| point(f64::from(i))).map(|v| v as f32).collect();
        let label = |i: f64| (1.5 + 1.2 * i.cos() + 0.8 * (5.0 * i).cos()).floor() as i32;
        let labels: Vec<u32> = (0..60).map(|i| label(f64::from(i)).rem_euclid(3) as u32).collect();
        let posterior = Posterior::fit(x, 3, &labels, 3, 0.3).unwrap();
        let cases = [
            ([1.0, 0.0, 0.0], [0.116_152, 0.346_549, 0.537_299]),
            ([0.0, 0.0, 0.0], [0.273_343, 0.412_543, 0.314_114]),
            ([-0.5, 0.25, 1.0], [0.776_817, 0.193_957, 0.029_226]),
        ];
        for (query, expected) in cases {
            let mut p = [0.0; 3];
            posterior.of(&query, &mut p);
            for (p, e) in p.iter().zip(expected) {
                assert!((p - e).abs() < 1e-3, "{query:?}: {p} {e}");
            }
        }
    }
}
