//! What servers of members reply: every dialect's shapes, as whole replies and as the events of a stream.

use crate::harness::{Parts, Target, Verdict, attack, refused, refused_in, words};
use crate::json::Json;
use crate::random::{Rng, below, one_in, pick};
use crate::scratch::Scratch;
use routewright_decoder::backend::{Backend, BackendError, Draft, Session, Stop};
use routewright_decoder::backends;
use routewright_decoder::distribution::Distribution;
use routewright_decoder::ensemble::MemberFile;
use routewright_decoder::vocabulary::llama2c;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// Dialects of `dialects.toml` by the shape of what they reply.
const DIALECTS: [&str; 10] = [
    "openai",
    "llama-cpp-python",
    "vllm",
    "llama-cpp",
    "sglang",
    "tgi",
    "ollama",
    "openai-chat",
    "vllm-chat",
    "mistral-chat",
];
const NAMES: [&str; 22] = [
    "choices",
    "text",
    "finish_reason",
    "logprobs",
    "top_logprobs",
    "tokens",
    "token_logprobs",
    "prompt_logprobs",
    "content",
    "token",
    "bytes",
    "logprob",
    "id",
    "error",
    "message",
    "stop",
    "token_id:260",
    "bytes:\\xff",
    "probs",
    "meta_info",
    "details",
    "prefill",
];

/// Ids of `a` and `b` in the tokenizer of the member.
const A: u32 = 3 + b'a' as u32;
const B: u32 = 3 + b'b' as u32;

/// A reply of a dialect that wrote `a` and found `b` likely too.
fn reply(dialect: &str) -> Value {
    let row = |id: u32, text: &str, p: f64| {
        let bytes = text.as_bytes();
        json!({"id": id, "token": text, "text": text, "bytes": bytes, "logprob": p})
    };
    let top = json!([row(A, "a", -0.25), row(B, "b", -1.75)]);
    match dialect {
        "llama-cpp" => json!({"content": "a", "tokens": [A], "stop": true, "stop_type": "limit",
            "completion_probabilities": [{"id": A, "token": "a", "bytes": [97], "logprob": -0.25,
                "top_logprobs": top}]}),
        "sglang" => {
            json!({"text": "a", "meta_info": {"finish_reason": {"type": "length"}, "prompt_tokens": 3,
            "input_token_logprobs": [[null, 1, "<s>"], [-1.0, A, "a"], [-2.0, B, "b"], [-2.5, A, "a"]],
            "output_token_logprobs": [[-0.25, A, "a"]], "output_top_logprobs": [[[-0.25, A, "a"], [-1.75, B, "b"]]]}})
        }
        "tgi" => json!({"generated_text": "a", "details": {"finish_reason": "length", "generated_tokens": 1,
            "prefill": [row(1, "<s>", 0.0), row(A, "a", -1.0), row(B, "b", -2.0), row(A, "a", -2.5)],
            "tokens": [row(A, "a", -0.25)], "top_tokens": [top]}}),
        "ollama" => json!({"model": "m", "response": "a", "done": true, "done_reason": "length",
            "logprobs": [{"token": "a", "logprob": -0.25, "bytes": [97], "top_logprobs": top}]}),
        "openai-chat" | "vllm-chat" | "mistral-chat" => json!({"choices": [{"index": 0,
            "message": {"role": "assistant", "content": "a"}, "delta": {"content": "a"}, "finish_reason": "stop",
            "logprobs": {"content": [{"token": "a", "logprob": -0.25, "bytes": [97], "top_logprobs": top}]}}]}),
        _ => {
            json!({"object": "text_completion", "choices": [{"text": "a", "index": 0, "finish_reason": "length",
            "logprobs": {"tokens": ["a"], "token_logprobs": [-0.25], "top_logprobs": [{"a": -0.25, "b": -1.75}]},
            "prompt_logprobs": [null, {"100": {"logprob": -1.5}}, {"101": {"logprob": -0.5}},
                {"100": {"logprob": -1.0}}]}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 1}})
        }
    }
}

/// The reply of a server that scores by echo, to a text of three letters.
fn echo() -> Value {
    json!({"choices": [{"text": "abax", "finish_reason": "length", "logprobs": {"tokens": ["a", "b", "a", "x"],
        "token_logprobs": [null, -1.0, -2.0, -0.5], "top_logprobs": []}}], "usage": {"prompt_tokens": 4}})
}

/// Checks a distribution over the ids of a session.
fn is_sound(told: &Distribution, n: usize) -> Result<(), String> {
    let Distribution::Top { entries, rest } = told else { return Ok(()) };
    let sum: f64 = entries.iter().map(|(_, p)| f64::from(*p).exp()).sum();
    let known = entries.iter().all(|(id, p)| (*id as usize) < n && !p.is_nan());
    match known && !entries.is_empty() && (0.0..=1.02).contains(&sum) && (0.0..=1.0).contains(rest) {
        true => Ok(()),
        false => Err(format!("a distribution of {n} tokens is {told:?}")),
    }
}

struct Replies(Scratch);

impl Replies {
    fn open(&self, parts: &Parts) -> Result<Arc<dyn Backend>, BackendError> {
        let settings: Value = serde_json::from_slice(&parts[0].1).unwrap();
        self.0.write("replay.jsonl", &parts[1].1);
        let settings = settings.as_object().unwrap().clone();
        let member = MemberFile { name: "far".to_owned(), backend: "http".to_owned(), settings };
        backends::open(&member, self.0.path("").as_path())
    }

    /// Asks for everything a session can be asked for.
    fn ask(session: &mut dyn Session, parts: &Parts) -> Result<bool, String> {
        let mut accepted = true;
        let n = |session: &dyn Session| session.tokenizer().vocabulary().len();
        // What a dialect cannot do at all says nothing of the replies.
        let mut judge = |error: &BackendError| {
            accepted &= matches!(error, BackendError::Unable { .. });
            refused(error, parts).map(|_| ())
        };
        match session.next() {
            Ok(told) => is_sound(&told, n(session))?,
            Err(error) => judge(&error)?,
        }
        match session.score(&[A]) {
            Ok(scores) => {
                if let Some(bad) = scores.iter().find(|score| score.is_nan() || **score > 0.02) {
                    return Err(format!("a score is `{bad}`"));
                }
            }
            Err(error) => judge(&error)?,
        }
        let draft = Draft { tokens: 4, stop: vec![b"stop".to_vec()], temperature: 1.0, top_p: 1.0 };
        match session.write(&draft, &mut routewright_data::rng::stream(1, "write")) {
            Ok(written) => {
                if written.log_prob.is_some_and(|p| p.is_nan() || p > 0.1) {
                    return Err(format!("what was written has the log-probability {:?}", written.log_prob));
                }
                if session.ids().iter().any(|id| *id as usize >= n(session)) {
                    return Err("the session has read what is no token".to_owned());
                }
            }
            Err(error) => judge(&error)?,
        }
        Ok(accepted)
    }
}

impl Target for Replies {
    const NAME: &'static str = "replies";
    const CASES: u64 = 2000;

    fn input(&mut self, rng: &mut Rng) -> Parts {
        let dialect = *pick(rng, &DIALECTS);
        let mut settings = json!({"url": "http://127.0.0.1:1", "dialect": dialect, "replay": "replay.jsonl",
            "attempts": 1, "context": 4096});
        if one_in(rng, 2) {
            settings["tokenizer"] = json!("tokenizer.bin");
            settings["as_text"] = json!(one_in(rng, 4));
        }
        let mut lines = Vec::new();
        for question in 0..3 {
            let events = if question == 2 { 1 + below(rng, 3) } else { 1 };
            let whole = if question == 1 && dialect == "llama-cpp-python" { echo() } else { reply(dialect) };
            let said: Vec<String> = (0..events)
                .map(|_| {
                    let mut json = Json::from(&whole);
                    json.damage(&NAMES, rng);
                    json.write()
                })
                .collect();
            lines.push(format!("{{\"ask\":null,\"said\":[{}]}}", said.join(",")));
        }
        let settings = serde_json::to_vec(&settings).unwrap();
        vec![("member.json".to_owned(), settings), ("replay.jsonl".to_owned(), lines.join("\n").into_bytes())]
    }

    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String> {
        // JSON that is not JSON is refused by the recording already; streams of bytes are attacked in `sse`.
        let backend = match self.open(parts) {
            Ok(backend) => backend,
            Err(error) => return refused_in(&words(&error), parts),
        };
        let mut session = backend.open(b"ab", &Stop::default()).map_err(|error| error.to_string())?;
        let accepted = Self::ask(&mut *session, parts)?;
        Ok(if accepted { Verdict::Accepted } else { Verdict::Refused })
    }
}

#[test]
fn replies_of_servers() {
    let scratch = Scratch::new();
    scratch.write("tokenizer.bin", &llama2c::write(&[b"ab", b"ba"]));
    assert!(Path::new(&scratch.path("tokenizer.bin")).is_file());
    attack(Replies(scratch));
}
