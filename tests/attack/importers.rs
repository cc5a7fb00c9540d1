//! Logs of gateways and tables, read by the importers; what is imported must be a valid log.

use crate::bytes;
use crate::harness::{Parts, Target, Verdict, attack, refused};
use crate::json::Json;
use crate::random::{Rng, below, one_in, pick};
use crate::scratch::Scratch;
use crate::text;
use routewright_data::decisions::{DecisionReader, FeedbackReader};
use routewright_data::importers::{ImportOptions, import};
use routewright_data::log::{ValidateOptions, validate};
use routewright_data::{LoadOptions, OutcomeTable, PairTable};
use serde_json::{Value, json};
use std::path::Path;

/// Keys and words of those logs.
const NAMES: [&str; 60] = [
    "model",
    "messages",
    "role",
    "content",
    "user",
    "assistant",
    "prompt",
    "score",
    "response",
    "choices",
    "message",
    "usage",
    "prompt_tokens",
    "completion_tokens",
    "custom_id",
    "body",
    "params",
    "result",
    "succeeded",
    "error",
    "status_code",
    "spend",
    "startTime",
    "endTime",
    "cache_hit",
    "call_type",
    "status",
    "failure",
    "proxy_server_request",
    "input",
    "output",
    "type",
    "GENERATION",
    "scores",
    "latency",
    "ai_model",
    "request",
    "feedback",
    "value",
    "cost_currency",
    "USD cents",
    "created_at",
    "variant_name",
    "function_name",
    "a",
    "p",
    "_label_cost",
    "_label_Action",
    "_labelIndex",
    "_label_probability",
    "pdrop",
    "c",
    "_multi",
    "EventId",
    "Timestamp",
    "_skipLearn",
    "winner",
    "model_a",
    "model_b",
    "conversation_a",
];

/// A record of every tool; `{}` is its number.
fn record(format: &str, number: usize) -> Value {
    let messages = json!([{"role": "system", "content": "Be brief."},
        {"role": "user", "content": format!("question {number}")}]);
    let answer = json!({"model": "m", "choices": [{"message": {"role": "assistant", "content": "42"}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1}});
    match format {
        "openai" if number.is_multiple_of(2) => json!({"custom_id": format!("{number}"), "method": "POST",
            "body": {"model": "m", "messages": messages}, "response": {"status_code": 200, "body": answer},
            "error": null, "score": 1}),
        "openai" => {
            json!({"model": "n", "score": 0.5, "messages": messages, "response": answer, "created": 1_750_000_000})
        }
        "litellm" => {
            json!({"request_id": format!("r{number}"), "call_type": "acompletion", "model": "m", "spend": 0.002,
            "prompt_tokens": 10, "completion_tokens": 5, "startTime": "2025-10-01T12:00:00Z",
            "endTime": "2025-10-01 12:00:00.9",
            "cache_hit": "False", "messages": messages.to_string(), "response": answer,
            "metadata": {"grade": 1}, "status": "success"})
        }
        "langfuse" => {
            json!({"id": format!("g{number}"), "type": "GENERATION", "model": "a", "input": messages,
            "output": {"role": "assistant", "content": "hi"}, "usage": {"input": 10, "output": 5},
            "calculatedTotalCost": 0.001,
            "latency": 1.25, "startTime": "2025-05-01T10:00:00.000Z", "scores": [{"name": "helpful", "value": 0.75}]})
        }
        "portkey" => {
            json!({"id": format!("p{number}"), "ai_model": "a", "request": {"body": {"messages": messages}},
            "response": {"body": answer}, "cost": 0.12, "cost_currency": "USD cents", "response_time": 950,
            "feedback": {"value": 1, "weight": 1}, "created_at": "2025-05-01T10:00:00Z", "response_status_code": 200})
        }
        "tensorzero" => {
            json!({"id": format!("0195-{number}"), "function_name": "draft", "variant_name": "gpt",
            "input": json!({"system": "s", "messages": [{"role": "user",
                "content": [{"type": "text", "text": format!("q{number}")}]}]}).to_string(),
            "output": json!([{"type": "text", "text": "ok"}]).to_string(), "processing_time_ms": 812,
            "timestamp": "2025-05-01 10:00:00", "value": true})
        }
        "dsjson" => {
            json!({"_label_cost": -0.5, "_label_probability": 0.75, "_label_Action": 2, "_labelIndex": 1,
            "Timestamp": "2020-01-02T03:04:05.500Z", "Version": "1", "EventId": format!("e{number}"),
            "a": [2, 1], "p": [0.75, 0.25],
            "c": {"q": {"_text": "ask"}, "s": {"source": "x"}, "x": [0.5, -1.0],
                "_multi": [{"m": {"model": "x"}}, {"m": {"model": "y"}}]},
            "pdrop": 0.5, "VWState": {"m": "v"}, "routewright": {"policy": "p", "seed": 7, "objective": {"cost": 2.0}}})
        }
        "arena" => {
            json!({"question_id": number, "model_a": "a", "model_b": "b", "winner": "model_a", "judge": "j",
            "conversation_a": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x"}],
            "conversation_b": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "y"}],
            "tstamp": 1.7e9})
        }
        "routerbench" => {
            json!({"sample_id": format!("s.{number}"), "prompt": "['q']", "eval_name": "mmlu", "gpt": 1.0,
            "gpt|total_cost": 0.001, "gpt|model_response": "x", "oracle_model_to_route_to": "gpt"})
        }
        "routerdc" => {
            json!({"question": "q", "scores": {"a": 0.5, "b": 1.0}, "cluster_id": 1, "index": number})
        }
        _ => {
            json!({"query_id": format!("q{number}"), "prompt": "p", "model": "m", "score": 0.5, "cost_usd": 0.001,
            "latency_ms": 900, "timestamp_ms": 1_750_000_000_000_i64, "input_tokens": 3, "output_tokens": 4,
            "source": "s",
            "split": "train", "response": "r"})
        }
    }
}

const FORMATS: [&str; 10] = [
    "long",
    "routerbench",
    "routerdc",
    "arena",
    "openai",
    "litellm",
    "langfuse",
    "portkey",
    "tensorzero",
    "dsjson",
];

const TABLE: &str = "query_id,prompt,model,score,cost_usd,latency_ms,timestamp_ms,input_tokens,source\n\
    q1,\"Was ist 2+2?\nBitte.\",m,1,0.5,900,2024-02-29T12:30:15.25Z,3,s\nq1,\"Was ist 2+2?\nBitte.\",n,0.25,,,,,\n\
    q2,\u{6f22}\u{5b57},m,,,,1709209815,7,t\n";

/// A table of comma-separated values damaged by cell and line.
fn table(rng: &mut Rng) -> String {
    let mut file = TABLE.to_owned();
    if !one_in(rng, 3) {
        let mut cells: Vec<String> = file.split(',').map(str::to_owned).collect();
        for _ in 0..1 + below(rng, 3) {
            let at = below(rng, cells.len());
            cells[at] = match below(rng, 4) {
                0 => text::number(rng),
                1 => format!("\"{}", text::any(rng)),
                2 => format!("{}\n{}", text::any(rng), text::number(rng)),
                _ => text::any(rng),
            };
        }
        file = cells.join(",");
    }
    if one_in(rng, 3) { text::damage_lines(&file, rng) } else { file }
}

/// A file of records of a tool: lines, a list, a list in an object.
fn records(format: &str, rng: &mut Rng) -> (&'static str, Vec<u8>) {
    let n = 1 + below(rng, 4);
    let one = |number: usize, rng: &mut Rng| {
        let whole = record(format, number);
        if one_in(rng, 2) { Json::damaged(&whole, &NAMES, rng) } else { whole.to_string().into_bytes() }
    };
    let all: Vec<Vec<u8>> = (0..n).map(|number| one(number, rng)).collect();
    match below(rng, 6) {
        0 => ("json", [&b"["[..], &all.join(&b','), b"]"].concat()),
        1 => ("json", [&b"{\"data\":["[..], &all.join(&b','), b"]}"].concat()),
        2 => ("json", all.join(&b' ')),
        _ => ("jsonl", all.join(&b'\n')),
    }
}

struct Importers(Scratch);

impl Importers {
    /// What was imported must be readable as what it says it is.
    fn is_valid(out: &Path, format: &str) -> Result<(), String> {
        if format == "dsjson" {
            let rows =
                DecisionReader::open(&out.join("decisions.parquet")).map_err(|error| error.to_string())?;
            for rows in rows {
                rows.map_err(|error| format!("an imported decision is refused: {error}"))?;
            }
            let feedback = out.join("feedback.parquet");
            // Events without labels leave an empty log, which no reader opens.
            let Ok(rows) = FeedbackReader::open(&feedback) else { return Ok(()) };
            for rows in rows {
                rows.map_err(|error| format!("imported feedback is refused: {error}"))?;
            }
            return Ok(());
        }
        let found = validate(out, &ValidateOptions::default()).map_err(|error| error.to_string())?;
        if !found.is_valid() {
            return Err(format!("an imported log is not valid: {:?}", found.complaints));
        }
        let loaded = match format {
            "arena" => PairTable::load(out, &LoadOptions::default()).map(|_| ()),
            _ => OutcomeTable::load(out, &LoadOptions::default()).map(|_| ()),
        };
        loaded.map_err(|error| format!("an imported log is refused: {error}"))
    }
}

impl Target for Importers {
    const NAME: &'static str = "importers";
    const CASES: u64 = 3000;
    /// Writers of Parquet keep buffers and dictionaries for every column.
    const MEMORY: usize = 48 << 20;

    fn input(&mut self, rng: &mut Rng) -> Parts {
        let format = *pick(rng, &FORMATS);
        let (ending, mut file) = match format {
            "long" if one_in(rng, 2) => ("csv", table(rng).into_bytes()),
            _ => records(format, rng),
        };
        if one_in(rng, 12) {
            bytes::damage(&mut file, rng);
        }
        vec![(format!("{format}.{ending}"), file)]
    }

    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String> {
        let (name, file) = &parts[0];
        let (format, _) = name.split_once('.').ok_or("a name without an ending")?;
        let input = self.0.write(name, file);
        let out = if format == "dsjson" { self.0.path("decisions") } else { self.0.path("out.parquet") };
        let mut options = ImportOptions::default();
        if format == "portkey" {
            (options.score_min, options.score_max) = (-10.0, 10.0);
        }
        match import(format, &[input], &out, &options) {
            Ok(summary) if summary.rows == 0 => Err("nothing was imported, and that was no error".to_owned()),
            Ok(_) => Self::is_valid(&out, format).map(|()| Verdict::Accepted),
            Err(error) => refused(&error, parts),
        }
    }
}

#[test]
fn logs_of_other_tools() {
    attack(Importers(Scratch::new()));
}
