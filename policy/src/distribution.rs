//! The distribution that a decision is drawn from: what makes it one, and the draw.
//!
//! A decision is worth logging only if its propensities are true, so nothing is drawn before the law is checked, and a
//! draw that finds no mass fails instead of naming an arm.

use rand::RngExt as _;

/// How far the sum of the probabilities may be from 1: the rounding of an `f32` for each of some thousand arms.
pub const SUM_TOLERANCE: f64 = 1e-6;

/// Why numbers are no distribution over the eligible arms.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DistributionError {
    /// It has another number of entries than there are arms.
    #[error("it has {found} probabilities for {expected} arms")]
    Length {
        /// Entries.
        found: usize,
        /// Arms.
        expected: usize,
    },
    /// An entry is no probability.
    #[error("arm {arm} has probability `{value}`, expected a number in [0, 1]")]
    Value {
        /// Position of the arm.
        arm: usize,
        /// Its entry.
        value: f32,
    },
    /// An arm that is not eligible has mass.
    #[error("arm {arm} is not eligible and has probability `{value}`, expected 0")]
    Ineligible {
        /// Position of the arm.
        arm: usize,
        /// Its entry.
        value: f32,
    },
    /// The probabilities do not sum to 1.
    #[error("its probabilities sum to `{sum}`, expected 1")]
    Sum {
        /// What they sum to.
        sum: f64,
    },
}

/// Checks the law of a distribution: one entry an arm, each in [0, 1], mass on eligible arms only, sum 1 within
/// [`SUM_TOLERANCE`].
///
/// # Errors
/// If it is broken, with the first entry that breaks it.
pub fn check(distribution: &[f32], eligible: &[bool]) -> Result<(), DistributionError> {
    let (found, expected) = (distribution.len(), eligible.len());
    if found != expected {
        return Err(DistributionError::Length { found, expected });
    }
    let entries = || distribution.iter().copied().enumerate();
    // NaN is in no range. Above 1 by the rounding of a sum is 1.
    let most = 1.0 + SUM_TOLERANCE as f32;
    if let Some((arm, value)) = entries().find(|(_, p)| !(0.0..=most).contains(p)) {
        return Err(DistributionError::Value { arm, value });
    }
    if let Some((arm, value)) = entries().find(|(arm, p)| *p > 0.0 && !eligible[*arm]) {
        return Err(DistributionError::Ineligible { arm, value });
    }
    let sum: f64 = distribution.iter().map(|p| f64::from(*p)).sum();
    if (sum - 1.0).abs() > SUM_TOLERANCE {
        return Err(DistributionError::Sum { sum });
    }
    Ok(())
}

/// Draws an arm with the given seed; `None` where no entry is above 0. Rounding of the sum never leaves the draw
/// without an arm.
pub(crate) fn draw(distribution: &[f32], seed: u64) -> Option<usize> {
    let mut remaining: f32 = routewright_data::rng::stream(seed, "decide").random();
    let mut last = None;
    for (arm, &p) in distribution.iter().enumerate().filter(|(_, p)| **p > 0.0) {
        last = Some(arm);
        remaining -= p;
        if remaining < 0.0 {
            return last;
        }
    }
    last
}

/// Numbers as `f32`; where one of an eligible arm is too great for that, the greatest of those is taken off all, and
/// what is still too small is the least `f32`. So the order stays, and the best keeps its lead.
pub(crate) fn fitted(values: &[f64], eligible: &[bool]) -> Vec<f32> {
    let most = f64::from(f32::MAX);
    let of_eligible = || values.iter().zip(eligible).filter(|(_, ok)| **ok).map(|(value, _)| *value);
    let fits = of_eligible().all(|value| value.abs() <= most);
    let best = if fits { 0.0 } else { of_eligible().fold(f64::NEG_INFINITY, f64::max) };
    values.iter().map(|value| (value - best).clamp(-most, most) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_distribution_and_never_fall_off_its_end() {
        let distribution = [0.25, 0.0, 0.75];
        let mut counts = [0; 3];
        for seed in 0..4000 {
            counts[draw(&distribution, seed).unwrap()] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((900..1100).contains(&counts[0]), "{counts:?}");
        assert_eq!(draw(&[0.0, 0.99999, 0.0], 3), Some(1));
        assert_eq!(draw(&[0.0, f32::NAN, -1.0], 3), None, "no mass, no arm");
        assert_eq!(draw(&[], 3), None);
    }

    #[test]
    fn what_breaks_the_law_is_named() {
        let all = [true; 3];
        assert_eq!(check(&[0.2, 0.3, 0.5], &all), Ok(()));
        assert_eq!(check(&[0.5, 0.5], &all), Err(DistributionError::Length { found: 2, expected: 3 }));
        for value in [f32::NAN, f32::INFINITY, -0.1, 1.1] {
            let found = check(&[0.5, value, 0.5], &all).unwrap_err();
            assert!(matches!(found, DistributionError::Value { arm: 1, .. }), "{value}: {found}");
        }
        let beside = check(&[0.5, 0.5, 0.0], &[true, false, true]);
        assert_eq!(beside, Err(DistributionError::Ineligible { arm: 1, value: 0.5 }));
        for short in [[0.0; 3], [0.0125, 0.0125, 0.025], [0.5, 0.5, 2e-6]] {
            assert!(matches!(check(&short, &all), Err(DistributionError::Sum { .. })), "{short:?}");
        }
    }

    #[test]
    fn numbers_too_great_for_an_f32_keep_their_order() {
        let all = [true; 3];
        assert_eq!(fitted(&[0.5, -2.0], &all[..2]), [0.5, -2.0]);
        assert_eq!(fitted(&[-1e40, -2e40, -1e45], &all), [0.0, f32::MIN, f32::MIN]);
        let great = 140_f64.exp2();
        assert_eq!(fitted(&[great, great - 100_f64.exp2()], &all[..2]), [0.0, -(100_f32.exp2())]);
        // What is not eligible takes no room.
        assert_eq!(fitted(&[0.5, 0.25, 1e300], &[true, true, false]), [0.5, 0.25, f32::MAX]);
    }
}
