//! `routewright policy calibrate`: another trade-off for a trained policy, chosen on queries it was not trained on.

use super::{output, query_text, saving};
use anyhow::{Context as _, bail};
use clap::Args;
use routewright_data::OutcomeTable;
use routewright_policy::artifact::{self, Manifest};
use routewright_trainer::evaluate::{Average, align};
use routewright_trainer::train::observed_arms;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `policy calibrate`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("asked").args(["save", "max_loss", "budget"]).required(true).multiple(true)))]
pub(crate) struct CalibrateCommand {
    /// Folder of the policy.
    #[arg(long, value_name = "DIR")]
    policy: PathBuf,
    /// Outcome log: a Parquet file or a folder of them.
    #[arg(long, value_name = "PATH")]
    log: PathBuf,
    /// Split to calibrate on; neither the one the policy was trained on nor the one it will be judged on.
    #[arg(long, value_name = "NAME", default_value = "valid")]
    split: String,
    #[command(flatten)]
    saving: saving::SavingArgs,
    /// Average of every figure: `micro` (over queries) or `macro` (over sources).
    #[arg(long, value_name = "NAME", default_value = "micro")]
    average: Average,
    /// Folder the calibrated policy is written to; may be that of the policy.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl CalibrateCommand {
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let goal = self.saving.goal()?.context("expected `--save`, `--max-loss` or `--budget`")?;
        let policy = artifact::load(&self.policy)?;
        query_text::check(&policy, &self.log)?;
        let rows = saving::rows(&policy, &self.log, &self.split)?;
        self.check_rows(&policy.manifest, &rows)?;
        let outcomes = align(&rows, &policy.arms)?;
        let prediction = saving::predict(&policy, &rows)?;
        let found = saving::on_rows(&policy, &prediction, &outcomes, &goal, self.average)?;
        let priced = match found {
            saving::Calibrated::Met(priced) => priced,
            saving::Calibrated::OutOfReach(reason) => return saving::refuse(&reason, json),
        };
        let promise = saving::promise(&priced, goal, self.average, &self.split, false);
        let manifest = artifact::recalibrate(&self.policy, &self.out, priced.selector(), promise.clone())?;
        if json {
            output::say_json(&serde_json::json!({ "policy": self.out, "manifest": manifest }))?;
        } else {
            output::say(&saving::lines(&promise));
            output::say(&format!("written to {}", self.out.display()));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Refuses the rows of the training: on them a policy looks better than it is.
    fn check_rows(&self, manifest: &Manifest, rows: &OutcomeTable) -> anyhow::Result<()> {
        let trained = &manifest.data;
        // The digest of a fit is over the arms it observed.
        let is_same = [rows.digest(), observed_arms(rows.clone()).digest()].contains(&trained.digest);
        if is_same || self.split == trained.split {
            bail!(
                "policy `{}` was trained on split `{}`, and on its own training rows a policy looks better than it is; \
                 give another split (`--split valid`), or train it with `--save`, `--max-loss` or `--budget`, which \
                 predicts every training query by a fit without it",
                manifest.name,
                trained.split
            );
        }
        Ok(())
    }
}
