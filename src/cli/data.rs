//! `routewright data collect|import|validate|stats|split|pool|price|simulate|log-decisions|export|from-store`: logs
//! made, foreign formats to logs and back, and logs looked at.

use super::{collect, export, from_store, output, pool, price, query_text};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use routewright_data::importers::{self, ImportOptions, ImportSummary, LatencyUnit};
use routewright_data::log::{ValidateOptions, validate};
use routewright_data::split::{Fractions, SplitRule, split_log};
use routewright_data::stats::stats;
use routewright_data::synthetic::{Kind, Settings, World};
use routewright_data::{LoadOptions, OutcomeTable, QueryText};
use routewright_policy::{Policy, artifact};
use routewright_trainer::ope::{LogDecisionsOptions, PropensityOptions, estimate_decisions, log_decisions};
use routewright_trainer::report::propensities_text;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `data`.
#[derive(Debug, Args)]
pub(crate) struct DataCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Ask models the prompts of a file, score their answers, and write them as a log.
    #[command(after_help = collect::HELP)]
    Collect(collect::CollectCommand),
    /// Write a foreign format as a log; without a format, list the formats.
    Import(Import),
    /// Check a log row by row; exits 1 when it has errors.
    Validate(Validate),
    /// Mean score, cost and coverage per model; best model per source; leakage between splits.
    Stats(Stats),
    /// Assign splits by prompt and write them as a column of a new log.
    Split(Split),
    /// Models that complement each other, by greedy cover.
    Pool(pool::PoolCommand),
    /// Write the price of every call by list prices and tokens, for a log that has none.
    Price(price::PriceCommand),
    /// Write a log of a simulated world whose expected scores and costs are known.
    Simulate(Simulate),
    /// Write the decision and feedback logs a policy would have left on an outcome log.
    LogDecisions(LogDecisions),
    /// Write decisions and their rewards in the format of another tool.
    Export(export::ExportCommand),
    /// Write the store of a server as decision, feedback and pair logs.
    FromStore(from_store::FromStoreCommand),
}

#[derive(Debug, Args)]
struct Import {
    /// Format, e.g. `long`, `openai`, `litellm`; all are listed without one.
    format: Option<String>,
    /// Files to read: .csv, .tsv, .jsonl, .ndjson, .json, each also with .gz or .zst, or .parquet.
    #[arg(value_name = "FILE", requires = "out")]
    inputs: Vec<PathBuf>,
    /// Log to write, a Parquet file; for `dsjson` a folder.
    #[arg(long, value_name = "LOG")]
    out: Option<PathBuf>,
    /// Read a column of ours from a field of theirs, e.g. `score=grade` or `score=metadata.grade`; `query_id=` leaves
    /// it out.
    #[arg(long = "map", value_name = "COLUMN=FIELD", value_parser = pair)]
    map: Vec<(String, String)>,
    /// Source of rows that have none.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Split of rows that have none.
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Least score of the input, e.g. -1 for thumbs or 1 for stars: it becomes 0.
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0, allow_negative_numbers = true)]
    score_min: f64,
    /// Greatest score of the input: it becomes 1.
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0, allow_negative_numbers = true)]
    score_max: f64,
    /// Numbers for scores that are words, between the least and the greatest score, e.g. `up=1,down=0`.
    #[arg(long, value_name = "WORD=NUMBER", value_delimiter = ',', value_parser = worth)]
    score_values: Vec<(String, f64)>,
    /// Unit of the field latencies are read from.
    #[arg(long, value_name = "UNIT", value_enum)]
    latency_unit: Option<Unit>,
    /// Count every score above 0 as 1 and keep the input's as `soft_score`.
    #[arg(long)]
    binarize: bool,
    /// What of a request becomes the prompt: `users` (all turns of the user), `last-user`, `with-system` or `full`.
    /// The rule is named in the log and served by. [default: `users` where the input has requests]
    #[arg(long, value_name = "RULE")]
    query_text: Option<QueryText>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Unit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
}

#[derive(Debug, Args)]
struct Validate {
    /// Log: a Parquet file or a directory of them.
    log: PathBuf,
    /// Complaints of each rule that are shown; the others are counted.
    #[arg(long, value_name = "N", default_value_t = 20)]
    max: u64,
}

#[derive(Debug, Args)]
struct Stats {
    /// Log: a Parquet file or a directory of them.
    log: PathBuf,
    /// Only queries of this split.
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
}

#[derive(Debug, Args)]
struct Split {
    /// Log: a Parquet file or a directory of them.
    log: PathBuf,
    /// Log to write, a Parquet file.
    #[arg(long, value_name = "LOG")]
    out: PathBuf,
    /// Rule: `random`, `source`, `time` or `arm`.
    #[arg(long, value_name = "RULE", value_enum, default_value_t = Rule::Random)]
    by: Rule,
    /// Sources to keep apart as split `test_ood` (with `--by source`).
    #[arg(long, value_name = "NAME", value_delimiter = ',', required_if_eq("by", "source"))]
    sources: Vec<String>,
    /// Models to keep from train and valid (with `--by arm`).
    #[arg(long, value_name = "NAME", value_delimiter = ',', required_if_eq("by", "arm"))]
    models: Vec<String>,
    /// Shares of train, valid and test.
    #[arg(long, value_name = "SHARES", value_parser = fractions, default_value = "0.6,0.1,0.3")]
    shares: Fractions,
    /// Seed of the assignment.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Rule {
    Random,
    Source,
    Time,
    Arm,
}

#[derive(Debug, Args)]
struct Simulate {
    /// Log to write, a Parquet file.
    #[arg(long, value_name = "LOG")]
    out: PathBuf,
    /// Number of queries.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    queries: usize,
    /// Number of models.
    #[arg(long, value_name = "N", default_value_t = 8)]
    models: usize,
    /// What decides which model is best: `topics` or `interactions`.
    #[arg(long, value_name = "WORLD", value_enum, default_value_t = WorldKind::Topics)]
    world: WorldKind,
    /// Share of missing cells, from 0 to below 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    missing: f64,
    /// Spread of the change of abilities over the log; 0 for no change.
    #[arg(long, value_name = "NUMBER", default_value_t = 0.5)]
    drift: f64,
    /// Seed of the world.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write answers too: texts, short answers, log-probabilities and checks of known correctness.
    #[arg(long)]
    answers: bool,
    /// Answers of each model to a query.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "answers")]
    samples: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum WorldKind {
    /// The topic of the query (its `source`), above all.
    Topics,
    /// The topic together with the difficulty: the best model of each topic gains a half or less of what can be gained.
    Interactions,
}

impl From<WorldKind> for Kind {
    fn from(world: WorldKind) -> Self {
        match world {
            WorldKind::Topics => Self::Topics,
            WorldKind::Interactions => Self::Interactions,
        }
    }
}

#[derive(Debug, Args)]
struct LogDecisions {
    /// Outcome log: a Parquet file or a directory of them.
    #[arg(long, value_name = "LOG")]
    log: PathBuf,
    /// Only queries of this split.
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Policy that decides; its selector should draw, or `--explore` be given.
    #[arg(long, value_name = "DIR", required_unless_present = "estimate")]
    policy: Option<PathBuf>,
    /// The log has one model a query (a gateway's): take its choices as they are and estimate their propensities.
    #[arg(long, conflicts_with_all = ["policy", "explore", "pass_probability"])]
    estimate: bool,
    /// Least probability of a model, with `--estimate`.
    #[arg(long, value_name = "P", default_value_t = PropensityOptions::default().floor, requires = "estimate")]
    floor: f64,
    /// Width of the text features that propensities are estimated on, with `--estimate`.
    #[arg(long, value_name = "N", default_value_t = PropensityOptions::default().dim, requires = "estimate")]
    dim: usize,
    /// Folder to write decisions.parquet and feedback.parquet into.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Probability with which an arm is drawn uniformly instead of by the policy, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    explore: f64,
    /// Probability with which a decision is kept, above 0 and at most 1.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    pass_probability: f32,
    /// Seed of every draw.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Reads `COLUMN=FIELD`.
fn pair(text: &str) -> Result<(String, String), String> {
    let (column, field) = text.split_once('=').ok_or("expected COLUMN=FIELD, e.g. score=grade")?;
    Ok((column.trim().to_owned(), field.trim().to_owned()))
}

/// Reads `WORD=NUMBER`.
fn worth(text: &str) -> Result<(String, f64), String> {
    let expected = || "expected WORD=NUMBER, e.g. up=1".to_owned();
    let (word, number) = text.rsplit_once('=').ok_or_else(expected)?;
    Ok((word.trim().to_owned(), number.trim().parse().map_err(|_| expected())?))
}

/// Reads `TRAIN,VALID,TEST`.
fn fractions(text: &str) -> Result<Fractions, String> {
    let shares: Result<Vec<f64>, _> = text.split(',').map(|share| share.trim().parse()).collect();
    match shares.as_deref() {
        Ok(&[train, valid, test]) => Fractions::try_new(train, valid, test).map_err(|e| e.to_string()),
        _ => Err("expected three numbers, e.g. 0.6,0.1,0.3".to_owned()),
    }
}

impl DataCommand {
    /// Runs the action: 0 when it succeeds, 1 when a validated log has errors.
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Collect(collect) => collect.run(json),
            Action::Import(import) => import.run(json),
            Action::Validate(validate) => validate.run(json),
            Action::Stats(stats) => stats.run(json),
            Action::Split(split) => split.run(json),
            Action::Pool(command) => command.run(json),
            Action::Price(price) => price.run(json),
            Action::Simulate(simulate) => simulate.run(json),
            Action::LogDecisions(log) => log.run(json),
            Action::Export(export) => export.run(json),
            Action::FromStore(store) => store.run(json),
        }
    }
}

impl Import {
    fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let (Some(format), Some(out)) = (&self.format, &self.out) else {
            return list_formats(json);
        };
        let options = ImportOptions {
            map: self.map.into_iter().collect(),
            source: self.source,
            split: self.split,
            score_min: self.score_min,
            score_max: self.score_max,
            score_values: self.score_values.into_iter().collect(),
            latency_unit: self.latency_unit.map(|unit| match unit {
                Unit::S => LatencyUnit::Seconds,
                Unit::Ms => LatencyUnit::Milliseconds,
                Unit::Us => LatencyUnit::Microseconds,
            }),
            binarize: self.binarize,
            query_text: self.query_text,
        };
        let summary = importers::import(format, &self.inputs, out, &options)?;
        if json {
            output::say_json(&serde_json::json!({ "log": out, "import": summary }))?;
            return Ok(ExitCode::SUCCESS);
        }
        say_import(&summary, out);
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints what was read, what was left out and why.
fn say_import(summary: &ImportSummary, out: &std::path::Path) {
    let (rows, records) = (summary.rows, summary.records);
    output::say(&format!("wrote `{}`: {rows} rows from {records} records", out.display()));
    let filled: Vec<String> =
        summary.filled.iter().filter(|(_, n)| **n > 0).map(|(column, n)| format!("{column} {n}")).collect();
    if !filled.is_empty() {
        output::say(&format!("rows with a value: {}", filled.join(", ")));
    }
    let empty: Vec<&str> =
        summary.filled.iter().filter(|(_, n)| **n == 0).map(|(column, _)| *column).collect();
    if !empty.is_empty() {
        output::say(&format!("empty: {}", empty.join(", ")));
    }
    if !summary.unread.is_empty() {
        let fields = summary.unread.join(", ");
        output::say(&format!("fields not read: {fields} (`--map COLUMN=FIELD` reads one)"));
    }
    for (reason, n) in &summary.skipped {
        output::say(&format!("left out {n} records {reason}"));
    }
    for (what, n) in &summary.changed {
        output::say(&format!("{n} records {what}"));
    }
    for warning in &summary.warnings {
        output::tell(&format!("warning: {warning}"));
    }
}

fn list_formats(json: bool) -> anyhow::Result<ExitCode> {
    let rows = importers::ALL.iter();
    if json {
        let rows =
            rows.map(|row| serde_json::json!({ "name": row.name, "title": row.title, "log": row.log }));
        output::say_json(&rows.collect::<Vec<_>>())?;
    } else {
        rows.for_each(|row| output::say(&format!("{:<12} {:<12} {}", row.name, row.log, row.title)));
    }
    Ok(ExitCode::SUCCESS)
}

impl Validate {
    fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let found = validate(&self.log, &ValidateOptions { per_rule_max: self.max })?;
        if json {
            output::say_json(&found)?;
        } else {
            for complaint in &found.complaints {
                output::say(&complaint.to_string());
            }
            for (rule, n) in &found.counts {
                let shown =
                    found.complaints.iter().filter(|complaint| complaint.rule == *rule).count() as u64;
                if *n > shown {
                    output::say(&format!("{rule}: {} more", n - shown));
                }
            }
            let (table, rows, queries, models) = (found.table, found.rows, found.queries, found.models);
            let held = format!("{table} of {rows} rows, {queries} queries, {models} models");
            output::say(&format!("{held}: {} errors, {} warnings", found.n_errors, found.n_warnings));
        }
        Ok(if found.is_valid() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

impl Stats {
    fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let found = stats(&self.log, self.split.as_deref())?;
        if json {
            output::say_json(&found)?
        } else {
            output::say(&found.to_string())
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Split {
    fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let fractions = self.shares;
        let rule = match self.by {
            Rule::Random => SplitRule::Random(fractions),
            Rule::Source => SplitRule::BySource { sources: self.sources, fractions },
            Rule::Time => SplitRule::ByTime(fractions),
            Rule::Arm => SplitRule::HeldOutArm { models: self.models, fractions },
        };
        let summary = split_log(&self.log, &self.out, &rule, self.seed)?;
        if json {
            output::say_json(&serde_json::json!({ "log": self.out, "split": summary }))?;
            return Ok(ExitCode::SUCCESS);
        }
        output::say(&format!("wrote `{}`: {} rows", self.out.display(), summary.rows));
        for (split, count) in summary.splits {
            output::say(&format!("{split}: {} prompts, {} rows", count.prompts, count.rows));
        }
        if summary.rows_left_out > 0 {
            output::say(&format!("left out {} rows of held-out models", summary.rows_left_out));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Simulate {
    fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        if self.models == 0 {
            anyhow::bail!("number of models is `0`, expected at least 1");
        }
        if !(0.0..1.0).contains(&self.missing) {
            anyhow::bail!("share of missing cells is `{}`, expected a number in [0, 1)", self.missing);
        }
        if !self.drift.is_finite() || self.drift < 0.0 {
            anyhow::bail!("drift is `{}`, expected a finite number >= 0", self.drift);
        }
        let (kind, n_arms, missing, drift) = (self.world.into(), self.models, self.missing, self.drift);
        let world = World::new(Settings { kind, n_arms, missing, drift, ..Settings::default() }, self.seed);
        let rows = if self.answers {
            world.write_answers(self.queries, self.samples, &self.out)?
        } else {
            world.write_log(self.queries, &self.out)?
        };
        if json {
            let models: Vec<&str> = world.arms().iter().map(|arm| arm.name.as_str()).collect();
            let summary = serde_json::json!({
                "log": self.out, "rows": rows, "queries": self.queries, "models": models,
                "samples": self.samples,
            });
            output::say_json(&summary)?;
        } else {
            let (queries, models) = (self.queries, self.models);
            let path = self.out.display();
            output::say(&format!("wrote `{path}`: {rows} rows of {queries} queries and {models} models"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl LogDecisions {
    fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot make folder `{}`", self.out.display()))?;
        match &self.policy {
            Some(policy) => self.decide(artifact::load(policy)?, json),
            None => self.estimate(json),
        }
    }

    fn estimate(&self, json: bool) -> anyhow::Result<ExitCode> {
        let table = OutcomeTable::load(
            &self.log,
            &LoadOptions { split: self.split.clone(), ..LoadOptions::default() },
        )?;
        let (dim, floor, seed) = (self.dim, self.floor, self.seed);
        let query_text = query_text::named_by(&self.log)?;
        let options = PropensityOptions { dim, floor, seed, query_text, ..PropensityOptions::default() };
        let found = estimate_decisions(table, &options, &self.out)?;
        if json {
            output::say_json(&found)?;
            return Ok(ExitCode::SUCCESS);
        }
        output::say(&propensities_text(&found));
        output::say(&format!("wrote {} decisions to `{}`", found.rows, found.decisions.display()));
        output::say(&format!("and their outcomes to `{}`", found.feedback.display()));
        if found.without_score + found.with_several > 0 {
            output::tell(&format!(
                "left out {} queries without a score, {} with scores of several models",
                found.without_score, found.with_several
            ));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn decide(&self, policy: Policy, json: bool) -> anyhow::Result<ExitCode> {
        let column = policy.manifest.featurizer.spec.settings.get("column").and_then(|name| name.as_str());
        let vector_column = column.map(str::to_owned);
        let options = LoadOptions { split: self.split.clone(), vector_column, ..LoadOptions::default() };
        let table = OutcomeTable::load(&self.log, &options)?;
        query_text::check(&policy, &self.log)?;
        let (seed, explore, pass_probability) = (self.seed, self.explore, self.pass_probability);
        let options = LogDecisionsOptions { seed, explore, pass_probability };
        let logged = log_decisions(policy, &table, &options, &self.out)?;
        if json {
            output::say_json(&logged)?;
            return Ok(ExitCode::SUCCESS);
        }
        output::say(&format!("wrote {} decisions to `{}`", logged.rows, logged.decisions.display()));
        output::say(&format!("and their outcomes to `{}`", logged.feedback.display()));
        if logged.without_arm + logged.not_kept > 0 {
            let (strange, dropped) = (logged.without_arm, logged.not_kept);
            output::tell(&format!(
                "left out {strange} queries without an observed arm of the policy, {dropped} by sampling"
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}
