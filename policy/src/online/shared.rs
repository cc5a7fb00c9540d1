//! Coefficients that all arms share: the hybrid model of Li et al. (arXiv 1003.0146, algorithm 2).
//!
//! The reward of arm `m` is `x . (beta + theta_m)` with `beta ~ N(0, 1 / kappa)` and `theta_m` believed as by a
//! disjoint arm: prior precision `lambda`, prior mean `mu_m`. With the features of the shared part being `x`
//! itself, every matrix of the algorithm follows from the sums a disjoint arm keeps. With `A_m^-1` and
//! `t_m` the covariance and mean of the disjoint arm:
//!
//! ```text
//! A_0  = kappa I + sum_m lambda (I - lambda A_m^-1)        beta = A_0^-1 sum_m lambda (t_m - mu_m)
//! mean of arm m:    x . t_m + lambda p . beta              p = A_m^-1 x
//! variance:         x . p + lambda^2 p' A_0^-1 p
//! ```
//!
//! So nothing more is stored, and what adds up for disjoint arms does so here. A reward changes `A_m^-1` by
//! `-g p p'`, hence `A_0` by `lambda^2 g p p'`: a rank-one update each.

use super::packed::{Packed, Padded};
use super::statistics::{Change, Posterior, Scratch, dot};
use routewright_data::linalg::{Cholesky, LinalgError};
use std::sync::Arc;

/// Belief about the coefficients that all arms share.
#[derive(Debug, Clone, PartialEq)]
pub struct Shared {
    /// Prior precision `kappa`.
    precision: f64,
    /// Prior precision `lambda` of the arms' own coefficients.
    own: f32,
    /// `A_0^-1`.
    covariance: Packed,
    /// `beta`, padded like the covariance.
    mean: Padded,
    room: Padded,
}

impl Shared {
    /// The belief that the arms make, with the prior precision of what they share.
    ///
    /// # Errors
    /// If the precision is too small for the system to be factorised.
    pub fn of(precision: f64, arms: &[Arc<Posterior>]) -> Result<Self, LinalgError> {
        let dim = arms.first().map_or(0, |arm| arm.mean().len());
        let own = arms.first().map_or(1.0, |arm| arm.prior().precision);
        let mut a = vec![0.0; dim * dim];
        let mut right = vec![0.0; dim * (dim + 1)];
        for i in 0..dim {
            a[i * dim + i] = precision;
            right[i * (dim + 1) + i] = 1.0;
        }
        // An arm without rewards adds nothing.
        for arm in arms.iter().filter(|arm| arm.statistics().weight() > 0.0) {
            for i in 0..dim {
                for j in 0..dim {
                    let identity = f64::from(u8::from(i == j));
                    a[i * dim + j] += own * (identity - own * f64::from(arm.covariance().get(i, j)));
                }
                right[i * (dim + 1) + dim] += own * (f64::from(arm.mean()[i]) - arm.prior_mean(i));
            }
        }
        let solved = Cholesky::of(a, dim)?.solve(right, dim + 1)?;
        let mut mean = Padded::default();
        mean.fill(&(0..dim).map(|i| solved[i * (dim + 1) + dim] as f32).collect::<Vec<_>>());
        let covariance = Packed::from_fn(dim, |i, j| solved[i * (dim + 1) + j] as f32);
        Ok(Self { precision, own: own as f32, covariance, mean, room: Padded::default() })
    }

    /// Prior precision.
    pub fn precision(&self) -> f64 {
        self.precision
    }

    /// Follows an arm that learned a reward; its `A_m^-1 x` before the reward lies in `scratch`.
    pub(crate) fn learn(&mut self, change: Change, scratch: &Scratch) {
        let product = &scratch.product;
        self.covariance.product(product, &mut self.room);
        let spread = dot(product.values(), self.room.values());
        let weight = self.own * self.own * change.gain;
        let gain = weight / (1.0 + weight * spread);
        let moment = self.own * change.step;
        let believed = dot(product.values(), self.mean.values());
        let step = moment - gain * (believed + moment * spread);
        self.mean.add_scaled(step, &self.room);
        self.covariance.add_outer(-gain, &self.room);
    }

    /// `(mean, sqrt(variance))` of an arm, noise apart, of the features in `scratch`.
    #[inline(always)]
    pub(crate) fn predict(&self, arm: &Posterior, features: &[f32], scratch: &mut Scratch) -> (f32, f32) {
        let (mean, variance) = arm.project(features, scratch);
        let product = &scratch.product;
        let shared = self.own * dot(product.values(), self.mean.values());
        let spread = self.own * self.own * self.covariance.quadratic(product);
        (mean + shared, (variance + spread).max(0.0).sqrt())
    }
}
