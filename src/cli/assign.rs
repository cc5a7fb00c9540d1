//! `routewright assign`: the arms of a whole batch of prompts, within a budget.

use super::output;
use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use routewright_data::files;
use routewright_policy::assignment::{self, Assignment, Batch};
use routewright_policy::{Policy, Request, artifact};
use serde::Deserialize;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Bytes of the file of prompts, at most.
const BYTES_MAX: u64 = 4 << 30;
/// Prompts whose features are made at a time.
const CHUNK: usize = 4096;

/// How arms are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rule {
    /// The greatest sum of expected scores within the budget.
    Best,
    /// In the order of the file, the best arm that leaves enough for the cheapest of the rest.
    Greedy,
    /// The cheapest arm whose expected score exceeds `--least`, the dearest where none does; no budget.
    Threshold,
}

/// Arguments of `assign`.
#[derive(Debug, Args)]
pub(crate) struct AssignCommand {
    /// File of prompts: one JSON object a line with `prompt`, and `id` and `source` where there are.
    prompts: PathBuf,
    /// Folder of the policy.
    #[arg(long, value_name = "DIR")]
    policy: PathBuf,
    /// What all calls may cost together, US dollars, by the prices that the policy predicts.
    #[arg(long, value_name = "USD", required_unless_present = "least")]
    budget_usd: Option<f64>,
    /// How arms are chosen.
    #[arg(long, value_enum, default_value = "best")]
    rule: Rule,
    /// Expected score that is good enough for `--rule threshold`.
    #[arg(long, value_name = "SCORE", required_if_eq("rule", "threshold"), allow_negative_numbers = true)]
    least: Option<f64>,
    /// File the choices are written to, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// One line of the file.
#[derive(Debug, Deserialize)]
struct Line {
    prompt: String,
    #[serde(default)]
    id: Option<serde_json::Value>,
    #[serde(default)]
    source: Option<String>,
}

/// Expected scores and prices of all prompts.
#[derive(Debug, Default)]
struct Expected {
    score: Vec<f32>,
    cost_usd: Vec<f32>,
}

impl AssignCommand {
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let policy = artifact::load(&self.policy)?;
        let lines = self.read()?;
        let expected = predict(&policy, &lines)?;
        let batch = Batch { n_arms: policy.arms.len(), score: &expected.score, cost_usd: &expected.cost_usd };
        let found = self.assign(&batch)?;
        self.write(&policy, &lines, &batch, &found)?;
        if json {
            output::say_json(&json!({
                "out": self.out,
                "prompts": lines.len(),
                "expected_score": found.score,
                "cost_usd": found.cost_usd,
                "bound": found.bound,
                "lambda": found.lambda,
            }))?;
        } else {
            output::say(&self.summary(&policy, &found));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn read(&self) -> anyhow::Result<Vec<Line>> {
        let bytes = files::read_up_to(&self.prompts, BYTES_MAX)?;
        let shown = self.prompts.display();
        let mut lines = Vec::new();
        for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let line = serde_json::from_slice(line).with_context(|| {
                let line = at + 1;
                format!("line {line} of `{shown}` is no query, expected a JSON object with a text `prompt`")
            })?;
            lines.push(line);
        }
        ensure!(!lines.is_empty(), "`{shown}` has no prompts, expected one JSON object a line");
        Ok(lines)
    }

    fn assign(&self, batch: &Batch<'_>) -> anyhow::Result<Assignment> {
        let budget = self.budget_usd.context("`--budget-usd` is missing, expected US dollars");
        Ok(match self.rule {
            Rule::Best => assignment::within_budget(batch, budget?)?,
            Rule::Greedy => assignment::greedy(batch, budget?)?,
            Rule::Threshold => {
                let least = self.least.context("`--least` is missing, expected a score")?;
                ensure!(least.is_finite(), "`--least` is `{least}`, expected a number");
                assignment::threshold(batch, least)?
            }
        })
    }

    fn write(
        &self,
        policy: &Policy,
        lines: &[Line],
        batch: &Batch<'_>,
        found: &Assignment,
    ) -> anyhow::Result<()> {
        let mut text = String::new();
        for (row, (line, arm)) in lines.iter().zip(&found.arms).enumerate() {
            let at = row * batch.n_arms + *arm as usize;
            let entry = json!({
                "id": line.id.clone().unwrap_or_else(|| json!(row)),
                "model": policy.arms[*arm as usize].model,
                "expected_score": batch.score[at],
                "cost_usd": batch.cost_usd[at],
            });
            text.push_str(&entry.to_string());
            text.push('\n');
        }
        Ok(files::write_file(&self.out, text.as_bytes())?)
    }

    fn summary(&self, policy: &Policy, found: &Assignment) -> String {
        let n = found.arms.len();
        let mut counts = vec![0_usize; policy.arms.len()];
        found.arms.iter().for_each(|arm| counts[*arm as usize] += 1);
        let shares = policy.arms.iter().zip(&counts).filter(|(_, count)| **count > 0);
        let shares: Vec<String> = shares.map(|(arm, count)| format!("{} {count}", arm.model)).collect();
        let bound = match found.bound {
            Some(bound) => format!(" (no choice within the budget exceeds {:.4})", bound / n as f64),
            None => String::new(),
        };
        format!(
            "{n} prompts: mean expected score {:.4}{bound}, {:.6} US dollars; {}\nwritten to {}",
            found.score / n as f64,
            found.cost_usd,
            shares.join(", "),
            self.out.display()
        )
    }
}

fn request(line: &Line) -> Request<'_> {
    Request { input: line.prompt.as_str().into(), source: line.source.as_deref(), ..Request::default() }
}

/// What the policy expects of every arm on every prompt.
fn predict(policy: &Policy, lines: &[Line]) -> anyhow::Result<Expected> {
    if policy.program.router().is_none() {
        let method = &policy.manifest.method;
        bail!("`{method}` decides in several steps, expected a policy that chooses one model a query");
    }
    ensure!(
        !policy.reads_vector(),
        "policy `{}` reads vectors, expected one that reads the text of a query",
        policy.manifest.name
    );
    let mut expected = Expected::default();
    for chunk in lines.chunks(CHUNK) {
        let requests: Vec<Request<'_>> = chunk.iter().map(request).collect();
        let prediction = policy.predict(&requests)?;
        expected.score.extend(prediction.score);
        expected.cost_usd.extend(prediction.cost_usd);
    }
    // A retired arm is no choice.
    let retired = policy.arms.iter().map(|arm| arm.retired).collect::<Vec<bool>>();
    for (cell, score) in expected.score.iter_mut().enumerate() {
        if retired[cell % retired.len()] {
            *score = f32::NAN;
        }
    }
    Ok(expected)
}
