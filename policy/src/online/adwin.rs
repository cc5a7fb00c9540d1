//! Has the world changed? ADWIN (Bifet and Gavaldà 2007) over the sums of an arm.
//!
//! The window is a row of parts; each keeps its sums, so the residuals `r - theta . x` of any part have their
//! mean and square by the *present* coefficients, without a reward being kept. If the mean residual of
//! the older parts differs from that of the newer by more than
//!
//! ```text
//! e = sqrt(2 / m * v * L) + 2 / (3 m) * L      m = 1 / (1 / n_0 + 1 / n_1)      L = ln(2 ln(n) / delta)
//! ```
//!
//! at any boundary, with `v` the variance of all residuals and `n` their weight, the oldest part goes, the
//! belief is recomputed, and the question is asked again. Residuals, not rewards: other queries are no drift.
//!
//! Deviations:
//! 1. residuals are of the fit to all that is kept, not of the forecast made before each;
//! 2. boundaries lie between parts of at least 32 rewards, as the authors' exponential histogram has them.

use super::ArmStatistics;

/// Rewards of the smallest part.
const SMALLEST: u64 = 32;
/// Parts of about one size before the two oldest of them become one.
const ALIKE: usize = 5;

/// Whether the newest part has all the rewards it takes.
pub(super) fn is_full(part: &ArmStatistics) -> bool {
    part.n_updates() >= SMALLEST
}

/// Doublings of the smallest part that fit into one.
fn level(part: &ArmStatistics) -> u32 {
    (part.n_updates() / SMALLEST).max(1).ilog2()
}

/// Joins old parts, so that their number grows with the logarithm of the rewards.
pub(super) fn compress(parts: &mut Vec<ArmStatistics>) {
    let mut of = 0;
    while parts.iter().any(|part| level(part) >= of) {
        let alike: Vec<usize> = (0..parts.len()).filter(|at| level(&parts[*at]) == of).collect();
        match alike.as_slice() {
            [oldest, next, ..] if alike.len() > ALIKE && next - oldest == 1 => {
                let joined = parts.remove(*next);
                parts[*oldest].accumulate(&joined);
            }
            _ => of += 1,
        }
    }
}

/// Whether some boundary parts residuals of different means; the last of the features is the constant one.
pub(super) fn has_drifted(parts: &[ArmStatistics], theta: &[f32], delta: f64) -> bool {
    let seen: Vec<Residuals> = parts.iter().map(|part| Residuals::of(part, theta)).collect();
    let all = seen.iter().fold(Residuals::default(), |sum, part| sum.plus(part));
    if all.weight <= 0.0 {
        return false;
    }
    let mean = all.sum / all.weight;
    let variance = (all.square / all.weight - mean * mean).max(0.0);
    let confidence = (2.0 * all.weight.ln().max(1.0) / delta).ln();
    let mut older = Residuals::default();
    seen.iter().take(seen.len().saturating_sub(1)).any(|part| {
        older = older.plus(part);
        let newer = all.weight - older.weight;
        if older.weight <= 0.0 || newer <= 0.0 {
            return false;
        }
        let m = 1.0 / (1.0 / older.weight + 1.0 / newer);
        let bound = (2.0 / m * variance * confidence).sqrt() + 2.0 / (3.0 * m) * confidence;
        (older.sum / older.weight - (all.sum - older.sum) / newer).abs() > bound
    })
}

/// Sums over residuals.
#[derive(Debug, Clone, Copy, Default)]
struct Residuals {
    weight: f64,
    sum: f64,
    square: f64,
}

impl Residuals {
    fn of(part: &ArmStatistics, theta: &[f32]) -> Self {
        let dim = theta.len();
        let theta: Vec<f64> = theta.iter().map(|value| f64::from(*value)).collect();
        let row = |i: usize| -> f64 { (0..dim).map(|j| part.gram(i, j) * theta[j]).sum() };
        let fitted: Vec<f64> = (0..dim).map(row).collect();
        let dot = |b: &[f64]| theta.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let last = dim - 1;
        Self {
            weight: part.weight(),
            sum: part.moment()[last] - fitted[last],
            square: part.square() - 2.0 * dot(part.moment()) + dot(&fitted),
        }
    }

    fn plus(self, other: &Self) -> Self {
        Self {
            weight: self.weight + other.weight,
            sum: self.sum + other.sum,
            square: self.square + other.square,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part of `n` rewards around `mean`, every other one a tenth above and a tenth below; features `[x, 1]`.
    fn part(first: u64, n: u64, mean: f64) -> ArmStatistics {
        let mut out = ArmStatistics::beginning(2, first);
        for at in 0..n {
            let sign = if at % 2 == 0 { 1.0 } else { -1.0 };
            out.add(&[sign as f32, 1.0], mean + 0.1 * sign, 1.0);
        }
        out
    }

    #[test]
    fn the_bound_is_that_of_the_paper() {
        // theta = (0.1, 0.6) fits the signs: residuals are mean - 0.6, of variance 0.01 over 32 + 32 rewards.
        // m = 16, L = ln(2 ln(64) / 0.002) = 8.333: e = sqrt(2 / 16 * 0.01 * L) + 2 / 48 * L = 0.1021 + 0.3472
        let differ = |by: f64| [part(0, 32, 0.6 - by / 2.0), part(40, 32, 0.6 + by / 2.0)];
        // The variance grows with the difference: a quarter of its square.
        let bound = |by: f64| (by * by / 4.0 / 8.0 * 8.333_f64).sqrt() + 8.333 / 24.0;
        let (theta, delta) = ([0.1, 0.6], 0.002);
        for by in [0.1, 0.5, 0.6, 0.7, 0.71, 0.8, 0.9, 1.0] {
            assert_eq!(has_drifted(&differ(by), &theta, delta), by > bound(by), "{by}: {}", bound(by));
        }
        assert!(!has_drifted(&differ(1.0)[..1], &theta, delta));
        let many = [part(0, 640, 0.5), part(700, 640, 0.7)];
        assert!(has_drifted(&many, &theta, delta), "more rewards see smaller changes");
    }

    #[test]
    fn parts_grow_with_the_logarithm_and_lose_nothing() {
        let mut parts = Vec::new();
        for at in 0..1000 {
            parts.push(part(at * 40, 32, 0.5));
            compress(&mut parts);
        }
        assert!(parts.len() < 60, "{}", parts.len());
        assert_eq!(parts.iter().map(ArmStatistics::weight).sum::<f64>(), 32_000.0);
        assert!(parts.is_sorted_by_key(ArmStatistics::epoch));
        assert!(parts.is_sorted_by_key(|part| std::cmp::Reverse(level(part))));
    }
}
