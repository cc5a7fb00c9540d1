//! Dense layers by hand: the forward pass that serving and the trainable featurizers run on.
//!
//! Row-major everywhere: inputs `(n_rows, n_in)`, weights `(n_in, n_out)`, outputs `(n_rows, n_out)`. One
//! row is computed without touching another thread; the loops are written so that the compiler vectorises
//! them for the widest registers the processor has. Every sum is taken in the order of the inputs, so that
//! a query has the same outputs bit for bit alone and in a batch.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Rows from which on a batch is shared between threads.
const ROWS_PARALLEL: usize = 256;
/// Rows and columns of the block of sums held in registers.
const BLOCK_ROWS: usize = 4;
const BLOCK_COLS: usize = 16;

/// What is applied to the sums of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x * (1 + erf(x / sqrt 2)) / 2`, exact (not the tanh approximation) to 3e-7.
    Gelu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

impl Activation {
    /// Applies it in place.
    pub fn apply(self, values: &mut [f32]) {
        crate::simd::widest(
            #[inline(always)]
            || match self {
                Self::Identity => {}
                Self::Relu => values.iter_mut().for_each(|x| *x = x.max(0.0)),
                Self::Gelu => values.iter_mut().for_each(|x| *x = gelu(*x)),
                Self::Sigmoid => values.iter_mut().for_each(|x| *x = sigmoid(*x)),
            },
        );
    }
}

/// `exp(x)` to 2 units in the last place for `x` in `[-87, 88]`, clamped outside: Cody and Waite's
/// reduction by `ln 2` in two parts and the polynomial of Cephes `expf`. Without a branch, so that loops
/// over it vectorise.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    exp_within(x.clamp(-87.0, 88.0))
}

/// [`exp`] of `x` in `[-87, 88]`; nonsense outside.
#[inline(always)]
pub fn exp_within(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves the rounded integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4_f32;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let mantissa = p * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    mantissa * f32::from_bits(exponent)
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The distribution function of the standard normal, to 1.5e-7 (Abramowitz and Stegun 7.1.26).
#[inline(always)]
pub fn normal_cdf(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut p = 1.061_405_4_f32;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_72, 0.254_829_6] {
        p = p * t + c;
    }
    let erf = (1.0 - p * t * exp(-z * z)).copysign(x);
    0.5 * (1.0 + erf)
}

/// `x * normal_cdf(x)`.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    x * normal_cdf(x)
}

/// Derivative of [`gelu`]: `normal_cdf(x) + x * exp(-x^2 / 2) / sqrt(2 pi)`.
#[inline(always)]
pub fn gelu_slope(x: f32) -> f32 {
    normal_cdf(x) + x * 0.398_942_3 * exp(-0.5 * x * x)
}

/// One layer: `activation(x W + b)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    n_in: usize,
    n_out: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
}

impl Dense {
    /// A layer of `weights` `(n_in, n_out)` and `bias` `(n_out,)`.
    ///
    /// # Panics
    /// If the number of weights is not a multiple of the number of outputs (a bug of the caller).
    pub fn new(weights: Vec<f32>, bias: Vec<f32>, activation: Activation) -> Self {
        let n_out = bias.len();
        assert!(n_out > 0 && weights.len().is_multiple_of(n_out), "dense: weights (n_in, n_out)");
        Self { n_in: weights.len() / n_out, n_out, weights, bias, activation }
    }

    /// Width of the inputs.
    pub fn n_in(&self) -> usize {
        self.n_in
    }

    /// Width of the outputs.
    pub fn n_out(&self) -> usize {
        self.n_out
    }

    /// Weights `(n_in, n_out)`.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Bias `(n_out,)`.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// What is applied to the sums.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Outputs `(n_rows, n_out)` of inputs `(n_rows, n_in)`.
    pub fn forward(&self, x: &[f32]) -> Vec<f32> {
        let n_rows = x.len() / self.n_in.max(1);
        let mut out = self.bias.repeat(n_rows);
        add_product(x, &self.weights, self.n_in, self.n_out, &mut out);
        self.activation.apply(&mut out);
        out
    }
}

/// `out += x w` for `x` `(n_rows, n_in)`, `w` `(n_in, n_out)`, `out` `(n_rows, n_out)`.
///
/// # Panics
/// If a length does not match (a bug of the caller).
pub fn add_product(x: &[f32], w: &[f32], n_in: usize, n_out: usize, out: &mut [f32]) {
    assert_eq!(w.len(), n_in * n_out, "product: w (n_in, n_out)");
    assert_eq!(out.len() * n_in, x.len() * n_out, "product: rows of x and out");
    if n_in == 0 || n_out == 0 {
        return;
    }
    if x.len() / n_in < ROWS_PARALLEL {
        product_block(x, w, n_in, n_out, out);
    } else {
        const ROWS: usize = 64;
        out.par_chunks_mut(ROWS * n_out)
            .zip(x.par_chunks(ROWS * n_in))
            .for_each(|(out, x)| product_block(x, w, n_in, n_out, out));
    }
}

fn product_block(x: &[f32], w: &[f32], n_in: usize, n_out: usize, out: &mut [f32]) {
    crate::simd::widest(
        #[inline(always)]
        || {
            let whole = x.len() / n_in / BLOCK_ROWS * BLOCK_ROWS;
            let (x_blocks, x_rest) = x.split_at(whole * n_in);
            let (out_blocks, out_rest) = out.split_at_mut(whole * n_out);
            let blocks = x_blocks.chunks_exact(BLOCK_ROWS * n_in);
            for (x, out) in blocks.zip(out_blocks.chunks_exact_mut(BLOCK_ROWS * n_out)) {
                rows_product(x, w, n_in, n_out, out);
            }
            for (x, out) in x_rest.chunks_exact(n_in).zip(out_rest.chunks_exact_mut(n_out)) {
                row_product(x, w, n_out, out);
            }
        },
    );
}

/// [`BLOCK_ROWS`] rows at once: their sums stay in registers while a strip of `w` streams by.
#[inline(always)]
fn rows_product(x: &[f32], w: &[f32], n_in: usize, n_out: usize, out: &mut [f32]) {
    let strips = n_out / BLOCK_COLS * BLOCK_COLS;
    for at in (0..strips).step_by(BLOCK_COLS) {
        let mut sums = [[0.0_f32; BLOCK_COLS]; BLOCK_ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            sums.copy_from_slice(&out[row * n_out + at..row * n_out + at + BLOCK_COLS]);
        }
        for (i, w) in w.chunks_exact(n_out).enumerate() {
            let w = &w[at..at + BLOCK_COLS];
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = x[row * n_in + i];
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum += x * w;
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            out[row * n_out + at..row * n_out + at + BLOCK_COLS].copy_from_slice(sums);
        }
    }
    for row in 0..BLOCK_ROWS {
        for at in strips..n_out {
            let sum = &mut out[row * n_out + at];
            for i in 0..n_in {
                *sum += x[row * n_in + i] * w[i * n_out + at];
            }
        }
    }
}

/// One row: `w` is read once, in the order it is stored, four of its rows at a time.
#[inline(always)]
fn row_product(x: &[f32], w: &[f32], n_out: usize, out: &mut [f32]) {
    let fours = x.len() / 4 * 4;
    for i in (0..fours).step_by(4) {
        let (w0, rest) = w[i * n_out..(i + 4) * n_out].split_at(n_out);
        let (w1, rest) = rest.split_at(n_out);
        let (w2, w3) = rest.split_at(n_out);
        let rows = w0.iter().zip(w1).zip(w2).zip(w3);
        for (out, (((w0, w1), w2), w3)) in out.iter_mut().zip(rows) {
            *out = (((*out + x[i] * w0) + x[i + 1] * w1) + x[i + 2] * w2) + x[i + 3] * w3;
        }
    }
    for i in fours..x.len() {
        for (out, w) in out.iter_mut().zip(&w[i * n_out..(i + 1) * n_out]) {
            *out += x[i] * w;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_equal_the_sum_of_products_at_every_remainder() {
        for (n_rows, n_in, n_out) in [(1, 7, 5), (4, 3, 16), (6, 9, 35), (300, 5, 17)] {
            let x: Vec<f32> = (0..n_rows * n_in).map(|i| ((i * 37 % 19) as f32 - 9.0) / 8.0).collect();
            let w: Vec<f32> = (0..n_in * n_out).map(|i| ((i * 53 % 23) as f32 - 11.0) / 8.0).collect();
            let layer = Dense::new(w.clone(), vec![0.5; n_out], Activation::Identity);
            let out = layer.forward(&x);
            for row in 0..n_rows {
                for col in 0..n_out {
                    let want = 0.5
                        + (0..n_in)
                            .map(|i| f64::from(x[row * n_in + i]) * f64::from(w[i * n_out + col]))
                            .sum::<f64>();
                    let found = f64::from(out[row * n_out + col]);
                    assert!((found - want).abs() < 1e-5, "{n_rows}x{n_in}x{n_out}: {found} {want}");
                }
                let alone = layer.forward(&x[row * n_in..(row + 1) * n_in]);
                assert_eq!(alone, out[row * n_out..(row + 1) * n_out], "row {row} alone");
            }
        }
    }

    #[test]
    fn activations_match_reference_values() {
        // Python 3.11 math: erf and exp; gelu(x) = x * (1 + erf(x / sqrt 2)) / 2.
        let gelus = [
            (-3.0, -0.004_049_694),
            (-0.5, -0.154_268_77),
            (0.0, 0.0),
            (1.0, 0.841_344_8),
            (4.0, 3.999_873_3),
        ];
        for (x, want) in gelus {
            assert!((gelu(x) - want).abs() < 1e-6, "gelu({x}) = {} not {want}", gelu(x));
        }
        // d/dx at 0.7: Phi(0.7) + 0.7 phi(0.7) = 0.758036348 + 0.7 * 0.312253933
        assert!((gelu_slope(0.7) - 0.976_614_1).abs() < 1e-6);
        for x in [-80.0_f32, -10.5, -1.0, 0.0, 0.3, 20.0, 80.0] {
            assert!((exp(x) / x.exp() - 1.0).abs() < 4e-7, "exp({x}) = {}", exp(x));
        }
        let mut values = [-2.0, 0.0, 2.0];
        Activation::Sigmoid.apply(&mut values);
        assert!((values[0] - 0.119_202_92).abs() < 1e-7 && (values[1] - 0.5).abs() < 1e-7);
        let mut values = [-2.0, 0.5];
        Activation::Relu.apply(&mut values);
        assert_eq!(values, [0.0, 0.5]);
    }
}
