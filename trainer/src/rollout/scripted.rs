//! Answers written down beforehand, for one query.

use super::{NotLogged, World, prompt_id};
use routewright_policy::Arm;
use routewright_policy::program::{Answer, Call, Callee, Prompt};
use serde::Deserialize;

/// An answer of a script; a model's are given in order.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Model that gives it, or name of a fused ensemble or tool.
    pub model: String,
    /// Id of the prompt of the policy that it answers; the query itself where `None`.
    #[serde(default)]
    pub prompt: Option<String>,
    /// Full text.
    #[serde(default)]
    pub text: String,
    /// Short answer.
    #[serde(default)]
    pub answer: Option<String>,
    /// Price, US dollars.
    #[serde(default)]
    pub cost_usd: Option<f64>,
    /// Time, milliseconds.
    #[serde(default)]
    pub latency_ms: Option<f64>,
    /// Why the call fails, where it does.
    #[serde(default)]
    pub failed: Option<String>,
    /// What it is worth, in [0, 1].
    #[serde(default)]
    pub score: Option<f64>,
}

/// A script: each call of a model takes its next lines for that prompt.
#[derive(Debug)]
pub struct ScriptedWorld {
    lines: Vec<Line>,
    names: Vec<String>,
}

impl ScriptedWorld {
    /// The script of a policy with these arms.
    pub fn new(lines: Vec<Line>, arms: &[Arm]) -> Self {
        Self { lines, names: arms.iter().map(|arm| arm.model.clone()).collect() }
    }

    fn line(&self, name: &str, call: &Call, at: u32) -> Option<&Line> {
        let prompt = match &call.prompt {
            Prompt::Query => None,
            Prompt::Template { id, .. } => Some(id),
        };
        let is_next = |line: &&Line| line.model == name && line.prompt.as_ref() == prompt;
        self.lines.iter().filter(is_next).nth(at as usize)
    }
}

impl World for ScriptedWorld {
    fn call(&self, query: usize, call: &Call, drawn: u32) -> Result<Vec<Answer>, NotLogged> {
        let name = match &call.callee {
            Callee::Arm(arm) => self.names.get(*arm).map_or("", String::as_str),
            Callee::Fusion(name) => name,
            Callee::Tool(name) => name,
        };
        let one = |at: u32| {
            let missing = || NotLogged {
                query: query.to_string(),
                model: name.to_owned(),
                prompt: prompt_id(call).to_owned(),
                sample: drawn + at,
            };
            let line = self.line(name, call, drawn + at).ok_or_else(missing)?;
            Ok(Answer {
                arm: call.arm_index(),
                sample: at,
                text: if line.failed.is_some() { String::new() } else { line.text.clone() },
                short: line.answer.clone(),
                cost_usd: line.cost_usd,
                latency_ms: line.latency_ms,
                failed: line.failed.clone(),
                ..Answer::default()
            })
        };
        (0..call.samples).map(one).collect()
    }

    fn score(&self, _query: usize, call: &Call, answer: &Answer, number: u32) -> Option<f64> {
        self.line(self.names.get(answer.arm?)?, call, number)?.score
    }
}
