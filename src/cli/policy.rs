//! `routewright policy show|verify DIR`: what an artifact is, and whether it is whole; `calibrate` and `promotion` have
//! the others.

use super::calibrate::CalibrateCommand;
use super::promotion::{HistoryCommand, PromoteCommand, RetireCommand, RollbackCommand};
use super::{output, saving};
use clap::{Args, Subcommand};
use routewright_policy::artifact::{self, FeaturizerRecord, FormRecord, Manifest};
use routewright_policy::{Policy, SelectorSpec};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `policy`.
#[derive(Debug, Args)]
pub(crate) struct PolicyCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the manifest: method, features, selector, parameters, data, arms.
    Show {
        /// Folder of the policy.
        dir: PathBuf,
    },
    /// Check every digest, form, featurizer and selector; exit 1 if the policy is refused.
    Verify {
        /// Folder of the policy.
        dir: PathBuf,
    },
    /// Choose the trade-off of score and cost on queries the policy was not trained on; exit 1 where the goal cannot
    /// be met.
    Calibrate(CalibrateCommand),
    /// Change the state of a version in a registry; exit 1 if the evidence is not sufficient.
    Promote(PromoteCommand),
    /// Retire the canary, or restore the previous active version.
    Rollback(RollbackCommand),
    /// Retire a version that is not active.
    Retire(RetireCommand),
    /// Show the versions in a registry, with every change and refusal so far.
    History(HistoryCommand),
}

impl PolicyCommand {
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Calibrate(command) => command.run(json),
            Action::Promote(command) => command.run(json),
            Action::Rollback(command) => command.run(json),
            Action::Retire(command) => command.run(json),
            Action::History(command) => command.run(json),
            Action::Show { dir } => {
                let policy = artifact::load(&dir)?;
                if json {
                    output::say_json(&output::short_floats(
                        serde_json::json!({"digest": policy.digest, "manifest": policy.manifest}),
                    ))?;
                } else {
                    output::say(&describe(&policy));
                }
                Ok(ExitCode::SUCCESS)
            }
            Action::Verify { dir } => {
                let checked = artifact::verify(&dir);
                let reason = checked.as_ref().err().map(|error| {
                    let causes = anyhow::Chain::new(error).map(ToString::to_string);
                    causes.collect::<Vec<_>>().join(": ")
                });
                if json {
                    output::say_json(
                        &serde_json::json!({"policy": dir, "ok": reason.is_none(), "reason": reason}),
                    )?;
                } else {
                    output::say(&reason.clone().unwrap_or_else(|| format!("verified {}", dir.display())));
                }
                Ok(if reason.is_none() { ExitCode::SUCCESS } else { ExitCode::from(1) })
            }
        }
    }
}

/// What a policy predicts and selects by: of one step, or of each part of its program.
fn shape(manifest: &Manifest) -> Vec<String> {
    let of = |featurizer: &FeaturizerRecord, form: &FormRecord, selector: &SelectorSpec| {
        let settings = output::short_floats(selector.settings.clone());
        [
            format!("form        {} version {}", form.name, form.version),
            format!("featurizer  {} of width {}", featurizer.spec.name, featurizer.spec.dim),
            format!("selector    {} {settings}", selector.name),
        ]
    };
    let Some(program) = &manifest.program else {
        return Vec::from(of(&manifest.featurizer, &manifest.form, &manifest.selector));
    };
    let mut lines = vec![format!("program     {} version {}", program.name, program.version)];
    for (name, part) in &manifest.parts {
        let own = of(&part.featurizer, &part.form, &part.selector);
        lines.extend(own.map(|line| line.replacen("  ", &format!("  {name}: "), 1)));
    }
    lines.extend(manifest.prompts.iter().map(|(id, file)| format!("prompt      {id} in {file}")));
    lines
}

fn describe(policy: &Policy) -> String {
    let (manifest, digest, rule) = (&policy.manifest, &policy.digest, policy.query_text());
    let named = if manifest.query_text.is_none() { ", which it does not name" } else { "" };
    let mut lines = vec![
        format!("policy      {} (digest {})", manifest.name, &digest[..12.min(digest.len())]),
        format!(
            "method      {} with seed {}, routewright {}",
            manifest.method, manifest.seed, manifest.crate_version
        ),
    ];
    lines.extend(shape(manifest));
    lines.extend([
        format!("query text  {rule}: {}{named}", rule.title()),
        manifest.promise.as_ref().map_or_else(
            || "promise     none; `policy calibrate` makes one".to_owned(),
            |promise| format!("promise     {}", saving::lines(promise).replace("\n  ", "\n            ")),
        ),
        format!("params      {}", output::short_floats(manifest.params.clone())),
        format!(
            "data        {} queries, {} cells of split `{}`, digest {}",
            manifest.data.n_queries,
            manifest.data.n_cells,
            manifest.data.split,
            &manifest.data.digest[..12.min(manifest.data.digest.len())]
        ),
    ]);
    lines.extend(manifest.metrics.iter().map(|(name, value)| format!("metric      {name} {value:.4}")));
    for arm in &manifest.arms {
        let cost =
            arm.price.mean_cost_usd.map_or_else(|| "unknown".to_owned(), |usd| format!("{usd:.6} USD"));
        lines.push(format!("arm         {} mean cost {cost}", arm.model));
    }
    lines.join("\n")
}
