//! `routewright data collect`: prompts asked of models, answers scored, as a log.

use super::output;
use anyhow::Context as _;
use clap::Args;
use routewright_policy_server::collect::{
    CodeLimits, CollectOptions, CollectSummary, Isolation, Progress, Stopped, collect,
};
use routewright_trainer::progress::Progress as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Nano-USD of a dollar.
const NANO: f64 = 1e9;
/// How often a line is printed where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);

pub(super) const HELP: &str = "\
Examples:
  routewright data collect prompts.jsonl --models models.toml --out log.parquet --score number --budget 5
  routewright data collect prompts.jsonl --models models.toml --out log.parquet --samples 5 --logprobs
Run again after an interruption, it asks only what is missing. Prompts, models, rules: docs/collect.md
Exit code 1: stopped by the budget or an interrupt, or no call was answered.";

/// Arguments of `data collect`.
#[derive(Debug, Args)]
pub(crate) struct CollectCommand {
    /// JSON lines of `id`, `prompt` or `messages`, and where known `gold`, `source`, `split`, `score`, `options`.
    prompts: PathBuf,
    /// TOML file with a section `[models.NAME]` a model, as in server.toml.
    #[arg(long, value_name = "FILE")]
    models: PathBuf,
    /// Log to write, a Parquet file; every call is kept in LOG.journal beside it.
    #[arg(long, value_name = "LOG")]
    out: PathBuf,
    /// Models that answer; the others of the file only judge. [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Answers of each model to a query.
    #[arg(long, value_name = "N", default_value_t = 1)]
    samples: u32,
    /// Rule of scoring of prompts that name none: exact, string, number, letter, boxed, json, json-value, regex,
    /// regex:PATTERN, code or judge:MODEL.
    #[arg(long, value_name = "RULE")]
    score: Option<String>,
    /// Times each model checks each of its answers, for `verifier_rate`.
    #[arg(long, value_name = "N", default_value_t = 0)]
    verify: u32,
    /// Prompt templates, TOML sections `[variants.NAME]`: each model is sampled under each of its own.
    #[arg(long, value_name = "FILE")]
    variants: Option<PathBuf>,
    /// Prompt of the judge: a text with `{query}`, `{answer}`, `{gold}`. [default: built in]
    #[arg(long, value_name = "FILE")]
    judge_prompt: Option<PathBuf>,
    /// Prompt of a model that checks its own answer: a text with `{query}` and `{answer}`. [default: built in]
    #[arg(long, value_name = "FILE")]
    verify_prompt: Option<PathBuf>,
    /// Most that all calls may cost, earlier runs included; never exceeded.
    #[arg(long, value_name = "USD")]
    budget: Option<f64>,
    /// Tries of a call that fails in a way that may pass.
    #[arg(long, value_name = "N", default_value_t = 5)]
    attempts: u32,
    /// Failed calls in a row after which a model is asked no more in this run.
    #[arg(long, value_name = "N", default_value_t = 10)]
    give_up: u32,
    /// Ask again what failed in an earlier run.
    #[arg(long)]
    retry_failed: bool,
    /// Ask for log-probabilities, of every model whose section does not say otherwise.
    #[arg(long)]
    logprobs: bool,
    /// Send a seed with every request, made from this one. [default: none]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Interpreter of rule `code`.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
    /// Processor time of the code of an answer, seconds; its whole time is twice as long.
    #[arg(long, value_name = "SECONDS", default_value_t = CodeLimits::default().cpu_s)]
    code_seconds: u64,
    /// Memory of the code of an answer, MiB.
    #[arg(long, value_name = "MIB", default_value_t = CodeLimits::default().memory >> 20)]
    code_memory: u64,
}

impl CollectCommand {
    /// Collects; 1 where the log is not whole.
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("cannot start the threads that ask models")?;
        let options = self.options();
        let interrupt = Arc::new(AtomicBool::new(false));
        runtime.spawn(hear_interrupts(Arc::clone(&interrupt)));
        let meter = Arc::new(Meter::default());
        let heard = {
            let meter = Arc::clone(&meter);
            Arc::new(move |progress| meter.show(progress))
        };
        let environment = |name: &str| std::env::var(name).ok();
        let collected = runtime.block_on(collect(&options, &environment, heard, interrupt));
        drop(meter);
        // A call that outlasts an error is not waited for.
        runtime.shutdown_background();
        let summary = collected?;
        if json {
            output::say_json(&serde_json::json!({ "log": options.out, "collect": summary }))?;
        } else {
            say(&summary, &options);
        }
        warn(&summary);
        let is_whole = summary.stopped.is_none() && summary.models.iter().any(|model| model.answered > 0);
        Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn options(self) -> CollectOptions {
        let code = CodeLimits {
            cpu_s: self.code_seconds,
            wall_ms: self.code_seconds.saturating_mul(2000),
            memory: self.code_memory.saturating_mul(1 << 20),
            ..CodeLimits::default()
        };
        CollectOptions {
            only: self.only,
            samples: self.samples,
            score: self.score,
            verify: self.verify,
            variants: self.variants,
            judge_prompt: self.judge_prompt,
            verify_prompt: self.verify_prompt,
            budget_usd: self.budget,
            attempts: self.attempts,
            give_up: self.give_up,
            retry_failed: self.retry_failed,
            logprobs: self.logprobs,
            seed: self.seed,
            python: self.python,
            code,
            ..CollectOptions::new(self.prompts, self.models, self.out)
        }
    }
}

/// Raises the flag at the first interrupt; the second ends the process, which loses only what is under way.
async fn hear_interrupts(flag: Arc<AtomicBool>) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    flag.store(true, Ordering::Relaxed);
    output::tell("waiting for the calls under way; interrupt again to leave them");
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(130);
    }
}

/// Shows how far a collection is.
#[derive(Debug)]
struct Meter {
    bars: output::Bars,
    last: Mutex<(u64, Instant)>,
}

impl Default for Meter {
    fn default() -> Self {
        Self { bars: output::Bars::new("collect"), last: Mutex::new((0, Instant::now())) }
    }
}

impl Meter {
    fn show(&self, progress: Progress) {
        let Progress { total, done, failed, nano_usd } = progress;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != total {
            last.0 = total;
            self.bars.start("calls", total);
        }
        let note = format!("{failed} failed, {:.4} USD", nano_usd as f64 / NANO);
        self.bars.step(done, &note);
        if !std::io::IsTerminal::is_terminal(&std::io::stderr()) && last.1.elapsed() >= EVERY {
            last.1 = Instant::now();
            output::tell(&format!("collect: {done} of {total} calls, {note}"));
        }
    }
}

fn say(summary: &CollectSummary, options: &CollectOptions) {
    let (rows, queries, samples) = (summary.rows, summary.queries, summary.samples);
    let path = options.out.display();
    match rows {
        0 => output::say("wrote no log: no call has ended"),
        _ => {
            output::say(&format!("wrote `{path}`: {rows} rows of {queries} queries, {samples} samples each"))
        }
    }
    let width = summary.models.iter().map(|model| model.model.chars().count()).max().unwrap_or(0).max(5);
    output::say(&format!("{:<width$}  answered  failed  not asked   score         USD", "model"));
    for model in &summary.models {
        let score = model.score.map_or_else(|| "-".to_owned(), |score| format!("{score:.4}"));
        output::say(&format!(
            "{:<width$}  {:>8}  {:>6}  {:>9}  {score:>6}  {:>10.6}",
            model.model, model.answered, model.failed, model.not_asked, model.cost_usd
        ));
    }
    let budget = summary.budget_usd.map_or_else(String::new, |usd| format!(" of {usd}"));
    output::say(&format!("spent {:.6}{budget} USD", summary.spent_usd));
}

/// Says what is missing, and why.
fn warn(summary: &CollectSummary) {
    match summary.stopped {
        Some(Stopped::Budget) => {
            output::tell(
                "stopped: the next call might cost more than is left of the budget; raise `--budget` and run again",
            );
        }
        Some(Stopped::Interrupt) => output::tell("stopped by an interrupt; run again to go on"),
        None => {}
    }
    for model in summary.models.iter().filter(|model| model.given_up) {
        output::tell(&format!(
            "warning: model `{}` failed too often in a row and was asked no more; `failure` in the log says why",
            model.model
        ));
    }
    if summary.isolation == Some(Isolation::Limits) {
        let missing = "neither `bwrap` nor namespaces of `unshare` are to be had here";
        output::tell(&format!("warning: the code of answers ran with network and as this user: {missing}"));
    }
    if summary.damaged_lines > 0 {
        let n = summary.damaged_lines;
        output::tell(&format!(
            "warning: {n} lines of the journal could not be read; their calls were made again"
        ));
    }
}
