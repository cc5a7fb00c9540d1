//! Every method that looks at answers, over `POST /v1/step`: trained on one simulated log, served by one server, and
//! driven with the answers of that log, with failures only, and with what no model said.

use crate::run::{json, ok, run};
use crate::serving::{Connection, Serving, ask, connect};
use routewright_data::answers::{AnswerRow, AnswerTable};
use routewright_data::{LoadOptions, OutcomeTable};
use serde_json::{Value, json as body};
use std::path::Path;

/// Steps after which an episode is taken for endless.
const STEPS_MAX: usize = 64;
/// Queries asked of each policy.
const QUERIES: usize = 8;

/// Methods of the registry that read answers or calls.
fn methods(dir: &Path) -> Vec<String> {
    let rows = json(dir, &["methods"]);
    let looks = |row: &&Value| {
        let reads = row["reads"].as_array().unwrap();
        row["family"] != "fusion" && reads.iter().any(|what| what == "answers" || what == "calls")
    };
    rows.as_array()
        .unwrap()
        .iter()
        .filter(looks)
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Settings that make a fit quick.
fn quick(method: &str) -> &'static [&'static str] {
    match method {
        "answer-stacker" => &["--set", "repeats=1"],
        "more" => &["--set", "trees=20"],
        _ => &[],
    }
}

/// Who answers the calls of an episode.
enum World<'a> {
    /// The log, where it has an answer; a sentence where it has none, as of a judge or a fuser.
    Log(&'a OutcomeTable, &'a AnswerTable, usize),
    /// Nobody.
    Dead,
    /// An empty text, at no price.
    Silent,
}

impl World<'_> {
    fn answer(&self, call: &Value, sample: u32) -> Value {
        let number = &call["call"];
        match self {
            Self::Dead => body!({ "call": number, "sample": sample, "failed": "connection refused" }),
            Self::Silent => {
                body!({ "call": number, "sample": sample, "text": "", "cost_usd": 0.0, "latency_ms": 1.0 })
            }
            Self::Log(table, answers, row) => {
                let arm = table.models.iter().position(|model| call["model"] == model.as_str());
                let said = arm.filter(|_| call["prompt"].is_null()).and_then(|arm| {
                    // Samples are asked for in the order of the log.
                    answers.samples(*row, arm).find(|answer| answer.sample == sample)
                });
                said.map_or_else(
                    || body!({ "call": number, "sample": sample, "text": "The answer is correct: 7.", "answer": "7",
                        "cost_usd": 0.001, "latency_ms": 10.0 }),
                    |answer| logged(number, &answer),
                )
            }
        }
    }
}

/// An answer of the log with all that it has.
fn logged(call: &Value, answer: &AnswerRow<'_>) -> Value {
    body!({
        "call": call, "sample": answer.sample, "text": answer.text.unwrap_or_default(), "answer": answer.answer,
        "finish": answer.finish, "input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens,
        "cost_usd": answer.cost_usd, "latency_ms": answer.latency_ms,
        "logprob_mean": answer.logprob_mean, "logprob_min": answer.logprob_min,
        "logprob_quantiles": answer.logprob_quantiles.unwrap_or_default(),
        "option_probs": answer.option_probs.unwrap_or_default(), "verifier_rate": answer.verifier_rate,
    })
}

/// Plays an episode to its end: number of calls, and the last reply.
fn play(
    stream: &mut Connection,
    method: &str,
    prompt: &str,
    source: Option<&str>,
    world: &World<'_>,
) -> (usize, Value) {
    let mut request = body!({ "input": prompt, "policy": method, "source": source });
    let mut answers: Vec<Value> = Vec::new();
    let mut paid = 0.0;
    for _ in 0..STEPS_MAX {
        request["answers"] = body!(answers);
        let (status, reply) = ask(stream, "POST /v1/step", &request.to_string()).unwrap();
        assert_eq!(status, 200, "{method}: {request} gave {reply}");
        let propensity = reply["propensity"].as_f64().unwrap();
        assert!(propensity > 0.0 && propensity <= 1.0, "{method}: {reply}");
        assert!(
            (reply["spent_usd"].as_f64().unwrap() - paid).abs() < 1e-9 || matches!(world, World::Dead),
            "{method}: {reply}"
        );
        for key in ["episode_id", "seed"] {
            request[key] = reply[key].clone();
        }
        request["policy"] = body!(format!("{method}@{}", reply["policy"]["version"].as_str().unwrap()));
        if reply["action"]["kind"] == "return" {
            return (answers.len(), reply);
        }
        for call in reply["action"]["calls"].as_array().unwrap() {
            let samples = u32::try_from(call["samples"].as_u64().unwrap()).unwrap();
            for sample in 0..samples {
                let answer = world.answer(call, sample);
                paid += answer["cost_usd"].as_f64().unwrap_or_default();
                answers.push(answer);
            }
        }
    }
    panic!("{method}: no reply after {STEPS_MAX} steps")
}

/// A log with samples, checks and log-probabilities; two of four models are cheap.
fn simulated(dir: &Path) -> (OutcomeTable, AnswerTable) {
    let simulate = ["data", "simulate", "--answers", "--samples", "5", "--queries", "400", "--models", "4"];
    ok(dir, &[&simulate[..], &["--missing", "0", "--drift", "0", "--out", "log.parquet"]].concat());
    let log = dir.join("log.parquet");
    let table = OutcomeTable::load(&log, &LoadOptions::split("test")).unwrap();
    let answers = AnswerTable::load(&log, &table).unwrap();
    (table, answers)
}

#[test]
fn every_method_that_looks_at_answers_is_stepped_to_a_reply() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (table, answers) = simulated(dir);
    let methods = methods(dir);
    assert!(methods.len() >= 15, "{methods:?}");
    let mut config =
        "[server]\nlisten = '127.0.0.1:0'\nadmin_listen = '127.0.0.1:0'\nadmin_open = true\n".to_owned();
    for method in &methods {
        let train = ["train", method, "--log", "log.parquet", "--out", method];
        ok(dir, &[&train[..], quick(method)].concat());
        assert_eq!(run(dir, &["policy", "verify", method]).code, 0, "{method}");
        config.push_str(&format!("[policies.{method}]\npath = '{method}'\n"));
    }
    std::fs::write(dir.join("server.toml"), config).unwrap();
    let serving = Serving::start(dir, &[]);
    let mut stream = connect(&serving.data).unwrap();
    for method in &methods {
        let (mut calls, mut replies) = (0, 0);
        for row in 0..QUERIES {
            let query = &table.queries[row];
            let source = query.source.as_deref();
            let world = World::Log(&table, &answers, row);
            let (n, reply) = play(&mut stream, method, &query.prompt, source, &world);
            calls += n;
            replies += usize::from(reply["action"]["abstained"] == false);
            // The same answers lead to the same end.
            let (again, other) = play(&mut stream, method, &query.prompt, source, &world);
            assert_eq!(again > 0, n > 0, "{method}: {reply} and {other}");
        }
        assert!(calls >= QUERIES && replies == QUERIES, "{method}: {calls} calls, {replies} replies");
        // Where nobody answers there is an end, and no text is made up.
        let query = &table.queries[0];
        let (_, reply) = play(&mut stream, method, &query.prompt, query.source.as_deref(), &World::Dead);
        let text = reply["action"]["text"].as_str().unwrap_or_default();
        assert!(text.is_empty(), "{method}: {reply}");
        let (n, _) = play(&mut stream, method, &query.prompt, query.source.as_deref(), &World::Silent);
        assert!(n > 0, "{method}");
    }
}

/// Self-verification and samples were judged on tables until now; here by the command line, from the log to a query.
#[test]
fn automix_and_mixture_of_thoughts_are_trained_judged_and_asked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (table, _) = simulated(dir);
    let compare = ["compare", "--log", "log.parquet", "--folds", "0", "--methods", "automix,mot-cascade"];
    let compared = json(dir, &compare);
    for (method, program) in [("automix", "verify"), ("mot-cascade", "consistency")] {
        let trained = json(dir, &["train", method, "--log", "log.parquet", "--out", method]);
        assert_eq!(trained["manifest"]["program"]["name"], program, "{method}");
        let shown = ok(dir, &["policy", "show", method]).stdout;
        assert!(shown.contains(program), "{shown}");
        let judged = json(dir, &["evaluate", "--policy", method, "--log", "log.parquet"]);
        let policy = &judged["policies"][0];
        assert_eq!(policy["n_uncovered"], 0, "{method}: {policy}");
        let same =
            compared["policies"].as_array().unwrap().iter().find(|row| row["method"] == method).unwrap();
        assert_eq!(same["score"], policy["score"], "{method}");
        let singles = judged["singles"].as_array().unwrap();
        let scores = singles.iter().map(|single| single["score"].as_f64().unwrap());
        let (least, best) = scores.fold((1.0_f64, 0.0_f64), |(lo, hi), s| (lo.min(s), hi.max(s)));
        let score = policy["score"].as_f64().unwrap();
        println!("{method}: {score:.4} at {}, singles {least:.4} to {best:.4}", policy["cost_usd"]);
        assert!(score > least, "{method}: {score}");
        let query = table.queries[0].id.as_str();
        let asked = json(dir, &["ask", "--policy", method, "--log", "log.parquet", "--query", query]);
        assert_eq!(asked["reply"]["kind"], "return", "{method}: {asked}");
    }
}
