//! An empirical-Bayes guard on the task label: which arm replaces the best single model in a source.
//!
//! For source `s`, arm `m` and the best single model `b` let `d = y_m - y_b` over the `n` queries of `s` where both
//! were observed, with mean `D` and sum of squares around it `Q`.
//!
//! ```text
//! V    = sum_s Q / sum_s (n - 1)                       pooled variance of arm m
//! V_s  = (Q + 4 V) / (n - 1 + 4)                       its own, with four pseudo queries
//! g    = mean of d over all queries                    prior mean
//! tau2 = max(1e-6, sum_s (n / N) ((D - g)^2 - V_s/n))  prior variance
//! P    = (n D + k g) / (n + k),  k = V_s / tau2        posterior mean
//! W    = 1 / (n / V_s + 1 / tau2)                      posterior variance
//! c    = P - z sqrt(W),  c_b = 0                       guarded gain; z is multiplied by `dear` for a dearer arm
//! ```
//!
//! The arm of the greatest `c` is taken; of equals `b`, then the cheaper, then the first. A query of a source never
//! seen, or of none, goes to `b`. With few queries of equal outcome the variance of a source alone is 0 and no
//! guard would hold, hence the pseudo queries; `z` 1.5 lost nothing significant on six logs
//! (`docs/methods/guarded.md`).

use crate::evaluate::Average;
use crate::methods::baselines::means;
use routewright_data::OutcomeTable;
use routewright_policy::evidence::{Differences, Prior};
use std::collections::BTreeMap;

/// Least prior variance of the gains of an arm.
pub(crate) const TAU2_MIN: f64 = 1e-6;
/// Variance of a difference of two scores in `[0, 1]`, at most: what is assumed where no source has two queries.
const VARIANCE_MAX: f64 = 1.0;

/// How sure the guard must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuardSettings {
    /// Standard errors by which an arm must be better than the best single model.
    pub z: f64,
    /// Factor of `z` for an arm whose mean cost on train exceeds that of the best single model.
    pub dear: f64,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self { z: 1.5, dear: 2.0 }
    }
}

impl GuardSettings {
    /// Standard errors that each arm must clear, by mean cost; an arm of unknown cost is not dear.
    pub fn thresholds(&self, costs: &[f32], baseline: usize) -> Vec<f64> {
        costs.iter().map(|usd| if *usd > costs[baseline] { self.dear * self.z } else { self.z }).collect()
    }
}

/// What is believed of an arm in a source: score points over the best single model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gain {
    /// Posterior mean; 0 for the best single model itself.
    pub mean: f64,
    /// Posterior standard deviation.
    pub sd: f64,
    /// `mean - z sd`, what arms are ordered by; negative infinity for an arm never observed there.
    pub bound: f64,
}

/// The best single model, and by source what is believed of every arm against it.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceGuard {
    baseline: usize,
    gains: BTreeMap<String, Vec<Gain>>,
    arms: BTreeMap<String, usize>,
}

/// What groups of differences tell of their spread around `mean`: the pooled variance, and that between groups.
pub(crate) fn prior(mean: f64, groups: &[Differences]) -> Prior {
    let freedom: f64 = groups.iter().map(Differences::freedom).sum();
    let squares: f64 = groups.iter().map(|group| group.squares).sum();
    let pooled = if freedom > 0.0 { squares / freedom } else { VARIANCE_MAX };
    let n: f64 = groups.iter().map(|group| group.n).sum();
    let spread =
        |group: &Differences| group.n / n * ((group.mean - mean).powi(2) - group.variance(pooled) / group.n);
    let tau2 = groups.iter().filter(|group| group.n > 0.0).map(spread).sum::<f64>().max(TAU2_MIN);
    Prior { pooled, mean, tau2 }
}

impl SourceGuard {
    /// Learns from the outcomes of `table`; the best single model is that under `average`.
    ///
    /// `None` for a table without a scored arm.
    pub fn fit(table: &OutcomeTable, average: Average, settings: GuardSettings) -> Option<Self> {
        let baseline = means::best_single(table, average).filter(|_| table.score.n_present() > 0)?;
        Some(Self::against(baseline, table, settings))
    }

    /// Learns from the outcomes of `table` against a baseline, a column of it.
    pub fn against(baseline: usize, table: &OutcomeTable, settings: GuardSettings) -> Self {
        let costs = means::mean_costs(table);
        let rows = means::rows_by_source(table);
        let mut gains: Vec<Vec<Gain>> = vec![Vec::with_capacity(table.n_arms()); rows.len()];
        for (arm, z) in settings.thresholds(&costs, baseline).into_iter().enumerate() {
            let found = gains_of(table, arm, baseline, &rows, z);
            gains.iter_mut().zip(found).for_each(|(row, gain)| row.push(gain));
        }
        let names = || rows.keys().map(|source| (*source).to_owned());
        let arms = gains.iter().map(|gains| choose(gains, &costs, baseline));
        let arms = names().zip(arms).collect();
        Self { baseline, gains: names().zip(gains).collect(), arms }
    }

    /// Column of the best single model.
    pub fn baseline(&self) -> usize {
        self.baseline
    }

    /// Column of the arm for a source; the best single model for one not seen, or none.
    pub fn arm(&self, source: Option<&str>) -> usize {
        source.and_then(|source| self.arms.get(source)).copied().unwrap_or(self.baseline)
    }

    /// What is believed of each arm in a source; `None` for one not seen.
    pub fn gains(&self, source: &str) -> Option<&[Gain]> {
        self.gains.get(source).map(Vec::as_slice)
    }

    /// Number of sources that leave the best single model.
    pub fn n_changed(&self) -> usize {
        self.arms.values().filter(|arm| **arm != self.baseline).count()
    }
}

/// The gain of one arm in every source, in order of name.
fn gains_of(
    table: &OutcomeTable,
    arm: usize,
    baseline: usize,
    rows: &BTreeMap<&str, Vec<usize>>,
    z: f64,
) -> Vec<Gain> {
    if arm == baseline {
        return vec![Gain { mean: 0.0, sd: 0.0, bound: 0.0 }; rows.len()];
    }
    let difference =
        |row: usize| Some(f64::from(table.score.get(row, arm)? - table.score.get(row, baseline)?));
    let of = |rows: &Vec<usize>| {
        Differences::of(&rows.iter().filter_map(|row| difference(*row)).collect::<Vec<f64>>())
    };
    let sources: Vec<Differences> = rows.values().map(of).collect();
    let all: Vec<f64> = (0..table.n_queries()).filter_map(difference).collect();
    let prior = prior(Differences::of(&all).mean, &sources);
    let gain = |group: &Differences| {
        let (mean, sd) = prior.posterior(group);
        let bound = if group.n > 0.0 { mean - z * sd } else { f64::NEG_INFINITY };
        Gain { mean, sd, bound }
    };
    sources.iter().map(gain).collect()
}

/// The arm of the greatest bound: of equals the best single model, then the cheaper, then the first.
fn choose(gains: &[Gain], costs: &[f32], baseline: usize) -> usize {
    let cost = |arm: usize| if costs[arm].is_nan() { f32::INFINITY } else { costs[arm] };
    (0..gains.len()).fold(baseline, |best, arm| {
        let (new, old) = (gains[arm].bound, gains[best].bound);
        let cheaper = best != baseline && cost(arm) < cost(best);
        if new > old || new == old && arm != baseline && cheaper { arm } else { best }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{near, table};

    /// `x` is best over all; `y` wins every query of `b`, and one of two queries of `c`.
    fn outcomes(n_a: usize, n_b: usize) -> OutcomeTable {
        let sources: Vec<&str> = (0..n_a + n_b + 2)
            .map(|i| {
                if i < n_a {
                    "a"
                } else if i < n_a + n_b {
                    "b"
                } else {
                    "c"
                }
            })
            .collect();
        let mut score = Vec::new();
        for i in 0..n_a {
            score.extend([1.0, if i % 3 == 0 { 1.0 } else { 0.0 }]);
        }
        (0..n_b).for_each(|_| score.extend([0.0, 1.0]));
        score.extend([1.0, 1.0, 0.0, 1.0]);
        let cost = [0.02, 0.01].repeat(sources.len());
        table(&sources, &score, &cost)
    }

    #[test]
    fn a_source_leaves_the_best_single_model_only_where_it_is_sure() {
        let guard = SourceGuard::fit(&outcomes(60, 20), Average::Micro, GuardSettings::default()).unwrap();
        assert_eq!(guard.baseline(), 0);
        assert_eq!((guard.arm(Some("a")), guard.arm(Some("b")), guard.arm(Some("c"))), (0, 1, 0));
        assert_eq!((guard.arm(Some("new")), guard.arm(None), guard.n_changed()), (0, 0, 1));
    }

    /// Python 3.11, the formulas of the header written out by hand for 60, 20 and 2 queries.
    #[test]
    fn the_figures_are_those_of_the_formulas() {
        let guard = SourceGuard::fit(&outcomes(60, 20), Average::Micro, GuardSettings::default()).unwrap();
        let check = |source: &str, mean: f64, sd: f64| {
            let gain = guard.gains(source).unwrap()[1];
            assert!((gain.mean - mean).abs() < 1e-9 && (gain.sd - sd).abs() < 1e-9, "{source}: {gain:?}");
            assert!(near(gain.bound, gain.mean - 1.5 * gain.sd));
        };
        check("a", REFERENCE[0].0, REFERENCE[0].1);
        check("b", REFERENCE[1].0, REFERENCE[1].1);
        check("c", REFERENCE[2].0, REFERENCE[2].1);
    }

    const REFERENCE: [(f64, f64); 3] = [
        (-0.663_556_481_750_104, 0.060_713_148_611_724_01),
        (0.996_372_557_369_999_1, 0.038_963_727_881_295_54),
        (0.361_793_808_463_063, 0.312_039_114_510_943_1),
    ];

    #[test]
    fn a_dearer_arm_must_be_surer_and_an_unseen_one_is_never_taken() {
        let mut log = outcomes(60, 4);
        let strict = GuardSettings { z: 1.5, dear: 100.0 };
        assert_eq!(SourceGuard::fit(&log, Average::Micro, strict).unwrap().arm(Some("b")), 1);
        (0..log.n_queries()).for_each(|row| log.cost_usd.set(row, 1, 0.5));
        assert_eq!(SourceGuard::fit(&log, Average::Micro, strict).unwrap().arm(Some("b")), 0);
        (60..64).for_each(|row| log.score.set(row, 1, f32::NAN));
        let loose = GuardSettings { z: 0.0, dear: 0.0 };
        let guard = SourceGuard::fit(&log, Average::Micro, loose).unwrap();
        assert_eq!((guard.arm(Some("b")), guard.gains("b").unwrap()[1].bound), (0, f64::NEG_INFINITY));
    }
}
