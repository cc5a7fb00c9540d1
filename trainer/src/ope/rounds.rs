//! What an estimator sees of a round, and what it makes of it.

/// One logged round with what the target policy and the reward model say of it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Round {
    /// What the row counts for: 1 over the probability that sampling kept it.
    pub mass: f64,
    /// Importance weight `w = pi(a) / p(a)` of the logged arm.
    pub importance: f64,
    /// Reward of the logged arm.
    pub reward: f64,
    /// What the reward model says of the logged arm, learned without this round.
    pub q_logged: f64,
    /// What it says of the target policy: `sum_a pi(a) q(a)` over the logged candidates.
    pub q_target: f64,
    /// A number in `[0, 1)` drawn for this round, for rejection sampling.
    pub draw: f64,
    /// Mass of the target policy on arms that the logging policy gave almost no probability.
    pub unsupported: f64,
    /// Mean of the squared weight over the arms that could have been drawn: `sum_a pi(a)^2 / p(a)`.
    pub square: f64,
    /// Mean of the cubed weight: `sum_a pi(a)^3 / p(a)^2`.
    pub cube: f64,
    /// Rounds of equal clusters are not independent; 0 for a round of no cluster.
    pub cluster: u64,
}

/// Mean products of the weights `w` of the target and `v` of the baseline over the arms that could have been drawn.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cross {
    /// `E w v = sum_a pi(a) rho(a) / p(a)`.
    pub wv: f64,
    /// `E w^2 v`.
    pub wwv: f64,
    /// `E w v^2`.
    pub wvv: f64,
}

/// Mean square and mean cube of the weight of `target` over arms drawn by `logging`; arms never drawn have none.
#[must_use]
pub fn weight_moments(target: &[f64], logging: &[f32]) -> (f64, f64) {
    let mut moments = (0.0, 0.0);
    for (&pi, &p) in target.iter().zip(logging).filter(|(pi, p)| **pi > 0.0 && **p > 0.0) {
        let weight = pi / f64::from(p);
        moments.0 += pi * weight;
        moments.1 += pi * weight * weight;
    }
    moments
}

impl Cross {
    /// Of two policies over arms drawn by `logging`.
    #[must_use]
    pub fn of(target: &[f64], baseline: &[f64], logging: &[f32]) -> Self {
        let mut cross = Self::default();
        for ((&pi, &rho), &p) in target.iter().zip(baseline).zip(logging).filter(|(_, p)| **p > 0.0) {
            let p = f64::from(p);
            let both = pi * rho / p;
            cross.wv += both;
            cross.wwv += both * pi / p;
            cross.wvv += both * rho / p;
        }
        cross
    }
}

/// What an estimator makes of a round: its value is the mean of `direct` plus the sum of `corrected` over the
/// sum of `norm`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Terms {
    /// Averaged over rounds.
    pub direct: f64,
    /// Summed, then divided by the sum of `norm`.
    pub corrected: f64,
    /// What `corrected` is divided by.
    pub norm: f64,
}

impl Terms {
    /// Terms of an estimator that is a plain mean.
    pub(super) fn mean(direct: f64) -> Self {
        Self { direct, ..Self::default() }
    }

    /// Terms of an estimator that is a ratio of sums.
    pub(super) fn ratio(corrected: f64, norm: f64) -> Self {
        Self { direct: 0.0, corrected, norm }
    }
}

/// The order that brings the rounds of each cluster together, and whether a round is the last of its cluster.
#[derive(Debug, Clone, Default)]
pub(super) struct Clusters {
    order: Vec<(u32, bool)>,
    pub(super) n: usize,
}

impl Clusters {
    pub(super) fn of(rounds: &[Round]) -> Self {
        let mut order: Vec<u32> = (0..rounds.len() as u32).collect();
        // Clusters are placed at their first round, so that the order of the log is kept.
        let mut first = std::collections::HashMap::new();
        for (at, round) in rounds.iter().enumerate().filter(|(_, round)| round.cluster != 0) {
            first.entry(round.cluster).or_insert(at as u32);
        }
        let place = |at: u32| first.get(&rounds[at as usize].cluster).copied().unwrap_or(at);
        if !first.is_empty() {
            order.sort_by_key(|at| (place(*at), *at));
        }
        let ends: Vec<bool> = (0..order.len())
            .map(|i| order.get(i + 1).is_none_or(|next| place(*next) != place(order[i])))
            .collect();
        let n = ends.iter().filter(|is_last| **is_last).count();
        Self { order: order.into_iter().zip(ends).collect(), n }
    }

    /// Rounds with whether each is the last of its cluster.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, bool)> + '_ {
        self.order.iter().map(|(at, is_last)| (*at as usize, *is_last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_draw() {
        // Weights 2 and 0.5 with probabilities 0.25 and 0.5; an arm never drawn counts nowhere.
        let (target, logging) = ([0.5, 0.25, 0.25], [0.25_f32, 0.5, 0.0]);
        let (square, cube) = weight_moments(&target, &logging);
        assert!((square - (0.25 * 4.0 + 0.5 * 0.25)).abs() < 1e-12);
        assert!((cube - (0.25 * 8.0 + 0.5 * 0.125)).abs() < 1e-12);
        let same = Cross::of(&target, &target, &logging);
        assert!((same.wv - square).abs() < 1e-12 && (same.wwv - cube).abs() < 1e-12 && same.wwv == same.wvv);
        // v = 0 and 1: only the second arm has both.
        let cross = Cross::of(&target, &[0.0, 0.5, 0.5], &logging);
        assert!((cross.wv - 0.5 * 0.5).abs() < 1e-12 && (cross.wwv - 0.5 * 0.25).abs() < 1e-12);
    }

    #[test]
    fn clusters_come_together_in_the_order_of_the_log() {
        let rounds = [7, 0, 9, 7, 0, 9].map(|cluster| Round { cluster, ..Round::default() });
        let clusters = Clusters::of(&rounds);
        let found: Vec<(usize, bool)> = clusters.iter().collect();
        assert_eq!(found, [(0, false), (3, true), (1, true), (2, false), (5, true), (4, true)]);
        assert_eq!(clusters.n, 4);
    }
}
