//! Whether the estimates may be believed: refused in words where the log says too little of the target.

use super::calibration::Z_MAX;
use super::{Assessment, Overlap};
use serde::Serialize;

/// Where belief ends. Every one is a flag of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Thresholds {
    /// Least effective sample size.
    pub ess_min: f64,
    /// Least share of the rounds that the effective sample size must be.
    pub ess_share_min: f64,
    /// Greatest share of the target's probability on arms almost never logged.
    pub unsupported_max: f64,
    /// Greatest share of rounds that were logged without any chance.
    pub deterministic_max: f64,
    /// Probability below which an arm counts as almost never logged.
    pub support_floor: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            ess_min: 100.0,
            ess_share_min: 0.01,
            unsupported_max: 0.05,
            deterministic_max: 0.1,
            support_floor: 0.001,
        }
    }
}

/// Whether the estimates may be believed, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Verdict {
    /// Whether nothing speaks against them.
    pub is_trusted: bool,
    /// What speaks against them, with numbers.
    pub refusals: Vec<String>,
    /// What should be looked at, but does not refuse.
    pub warnings: Vec<String>,
}

impl Verdict {
    /// Judges what was found.
    pub(super) fn of(assessment: &Assessment, thresholds: &Thresholds) -> Self {
        let mut verdict = Self::default();
        verdict.logging(assessment, thresholds);
        verdict.overlap("the target policy", &assessment.overlap, thresholds);
        if let Some(baseline) = &assessment.baseline_overlap {
            verdict.overlap("the baseline policy", baseline, thresholds);
        }
        verdict.warn(assessment);
        verdict.is_trusted = verdict.refusals.is_empty();
        verdict
    }

    fn logging(&mut self, assessment: &Assessment, thresholds: &Thresholds) {
        let share = assessment.deterministic_share;
        if share > thresholds.deterministic_max {
            self.refusals.push(format!(
                "{} of the rounds were logged with propensity 1 though there was a choice, at most {} is accepted: \
                 nothing was explored, so nothing can be said of other choices",
                percent(share),
                percent(thresholds.deterministic_max)
            ));
        }
    }

    fn overlap(&mut self, who: &str, overlap: &Overlap, thresholds: &Thresholds) {
        let Overlap { rounds, ess, ess_share, unsupported, .. } = *overlap;
        if ess < thresholds.ess_min || ess_share < thresholds.ess_share_min {
            self.refusals.push(format!(
                "the effective sample size of {who} is {ess:.1} of {rounds} rounds ({}), expected at least {} and \
                 {}: the logging policy rarely did what it would do",
                percent(ess_share),
                thresholds.ess_min,
                percent(thresholds.ess_share_min)
            ));
        }
        if unsupported > thresholds.unsupported_max {
            self.refusals.push(format!(
                "{} of the probability of {who} is on arms that were logged with less than {}, at most {} is \
                 accepted: no reweighting reaches what was never tried",
                percent(unsupported),
                thresholds.support_floor,
                percent(thresholds.unsupported_max)
            ));
        }
    }

    fn warn(&mut self, assessment: &Assessment) {
        let z = assessment.calibration.z_max;
        if z > Z_MAX {
            self.warnings.push(format!(
                "logged propensities do not match what was chosen ({z:.1} standard deviations, {Z_MAX} could be \
                 chance): were they logged before a filter?"
            ));
        }
        if let Some([low, high]) = assessment.logged.mean_weight_interval
            && !(low..=high).contains(&1.0)
        {
            self.warnings.push(format!(
                "the mean importance weight is {:.3} (95 % interval {low:.3} to {high:.3}), expected 1",
                assessment.overlap.weight_mean
            ));
        }
        let counts = &assessment.counts;
        let missing = counts.without_feedback as f64 / counts.decisions.max(1) as f64;
        if missing > 0.2 {
            self.warnings.push(format!(
                "{} of the decisions had no feedback and were left out: if its absence depends on the answer, \
                 every estimate is biased",
                percent(missing)
            ));
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
