//! Whether the estimates may be believed: refused in words where the log says too little of the target.

use super::calibration::Z_MAX;
use super::{Assessment, Overlap};
use routewright_data::calendar;
use serde::Serialize;

/// How far the interval of the mean weight may miss what it should hold.
const WEIGHT_OFF_MAX: f64 = 0.05;
/// Share of rounds with a question of the training rows from which that is reported.
const KNOWN_MAX: f64 = 0.2;

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
        verdict.training(assessment);
        verdict.logging(assessment, thresholds);
        verdict.propensities(assessment);
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

    /// Whether the policies have seen what they are judged on.
    fn training(&mut self, assessment: &Assessment) {
        let counts = &assessment.counts;
        let n = counts.trained_on;
        if n > 0 && assessment.cross_fit.is_none() {
            let whole = counts.rounds + if assessment.unseen { n } else { 0 };
            let seen = format!(
                "{n} of {whole} decisions ({}) are rows that the policy was trained on",
                percent(n as f64 / whole.max(1) as f64)
            );
            if assessment.unseen {
                self.warnings.push(format!("{seen}; they were left out"));
            } else {
                self.refusals.push(format!(
                    "{seen}: what it learned by heart looks like a gain. Judge it on other decisions, leave these out \
                     (`--unseen`), or fit its method again for each fold (`--cross-fit 5`)"
                ));
            }
        }
        if counts.baseline_trained_on > 0 {
            self.warnings.push(format!(
                "the baseline was trained on {} of the decisions and looks better than it is: the gain is \
                 understated",
                counts.baseline_trained_on
            ));
        }
        if let (Some(until), n @ 1..) = (assessment.trained_until_ms, counts.before_training_end) {
            self.warnings.push(format!(
                "the policy was trained on rows until {}, and {n} of the decisions are earlier: later ones say more of \
                 what is to come",
                calendar::date(until.max(0).unsigned_abs() / 86_400_000)
            ));
        }
        let known = counts.known_question as f64 / counts.rounds.max(1) as f64;
        if known > KNOWN_MAX {
            self.warnings.push(format!(
                "{} of the decisions ask what a row that the policy was trained on asked: if the outcome is the same \
                 one, it is not judged on anything new",
                percent(known)
            ));
        }
        if !assessment.training_is_known {
            self.warnings.push(
                "the artifact does not list the rows it was trained on, as those of this version do: make sure that \
                 these decisions are none of them"
                    .to_owned(),
            );
        }
    }

    /// Whether the propensities are what happened; without that no estimator is valid.
    fn propensities(&mut self, assessment: &Assessment) {
        let z = assessment.calibration.z_max;
        let estimated = assessment.counts.estimated;
        if z > Z_MAX {
            let found = format!(
                "logged propensities do not match what was chosen ({z:.1} standard deviations, {Z_MAX} could be chance)"
            );
            if estimated > 0 {
                self.warnings.push(format!("{found}; they were estimated"));
            } else {
                self.refusals
                    .push(format!("{found}: were they logged before a filter, or by another policy?"));
            }
        }
        if estimated > 0 {
            self.warnings.push(format!(
                "the propensities of {estimated} decisions were estimated: if the choice of the model depended on \
                 anything that prompt and source do not show, every figure is biased by it"
            ));
        }
        let logged = &assessment.logged;
        self.weight("the target policy", logged.mean_weight_interval, &assessment.overlap);
        if let Some(overlap) = &assessment.baseline_overlap {
            self.weight("the baseline policy", logged.baseline_weight_interval, overlap);
        }
    }

    /// The mean weight is 1 less the probability on arms never logged, where propensities are right.
    fn weight(&mut self, who: &str, interval: Option<[f64; 2]>, overlap: &Overlap) {
        let Some([low, high]) = interval else { return };
        let found = format!(
            "the mean importance weight of {who} is {:.3} (95 % interval {low:.3} to {high:.3}), expected 1",
            overlap.weight_mean
        );
        let least = 1.0 - overlap.unsupported;
        if low > 1.0 + WEIGHT_OFF_MAX || high < least * (1.0 - WEIGHT_OFF_MAX) {
            self.refusals.push(format!(
                "{found} within {}: the propensities are not those that models were drawn with",
                percent(WEIGHT_OFF_MAX)
            ));
        } else if low > 1.0 || high < 1.0 {
            self.warnings.push(found);
        }
    }

    fn warn(&mut self, assessment: &Assessment) {
        let (counts, overlap) = (&assessment.counts, &assessment.overlap);
        if overlap.clusters < overlap.rounds && (overlap.clusters as f64) < assessment.thresholds.ess_min {
            self.warnings.push(format!(
                "the rounds are of {} different sessions or questions only, which count as one each; `--cluster none` \
                 if each round was asked for itself",
                overlap.clusters
            ));
        }
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
