//! Bodies of requests to the HTTP server, answered by its own routes and guard without a socket.

use crate::bytes;
use crate::harness::{Parts, Target, Verdict, attack, refused_in};
use crate::json::Json;
use crate::programs;
use crate::random::{Rng, below, one_in, pick};
use crate::scratch::Scratch;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::handler::Handler as _;
use axum::http::{Request, StatusCode};
use axum::routing::{MethodRouter, any_service};
use routewright_data::QueryText;
use routewright_data::features::Column;
use routewright_policy::artifact::{DataRecord, RouterDraft};
use routewright_policy::forms::{Constant, CostModel};
use routewright_policy::{Arm, Policy, Price, SelectorSpec};
use routewright_policy_server::{Execution, PolicyEntry, Server, ServerConfig, Sink};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Stands in bodies for the id of a decision that the server made.
const DECISION: &str = "dec_00000000000000000000000000000000";
/// A reply is a few thousand bytes.
const REPLY_MAX: usize = 64 << 20;
/// Keys and words of bodies.
const NAMES: [&str; 66] = [
    "input",
    "request",
    "input_format",
    "openai_chat",
    "openai_responses",
    "anthropic_messages",
    "vector",
    "policy",
    "knn",
    "vector@",
    "candidates",
    "small",
    "large",
    "delta",
    "objective",
    "quality",
    "cost",
    "latency",
    "constraints",
    "max_cost_usd",
    "max_latency_ms",
    "tags",
    "residency",
    "session_id",
    "source",
    "seed",
    "explain",
    "full",
    "none",
    "dry_run",
    "deferred",
    "requests",
    "messages",
    "role",
    "user",
    "system",
    "tool",
    "content",
    "type",
    "text",
    "image_url",
    "tool_result",
    "prompt",
    "span",
    "decision_id",
    "metric",
    "score",
    "value",
    "preference",
    "winner",
    "loser",
    "ranking",
    "idempotency_key",
    "occurred_at",
    "cost_usd",
    "latency_ms",
    "activation",
    "model",
    "stream",
    "answers",
    "budget",
    "episode_id",
    "failed",
    "call",
    "sample",
    "stop",
];

const ENSEMBLE: &str = "system = 'gac'\n[limits]\nsteps = 6\nbytes = 200\ndeadline_ms = 20000\n\
    [[members]]\nname = 'polite'\nbackend = 'scripted'\n\
    script = [{ after = 'Hello', next = { ', ' = 0.9, '!' = 0.1 } }, { after = '', next = { 'Hello' = 1.0 } }]\n\
    [[members]]\nname = 'terse'\nbackend = 'scripted'\nscript = [{ after = '', next = { '' = 0.75, 'He' = 0.25 } }]\n";

/// Programs that are asked for their steps.
const STEPS: [&str; 3] = ["cascade", "vote", "verify"];

#[derive(Debug)]
pub(crate) struct Silence;

impl Sink for Silence {
    fn line(&self, _: &str) {}
}

/// A policy that reads vectors of width 2.
fn vector_policy() -> Policy {
    let arm = |model: &str, mean_cost_usd, tags: &[&str]| Arm {
        model: model.to_owned(),
        price: Price { mean_cost_usd, ..Price::default() },
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..Arm::default()
    };
    let cost = CostModel::constant(vec![0.001, 0.01, f32::NAN]);
    let draft = RouterDraft {
        name: "vector".to_owned(),
        method: "test".to_owned(),
        seed: 0,
        arms: vec![
            arm("small", Some(0.001), &["eu"]),
            arm("large", Some(0.01), &[]),
            arm("other", None, &[]),
        ],
        featurizer: Arc::new(Column::new("vector", 2)),
        predictor: Box::new(Constant::new(
            vec![0.5, 0.8, 0.6],
            vec!["code".to_owned()],
            vec![0.9, 0.1, 0.1],
            cost,
        )),
        selector: SelectorSpec { name: "softmax".to_owned(), settings: json!({"temperature": 0.2}) },
        query_text: QueryText::default(),
        params: json!({}),
        data: DataRecord::default(),
        metrics: BTreeMap::new(),
    };
    draft.into_policy().unwrap()
}

fn server(scratch: &Scratch) -> Server {
    scratch.write("pair.toml", ENSEMBLE.as_bytes());
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/artifacts/format-1/knn");
    let text = format!(
        "[server]\ndefault_policy = 'knn'\n[limits]\ndecision_deadline_ms = 0\nworkers = 1\n\
         [policies.knn]\npath = '{}'\nexecution = 'inline'\n[fusions.pair]\nensemble = 'pair.toml'\n\
         [store]\npath = 'log'\ndurability = 'async'\nkeep_prompt = true\nkeep_features = true\n\
         [metrics.score]\n[metrics.thumb]\nrange = [-1.0, 1.0]\n",
        fixture.display()
    );
    let config = ServerConfig::parse(&text, "server.toml", &scratch.path(""), &|_| None).unwrap();
    let entry = || PolicyEntry { execution: Execution::Inline, ..PolicyEntry::at("") };
    let mut policies = vec![(entry(), vector_policy())];
    for name in STEPS {
        let draft = programs::example(routewright_policy::programs::find(name).unwrap());
        policies.push((entry(), draft.into_policy().unwrap()));
    }
    Server::load_with(config, policies, Arc::new(Silence)).unwrap()
}

/// Requests as clients send them: path, content type, body.
fn valid(rng: &mut Rng) -> (&'static str, &'static str, Value) {
    let chat = json!({"model": "auto", "messages": [{"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "sort a list"},
        {"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "assistant", "content": null, "tool_calls": []},
        {"role": "user", "content": "go on"}], "user": "u-1"});
    let responses = json!({"model": "router-knn", "instructions": "Be brief.", "input": [{"role": "user", "content":
        [{"type": "input_text", "text": "sort"}]}, {"type": "function_call_output", "call_id": "c", "output": "7"}]});
    let messages = json!({"model": "routewright/knn", "system": [{"type": "text", "text": "s"}], "max_tokens": 5,
        "messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "t"}]},
        {"type": "text", "text": "sort"}]}], "metadata": {"user_id": "u"}});
    let route = json!({"input": "sort a list of words", "policy": "knn", "candidates": ["delta", "island"], "seed": 7,
        "objective": {"quality": 1.0, "cost": 20.0, "latency": 0.1}, "constraints": {"max_cost_usd": 0.5, "tags": []},
        "session_id": "s-1", "source": "code", "explain": "full", "dry_run": false, "deferred": false});
    let vector = json!({"vector": [0.6, 0.8], "policy": "vector", "explain": "summary",
        "constraints": {"max_cost_usd": 0.05, "residency": "eu"}});
    let wrapped = json!({"request": chat, "input_format": "openai_chat", "explain": "none"});
    let weights = json!({"policy": "knn", "prompt": "count to ten", "text": "one two", "span": 3});
    let answered = json!({"call": 0, "sample": 0, "text": "42", "answer": "42", "finish": "stop", "input_tokens": 3,
        "output_tokens": 1, "cost_usd": 0.001, "latency_ms": 5.0, "logprob_mean": -0.5, "logprob_min": -2.0,
        "logprob_quantiles": [-2.0, -1.0, -0.5, -0.2, -0.1], "option_probs": [0.5, 0.5], "verifier_rate": 0.5});
    let failed = json!({"call": 1, "failed": "timeout"});
    let begun = json!({"input": "what is 6 x 7?", "policy": pick(rng, &STEPS),
        "budget": {"usd": 0.5, "deadline_ms": 900.0}, "objective": {"cost": 20.0}, "dry_run": one_in(rng, 2)});
    let mut stepped = begun.clone();
    stepped["episode_id"] = json!(format!("dec_{}", below(rng, 1000)));
    stepped["seed"] = json!(below(rng, 9));
    stepped["answers"] = json!([answered, failed][..1 + below(rng, 2)]);
    let feedback = json!({"decision_id": DECISION, "metric": "score", "value": 0.5, "source": "user",
        "idempotency_key": "k-1", "occurred_at": 1_790_000_000_000_i64, "cost_usd": 0.001, "latency_ms": 900.0});
    let preference = json!({"decision_id": DECISION, "preference": {"winner": "small", "loser": "large"}});
    let ranking =
        json!({"decision_id": DECISION, "ranking": ["small", "large", "other"], "activation": true});
    let fused = json!({"model": "fusion/pair", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4,
        "temperature": 0.5, "top_p": 0.9, "stop": ["!"], "seed": 3, "stream": one_in(rng, 2),
        "stream_options": {"include_usage": true}, "n": 1, "logit_bias": {}});
    let prompt =
        json!({"model": "fusion/pair", "prompt": "Hello", "max_tokens": 3, "stop": "!", "echo": false});
    let json = "application/json";
    match below(rng, 24) {
        20 => ("/v1/step", json, begun),
        21..=23 => ("/v1/step", json, stepped),
        0..=3 => ("/v1/route", json, route),
        4 | 5 => ("/v1/route", json, vector),
        6 | 7 => ("/v1/route", json, wrapped),
        8 => ("/v1/route/batch", json, json!({"requests": [route, vector, wrapped]})),
        9 | 10 => ("/route/v1/chat/completions", json, chat),
        11 => ("/route/v1/responses", json, responses),
        12 => ("/route/v1/messages", json, messages),
        13 | 14 => ("/v1/weights", json, weights),
        15 => ("/v1/feedback", json, feedback),
        16 => ("/v1/feedback", json, pick(rng, &[preference, ranking]).clone()),
        17 => ("/v1/feedback", "application/x-ndjson", json!([feedback, preference, ranking])),
        18 => ("/v1/chat/completions", json, fused),
        _ => ("/v1/completions", json, prompt),
    }
}

/// Calls the routes of a server without a socket.
pub(crate) struct Caller {
    routes: MethodRouter,
    runtime: Runtime,
}

impl Caller {
    pub(crate) fn of(router: Router) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { routes: any_service(router), runtime }
    }

    /// Status and body of the reply to a `POST`.
    pub(crate) fn send(
        &self,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let request = Request::post(path).header("content-type", kind).header("host", "localhost");
        let request = request.body(Body::from(body)).map_err(|error| error.to_string())?;
        let routes = self.routes.clone();
        self.runtime.block_on(async move {
            let response = routes.call(request, ()).await;
            let status = response.status();
            let read = to_bytes(response.into_body(), REPLY_MAX).await;
            Ok((status, read.map_err(|error| format!("a reply breaks off: {error}"))?.to_vec()))
        })
    }
}

struct Wire {
    _scratch: Scratch,
    _server: Server,
    caller: Caller,
    decision: String,
    made: u64,
}

/// Cases of one server: its log would outgrow the memory otherwise.
const CASES_OF_A_SERVER: u64 = 50_000;

impl Wire {
    fn new() -> Self {
        let scratch = Scratch::new();
        let server = server(&scratch);
        let caller = Caller::of(server.router());
        let mut wire = Self { _scratch: scratch, _server: server, caller, decision: String::new(), made: 0 };
        let body = json!({"vector": [0.6, 0.8], "policy": "vector"}).to_string();
        let (_, reply) = wire.caller.send("/v1/route", "application/json", body.into_bytes()).unwrap();
        let reply: Value = serde_json::from_slice(&reply).unwrap();
        wire.decision = reply["id"].as_str().unwrap().to_owned();
        assert_eq!(wire.decision.len(), DECISION.len());
        wire
    }
}

/// Checks a decision as it is replied.
fn is_decision(reply: &Value) -> Result<(), String> {
    let number = |value: &Value| value.as_f64().filter(|number| number.is_finite());
    let sound = |p: Option<f64>| p.is_some_and(|p| (0.0..=1.000_001).contains(&p));
    if !sound(number(&reply["propensity"])) || reply["action"]["model"].as_str().is_none_or(str::is_empty) {
        return Err(format!("a decision is {reply}"));
    }
    let Some(candidates) = reply["candidates"].as_array() else { return Ok(()) };
    let sum: f64 = candidates.iter().filter_map(|candidate| number(&candidate["propensity"])).sum();
    match (sum - 1.0).abs() < 1e-4
        && candidates.iter().all(|candidate| sound(number(&candidate["propensity"])))
    {
        true => Ok(()),
        false => Err(format!("a decision is {reply}")),
    }
}

/// Checks a step as it is replied.
fn is_step(reply: &Value) -> Result<(), String> {
    let sound = reply["propensity"].as_f64().is_some_and(|p| p > 0.0 && p <= 1.000_001);
    let spent =
        [&reply["spent_usd"], &reply["elapsed_ms"]].iter().all(|n| n.as_f64().is_some_and(|n| n >= 0.0));
    let action = &reply["action"];
    let is_known = match action["kind"].as_str() {
        Some("call") => action["calls"].as_array().is_some_and(|calls| {
            !calls.is_empty()
                && calls.iter().all(|call| call["samples"].as_u64().is_some_and(|n| n > 0 && n < 100))
        }),
        Some("return") => action["abstained"].is_boolean(),
        _ => false,
    };
    if sound && spent && is_known { Ok(()) } else { Err(format!("a step is {reply}")) }
}

/// Checks what an error says.
pub(crate) fn is_error(reply: &Value, parts: &Parts) -> Result<Verdict, String> {
    let error = &reply["error"];
    let said = error["message"].as_str().unwrap_or_default();
    if error["code"].as_str().is_none_or(str::is_empty) {
        return Err(format!("an error has no code: {reply}"));
    }
    refused_in(said, parts)
}

fn judge(path: &str, status: StatusCode, reply: &[u8], parts: &Parts) -> Result<Verdict, String> {
    let text = std::str::from_utf8(reply).map_err(|error| format!("a reply is no UTF-8: {error}"))?;
    let line = |line: &str| {
        serde_json::from_str::<Value>(line).map_err(|error| format!("a reply is `{line}`: {error}"))
    };
    if status.as_u16() == 500
        || !(status.is_success() || status.is_client_error() || status.is_server_error())
    {
        return Err(format!("status {status}: {text}"));
    }
    if !status.is_success() {
        return is_error(&line(text)?, parts);
    }
    match path {
        "/v1/route/batch" => {
            for entry in line(text)?["data"].as_array().into_iter().flatten() {
                match entry.get("error").is_some_and(|error| !error.is_null()) {
                    true => drop(is_error(entry, parts)?),
                    false => is_decision(entry.get("decision").unwrap_or(entry))?,
                }
            }
        }
        "/v1/weights" => {
            let reply = line(text)?;
            let sum: f64 = reply["weights"].as_array().into_iter().flatten().filter_map(Value::as_f64).sum();
            if (sum - 1.0).abs() > 1e-4 {
                return Err(format!("weights are {reply}"));
            }
        }
        "/v1/step" => is_step(&line(text)?)?,
        path if path.contains("route") => is_decision(&line(text)?)?,
        "/v1/feedback" => text.lines().try_for_each(|text| line(text).map(|_| ()))?,
        _ => {
            let events =
                text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
            let wholes = if text.starts_with("data:") { events.collect() } else { vec![text] };
            wholes.into_iter().try_for_each(|text| line(text).map(|_| ()))?;
        }
    }
    Ok(Verdict::Accepted)
}

impl Target for Wire {
    const NAME: &'static str = "wire";
    const CASES: u64 = 4000;
    const MEMORY: usize = 24 << 20;

    fn input(&mut self, rng: &mut Rng) -> Parts {
        self.made += 1;
        if self.made > CASES_OF_A_SERVER {
            *self = Self::new();
        }
        let (path, kind, body) = valid(rng);
        let ending = if kind == "application/json" { "json" } else { "ndjson" };
        let mut body = match (&body, ending) {
            (Value::Array(lines), "ndjson") => {
                let line = |line: &Value| {
                    if one_in(rng, 2) {
                        Json::damaged(line, &NAMES, rng)
                    } else {
                        line.to_string().into_bytes()
                    }
                };
                lines.iter().map(line).collect::<Vec<_>>().join(&b'\n')
            }
            _ => Json::damaged(&body, &NAMES, rng),
        };
        if one_in(rng, 40) {
            body = [&b"\xef\xbb\xbf"[..], &body].concat();
        }
        if one_in(rng, 40) {
            bytes::damage(&mut body, rng);
        }
        vec![(format!("{path}.{ending}"), body)]
    }

    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String> {
        let (name, body) = &parts[0];
        let (path, ending) = name.rsplit_once('.').ok_or("a name without an ending")?;
        let kind = if ending == "json" { "application/json" } else { "application/x-ndjson" };
        // What names the decision of the recording means the one that this server made.
        let (from, to) = (DECISION.as_bytes(), self.decision.as_bytes());
        let mut body = body.clone();
        while let Some(at) = body.windows(from.len()).position(|window| window == from) {
            body[at..at + from.len()].copy_from_slice(to);
        }
        let (status, reply) = self.caller.send(path, kind, body)?;
        judge(path, status, &reply, parts)
    }
}

#[test]
fn bodies_of_requests() {
    attack(Wire::new());
}
