//! `routewright route --policy DIR "prompt"`: one decision, explained if asked for.

use super::output;
use anyhow::Context as _;
use clap::Args;
use routewright_data::features::FeatureInput;
use routewright_data::query_text;
use routewright_policy::{Constraints, Decision, Objective, Policy, Request, artifact};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `route`.
#[derive(Debug, Args)]
pub(crate) struct RouteCommand {
    /// The text of the query, `-` for stdin.
    #[arg(required_unless_present = "request")]
    prompt: Option<String>,
    /// File with the body of an OpenAI chat, responses or Anthropic messages request, `-` for stdin: what of it is
    /// routed on is the policy's own rule.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    request: Option<PathBuf>,
    /// Folder of the policy.
    #[arg(long, value_name = "DIR")]
    policy: PathBuf,
    /// Show every candidate, what excluded it, and the training queries behind the prediction.
    #[arg(long)]
    explain: bool,
    /// Source (task) of the query, for policies that read it.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Arms that may be called; all by default. May be repeated.
    #[arg(long = "candidate", value_name = "MODEL")]
    candidates: Vec<String>,
    /// Score given up to save one US dollar; replaces the policy's selector.
    #[arg(long, value_name = "SCORE_PER_USD")]
    lambda: Option<f64>,
    /// Greatest predicted price of the call, US dollars.
    #[arg(long, value_name = "USD")]
    max_cost_usd: Option<f64>,
    /// Seed of the draw.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl RouteCommand {
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let policy = artifact::load(&self.policy)?;
        let text = self.text(&policy)?;
        let candidates = (!self.candidates.is_empty()).then_some(self.candidates.as_slice());
        let request = Request {
            input: FeatureInput::from(text.as_str()),
            source: self.source.as_deref(),
            candidates,
            objective: self.lambda.map(|cost| Objective { quality: 1.0, cost, latency: 0.0 }),
            constraints: Constraints { max_cost_usd: self.max_cost_usd, ..Constraints::default() },
            seed: self.seed,
            ..Request::default()
        };
        let decision = policy.decide(&request)?;
        if json {
            output::say_json(&document(&policy, &decision))?;
        } else if self.explain {
            output::say(&explain(&policy, &decision));
        } else {
            output::say(&policy.arms[decision.arm].model);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl RouteCommand {
    /// The prompt as it is; a last line break of stdin is not part of it.
    fn plain(&self) -> anyhow::Result<String> {
        match self.prompt.as_deref() {
            Some("-") => {
                let text =
                    std::io::read_to_string(std::io::stdin()).context("cannot read the prompt from stdin")?;
                Ok(text
                    .strip_suffix('\n')
                    .map(|line| line.strip_suffix('\r').unwrap_or(line))
                    .unwrap_or(&text)
                    .to_owned())
            }
            prompt => Ok(prompt.unwrap_or_default().to_owned()),
        }
    }

    /// The text to route on: the prompt as it is, of a request what the policy reads.
    fn text(&self, policy: &Policy) -> anyhow::Result<String> {
        let Some(path) = &self.request else { return self.plain() };
        let body = if path.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin()).context("cannot read the request from stdin")?
        } else {
            std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?
        };
        let shown = path.display();
        let body: serde_json::Value = serde_json::from_str(body.trim_start_matches('\u{feff}'))
            .with_context(|| format!("`{shown}` is not valid JSON"))?;
        let read = query_text::stored(&body).with_context(|| format!("cannot read `{shown}`"))?;
        let rule = policy.query_text();
        read.and_then(|conversation| rule.text(&conversation)).with_context(|| {
            format!(
                "`{shown}` has no text of a user, expected `messages` or `input` with a turn of role `user`"
            )
        })
    }
}

fn document(policy: &Policy, decision: &Decision) -> serde_json::Value {
    let candidates: Vec<serde_json::Value> = policy
        .arms
        .iter()
        .zip(&decision.candidates)
        .map(|(arm, candidate)| {
            serde_json::json!({
                "model": arm.model,
                "score": candidate.score,
                "score_se": candidate.score_se,
                "cost_usd": candidate.cost_usd,
                "propensity": candidate.propensity,
                "excluded_by": candidate.excluded_by,
            })
        })
        .collect();
    let flip =
        decision.flip.map(|f| serde_json::json!({"lambda": f.lambda, "model": policy.arms[f.arm].model}));
    let near = decision.neighborhood.as_ref();
    let because = near.and_then(|near| near.evidence.as_ref());
    serde_json::json!({
        "model": policy.arms[decision.arm].model,
        "propensity": decision.propensity,
        "reason": decision.reason,
        "policy": {"name": policy.manifest.name, "digest": policy.digest},
        "explanation": because.map(|evidence| evidence.explain(decision, &policy.arms)),
        "candidates": candidates,
        "flip": flip,
        "neighbors": near.map(|n| serde_json::json!({"query_ids": n.query_ids, "similarities": n.similarities})),
    })
}

/// A table of the candidates, the lambda at which the choice flips, the nearest training queries.
pub(crate) fn explain(policy: &Policy, decision: &Decision) -> String {
    let width = policy.arms.iter().map(|arm| arm.model.len()).max().unwrap_or(5).max(5);
    let mut lines = vec![format!(
        "   {:<width$} {:>8} {:>8} {:>12} {:>10}",
        "model", "score", "se", "cost USD", "propensity"
    )];
    for (at, (arm, candidate)) in policy.arms.iter().zip(&decision.candidates).enumerate() {
        let mark = if at == decision.arm { "->" } else { "  " };
        let se = candidate.score_se.map_or_else(|| "-".to_owned(), |se| format!("{se:.3}"));
        let cost = candidate.cost_usd.map_or_else(|| "-".to_owned(), |usd| format!("{usd:.6}"));
        let excluded = candidate.excluded_by.map_or_else(String::new, |e| format!("  excluded by {e:?}"));
        lines.push(format!(
            "{mark} {:<width$} {:>8.3} {se:>8} {cost:>12} {:>10.3}{excluded}",
            arm.model, candidate.score, candidate.propensity
        ));
    }
    if let Some(evidence) = decision.neighborhood.as_ref().and_then(|near| near.evidence.as_ref()) {
        lines.push(evidence.explain(decision, &policy.arms));
    }
    if let Some(flip) = decision.flip {
        let model = &policy.arms[flip.arm].model;
        lines.push(format!(
            "flips to {model} at lambda {:.3} (score given up to save one US dollar)",
            flip.lambda
        ));
    }
    if let Some(near) = decision.neighborhood.as_ref().filter(|n| !n.query_ids.is_empty()) {
        let ids = near.query_ids.iter().zip(&near.similarities).take(5);
        let ids: Vec<String> = ids.map(|(id, similarity)| format!("{id} ({similarity:.2})")).collect();
        lines.push(format!("nearest training queries: {}", ids.join(", ")));
    }
    lines.join("\n")
}
