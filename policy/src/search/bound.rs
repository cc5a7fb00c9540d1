//! The quantized query and the proof that the scan misses nothing.
//!
//! With row `x = center + y`, `y = s c + r` ([`super::codes`]) and query `q = t d + p` (`d` integers in
//! [-127, 127], `t` the query's scale, `p` what rounding left):
//!
//! ```text
//! q.x = q.center + t s (d.c) + p.(s c) + q.r
//! |q.x - q.center - t s (d.c)| <= |p| |s c| + |q| |r|        (Cauchy-Schwarz, twice)
//! ```
//!
//! `d.c` is an exact integer. `q.center` is the same for all rows, so the scan leaves it out. The bound
//! also takes in a slack for the f32 arithmetic of the scan itself and for rounding the answer to f32, so a
//! row whose upper bound is below the k-th largest lower bound cannot be among the k answers, not even
//! as a tie.

use super::codes::{BIAS, Codes, norm, round_code, round_up, step_size};
use super::kernel::{Cut, PACK};
use super::neighbor::inner_product;

/// Relative slack: the scan makes fewer than 16 f32 roundings of 2^-24 each on terms of at most
/// 3 |q| (|x| + |center|), the answer one more.
const SLACK: f64 = 4e-6;

/// Absolute slack, for results that underflow.
const TINY: f64 = 1e-30;

/// A query as the scan kernels read it.
#[derive(Debug)]
pub(super) struct QueryCode {
    /// Codes, 4 to an `i32` (little endian signed bytes), `steps` of them.
    pub(super) packed: Vec<i32>,
    /// Sum of the codes, to take the bias of the row codes out.
    sum: i32,
    /// Code step `t`.
    scale: f32,
    /// Factor of the row's code norm in the bound, in units of `scale`.
    norm_weight: f32,
    /// Factor of the row's error in the bound, in units of `scale`.
    error_weight: f32,
    /// Slack in units of `scale`.
    slack: f32,
    /// `q.center`.
    base: f64,
}

/// What the scan knows about one row: its inner product with the query, less `q.center`, is in
/// `[lower, upper]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interval {
    pub(super) lower: f32,
    pub(super) upper: f32,
}

impl QueryCode {
    pub(super) fn new(query: &[f32], codes: &Codes) -> Self {
        let step = step_size(query.iter().map(|&value| f64::from(value)));
        // a zero query gets codes of zero, whatever the step
        let scale = if step > 0.0 { step } else { 1.0 };
        let inverse = 1.0 / f64::from(scale);
        let mut packed = Vec::with_capacity(query.len().div_ceil(PACK));
        let (mut sum, mut lost) = (0, 0.0f64);
        for values in query.chunks(PACK) {
            let mut bytes = [0i8; PACK];
            for (byte, &value) in bytes.iter_mut().zip(values) {
                let code = round_code(f64::from(value) * inverse);
                let left = f64::from(value) - f64::from(scale) * f64::from(code);
                sum += code;
                lost += left * left;
                *byte = code as i8;
            }
            packed.push(i32::from_le_bytes(bytes.map(|byte| byte as u8)));
        }
        let length = norm(query.iter().map(|&value| f64::from(value)));
        Self {
            packed,
            sum,
            scale,
            norm_weight: round_up(lost.sqrt() * inverse),
            error_weight: round_up(length * inverse),
            slack: round_up((SLACK * length * codes.span() + TINY) * inverse),
            base: inner_product(query, codes.center()),
        }
    }

    /// The test of the scan: rows whose upper bound may reach `floor` pass.
    pub(super) fn cut(&self, floor: f32) -> Cut {
        Cut {
            start: -BIAS * self.sum,
            norm_weight: self.norm_weight,
            error_weight: self.error_weight,
            floor: floor / self.scale - self.slack,
        }
    }

    /// Interval of one row from its integer dot product and per-row numbers.
    pub(super) fn interval(&self, dot: i32, scale: f32, norm: f32, error: f32) -> Interval {
        let estimate = scale * dot as f32;
        let reach = self.norm_weight * norm + self.error_weight * error + self.slack;
        Interval { lower: (estimate - reach) * self.scale, upper: (estimate + reach) * self.scale }
    }

    /// Upper bound on the inner product itself.
    pub(super) fn upper(&self, interval_upper: f32) -> f64 {
        self.base + f64::from(interval_upper)
    }
}

#[cfg(test)]
mod tests;
