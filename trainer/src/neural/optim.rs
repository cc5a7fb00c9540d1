//! AdamW (Loshchilov and Hutter, arXiv 1711.05101) in one pass over weights and moments.
//!
//! `m <- b1 m + (1 - b1) g`, `v <- b2 v + (1 - b2) g^2`,
//! `w <- (1 - rate decay) w - rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`.
//!
//! Rows of an embedding table are updated lazily: see [`AdamW::at`] and `bag.rs`.

use serde::{Deserialize, Serialize};

/// Settings of the optimiser; the defaults are those of PyTorch but for the rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// Learning rate.
    pub rate: f32,
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { rate: 1e-3, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// The optimiser at one step, with its corrections worked out.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtStep {
    pub(super) keep: f32,
    pub(super) beta_1: f32,
    pub(super) beta_2: f32,
    /// `rate / (1 - b1^t)`.
    pub(super) rate: f32,
    /// `1 / sqrt(1 - b2^t)`.
    pub(super) root: f32,
    pub(super) epsilon: f32,
}

impl AdamW {
    /// The coefficients of step `t`, counted from 1.
    pub(super) fn at(&self, t: u64) -> AtStep {
        let t = i32::try_from(t).unwrap_or(i32::MAX);
        let correction = |beta: f32| 1.0 - f64::from(beta).powi(t);
        AtStep {
            keep: 1.0 - self.rate * self.weight_decay,
            beta_1: self.beta_1,
            beta_2: self.beta_2,
            rate: (f64::from(self.rate) / correction(self.beta_1)) as f32,
            root: (1.0 / correction(self.beta_2).sqrt()) as f32,
            epsilon: self.epsilon,
        }
    }
}

impl AtStep {
    /// Updates weights `w` with moments `m`, `v` by gradient `g`; all of one length.
    pub(super) fn update(&self, w: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        routewright_data::simd::widest(
            #[inline(always)]
            || self.update_inline(w, m, v, g),
        );
    }

    /// [`AtStep::update`] for callers that are already compiled for wide registers.
    #[inline(always)]
    pub(super) fn update_inline(&self, w: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        let s = *self;
        for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
            *m = s.beta_1 * *m + (1.0 - s.beta_1) * g;
            *v = s.beta_2 * *v + (1.0 - s.beta_2) * (g * g);
            *w = s.keep * *w - s.rate * *m / (v.sqrt() * s.root + s.epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_steps_equal_pytorch() {
        // torch 2.15.0: AdamW([w], lr=0.1, weight_decay=0.01) with w = [1, -2], g = [0.5, -1], [0.1, 2], [-3, 0]
        let adam = AdamW { rate: 0.1, ..AdamW::default() };
        let (mut w, mut m, mut v) = (vec![1.0, -2.0], vec![0.0; 2], vec![0.0; 2]);
        for (t, g) in [[0.5, -1.0], [0.1, 2.0], [-3.0, 0.0]].iter().enumerate() {
            adam.at(t as u64 + 1).update(&mut w, &mut m, &mut v, g);
        }
        let want = TORCH;
        assert!((w[0] - want[0]).abs() < 1e-6 && (w[1] - want[1]).abs() < 1e-6, "{w:?}");
    }

    const TORCH: [f32; 2] = [0.869_567_4, -1.959_079_6];
}
