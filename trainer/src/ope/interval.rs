//! Intervals of means of weighted rewards that hold with few effective rounds.
//!
//! Every statistic is a mean of influence values `psi_i`, so its variance could be estimated by `mean psi^2 / n`.
//! With importance weights that is too small just when the estimate is too good: a rare round of great weight and
//! bad reward is missing from the mean and from the variance alike, and no resampling of the rounds brings it
//! back. But the log states the probability of every candidate, so the moments of the *weights* are known for
//! each round, drawn or not: `E w^2 = sum_a pi(a)^2 / p(a)`, `E w^3 = sum_a pi(a)^3 / p(a)^2`. Let `u_i = w_i e_i` be
//! the weighted part of `psi_i` and `e_i` its residual. Then
//!
//! ```text
//! V  = max(mean psi^2,  mean psi^2 - mean u^2 + mean(E w^2) e2)     e2: greater of two means of e^2,
//!                                                                   weighted by w and by its root
//! k3 = mean psi^3 - mean u^3 + mean(E w^3) e3                       e3: mean of e^3, weighted by the root of w
//! g  = k3 / V^1.5 / sqrt(n)                                          the skewness of the statistic
//! lower = value - (t + max(0, -g) (2 z^2 + 1) / 6) sqrt(V / n)
//! upper = value + (t + max(0,  g) (2 z^2 + 1) / 6) sqrt(V / n)
//! ```
//!
//! with `z` the normal quantile and `t` Student's at the effective sample size (both to second order). The skewness
//! term is that of a studentized mean (Johnson 1978; Hall 1992, section 2.6), only ever used to widen. Rounds of one
//! cluster are summed before they are squared or cubed. Coverage of this, of percentile, BCa and studentized
//! bootstrap is in `experiments/record/2026-11-30-ope-coverage.md`.
//!
//! Where weights are clipped, shrunk or switched off, their moments are at most those of the whole weights, and at most
//! those of weights that are all as great as a shrunk one can be: the smaller of the two stands for them. Such an
//! estimator is biased; both ends are moved out by what the bias can be, so that they hold for the policy's value.

/// Two-sided level of every interval.
pub(super) const LEVEL: f64 = 0.95;
/// Quantile of the standard normal distribution at `(1 + LEVEL) / 2`.
const Z: f64 = 1.959_963_984_540_054;

/// A statistic on one round.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Influence {
    /// Influence value: its mean over the sample is 0.
    pub(super) psi: f64,
    /// The weighted part, where its moments are known.
    pub(super) weighted: Option<Weighted>,
}

/// The part of an influence value that an importance weight multiplies.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weighted {
    /// The weight as drawn.
    pub(super) weight: f64,
    /// What it multiplies.
    pub(super) residual: f64,
    /// Mean of its square over the candidates that could have been drawn.
    pub(super) square: f64,
    /// Mean of its cube.
    pub(super) cube: f64,
}

/// Sums over rounds that come cluster by cluster.
#[derive(Debug, Default)]
pub(super) struct Spread {
    n: f64,
    clusters: f64,
    /// Sum of the cluster being read.
    open: f64,
    psi2: f64,
    psi3: f64,
    /// Sums of what was drawn: `u^2`, `u^3`.
    drawn: [f64; 2],
    /// Sums of `E w^2`, `E w^3`.
    expected: [f64; 2],
    /// `sum |w|`, `sum |w| e^2`.
    by_weight: [f64; 2],
    /// The same with the root of the weight, which a single heavy round cannot carry away; and `e^3`.
    by_root: [f64; 3],
}

/// Standard error and ends of an interval about a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    pub(super) standard_error: f64,
    /// How far the ends are below and above the value.
    below: f64,
    above: f64,
}

impl Interval {
    /// The interval of a value that is biased by at most so much.
    pub(super) fn widened(self, bias: f64) -> Self {
        Self { below: self.below + bias, above: self.above + bias, ..self }
    }

    /// The ends about `value`.
    pub(super) fn around(&self, value: f64) -> [f64; 2] {
        [value - self.below, value + self.above]
    }
}

impl Spread {
    /// Adds a round; `is_last` of its cluster.
    pub(super) fn add(&mut self, round: Influence, is_last: bool) {
        self.n += 1.0;
        self.open += round.psi;
        if is_last {
            self.clusters += 1.0;
            self.psi2 += self.open * self.open;
            self.psi3 += self.open.powi(3);
            self.open = 0.0;
        }
        let Some(Weighted { weight, residual, square, cube }) = round.weighted else { return };
        let drawn = weight * residual;
        self.drawn[0] += drawn * drawn;
        self.drawn[1] += drawn.powi(3);
        self.expected[0] += square;
        self.expected[1] += cube;
        self.by_weight[0] += weight.abs();
        self.by_weight[1] += weight.abs() * residual * residual;
        let root = weight.abs().sqrt();
        self.by_root[0] += root;
        self.by_root[1] += root * residual * residual;
        self.by_root[2] += root * residual.powi(3);
    }

    /// The interval at `LEVEL` of a statistic that speaks of `effective` rounds of its own; `None` below two clusters.
    pub(super) fn interval(&self, effective: f64) -> Option<Interval> {
        if self.clusters < 2.0 {
            return None;
        }
        let n = self.n;
        let sampled = self.psi2 / n * self.clusters / (self.clusters - 1.0);
        let mut third = self.psi3 / n;
        let mut variance = sampled;
        if self.by_root[0] > 0.0 {
            let e2 = (self.by_weight[1] / self.by_weight[0]).max(self.by_root[1] / self.by_root[0]);
            let e3 = self.by_root[2] / self.by_root[0];
            variance = sampled.max(sampled + (self.expected[0] * e2 - self.drawn[0]) / n);
            third += (self.expected[1] * e3 - self.drawn[1]) / n;
        }
        let standard_error = (variance / n).sqrt();
        let skewness = if variance > 0.0 { third / variance.powf(1.5) / n.sqrt() } else { 0.0 };
        let freedom = (effective.min(self.clusters) - 1.0).max(1.0);
        let student = Z + (Z.powi(3) + Z) / (4.0 * freedom);
        let lean = (2.0 * Z * Z + 1.0) / 6.0;
        let end = |lean_to_it: f64| (student + lean_to_it.max(0.0) * lean) * standard_error;
        Some(Interval { standard_error, below: end(-skewness), above: end(skewness) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(psi: f64) -> Influence {
        Influence { psi, weighted: None }
    }

    #[test]
    fn a_symmetric_mean_has_students_interval() {
        let mut spread = Spread::default();
        for at in 0..100 {
            spread.add(plain(if at % 2 == 0 { 1.0 } else { -1.0 }), true);
        }
        let found = spread.interval(100.0).unwrap();
        // Variance 100 / 99, over 100 rounds. Student's 0.975 quantile at 99 degrees is 1.98422 (scipy 1.16).
        assert!((found.standard_error - (1.0_f64 / 99.0).sqrt()).abs() < 1e-12);
        let [low, high] = found.around(2.0);
        assert!((high - 2.0 - 1.984_22 * found.standard_error).abs() < 1e-4, "{low} {high}");
        assert!((low + high - 4.0).abs() < 1e-12);
    }

    #[test]
    fn rounds_of_a_cluster_count_once() {
        let (mut alone, mut together) = (Spread::default(), Spread::default());
        for at in 0..60 {
            let psi = if at % 2 == 0 { 1.0 } else { -1.0 };
            alone.add(plain(psi), true);
            (0..4).for_each(|copy| together.add(plain(psi), copy == 3));
        }
        let (alone, together) = (alone.interval(60.0).unwrap(), together.interval(60.0).unwrap());
        assert!((alone.standard_error - together.standard_error).abs() < 1e-12);
    }

    #[test]
    fn a_heavy_round_that_was_not_drawn_still_counts() {
        // Weight 50 with probability 0.02, never drawn in 40 rounds; weight 1 / 0.98 otherwise.
        let (light, heavy) = (1.0_f64 / 0.98, 50.0_f64);
        let (square, cube) =
            (0.98 * light * light + 0.02 * heavy * heavy, 0.98 * light.powi(3) + 0.02 * heavy.powi(3));
        let mut spread = Spread::default();
        for at in 0..40 {
            let residual = if at % 4 == 0 { -0.75 } else { 0.25 };
            let weighted = Some(Weighted { weight: light, residual, square, cube });
            spread.add(Influence { psi: light * residual, weighted }, true);
        }
        let found = spread.interval(40.0).unwrap();
        // e2 = 0.1875; 51.02 of E w^2 in place of 1.04.
        let expected = (square * 0.1875 / 40.0).sqrt();
        assert!((found.standard_error / expected - 1.0).abs() < 0.01, "{found:?}");
        let [low, high] = found.around(0.0);
        assert!(-low > high, "bad rewards are the rare ones: the lower end is the farther one");
        assert!(Spread::default().interval(9.0).is_none());
    }
}
