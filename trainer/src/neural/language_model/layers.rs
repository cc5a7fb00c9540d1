//! Products and norms with their backward pass.

use super::super::product::{View, product};

const EPSILON: f32 = 1e-5;

/// `x w` for `x` `(n, n_in)`, `w` `(n_in, n_out)`.
pub(super) fn linear(x: &[f32], w: &[f32], n_in: usize) -> Vec<f32> {
    let (n, n_out) = (x.len() / n_in, w.len() / n_in);
    let mut out = vec![0.0; n * n_out];
    product(View::new(x, n, n_in), View::new(w, n_in, n_out), &mut out, false);
    out
}

/// Adds `x^T dy` to `dw` and `dy w^T` to `dx`.
pub(super) fn linear_back(x: &[f32], w: &[f32], n_in: usize, dy: &[f32], dw: &mut [f32], dx: &mut [f32]) {
    let (n, n_out) = (x.len() / n_in, w.len() / n_in);
    let dy = View::new(dy, n, n_out);
    product(View::new(x, n, n_in).transposed(), dy, dw, true);
    product(dy, View::new(w, n_in, n_out).transposed(), dx, true);
}

/// `1 / sqrt(mean x^2 + epsilon)` of a row.
fn factor(row: &[f32]) -> f32 {
    1.0 / (row.iter().map(|v| v * v).sum::<f32>() / row.len() as f32 + EPSILON).sqrt()
}

/// RMSNorm of every row.
pub(super) fn norm(x: &[f32], scale: &[f32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(scale.len()) {
        let factor = factor(row);
        out.extend(row.iter().zip(scale).map(|(v, s)| v * factor * s));
    }
    out
}

/// Adds the gradient of [`norm`] to `dscale` and `dx`: with `g = dy * scale` and `r` the factor,
/// `dx = r g - x r^3 mean(g x)`.
pub(super) fn norm_back(x: &[f32], scale: &[f32], dy: &[f32], dscale: &mut [f32], dx: &mut [f32]) {
    let dim = scale.len();
    for ((x, dy), dx) in x.chunks_exact(dim).zip(dy.chunks_exact(dim)).zip(dx.chunks_exact_mut(dim)) {
        let r = factor(x);
        let dot: f32 = x.iter().zip(dy).zip(scale).map(|((x, dy), s)| x * dy * s).sum();
        let back = r * r * r * dot / dim as f32;
        for i in 0..dim {
            dscale[i] += dy[i] * x[i] * r;
            dx[i] += r * dy[i] * scale[i] - back * x[i];
        }
    }
}
