//! Paired evidence against a baseline arm: what a guard goes by, and the sentence that explains a decision by it.
//!
//! For `n` paired differences `d = y_m - y_b` of mean `D` and sum of squares `Q` around it, with a pooled variance
//! `V`, a prior mean `g` and a prior variance `tau2`:
//!
//! ```text
//! V_s = (Q + 4 V) / (max(n - 1, 0) + 4)        own variance, with four pseudo rows
//! P   = (n D + k g) / (n + k),  k = V_s / tau2 posterior mean
//! W   = 1 / (n / V_s + 1 / tau2)               posterior variance
//! ```
//!
//! An arm clears its threshold where `P > z sqrt(W)`.

use crate::{Arm, Decision};

/// Rows of the pooled variance that are added to each group: with few rows of equal outcome the variance of the group
/// alone is 0 and no guard would hold.
pub const PSEUDO_ROWS: f64 = 4.0;
/// Standard deviation of an arm that was never observed beside the baseline: it clears no threshold.
pub const UNOBSERVED: f32 = 1e6;

/// Count, mean and sum of squares around the mean of paired differences.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Differences {
    /// How many.
    pub n: f64,
    /// Their mean.
    pub mean: f64,
    /// Sum of squares around the mean.
    pub squares: f64,
}

impl Differences {
    /// Of values.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n.max(1.0);
        Self { n, mean, squares: values.iter().map(|value| (value - mean).powi(2)).sum() }
    }

    /// Degrees of freedom.
    pub fn freedom(&self) -> f64 {
        (self.n - 1.0).max(0.0)
    }

    /// The group's own variance, with pseudo rows of the pooled one.
    pub fn variance(&self, pooled: f64) -> f64 {
        (self.squares + PSEUDO_ROWS * pooled) / (self.freedom() + PSEUDO_ROWS)
    }
}

/// What is believed of the differences of one arm before a group of rows is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    /// `V`.
    pub pooled: f64,
    /// `g`.
    pub mean: f64,
    /// `tau2`, above 0.
    pub tau2: f64,
}

impl Prior {
    /// Posterior mean and standard deviation of a group.
    pub fn posterior(&self, group: &Differences) -> (f64, f64) {
        let own = group.variance(self.pooled);
        let k = own / self.tau2;
        let mean = (group.n * group.mean + k * self.mean) / (group.n + k).max(f64::MIN_POSITIVE);
        // Without variance the mean is known: n / 0 is infinite, and its inverse 0.
        let sd = if own > 0.0 { (1.0 / (group.n / own + 1.0 / self.tau2)).sqrt() } else { 0.0 };
        (mean, sd)
    }
}

/// Where evidence comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Basis {
    /// The rows of the source that the request named.
    Given(String),
    /// The rows of the source that the text was predicted to be of.
    Predicted {
        /// The source.
        source: String,
        /// Its posterior.
        probability: f32,
    },
    /// The nearest training rows.
    Neighbors {
        /// How many.
        rows: usize,
    },
    /// There is none: the request named a source that the training log does not have, or nothing tells sources apart.
    Nothing(Option<String>),
}

/// What a guard knows of every arm on one query, against its baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Index of the baseline arm.
    pub baseline: usize,
    /// Where it comes from.
    pub basis: Basis,
    /// Posterior mean of each arm's score less that of the baseline; 0 for the baseline.
    pub gain: Vec<f32>,
    /// Posterior standard deviation of `gain`; [`UNOBSERVED`] where nothing was seen.
    pub sd: Vec<f32>,
    /// Standard deviations that each arm must clear.
    pub z: Vec<f32>,
}

impl Evidence {
    /// `gain - z sd` of each arm, by which a guard orders them; 0 for the baseline.
    pub fn bounds(&self) -> Vec<f32> {
        (0..self.gain.len()).map(|arm| self.bound(arm)).collect()
    }

    fn bound(&self, arm: usize) -> f32 {
        if arm == self.baseline {
            return 0.0;
        }
        match self.sd[arm] {
            sd if sd < UNOBSERVED => self.gain[arm] - self.z[arm] * sd,
            _ => f32::NEG_INFINITY,
        }
    }

    /// The arm whose evidence comes nearest to its threshold, among those a decision could have taken.
    pub fn challenger(&self, decision: &Decision) -> Option<usize> {
        let open = |arm: &usize| {
            let is_open = decision.candidates.get(*arm).is_some_and(|c| c.excluded_by.is_none());
            *arm != self.baseline && is_open && self.sd[*arm] < UNOBSERVED
        };
        (0..self.gain.len()).filter(open).max_by(|a, b| self.bound(*a).total_cmp(&self.bound(*b)))
    }

    /// Evidence for an arm in standard errors; infinite where its gain is known without error.
    pub fn standard_errors(&self, arm: usize) -> f32 {
        let (gain, sd) = (self.gain[arm], self.sd[arm]);
        if gain == 0.0 { 0.0 } else { gain / sd }
    }

    /// Why the decision took its arm, in a sentence: `stayed with X: evidence 0.4 s.e. for Y, 1.5 needed (task t)`.
    pub fn explain(&self, decision: &Decision, arms: &[Arm]) -> String {
        let name = |arm: usize| arms.get(arm).map_or("?", |arm| arm.model.as_str());
        let (chosen, baseline) = (decision.arm, self.baseline);
        let strength = |arm: usize| {
            let (found, needed) = (self.standard_errors(arm), self.z[arm]);
            format!("evidence {found:.1} s.e. for {}, {needed:.1} needed ({})", name(arm), self.basis())
        };
        if chosen == baseline {
            return match self.challenger(decision) {
                Some(other) => format!("stayed with {}: {}", name(baseline), strength(other)),
                None => format!(
                    "stayed with {}: no evidence for another model ({})",
                    name(baseline),
                    self.basis()
                ),
            };
        }
        let gain =
            || format!("{:+.1} ± {:.1} points expected", 100.0 * self.gain[chosen], 100.0 * self.sd[chosen]);
        if self.bound(chosen) > 0.0 {
            return format!("left {} for {}: {}, {}", name(baseline), name(chosen), strength(chosen), gain());
        }
        if decision.candidates.get(baseline).is_some_and(|c| c.excluded_by.is_some()) {
            return format!("took {}: {} could not be called", name(chosen), name(baseline));
        }
        match self.sd[chosen] < UNOBSERVED {
            true => format!(
                "took {} in place of {} for its price: {} ({})",
                name(chosen),
                name(baseline),
                gain(),
                self.basis()
            ),
            false => format!("took {} in place of {} for its price", name(chosen), name(baseline)),
        }
    }

    fn basis(&self) -> String {
        match &self.basis {
            Basis::Given(source) => format!("task {source}"),
            Basis::Predicted { source, probability } => {
                format!("task {source}, predicted at {:.0} %", 100.0 * probability)
            }
            Basis::Neighbors { rows } => format!("{rows} nearest training queries"),
            Basis::Nothing(Some(source)) => format!("task {source} is not in the training log"),
            Basis::Nothing(None) => "no task".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Candidate, Exclusion, Reason};

    fn evidence() -> Evidence {
        Evidence {
            baseline: 0,
            basis: Basis::Given("math".to_owned()),
            gain: vec![0.0, 0.01, 0.06, -0.02],
            sd: vec![0.0, 0.025, 0.02, UNOBSERVED],
            z: vec![1.5, 1.5, 3.0, 1.5],
        }
    }

    fn decision(arm: usize, excluded: Option<usize>) -> Decision {
        let candidate = |at: usize| Candidate {
            score: 0.5,
            score_se: None,
            cost_usd: None,
            latency_ms: None,
            propensity: 0.0,
            excluded_by: (excluded == Some(at)).then_some(Exclusion::NotCandidate),
        };
        Decision {
            arm,
            propensity: 1.0,
            candidates: (0..4).map(candidate).collect(),
            reason: Reason::Selected,
            flip: None,
            neighborhood: None,
        }
    }

    #[test]
    fn a_decision_is_explained_in_standard_errors() {
        let arms = ["a", "b", "c", "d"].map(|model| Arm { model: model.to_owned(), ..Arm::default() });
        let (known, said) = (evidence(), |arm, excluded| evidence().explain(&decision(arm, excluded), &arms));
        assert_eq!(known.bounds()[..3], [0.0, 0.01 - 1.5 * 0.025, 0.06 - 3.0 * 0.02]);
        assert_eq!(known.bounds()[3], f32::NEG_INFINITY);
        assert_eq!(said(0, Some(2)), "stayed with a: evidence 0.4 s.e. for b, 1.5 needed (task math)");
        assert_eq!(
            said(1, None),
            "took b in place of a for its price: +1.0 ± 2.5 points expected (task math)"
        );
        assert_eq!(said(1, Some(0)), "took b: a could not be called");
        assert_eq!(said(3, None), "took d in place of a for its price");
        let sure = Evidence { sd: vec![0.0, 0.025, 0.01, UNOBSERVED], ..evidence() };
        assert_eq!(
            sure.explain(&decision(2, None), &arms),
            "left a for c: evidence 6.0 s.e. for c, 3.0 needed (task math), +6.0 ± 1.0 points expected"
        );
        let new = Evidence {
            basis: Basis::Nothing(Some("law".to_owned())),
            sd: vec![0.0, UNOBSERVED, UNOBSERVED, UNOBSERVED],
            ..evidence()
        };
        assert_eq!(
            new.explain(&decision(0, None), &arms),
            "stayed with a: no evidence for another model (task law is not in the training log)"
        );
    }

    #[test]
    fn a_posterior_by_hand() {
        // V_s = (0.5 + 4 * 0.25) / (2 + 4) = 0.25, k = 0.25 / 0.05 = 5.
        let group = Differences { n: 3.0, mean: 0.4, squares: 0.5 };
        let (mean, sd) = Prior { pooled: 0.25, mean: 0.1, tau2: 0.05 }.posterior(&group);
        assert!((mean - (1.2 + 0.5) / 8.0).abs() < 1e-12, "{mean}");
        assert!((sd * sd - 1.0 / (3.0 / 0.25 + 20.0)).abs() < 1e-12, "{sd}");
        // No row leaves the prior.
        let (mean, sd) = Prior { pooled: 0.25, mean: 0.1, tau2: 0.05 }.posterior(&Differences::default());
        assert!((mean - 0.1).abs() < 1e-12 && (sd * sd - 0.05).abs() < 1e-12);
    }
}
