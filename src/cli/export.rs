//! `routewright data export`: decisions and their rewards, or a policy's choices, in the formats of other tools.

use super::{output, predictions};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use routewright_data::decisions::{Combine, Outcomes, RewardRule, write_obp};
use routewright_data::importers::write_dsjson;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `data export`.
#[derive(Debug, Args)]
pub(crate) struct ExportCommand {
    /// Format to write.
    #[arg(long, value_enum)]
    to: Format,
    /// Decision log, or for `routerarena` outcome log: a Parquet file or a directory of them.
    #[arg(long, value_name = "LOG")]
    log: PathBuf,
    /// Feedback log: a Parquet file or a directory of them.
    #[arg(long, value_name = "FEEDBACK", required_if_eq_any([("to", "dsjson"), ("to", "obp")]))]
    feedback: Option<PathBuf>,
    /// Policy that chooses (`routerarena`).
    #[arg(long, value_name = "DIR", required_if_eq("to", "routerarena"))]
    policy: Option<PathBuf>,
    /// Only queries of this split (`routerarena`).
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// File (`dsjson`, `routerarena`) or folder (`obp`) to write.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Kind of feedback that is the reward.
    #[arg(long, value_name = "KIND", default_value = "score")]
    metric: String,
    /// How several outcomes of one decision make one value: earliest, latest, mean, sum, min or max.
    #[arg(long, value_name = "RULE", default_value_t)]
    combine: Combine,
    /// Value of decisions without feedback.
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    default_reward: Option<f64>,
    /// Score given up to save one US dollar.
    #[arg(long, value_name = "LAMBDA", default_value_t = 0.0)]
    cost_weight: f64,
}

/// What can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// VowpalWabbit's events, one JSON object a line.
    Dsjson,
    /// Arrays of the Open Bandit Pipeline, numpy files in a folder.
    Obp,
    /// Predictions of a router as RouterArena takes them, one JSON list.
    Routerarena,
}

impl ExportCommand {
    /// Joins and writes.
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        if let (Format::Routerarena, Some(policy)) = (self.to, &self.policy) {
            return predictions::write(policy, &self.log, self.split.as_deref(), &self.out, json);
        }
        let feedback = self.feedback.as_ref().context("`--feedback` is missing, expected a feedback log")?;
        let outcomes = Outcomes::load(feedback, &self.metric, self.combine)?;
        let rule = RewardRule { default: self.default_reward, cost_weight: self.cost_weight };
        let (rounds, left_out) = match self.to {
            Format::Dsjson | Format::Routerarena => {
                (write_dsjson(&self.log, &outcomes, &rule, &self.out)?, 0)
            }
            Format::Obp => {
                let written = write_obp(&self.log, &outcomes, &rule, &self.out)?;
                (written.rounds, written.without_reward)
            }
        };
        if json {
            let out = &self.out;
            let summary = serde_json::json!({ "out": out, "rounds": rounds, "without_reward": left_out });
            output::say_json(&summary)?;
            return Ok(ExitCode::SUCCESS);
        }
        output::say(&format!("wrote {rounds} decisions to `{}`", self.out.display()));
        if left_out > 0 {
            output::tell(&format!("left out {left_out} decisions without a reward"));
        }
        Ok(ExitCode::SUCCESS)
    }
}
