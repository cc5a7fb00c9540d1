//! `routewright train METHOD --log LOG --out DIR`: one method, one artifact.

use super::{fitting, output};
use clap::Args;
use routewright_policy::{SelectorSpec, artifact};
use routewright_trainer::methods;
use routewright_trainer::train::RunOptions;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Arguments of `train`.
#[derive(Debug, Args)]
pub(crate) struct TrainCommand {
    /// Method, as `routewright methods` lists it.
    method: String,
    #[command(flatten)]
    fitting: fitting::FittingArgs,
    /// Folder the policy is written to; an older policy there is replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name the policy is served under; the method's by default.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// TOML file with parameters of the method.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One parameter, e.g. `--set k=[20,100]`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Selector as `NAME` or `NAME:{json settings}`, e.g. `utility:{"lambda":10}`.
    #[arg(long, value_name = "SPEC", value_parser = selector)]
    selector: Option<SelectorSpec>,
    /// Folder for checkpoints: a fit that is killed goes on from there.
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
}

/// Reads `NAME` or `NAME:{json settings}`.
pub(crate) fn selector(text: &str) -> Result<SelectorSpec, String> {
    match text.split_once(':') {
        None => Ok(SelectorSpec::named(text)),
        Some((name, settings)) => {
            let settings =
                serde_json::from_str(settings).map_err(|e| format!("settings `{settings}`: {e}"))?;
            Ok(SelectorSpec { name: name.to_owned(), settings })
        }
    }
}

impl TrainCommand {
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let method = methods::find(&self.method)?;
        let params = fitting::params(self.config.as_deref(), &self.settings)?;
        let prepared = self.fitting.prepare()?;
        let bars = output::Bars::new(method.name);
        let run = RunOptions {
            average: self.fitting.average,
            seed: self.fitting.seed,
            device: self.fitting.device,
            progress: &bars,
            checkpoint: self.checkpoint.as_deref(),
        };
        let started = Instant::now();
        let mut fitted = prepared.fit(method, &params, &run)?;
        let seconds = started.elapsed().as_secs_f64();
        drop(bars);
        if let Some(selector) = self.selector {
            fitted.selector = selector;
        }
        let name = self.name.as_deref().unwrap_or(method.name);
        let draft = prepared.draft(name, method, fitted, &self.fitting.split, self.fitting.seed);
        let manifest = artifact::save(&draft, &self.out)?;
        if json {
            let summary = serde_json::json!({
                "policy": self.out, "manifest": manifest, "fit_seconds": seconds,
            });
            output::say_json(&summary)?;
        } else {
            let (n, arms) = (manifest.data.n_queries, manifest.arms.len());
            output::say(&format!("trained `{name}` on {n} queries x {arms} arms in {seconds:.1} s"));
            for (metric, value) in &manifest.metrics {
                output::say(&format!("  {metric} {value:.4}"));
            }
            output::say(&format!("written to {}", self.out.display()));
        }
        Ok(ExitCode::SUCCESS)
    }
}
