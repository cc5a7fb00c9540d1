//! Policies of several steps: their artifacts damaged, read, and played against answers that are damaged, too.

use crate::artifact::{damaged_tensors, signed};
use crate::bytes;
use crate::harness::{Parts, Target, Verdict, attack, refused};
use crate::json::Json;
use crate::random::{Rng, below, one_in, pick};
use crate::scratch::Scratch;
use crate::text;
use routewright_data::QueryText;
use routewright_data::features::FeatureInput;
use routewright_policy::artifact::{self, DataRecord, ProgramDraft};
use routewright_policy::program::{Action, Answer, Budget, Call, Confidence, Machine, Prompt, Usage, render};
use routewright_policy::{Arm, Objective, Policy, Price, Request, programs};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Keys and words of their manifests.
const NAMES: [&str; 48] = [
    "program",
    "name",
    "version",
    "config",
    "parts",
    "prompts",
    "scorer",
    "router",
    "one-call",
    "cascade",
    "vote",
    "switch",
    "select",
    "gate",
    "cascade-routing",
    "verify",
    "consistency",
    "fuse",
    "strategies",
    "order",
    "thresholds",
    "score",
    "cost_usd",
    "default",
    "stages",
    "samples",
    "model",
    "arms",
    "weights",
    "reads",
    "small",
    "large",
    "other",
    "featurizer",
    "form",
    "selector",
    "constant",
    "linear",
    "dim",
    "settings",
    "digest",
    "depth",
    "gamma",
    "lambda",
    "points",
    "thoughts",
    "bins",
    "price",
];

const MANIFEST: &str = "manifest.json";
const PLAY: &str = "play.json";
/// Answers that a policy may ask for: a policy that asks for more spends what nobody agreed to.
const SAMPLES_MAX: u64 = 4096;

fn arms() -> Vec<Arm> {
    let arm = |(model, usd): (&str, f64)| Arm {
        model: model.to_owned(),
        price: Price { mean_cost_usd: Some(usd), ..Price::default() },
        mean_latency_ms: Some(10.0),
        ..Arm::default()
    };
    [("small", 0.001), ("large", 0.01), ("other", 0.1)].map(arm).to_vec()
}

/// A small policy of a registered program.
pub(crate) fn example(row: &programs::ProgramRow) -> ProgramDraft {
    let arms = arms();
    let program = programs::load(row.name, row.version, (row.example)(&arms), &arms).unwrap();
    ProgramDraft {
        name: row.name.to_owned(),
        method: "test".to_owned(),
        seed: 0,
        arms,
        program,
        query_text: QueryText::default(),
        params: json!({}),
        data: DataRecord::default(),
        metrics: BTreeMap::new(),
    }
}

/// The files of an artifact of every program.
fn wholes(scratch: &Scratch) -> Vec<Parts> {
    let whole = |row: &programs::ProgramRow| {
        let path = scratch.path(row.name);
        example(row).save(&path).unwrap();
        let entries = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
        let mut parts: Parts = entries
            .map(|path| {
                (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
            })
            .collect();
        // The manifest first.
        parts.sort_by_key(|(name, _)| (name != MANIFEST, name.clone()));
        parts
    };
    programs::ALL.iter().map(whole).collect()
}

/// What is played: a request, its limits, and what is answered in turn.
fn play(rng: &mut Rng) -> Vec<u8> {
    let answer = |rng: &mut Rng| {
        json!({"text": *pick(rng, &["Answer: 42", "42", "B", "no", "yes", ""]), "short": "42", "finish": "stop",
            "output_tokens": 3, "cost_usd": 0.001, "latency_ms": 5.0, "logprob_mean": -0.25,
            "logprob_min": -2.0, "quantiles": [-2.0, -1.0, -0.5, -0.25, -0.1], "options": [0.75, 0.25],
            "verifier_rate": 0.8, "failed": if one_in(rng, 6) { json!("timeout") } else { Value::Null }})
    };
    let limit = |rng: &mut Rng, some: f64| if one_in(rng, 3) { json!(some) } else { Value::Null };
    let script = json!({"text": "what is 6 x 7?", "source": "math", "vector": [0.5, -1.0], "usd": limit(rng, 0.05),
        "deadline_ms": limit(rng, 25.0), "cost": limit(rng, 20.0), "seed": below(rng, 100),
        "answers": [answer(rng), answer(rng), answer(rng)]});
    Json::damaged(&script, &["failed", "text", "short", "cost_usd", "answers", "42"], rng)
}

fn float(value: &Value) -> Option<f64> {
    value.as_f64()
}

/// The answer of a script to a sample of a call.
fn said(script: &Value, turn: usize, call: usize, sample: u32, arm: Option<usize>) -> Answer {
    let answers = script["answers"].as_array().map_or(&[][..], Vec::as_slice);
    let none = Value::Null;
    let said = if answers.is_empty() { &none } else { &answers[turn % answers.len()] };
    let text = |key: &str| said[key].as_str().map(str::to_owned);
    let list = |key: &str| -> Vec<f32> {
        said[key].as_array().into_iter().flatten().filter_map(float).map(|v| v as f32).collect()
    };
    let number = |key: &str| float(&said[key]).map(|v| v as f32);
    Answer {
        call,
        arm,
        sample,
        text: text("text").unwrap_or_default(),
        short: text("short"),
        finish: text("finish"),
        usage: Usage { input_tokens: None, output_tokens: said["output_tokens"].as_u64() },
        cost_usd: float(&said["cost_usd"]),
        latency_ms: float(&said["latency_ms"]),
        confidence: Some(Confidence {
            logprob_mean: number("logprob_mean"),
            logprob_min: number("logprob_min"),
            logprob_quantiles: list("quantiles"),
            option_probs: list("options"),
            verifier_rate: number("verifier_rate"),
        }),
        failed: text("failed"),
    }
}

struct Programs {
    scratch: Scratch,
    wholes: Vec<Parts>,
    /// Names of files that an earlier case may have left.
    names: Vec<String>,
}

impl Programs {
    /// The answers to the calls of a step; checks what is sent.
    fn answers(policy: &Policy, script: &Value, calls: &[Call], first: usize) -> Result<Vec<Answer>, String> {
        let texts = policy.program.prompts();
        let mut answers = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            if call.prompt != Prompt::Query {
                render(&call.prompt, script["text"].as_str().unwrap_or_default(), &texts)
                    .map_err(|error| format!("a prompt cannot be sent: {error}"))?;
            }
            if answers.len() as u64 + u64::from(call.samples) > SAMPLES_MAX {
                return Err(format!("a step asks for {} samples at once", call.samples));
            }
            for sample in 0..call.samples {
                answers.push(said(script, answers.len() + first, first + at, sample, call.arm_index()));
            }
        }
        Ok(answers)
    }

    /// Plays a policy to its end.
    fn play(policy: &Policy, script: &Value, parts: &Parts) -> Result<Verdict, String> {
        let bounds = policy.program.bounds();
        if u64::from(bounds.calls) > SAMPLES_MAX || bounds.steps > 1000 {
            return Err(format!("a policy that was read has {bounds:?}"));
        }
        let vector: Vec<f32> =
            script["vector"].as_array().into_iter().flatten().filter_map(float).map(|v| v as f32).collect();
        let objective = float(&script["cost"]).map(|cost| Objective { quality: 1.0, cost, latency: 0.0 });
        let input = FeatureInput {
            text: script["text"].as_str().unwrap_or_default(),
            vector: Some(vector.as_slice()),
        };
        let seed = script["seed"].as_u64().unwrap_or_default();
        let source = script["source"].as_str();
        let request = Request { input, source, objective, seed, ..Request::default() };
        let budget = Budget { usd: float(&script["usd"]), deadline_ms: float(&script["deadline_ms"]) };
        let mut machine = Machine::new(policy, request, budget);
        let mut step = machine.start();
        for _ in 0..=bounds.steps {
            let taken = match step {
                Ok(taken) => taken,
                Err(error) => {
                    let words = error.to_string();
                    // A program that was read keeps its contract, whatever is answered.
                    if words.contains("took no valid step") {
                        return Err(words);
                    }
                    return refused(&error, parts);
                }
            };
            let Action::Call(calls) = &taken.action else { return Ok(Verdict::Accepted) };
            let answers = Self::answers(policy, script, calls, machine.first_pending())?;
            step = machine.supply(answers);
        }
        Err(format!("a policy of {bounds:?} does not end"))
    }
}

impl Target for Programs {
    const NAME: &'static str = "programs";
    const CASES: u64 = 4000;
    const MEMORY: usize = 16 << 20;

    fn input(&mut self, rng: &mut Rng) -> Parts {
        let mut parts = pick(rng, &self.wholes).clone();
        let mut manifest: Value = serde_json::from_slice(&parts[0].1).unwrap();
        match below(rng, 6) {
            0 if parts.len() > 1 => {
                let at = 1 + below(rng, parts.len() - 1);
                let file = &mut parts[at];
                file.1 = match file.0.ends_with(".safetensors") {
                    true => damaged_tensors(&file.1, rng),
                    false => text::damage(&String::from_utf8_lossy(&file.1), rng).into_bytes(),
                };
            }
            1 if parts.len() > 1 => drop(parts.remove(1 + below(rng, parts.len() - 1))),
            // The answers alone are damaged.
            2 => {}
            _ => {
                let routers = manifest["parts"].as_object().into_iter().flatten();
                let mut places: Vec<String> = routers.map(|(name, _)| format!("/parts/{name}")).collect();
                let fixed = ["/program/config", "/program/config", "/program", "/arms", ""];
                places.extend(fixed.map(str::to_owned));
                let target = manifest.pointer_mut(pick::<String>(rng, &places)).unwrap();
                let damaged = Json::damaged(target, &NAMES, rng);
                match serde_json::from_slice(&damaged) {
                    Ok(value) => *target = value,
                    Err(_) => {
                        let mut text = manifest.to_string().into_bytes();
                        bytes::damage(&mut text, rng);
                        parts[0].1 = text;
                        parts.push((PLAY.to_owned(), play(rng)));
                        return parts;
                    }
                }
            }
        }
        if !one_in(rng, 20) {
            signed(&mut manifest, &parts);
        }
        parts[0].1 = manifest.to_string().into_bytes();
        parts.push((PLAY.to_owned(), play(rng)));
        parts
    }

    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String> {
        let path = self.scratch.path("policy");
        for name in self.names.drain(..) {
            let _none = std::fs::remove_file(path.join(name));
        }
        let (script, files): (Parts, Parts) = parts.iter().cloned().partition(|(name, _)| name == PLAY);
        self.scratch.write_all("policy", &files);
        self.names = files.iter().map(|(name, _)| name.clone()).collect();
        let script = script.first().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
        let script = serde_json::from_slice(script).unwrap_or(Value::Null);
        match artifact::load(&path) {
            Ok(policy) => Self::play(&policy, &script, parts),
            Err(error) => refused(&error, parts),
        }
    }
}

#[test]
fn policies_of_several_steps() {
    let scratch = Scratch::new();
    let wholes = wholes(&scratch);
    attack(Programs { scratch, wholes, names: Vec::new() });
}
