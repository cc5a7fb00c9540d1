//! `routewright ask`: drives a policy step by step on recorded or scripted answers.

use super::{answers, output, query_text};
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use routewright_data::answers::AnswerTable;
use routewright_data::{LoadOptions, OutcomeTable};
use routewright_policy::program::{Action, Budget, Call, Callee, Prompt, Reply, Step};
use routewright_policy::{Objective, Policy, Request, artifact};
use routewright_trainer::method::Reads;
use routewright_trainer::rollout::{self, Episode, Line, ReplayWorld, ScriptedWorld, World};
use routewright_trainer::{methods, report};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `ask`.
#[derive(Debug, Args)]
pub(crate) struct AskCommand {
    /// Folder of the policy.
    #[arg(long, value_name = "DIR")]
    policy: PathBuf,
    /// Outcome log with answers; `--query` says which of its queries is asked.
    #[arg(long, value_name = "PATH", requires = "query", required_unless_present = "answers")]
    log: Option<PathBuf>,
    /// Id of the query.
    #[arg(long, value_name = "ID", requires = "log")]
    query: Option<String>,
    /// Script of answers: a JSON list of `{"model", "prompt", "text", "answer", "cost_usd", "latency_ms", "failed"}`.
    #[arg(long, value_name = "FILE", conflicts_with = "log")]
    answers: Option<PathBuf>,
    /// What is asked, with `--answers`.
    #[arg(value_name = "PROMPT", required_unless_present = "log", conflicts_with = "log")]
    prompt: Option<String>,
    /// Most that all calls may cost, US dollars.
    #[arg(long, value_name = "USD")]
    budget: Option<f64>,
    /// Most time from the first call to the reply, milliseconds.
    #[arg(long, value_name = "MS")]
    deadline: Option<f64>,
    /// Score given up to save one US dollar, in place of the policy's own.
    #[arg(long, value_name = "SCORE_PER_USD")]
    lambda: Option<f64>,
    /// Seed of every draw.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl AskCommand {
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let policy = artifact::load(&self.policy)?;
        let played = match (&self.log, &self.answers) {
            (Some(log), _) => self.on_log(&policy, log)?,
            (None, Some(script)) => {
                let text = std::fs::read_to_string(script)
                    .with_context(|| format!("cannot read `{}`", script.display()))?;
                let lines: Vec<Line> = serde_json::from_str(&text)
                    .with_context(|| format!("cannot read the answers of `{}`", script.display()))?;
                let world = ScriptedWorld::new(lines, &policy.arms);
                let request =
                    Request { input: self.prompt.as_deref().unwrap_or_default().into(), ..self.request() };
                self.play(&policy, request, &world)?
            }
            (None, None) => bail!("`--log` or `--answers` is missing, expected one of them"),
        };
        if json {
            output::say_json(&output::short_floats(document(&policy, &played)))?;
        } else {
            output::say(&lines(&policy, &played).join("\n"));
        }
        // A policy that abstains gave no answer.
        let abstained = matches!(played.reply(), Some(Reply::Abstain) | None);
        Ok(if abstained { ExitCode::from(1) } else { ExitCode::SUCCESS })
    }

    fn request(&self) -> Request<'_> {
        let objective = self.lambda.map(|cost| Objective { quality: 1.0, cost, latency: 0.0 });
        Request { objective, seed: self.seed, ..Request::default() }
    }

    fn on_log(&self, policy: &Policy, log: &Path) -> anyhow::Result<Episode> {
        query_text::check(policy, log)?;
        let reads_calls = methods::find(&policy.manifest.method).is_ok_and(|row| row.reads(Reads::Calls));
        ensure!(
            reads_calls || answers::are_in(log)?,
            "`{}` has no answers, expected a column `response` or `answer`",
            log.display()
        );
        let id = self.query.as_deref().unwrap_or_default();
        let table = OutcomeTable::load(log, &LoadOptions::default())?;
        let row = table.queries.iter().position(|query| query.id == id);
        let row = row.with_context(|| format!("`{}` has no query `{id}`", log.display()))?;
        let table = table.select_rows(&[row]);
        let answers: AnswerTable = answers::of(log, &table)?;
        let world = ReplayWorld::new(&table.queries, &table.models, &answers, &policy.arms);
        let query = &table.queries[0];
        let request = Request {
            input: query.prompt.as_str().into(),
            source: query.source.as_deref(),
            ..self.request()
        };
        self.play(policy, request, &world)
    }

    fn play(&self, policy: &Policy, request: Request<'_>, world: &dyn World) -> anyhow::Result<Episode> {
        let budget = Budget { usd: self.budget, deadline_ms: self.deadline };
        Ok(rollout::episode(policy, request, budget, world, 0)??)
    }
}

/// Characters of an answer that are shown.
const SHOWN: usize = 100;

/// Text for one line of a terminal.
fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = line.chars().take(SHOWN).collect();
    let more = if cut.len() < line.len() { "…" } else { "" };
    report::printable(&cut) + more
}

fn callee<'a>(policy: &'a Policy, call: &'a Call) -> &'a str {
    match &call.callee {
        Callee::Arm(arm) => policy.arms.get(*arm).map_or("", |arm| arm.model.as_str()),
        Callee::Fusion(name) => name,
        Callee::Tool(name) => name,
    }
}

fn prompt(call: &Call) -> &str {
    match &call.prompt {
        Prompt::Query => "query",
        Prompt::Template { id, .. } => id,
    }
}

fn action_json(policy: &Policy, action: &Action, played: &Episode) -> Value {
    match action {
        Action::Call(calls) => {
            let call = |call: &Call| {
                json!({
                    "model": callee(policy, call),
                    "prompt": prompt(call),
                    "samples": call.samples,
                    "max_tokens": call.max_tokens,
                    "temperature": call.temperature,
                })
            };
            json!({ "kind": "call", "calls": calls.iter().map(call).collect::<Vec<_>>() })
        }
        Action::Return(reply) => reply_json(policy, reply, played),
    }
}

fn reply_json(policy: &Policy, reply: &Reply, played: &Episode) -> Value {
    match reply {
        Reply::Answer(at) => {
            let answer = &played.answers[*at];
            let model = answer.arm.and_then(|arm| policy.arms.get(arm)).map(|arm| arm.model.as_str());
            json!({ "kind": "return", "answer": at, "model": model, "text": answer.text })
        }
        Reply::Text(text) => json!({ "kind": "return", "text": text }),
        Reply::Abstain => json!({ "kind": "return", "abstained": true }),
    }
}

fn document(policy: &Policy, played: &Episode) -> Value {
    let step = |(at, step): (usize, &Step)| {
        json!({
            "step": at,
            "action": action_json(policy, &step.action, played),
            "propensity": step.propensity(),
            "reason": step.reason.name(),
        })
    };
    let answer = |answer: &routewright_policy::program::Answer| {
        json!({
            "call": answer.call,
            "model": callee(policy, &played.calls[answer.call]),
            "sample": answer.sample,
            "text": answer.text,
            "answer": answer.short,
            "cost_usd": answer.cost_usd,
            "latency_ms": answer.latency_ms,
            "failed": answer.failed,
        })
    };
    json!({
        "policy": { "name": policy.manifest.name, "digest": policy.digest, "program": policy.program.name() },
        "steps": played.steps.iter().enumerate().map(step).collect::<Vec<_>>(),
        "answers": played.answers.iter().map(answer).collect::<Vec<_>>(),
        "reply": played.reply().map(|reply| reply_json(policy, reply, played)),
        "cost_usd": played.cost_usd,
        "latency_ms": played.latency_ms,
        "calls": played.answers.len(),
    })
}

/// One line a step, one an answer, and the reply.
fn lines(policy: &Policy, played: &Episode) -> Vec<String> {
    let mut lines = Vec::new();
    let mut first = 0;
    for (at, step) in played.steps.iter().enumerate() {
        let (reason, propensity) = (step.reason.name(), step.propensity());
        match &step.action {
            Action::Call(calls) => {
                let each = calls.iter().map(|call| format!("{} x {}", callee(policy, call), call.samples));
                let each = each.collect::<Vec<_>>().join(", ");
                lines.push(format!("step {at}  call {each}  ({reason}, propensity {propensity:.4})"));
                let open = first..first + calls.len();
                for answer in played.answers.iter().filter(|answer| open.contains(&answer.call)) {
                    let model = callee(policy, &played.calls[answer.call]);
                    let said = match &answer.failed {
                        Some(reason) => format!("failed: {}", shown(reason)),
                        None => shown(answer.brief()),
                    };
                    let price = answer.cost_usd.map_or_else(|| "?".to_owned(), |usd| format!("{usd:.6}"));
                    lines.push(format!("        {model} #{} ({price} USD): {said}", answer.sample));
                }
                first += calls.len();
            }
            Action::Return(reply) => {
                let said = match reply {
                    Reply::Answer(answer) => {
                        let call = &played.calls[played.answers[*answer].call];
                        format!("return the answer of {}", callee(policy, call))
                    }
                    Reply::Text(text) => format!("return {}", shown(text)),
                    Reply::Abstain => "abstain".to_owned(),
                };
                lines.push(format!("step {at}  {said}  ({reason}, propensity {propensity:.4})"));
            }
        }
    }
    let (n, usd) = (played.answers.len(), played.cost_usd);
    lines.push(format!("{n} calls, {usd:.6} USD, {:.0} ms", played.latency_ms));
    lines
}
