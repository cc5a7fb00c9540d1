//! The whole of it: logs and policies in, one document out.

use super::cross_fit;
use super::estimate::{EstimateOptions, Sample, estimate};
use super::estimators::{ALL, find};
use super::stream::{ClusterBy, Source, no_rounds};
use super::{
    Calibration, Counts, Estimate, Estimator, Logged, OpeError, Overlap, Segment, Thresholds, Verdict,
};
use routewright_data::decisions::{Combine, OutcomeCounts, Outcomes, RewardRule};
use routewright_policy::Policy;
use serde::Serialize;
use std::path::Path;

/// The estimator that headlines and segments are given by.
const HEADLINE: &str = "dr";
/// The same where propensities were estimated: their errors cancel in part when weights are self-normalised.
const HEADLINE_ESTIMATED: &str = "snips";

/// How a policy is assessed.
#[derive(Debug, Clone)]
pub struct OpeOptions {
    /// Kind of feedback that is the reward.
    pub metric: String,
    /// How several outcomes of a decision are combined.
    pub combine: Combine,
    /// How an outcome becomes a reward.
    pub reward: RewardRule,
    /// The estimators asked for.
    pub estimators: Vec<&'static Estimator>,
    /// Bootstrap and parameters.
    pub estimate: EstimateOptions,
    /// Folds of the reward model.
    pub folds: usize,
    /// Fits the target's method again for each of that many folds and judges each on its own fold.
    pub cross_fit: Option<usize>,
    /// Leaves out the decisions that the target was trained on.
    pub unseen: bool,
    /// Which rounds count as one another's repetitions.
    pub cluster: ClusterBy,
    /// Where belief ends.
    pub thresholds: Thresholds,
}

impl Default for OpeOptions {
    fn default() -> Self {
        Self {
            metric: "score".to_owned(),
            combine: Combine::default(),
            reward: RewardRule::default(),
            estimators: ALL.iter().collect(),
            estimate: EstimateOptions::default(),
            folds: 5,
            cross_fit: None,
            unseen: false,
            cluster: ClusterBy::Auto,
            thresholds: Thresholds::default(),
        }
    }
}

/// What a policy would have been worth on a log.
#[derive(Debug, Clone, Serialize)]
pub struct Assessment {
    /// Kind of feedback that is the reward.
    pub metric: String,
    /// Score given up to save one US dollar.
    pub cost_weight: f64,
    /// Rows read, used and left out.
    pub counts: Counts,
    /// Rows of the feedback log.
    pub feedback: OutcomeCounts,
    /// What the logging policy's own decisions were worth.
    pub logged: Logged,
    /// Every estimator's figures.
    pub estimates: Vec<Estimate>,
    /// The estimator a decision should rest on.
    pub headline: &'static str,
    /// Lower bound (95 % interval) of the headline's gain: over the baseline where there is one, else over
    /// the logged decisions. What a promotion asks to be above 0.
    pub lower_bound: Option<f64>,
    /// How far the log covers the target.
    pub overlap: Overlap,
    /// How far it covers the baseline.
    pub baseline_overlap: Option<Overlap>,
    /// Share of rounds with propensity 1 though there was more than one candidate.
    pub deterministic_share: f64,
    /// Stated propensities against what was chosen.
    pub calibration: Calibration,
    /// Penalty of the reward model.
    pub alpha: f64,
    /// Parts of the log, by the headline's estimator.
    pub segments: Vec<Segment>,
    /// Folds for which the target was fitted again; absent where the artifact itself was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cross_fit: Option<usize>,
    /// Whether decisions that the target was trained on were left out.
    pub unseen: bool,
    /// Last time of the rows the target was trained on, ms since 1970-01-01 UTC, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trained_until_ms: Option<i64>,
    /// Whether the artifact lists the rows it was trained on.
    pub training_is_known: bool,
    /// Resamples of the percentile bootstrap beside the intervals.
    pub bootstrap: usize,
    /// Seed of the bootstrap and of rejection sampling.
    pub seed: u64,
    /// Where belief ends.
    pub thresholds: Thresholds,
    /// Whether the figures may be believed.
    pub verdict: Verdict,
}

/// Assesses `target`, and `baseline` beside it, on a decision log and the feedback to it.
///
/// # Errors
/// If a log cannot be read or holds a row that is not valid, if a policy cannot decide a logged request, if
/// no round is left, or if an option is not valid. Too little overlap is no error but a [`Verdict`].
pub fn assess(
    log: &Path,
    feedback: &Path,
    target: &Policy,
    baseline: Option<&Policy>,
    options: &OpeOptions,
) -> Result<Assessment, OpeError> {
    let outcomes = Outcomes::load(feedback, &options.metric, options.combine)?;
    let (folds, options) = match options.cross_fit {
        Some(n) if n < 2 => {
            let expected = "a whole number of at least 2";
            return Err(OpeError::Option { name: "cross-fit", value: n as f64, expected });
        }
        // The reward model has the same folds, so that no part of an estimate has seen the round.
        Some(n) => (
            cross_fit::refit(log, feedback, target, n)?,
            &OpeOptions { folds: n, unseen: false, ..options.clone() },
        ),
        None => (Vec::new(), options),
    };
    let source = Source { log, outcomes: &outcomes, target, folds: &folds, baseline, options };
    let rounds = source.rounds()?;
    if rounds.target.is_empty() {
        return Err(no_rounds(&rounds.counts));
    }
    let lost = [Some(&rounds.lost[0]), Some(&rounds.lost[1])];
    let cross = baseline.map(|_| rounds.cross.as_slice());
    let sample = Sample { target: &rounds.target, baseline: rounds.baseline.as_deref(), cross, lost };
    let (logged, estimates) = estimate(&sample, &options.estimators, &options.estimate)?;
    let headline = headline(options, &rounds.counts)?;
    let gain = estimates.iter().find(|e| e.estimator == headline.name);
    let gain = gain.and_then(|e| if baseline.is_some() { e.vs_baseline } else { e.vs_logged });
    let mut assessment = Assessment {
        metric: options.metric.clone(),
        cost_weight: options.reward.cost_weight,
        counts: rounds.counts,
        feedback: outcomes.counts.clone(),
        logged,
        estimates,
        headline: headline.name,
        lower_bound: gain.and_then(|gain| gain.lower_bound),
        overlap: Overlap::of(&rounds.target),
        baseline_overlap: rounds.baseline.as_deref().map(Overlap::of),
        deterministic_share: rounds.deterministic_share,
        calibration: rounds.calibration,
        alpha: rounds.alpha,
        segments: rounds.labels.estimate(&rounds.target, headline, &options.estimate)?,
        cross_fit: options.cross_fit,
        unseen: options.unseen,
        trained_until_ms: target.manifest.data.last_ms,
        training_is_known: target.manifest.data.rows.is_some(),
        bootstrap: options.estimate.bootstrap,
        seed: options.estimate.seed,
        thresholds: options.thresholds,
        verdict: Verdict::default(),
    };
    assessment.verdict = Verdict::of(&assessment, &options.thresholds);
    Ok(assessment)
}

/// The estimator decisions rest on, or the last of those asked for.
fn headline(options: &OpeOptions, counts: &Counts) -> Result<&'static Estimator, OpeError> {
    let name = if counts.estimated > 0 { HEADLINE_ESTIMATED } else { HEADLINE };
    match options.estimators.last() {
        Some(last) if !options.estimators.iter().any(|e| e.name == name) => Ok(*last),
        _ => find(name),
    }
}
