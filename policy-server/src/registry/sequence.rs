//! A mean with bounds that hold at all times at once: look as often as you like, stop when you like.
//!
//! For observations `x_1, x_2, ...` in [0, 1] with conditional mean `mu`, and weights `lambda_i` chosen before
//! `x_i` is seen, with probability at least `1 - alpha` for all `t` together
//!
//! ```text
//! | sum lambda_i x_i / sum lambda_i  -  mu |  <=  (ln(2 / alpha) + sum v_i psi(lambda_i)) / sum lambda_i
//! v_i = 4 (x_i - m_{i-1})^2      psi(l) = (-ln(1 - l) - l) / 4
//! m_t = (1/2 + sum_{i<=t} x_i) / (t + 1)      s_t = (1/4 + sum_{i<=t} (x_i - m_i)^2) / (t + 1)
//! lambda_t = min(sqrt(2 ln(2 / alpha) / (s_{t-1} t ln(1 + t))), 1/2)
//! ```
//!
//! Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024), theorem 2
//! (the predictable plug-in empirical Bernstein sequence) with their weights, equation 15. Either bound alone fails
//! with probability at most `alpha / 2`.
//!
//! Deviations:
//! 1. The weights are those for `alpha = 0.05` whatever level is asked for: any predictable weights are valid.
//! 2. Bounds are not intersected over time: where quality drifts, an old bound says nothing of today.
//! 3. Reports of one session count as if they were independent.

use serde::{Deserialize, Serialize};

/// Level the weights are made for.
const ALPHA: f64 = 0.05;
/// Greatest weight.
const WEIGHT_MAX: f64 = 0.5;

/// The sums of a confidence sequence.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Sequence {
    n: u64,
    /// `sum x_i`.
    sum: f64,
    /// `sum (x_i - m_i)^2`.
    squares: f64,
    /// `sum lambda_i`.
    weight: f64,
    /// `sum lambda_i x_i`.
    weighted: f64,
    /// `sum v_i psi(lambda_i)`.
    penalty: f64,
}

impl Sequence {
    /// Takes an observation; what lies outside [0, 1] is taken to its nearer end.
    pub fn add(&mut self, value: f64) {
        let x = value.clamp(0.0, 1.0);
        let before = self.n as f64 + 1.0;
        let (mean, variance) = ((0.5 + self.sum) / before, (0.25 + self.squares) / before);
        self.n += 1;
        let t = self.n as f64;
        let lambda = (2.0 * (2.0 / ALPHA).ln() / (variance * t * t.ln_1p())).sqrt().min(WEIGHT_MAX);
        self.sum += x;
        self.squares += (x - (0.5 + self.sum) / (t + 1.0)).powi(2);
        self.weight += lambda;
        self.weighted += lambda * x;
        // v psi: the factors 4 and 1/4 cancel.
        self.penalty += (x - mean).powi(2) * (-(-lambda).ln_1p() - lambda);
    }

    /// Number of observations.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// The plain mean; `None` without an observation.
    pub fn mean(&self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / self.n as f64)
    }

    /// Lower and upper bound, each of which ever fails with probability at most `alpha / 2`.
    pub fn bounds(&self, alpha: f64) -> (f64, f64) {
        if self.n == 0 {
            return (0.0, 1.0);
        }
        let (centre, margin) =
            (self.weighted / self.weight, ((2.0 / alpha).ln() + self.penalty) / self.weight);
        ((centre - margin).max(0.0), (centre + margin).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use routewright_data::rng::stream;

    #[test]
    fn two_observations_by_hand() {
        let mut sequence = Sequence::default();
        sequence.add(1.0);
        // lambda_1 = min(sqrt(2 ln 40 / (0.25 ln 2)), 1/2) = 1/2, v_1 psi = (1/2)^2 (ln 2 - 1/2) = 0.048287.
        let (low, high) = sequence.bounds(0.05);
        assert!(((3.688879 + 0.048287) / 0.5 - 7.474332_f64).abs() < 1e-5 && low == 0.0 && high == 1.0);
        sequence.add(1.0);
        // m_1 = 3/4, s_1 = (1/4 + 1/16) / 2; lambda_2 = 1/2 still; penalty + (1/4)^2 0.193147 = 0.060359.
        assert!((sequence.penalty - 0.060359).abs() < 1e-6, "{sequence:?}");
        assert!(
            (sequence.weight - 1.0).abs() < 1e-12 && (sequence.squares - (0.0625 + 1.0 / 36.0)).abs() < 1e-12
        );
    }

    /// Whether a canary of mean `canary` beside an active version of mean `active` is ever called worse.
    fn alarm(seed: u64, canary: f64, active: f64, steps: usize) -> Option<usize> {
        let mut rng = stream(seed, "trial");
        let (mut own, mut other) = (Sequence::default(), Sequence::default());
        (0..steps).find(|_| {
            own.add(f64::from(rng.random::<f64>() < canary));
            other.add(f64::from(rng.random::<f64>() < active));
            own.bounds(0.05).1 < other.bounds(0.05).0
        })
    }

    #[test]
    fn equals_are_hardly_ever_called_worse_however_often_one_looks() {
        for mean in [0.5, 0.9] {
            let alarms = (0..400).filter(|seed| alarm(*seed, mean, mean, 1500).is_some()).count();
            assert!(alarms <= 20, "{alarms} of 400 at mean {mean}, expected at most 5 %");
        }
        // Each bound alone, too: the true mean is left by at most one trial in twenty.
        let left = (0..400).filter(|seed| {
            let (mut rng, mut sequence) = (stream(*seed, "cover"), Sequence::default());
            (0..1500).any(|_| {
                sequence.add(f64::from(rng.random::<f64>() < 0.3));
                let (low, high) = sequence.bounds(0.05);
                low > 0.3 || high < 0.3
            })
        });
        assert!(left.count() <= 20);
    }

    #[test]
    fn a_drop_is_found_and_a_gain_is_not_called_one() {
        let found: Vec<usize> = (0..50).filter_map(|seed| alarm(seed, 0.4, 0.8, 1500)).collect();
        assert_eq!(found.len(), 50);
        assert!(found.iter().sum::<usize>() / 50 < 300, "{found:?}");
        assert!((0..50).all(|seed| alarm(seed, 0.8, 0.4, 1500).is_none()));
    }
}
