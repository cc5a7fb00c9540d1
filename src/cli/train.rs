//! `routewright train [METHOD] --log LOG --out DIR`: one method, one artifact; `guarded` where none is named. With
//! `--decisions` and `--feedback` in place of `--log`, from what other policies decided; with `--pairs`, alone or
//! beside it, from preferences; weights of an ensemble with `--tasks`.

use super::pair_log::PairArgs;
use super::train_fusion::{self, RowsOptions, Trained};
use super::train_weights::{self, WeightsArgs};
use super::{answers, fitting, methods, output, query_text, saving};
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use routewright_data::QueryText;
use routewright_data::decisions::{Combine, Outcomes};
use routewright_data::suggest::near_names;
use routewright_policy::artifact::{DecisionsRecord, Goal, Manifest};
use routewright_policy::{SelectorSpec, artifact, selectors};
use routewright_trainer::MethodRow;
use routewright_trainer::calibrate::Priced;
use routewright_trainer::evaluate::Average;
use routewright_trainer::method::Reads;
use routewright_trainer::ope::{LoggedTable, TargetKind};
use routewright_trainer::preferences;
use routewright_trainer::train::{BaseFeatures, Prepared, RunOptions, arms};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Arguments of `train`.
#[derive(Debug, Args)]
pub(crate) struct TrainCommand {
    /// Method: one that `routewright methods` lists with `train`. `guarded` keeps the best single model unless paired
    /// evidence clears a threshold.
    #[arg(default_value = routewright_trainer::methods::DEFAULT)]
    method: String,
    #[command(flatten)]
    rows: Rows,
    /// Folder the policy is written to; an older policy there is replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name the policy is served under. [default: that of the method]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// TOML file with parameters of the method.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One parameter, e.g. `--set k=[20,100]`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Selector as `NAME` or `NAME:{json settings}`, e.g. `utility:{"lambda":10}`.
    #[arg(long, value_name = "SPEC", value_parser = selector, conflicts_with_all = ["save", "max_loss", "budget"])]
    selector: Option<SelectorSpec>,
    #[command(flatten)]
    saving: saving::SavingArgs,
    /// What of a request the served policy reads, for a log that does not name it: `users`, `last-user`,
    /// `with-system` or `full`. [default: as the log says, else `users`]
    #[arg(long, value_name = "RULE")]
    query_text: Option<QueryText>,
    /// Folder for checkpoints: an interrupted fit resumes from there.
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    fitting: fitting::FittingArgs,
    #[command(flatten)]
    weights: WeightsArgs,
}

/// Where the rows come from.
#[derive(Debug, Args)]
struct Rows {
    /// Outcome log: a Parquet file or a folder of them; for `rlae` a log of `fuse`.
    #[arg(
        long,
        value_name = "PATH",
        required_unless_present_any = ["decisions", "tasks", "pairs"],
        conflicts_with = "decisions"
    )]
    log: Option<PathBuf>,
    #[command(flatten)]
    pairs: PairArgs,
    /// Decision log to learn from in place of an outcome log; all of it, whatever the split.
    #[arg(long, value_name = "PATH", requires = "feedback", conflicts_with = "pairs")]
    decisions: Option<PathBuf>,
    /// Feedback to those decisions.
    #[arg(long, value_name = "PATH", requires = "decisions")]
    feedback: Option<PathBuf>,
    /// How outcomes of arms not chosen are estimated: `dr`, `ips`, or `observed` for not at all.
    #[arg(long, value_name = "KIND", default_value_t, requires = "decisions")]
    targets: TargetKind,
    /// Kind of feedback that is the score.
    #[arg(long, value_name = "KIND", default_value = "score", requires = "decisions")]
    metric: String,
    /// How several outcomes of one decision make one value: earliest, latest, mean, sum, min or max.
    #[arg(long, value_name = "RULE", default_value_t, requires = "decisions")]
    combine: Combine,
    /// Score of decisions without feedback, which are skipped otherwise.
    #[arg(long, value_name = "VALUE", requires = "decisions")]
    default_reward: Option<f64>,
}

impl Rows {
    /// The log with the prompts.
    fn path(&self) -> anyhow::Result<&Path> {
        let path = self.decisions.as_deref().or(self.log.as_deref()).or(self.pairs.pairs.as_deref());
        path.context("`--log` is missing, expected an outcome log")
    }

    /// The rows with their features.
    fn prepare(&self, fitting: &fitting::FittingArgs) -> anyhow::Result<(Prepared, Option<LoggedTable>)> {
        if let (Some(decisions), Some(feedback)) = (&self.decisions, &self.feedback) {
            let (prepared, logged) = self.logged(decisions, feedback, fitting)?;
            return Ok((prepared, Some(logged)));
        }
        let prepared = match &self.pairs.pairs {
            Some(pairs) => self.judged(pairs, fitting)?,
            None => fitting.prepare(self.path()?)?,
        };
        Ok((prepared, None))
    }

    /// How a policy was learned from decisions, for its manifest.
    fn record(&self, params: serde_json::Value, average: Average) -> DecisionsRecord {
        DecisionsRecord {
            targets: self.targets.to_string(),
            metric: self.metric.clone(),
            combine: self.combine.to_string(),
            default_reward: self.default_reward,
            params,
            average: average.to_string(),
        }
    }

    /// The judgements of a pair log, behind the rows of `--log` where it is given.
    fn judged(&self, pairs: &Path, fitting: &fitting::FittingArgs) -> anyhow::Result<Prepared> {
        let choice = fitting.feature_choice()?;
        let is_column = matches!(choice.base, BaseFeatures::Column(_));
        ensure!(!is_column, "`--features {}` reads a column that a pair log does not have", fitting.features);
        let judged = self.pairs.read(pairs, &fitting.split)?;
        let joined = match &self.log {
            None => preferences::of_pairs(judged),
            Some(log) => {
                query_text::check_same(log, pairs)?;
                preferences::with_log(fitting.read(log, &fitting.split)?, &judged)
            }
        };
        Ok(Prepared::with_pairs(joined, &choice, fitting.seed)?)
    }

    fn logged(
        &self,
        decisions: &Path,
        feedback: &Path,
        fitting: &fitting::FittingArgs,
    ) -> anyhow::Result<(Prepared, LoggedTable)> {
        let outcomes = Outcomes::load(feedback, &self.metric, self.combine)?;
        let logged = LoggedTable::load(decisions, &outcomes, self.default_reward)?;
        if logged.without_feedback > 0 {
            output::tell(&format!("left out {} decisions without feedback", logged.without_feedback));
        }
        if logged.without_text > 0 {
            output::tell(&format!("left out {} decisions without text or features", logged.without_text));
        }
        if logged.estimated > 0 {
            output::tell(
                "warning: propensities of this log were estimated; policies learned from such logs lose to always \
                 taking the strongest model more often than they gain (docs/ope.md, A gateway log without \
                 propensities)",
            );
        }
        let choice = fitting.feature_choice()?;
        let column = matches!(choice.base, BaseFeatures::Column(_));
        let empty = logged.table.queries.iter().find(|query| query.prompt.is_empty());
        if let Some(query) = empty.filter(|_| !column) {
            bail!("decision `{}` has no `prompt`, which these features are made of", query.id);
        }
        ensure!(!column || logged.table.vectors.is_some(), "not every decision has `features` of one width");
        let mut prepared = Prepared::new(logged.table.clone(), &choice, fitting.seed)?;
        logged.fill(self.targets, &mut prepared.train, &prepared.features)?;
        Ok((prepared, logged))
    }
}

/// Reads `NAME` or `NAME:{json settings}`.
pub(crate) fn selector(text: &str) -> Result<SelectorSpec, String> {
    let spec = match text.split_once(':') {
        None => SelectorSpec::named(text),
        Some((name, settings)) => {
            let settings =
                serde_json::from_str(settings).map_err(|e| format!("settings `{settings}`: {e}"))?;
            SelectorSpec { name: name.to_owned(), settings }
        }
    };
    // Its settings may name arms, which only the log knows.
    match selectors::ALL.iter().any(|row| row.name == spec.name) {
        true => Ok(spec),
        false => Err(format!(
            "unknown selector; {}",
            near_names(&spec.name, selectors::ALL.iter().map(|row| row.name))
        )),
    }
}

impl TrainCommand {
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let params = fitting::params(self.config.as_deref(), &self.settings)?;
        let trained = train_fusion::find(&self.method);
        ensure!(
            trained.is_none() || self.saving.goal()?.is_none(),
            "`--save`, `--max-loss` and `--budget` are for routers; `{}` is a system of fusion",
            self.method
        );
        if trained == Some(Trained::Rows) {
            let options = RowsOptions {
                ensemble: self.weights.ensemble.as_deref(),
                tasks: self.weights.tasks.as_ref(),
                split: &self.fitting.split,
                seed: self.fitting.seed,
                params,
                out: &self.out,
            };
            return train_fusion::rows(&options, json);
        }
        if trained == Some(Trained::Router) {
            return self.train_router(&params, json);
        }
        if trained == Some(Trained::Weights) {
            let options = train_weights::Options {
                log: self.rows.log.as_deref(),
                split: &self.fitting.split,
                seed: self.fitting.seed,
                params,
                name: self.name.as_deref(),
                out: &self.out,
                checkpoint: self.checkpoint.as_deref(),
            };
            return self.weights.run(&options, json);
        }
        self.train(&params, json)
    }

    /// The router of a system of tokens: a method that reads token labels, on the states in column `features`.
    fn train_router(mut self, params: &serde_json::Value, json: bool) -> anyhow::Result<ExitCode> {
        let name = std::mem::replace(&mut self.method, train_fusion::router_of_tokens()?.name.to_owned());
        self.name.get_or_insert(name);
        if !self.fitting.features.starts_with("column:") {
            self.fitting.features = "column:features".to_owned();
        }
        self.train(params, json)
    }

    /// What the policy is calibrated to, which takes the outcomes of several models a query.
    fn goal(&self) -> anyhow::Result<Option<Goal>> {
        let goal = self.saving.goal()?;
        ensure!(
            goal.is_none() || self.rows.decisions.is_none(),
            "`--save`, `--max-loss` and `--budget` need an outcome log, in which several models answered the same \
             prompts: a log of decisions does not tell what another model would have cost and scored"
        );
        ensure!(
            goal.is_none() || self.rows.pairs.pairs.is_none(),
            "`--save`, `--max-loss` and `--budget` are not read beside `--pairs`: they hold on outcomes, and the \
             folds they are measured on have no judgements; train on `--log` alone"
        );
        Ok(goal)
    }

    /// The rows with their answers, where the method reads them.
    fn answered(&self, method: &MethodRow, prepared: Prepared, has_goal: bool) -> anyhow::Result<Prepared> {
        if !method.loads_answers() {
            return Ok(prepared);
        }
        ensure!(
            !method.looks_at_answers() || (self.selector.is_none() && !has_goal),
            "`--selector`, `--save`, `--max-loss` and `--budget` steer a router; `{}` makes a policy of several steps, \
             whose parameters are on docs/methods/{}.md",
            method.name,
            method.name
        );
        let Some(log) = &self.rows.log else { return Ok(prepared) };
        if method.reads(Reads::Answers) && !answers::are_in(log)? {
            return Ok(prepared);
        }
        let all = self.fitting.read(log, &self.fitting.split)?;
        Ok(prepared.with_answers(&answers::of(log, &all)?, &all.models))
    }

    fn train(self, params: &serde_json::Value, json: bool) -> anyhow::Result<ExitCode> {
        let goal = self.goal()?;
        let method = methods::find(&self.method)?;
        methods::check_device(method, self.fitting.device()?)?;
        let (rule, is_named) = query_text::of_log(self.rows.path()?, self.query_text)?;
        let (mut prepared, logged) = self.rows.prepare(&self.fitting)?;
        prepared.query_text = rule;
        let prepared = self.answered(method, prepared, goal.is_some())?;
        if let Some(selector) = &self.selector {
            selectors::build(selector, &arms(&prepared.train)).context("cannot use `--selector`")?;
        }
        let bars = output::Bars::new(method.name);
        let run = RunOptions {
            average: self.fitting.average,
            seed: self.fitting.seed,
            device: self.fitting.device()?,
            progress: &bars,
            checkpoint: self.checkpoint.as_deref(),
        };
        let mut priced = None;
        if let Some(goal) = &goal {
            let choice = self.fitting.feature_choice()?;
            match saving::on_folds(&prepared, method, params, &choice, &run, goal)? {
                saving::Calibrated::Met(found) => priced = Some(found),
                saving::Calibrated::OutOfReach(reason) => return saving::refuse(&reason, json),
            }
        }
        let started = Instant::now();
        let mut fitted = prepared.fit(method, params, &run)?;
        let seconds = started.elapsed().as_secs_f64();
        drop(bars);
        if let Some(selector) = self.selector.or_else(|| priced.as_ref().map(Priced::selector)) {
            fitted.selector = selector;
        }
        let name = self.name.as_deref().unwrap_or(method.name);
        if let Some(program) = fitted.program.take() {
            let (about, split) = ((fitted.params, fitted.metrics), &self.fitting.split);
            let draft = prepared.program_draft(name, method, program, about, split, self.fitting.seed);
            return written(&draft.save(&self.out)?, &self.out, is_named, seconds, json);
        }
        let split = if self.rows.decisions.is_some() { "decisions" } else { &self.fitting.split };
        let mut draft = prepared.draft(name, method, fitted, split, self.fitting.seed);
        if let Some(logged) = &logged {
            draft.data =
                logged.record(&prepared.train, self.rows.record(params.clone(), self.fitting.average));
        }
        let promise = priced.as_ref().zip(goal).map(|(priced, goal)| {
            saving::promise(priced, goal, self.fitting.average, &self.fitting.split, true)
        });
        let manifest = artifact::save_promised(&draft, promise, &self.out)?;
        written(&manifest, &self.out, is_named, seconds, json)
    }
}

/// Reports an artifact that was written.
fn written(
    manifest: &Manifest,
    out: &Path,
    is_named: bool,
    seconds: f64,
    json: bool,
) -> anyhow::Result<ExitCode> {
    if json {
        let summary = serde_json::json!({ "policy": out, "manifest": manifest, "fit_seconds": seconds });
        output::say_json(&summary)?;
    } else {
        say(manifest, is_named, seconds);
        output::say(&format!("written to {}", out.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what was trained.
fn say(manifest: &Manifest, is_named: bool, seconds: f64) {
    let Manifest { name, method, .. } = manifest;
    let (n, arms) = (manifest.data.n_queries, manifest.arms.len());
    let named = if name == method { String::new() } else { format!(" as `{name}`") };
    output::say(&format!("trained `{method}`{named} on {n} queries x {arms} arms in {seconds:.1} s"));
    if let Some(promise) = &manifest.promise {
        output::say(&saving::lines(promise));
    }
    if let Some(rule) = manifest.query_text {
        let why = if is_named { "" } else { " (the log does not name its rule; another by --query-text)" };
        output::say(&format!("  reads of a request {}: `{rule}`{why}", rule.title()));
    }
    for (metric, value) in &manifest.metrics {
        output::say(&format!("  {metric} {value:.4}"));
    }
}
