//! The quantized query and the proof that the scan misses nothing.
//!
//! Row `x = center + y`, `y = s c + r` ([`super::codes`]). Query `q = a u + w`, where `u` is the direction of
//! the mean row, `a = q.u`, and `w = t d + p` (`d` integers in [-127, 127], `t` the query's step, `p` what
//! rounding left). Then
//!
//! ```text
//! q.x = q.center + a (u.y) + t s (d.c) + p.(s c) + w.r
//! |q.x - q.center - a (u.y) - t s (d.c)| <= |p| |s c| + |w| |r|        (Cauchy-Schwarz, twice)
//! ```
//!
//! `u.y` is stored with the row. Splitting the query along `u` makes `w`, and with it both errors, short when
//! the rows crowd around their mean, which is when they are hard to tell apart.
//!
//! `d.c` is an exact integer. `q.center` is the same for all rows, so the scan leaves it out. The bound
//! also takes in a slack for the f32 arithmetic of the scan itself and for rounding the answer to f32, so a
//! row whose upper bound is below the k-th largest lower bound cannot be among the k answers, not even
//! as a tie.

use super::codes::{BIAS, Codes, Group, norm, round_code, round_up, step_size};
use super::kernel::{Cut, PACK};
use super::neighbor::inner_product;

/// Relative slack: the scan makes fewer than 16 f32 roundings of 2^-24 each on terms of at most
/// 3 |q| (|x| + |center|), the answer one more.
const SLACK: f64 = 4e-6;

/// Smallest step of a query's codes, relative to its length.
const FINEST_STEP: f64 = 1e-8;

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
    /// `a`, in units of `scale`.
    along_weight: f32,
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
        let length = norm(query.iter().map(|&value| f64::from(value)));
        let along = inner_product(query, codes.direction());
        let across: Vec<f64> = query
            .iter()
            .zip(codes.direction())
            .map(|(&value, &axis)| f64::from(value) - along * f64::from(axis))
            .collect();
        // far finer steps than the query's length would only make the other numbers huge in this unit
        let step = f64::from(step_size(across.iter().copied())).max(FINEST_STEP * length) as f32;
        // a (nearly) zero query gets codes of zero, whatever the step
        let scale = if step >= f32::MIN_POSITIVE { step } else { 1.0 };
        let inverse = 1.0 / f64::from(scale);
        let mut packed = Vec::with_capacity(query.len().div_ceil(PACK));
        let (mut sum, mut lost) = (0, 0.0f64);
        for values in across.chunks(PACK) {
            let mut bytes = [0i8; PACK];
            for (byte, &value) in bytes.iter_mut().zip(values) {
                let code = round_code(value * inverse);
                let left = value - f64::from(scale) * f64::from(code);
                sum += code;
                lost += left * left;
                *byte = code as i8;
            }
            packed.push(i32::from_le_bytes(bytes.map(|byte| byte as u8)));
        }
        Self {
            packed,
            sum,
            scale,
            norm_weight: round_up(lost.sqrt() * inverse),
            error_weight: round_up(norm(across.iter().copied()) * inverse),
            along_weight: (along * inverse) as f32,
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
            along_weight: self.along_weight,
            // once for the interval, which has it too, and once for the roundings of the test itself
            floor: floor / self.scale - 2.0 * self.slack,
        }
    }

    /// Interval of one row of a group from its integer dot product.
    pub(super) fn interval(&self, dot: i32, group: Group<'_>, block: usize, lane: usize) -> Interval {
        let estimate = group.scales[block][lane] * dot as f32 + self.along_weight * group.along[block][lane];
        let reach = self.norm_weight * group.norms[block][lane]
            + self.error_weight * group.errors[block][lane]
            + self.slack;
        Interval { lower: (estimate - reach) * self.scale, upper: (estimate + reach) * self.scale }
    }

    /// Upper bound on the inner product itself.
    pub(super) fn upper(&self, interval_upper: f32) -> f64 {
        self.base + f64::from(interval_upper)
    }
}

#[cfg(test)]
mod tests;
