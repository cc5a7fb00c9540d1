//! `routewright ope`: what a policy would have been worth on requests that another policy decided.

use super::{date, output, query_text};
use clap::Args;
use routewright_data::decisions::{Combine, RewardRule};
use routewright_policy::artifact;
use routewright_trainer::ope::{ClusterBy, EstimateOptions, OpeOptions, Thresholds, Tuned, assess, select};
use routewright_trainer::report::{self, ReportNote};
use std::path::PathBuf;
use std::process::ExitCode;

/// Estimate a policy's value from logged decisions and feedback; exits 1 where the log has too little evidence.
#[derive(Debug, Args)]
pub(crate) struct OpeCommand {
    /// Decision log: a Parquet file or a directory of them.
    #[arg(long, value_name = "DECISIONS")]
    log: PathBuf,
    /// Feedback log: a Parquet file or a directory of them.
    #[arg(long, value_name = "FEEDBACK")]
    feedback: PathBuf,
    /// Policy to estimate.
    #[arg(long, value_name = "DIR")]
    policy: PathBuf,
    /// Policy it is compared with on the same rounds; the logged decisions otherwise.
    #[arg(long, value_name = "DIR")]
    baseline: Option<PathBuf>,
    /// Kind of feedback that is the reward.
    #[arg(long, value_name = "KIND", default_value = "score")]
    metric: String,
    /// Estimators, comma-separated, or `all`.
    #[arg(long, value_name = "NAMES", default_value = "all")]
    estimators: String,
    /// Resamples of a percentile bootstrap reported beside the intervals (in the JSON); 0 for none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    bootstrap: usize,
    /// Score given up to save one US dollar: the reward is the value minus this times the billed cost.
    #[arg(long, value_name = "LAMBDA", default_value_t = 0.0)]
    cost_weight: f64,
    /// How several outcomes of one decision make one value: earliest, latest, mean, sum, min or max.
    #[arg(long, value_name = "RULE", default_value_t)]
    combine: Combine,
    /// Value of decisions without feedback; they are left out otherwise.
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    default_reward: Option<f64>,
    /// Greatest weight of `clipped-ips`, or `auto`.
    #[arg(long, value_name = "W", default_value = "auto")]
    clip: Tuned,
    /// Weight up to which `switch-dr` corrects, or `auto`.
    #[arg(long, value_name = "W", default_value = "auto")]
    tau: Tuned,
    /// Shrinkage of `dros`, or `auto`.
    #[arg(long, value_name = "NUMBER", default_value = "auto")]
    lambda: Tuned,
    /// Folds of the reward model.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=100))]
    folds: u16,
    #[command(flatten)]
    evidence: Unseen,
    /// Rounds that are not independent: `auto` (by `session`, else by equal question), `question`, `session`, `none`.
    #[arg(long, value_name = "RULE", default_value = "auto")]
    cluster: ClusterBy,
    #[command(flatten)]
    limits: RefusalThresholds,
    /// Seed of the bootstrap and of rejection sampling.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Folder to write ope.html, ope.json and ope.svg into.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

/// What to do about decisions that the policy was trained on; without either they are refused.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Unseen {
    /// Leave out the decisions that the policy was trained on.
    #[arg(long)]
    pub(super) unseen: bool,
    /// Fit the policy's method again for each of N folds of the log and judge each on the fold it has not seen; for
    /// policies made by `train --decisions`.
    #[arg(long, value_name = "N", conflicts_with = "unseen", value_parser = clap::value_parser!(u16).range(2..=100))]
    cross_fit: Option<u16>,
}

impl Unseen {
    /// Folds to fit again for.
    pub(super) fn folds(self) -> Option<usize> {
        self.cross_fit.map(usize::from)
    }
}

/// When an estimate is refused.
#[derive(Debug, Args)]
struct RefusalThresholds {
    /// Refuse below this effective sample size.
    #[arg(long, value_name = "N", default_value_t = Thresholds::default().ess_min)]
    ess_min: f64,
    /// Refuse when the effective sample size is below this share of the rounds.
    #[arg(long, value_name = "SHARE", default_value_t = Thresholds::default().ess_share_min)]
    ess_share_min: f64,
    /// Refuse when more than this share of the target's probability is on arms almost never logged.
    #[arg(long, value_name = "SHARE", default_value_t = Thresholds::default().unsupported_max)]
    unsupported_max: f64,
    /// Refuse when more than this share of the rounds was logged with propensity 1 though there was a choice.
    #[arg(long, value_name = "SHARE", default_value_t = Thresholds::default().deterministic_max)]
    deterministic_max: f64,
    /// Probability below which an arm counts as almost never logged.
    #[arg(long, value_name = "P", default_value_t = Thresholds::default().support_floor)]
    support_floor: f64,
}

impl OpeCommand {
    /// Assesses the policy: 0 when the estimates may be believed, 1 when they are refused.
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let options = self.options()?;
        let policy = artifact::load(&self.policy)?;
        let baseline = self.baseline.as_deref().map(artifact::load).transpose()?;
        for policy in std::iter::once(&policy).chain(&baseline) {
            query_text::check(policy, &self.log)?;
        }
        let found = assess(&self.log, &self.feedback, &policy, baseline.as_ref(), &options)?;
        if let Some(dir) = &self.report {
            let command = std::env::args().collect::<Vec<_>>().join(" ");
            let title = format!("`{}` on the decisions of {}", self.policy.display(), self.log.display());
            let note = ReportNote { title, date: date::today(), command: Some(command) };
            for path in report::write_ope(&found, &note, dir)? {
                output::tell(&format!("wrote {}", path.display()));
            }
        }
        if json {
            output::say_json(&found)?;
        } else {
            output::say(&report::ope_text(&found));
        }
        Ok(if found.verdict.is_trusted { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn options(&self) -> anyhow::Result<OpeOptions> {
        anyhow::ensure!(
            self.cost_weight.is_finite() && self.cost_weight >= 0.0,
            "`--cost-weight` is `{}`, expected a number of at least 0",
            self.cost_weight
        );
        let limits = &self.limits;
        Ok(OpeOptions {
            metric: self.metric.clone(),
            combine: self.combine,
            reward: RewardRule { default: self.default_reward, cost_weight: self.cost_weight },
            estimators: select(&self.estimators)?,
            estimate: EstimateOptions {
                bootstrap: self.bootstrap,
                seed: self.seed,
                clip: self.clip,
                tau: self.tau,
                lambda: self.lambda,
            },
            folds: usize::from(self.folds),
            cross_fit: self.evidence.folds(),
            unseen: self.evidence.unseen,
            cluster: self.cluster,
            thresholds: Thresholds {
                ess_min: limits.ess_min,
                ess_share_min: limits.ess_share_min,
                unsupported_max: limits.unsupported_max,
                deterministic_max: limits.deterministic_max,
                support_floor: limits.support_floor,
            },
        })
    }
}
