//! Bodies of requests and replies in the dialects of model servers: spliced, looked into, translated, billed.

use crate::bytes;
use crate::harness::{Parts, Target, Verdict, attack, refused, refused_in};
use crate::json::Json;
use crate::random::{Rng, below, one_in, pick};
use routewright_policy_server::dialect::bill::{Prices, Tariff};
use routewright_policy_server::dialect::json::Value;
use routewright_policy_server::dialect::needs::Needs;
use routewright_policy_server::dialect::splice::{Body, BodyError};
use routewright_policy_server::dialect::translate::{self, Frame, LateSystem, Target as Arm};
use routewright_policy_server::dialect::usage::{Counts, TOKENS_MAX};
use routewright_policy_server::dialect::{Dialect, failure};
use serde_json::Value as Tree;

const DIALECTS: [Dialect; 6] = [
    Dialect::Chat,
    Dialect::Completions,
    Dialect::Embeddings,
    Dialect::Responses,
    Dialect::Messages,
    Dialect::Gemini,
];

const NAMES: [&str; 24] = [
    "model",
    "messages",
    "role",
    "content",
    "type",
    "text",
    "tool_calls",
    "id",
    "function",
    "arguments",
    "tool_call_id",
    "tools",
    "tool_choice",
    "image_url",
    "url",
    "input",
    "stream_options",
    "include_usage",
    "usage",
    "prompt_tokens",
    "finish_reason",
    "choices",
    "error",
    "max_tokens",
];

/// The bodies of the unit tests.
fn requests() -> Vec<&'static str> {
    let file = include_str!("../../policy-server/src/dialect/corpus/requests.tsv");
    file.lines().filter_map(|line| line.split_once('\t')).map(|(_, body)| body).collect()
}

const REPLIES: [&str; 8] = [
    r#"{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"tool_calls",
    "message":{"role":"assistant","content":null,"refusal":null,"reasoning_content":"r","tool_calls":[{"id":"call_1",
    "type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]}}],"usage":{"prompt_tokens":9,
    "completion_tokens":7,"total_tokens":16,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":2},
    "completion_tokens_details":{"reasoning_tokens":3}},"service_tier":"flex"}"#,
    r#"{"id":"c1","choices":[{"text":"x","finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
    r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"thinking","thinking":"t",
    "signature":"s"},{"type":"text","text":"a"},{"type":"tool_use","id":"toolu_1","name":"f","input":{"a":1}}],
    "stop_reason":"tool_use","usage":{"input_tokens":9,"cache_read_input_tokens":5,"cache_creation_input_tokens":3,
    "cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":2},"output_tokens":30}}"#,
    r#"{"id":"resp_1","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"a"}]}],
    "usage":{"input_tokens":9,"input_tokens_details":{"cached_tokens":4},"output_tokens":7,"total_tokens":16}}"#,
    r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"a"}]},"finishReason":"STOP"}],"usageMetadata":
    {"promptTokenCount":9,"cachedContentTokenCount":2,"candidatesTokenCount":3,"thoughtsTokenCount":4}}"#,
    r#"{"error":{"message":"This model's maximum context length is 128000 tokens. However, you requested 130000 tokens",
    "type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
    r#"{"type":"error","error":{"type":"rate_limit_error","message":"Please try again in 6.2s"},"request_id":"r"}"#,
    r#"[{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"34.07s"}]}}]"#,
];

fn damaged(text: &str, rng: &mut Rng) -> Vec<u8> {
    let tree: Tree = serde_json::from_str(text).unwrap_or(Tree::Null);
    let mut body = match below(rng, 5) {
        0 => text.as_bytes().to_vec(),
        _ if tree.is_null() => text.as_bytes().to_vec(),
        _ => Json::damaged(&tree, &NAMES, rng),
    };
    if one_in(rng, 8) {
        bytes::damage(&mut body, rng);
    }
    body
}

fn arm(rng_of: usize) -> Arm {
    let late_system = [LateSystem::Refuse, LateSystem::Role, LateSystem::Tagged][rng_of % 3];
    let effort =
        [translate::Effort::None, translate::Effort::Named, translate::Effort::Budget][rng_of / 3 % 3];
    let same_family = rng_of.is_multiple_of(2);
    Arm { model: "arm".to_owned(), late_system, effort, same_family, max_output: 8000, ..Arm::default() }
}

/// Whether what is written is JSON, to us and to `serde_json`. Numbers beyond floats and lone surrogates, which the
/// arguments of a call may have in their text, are JSON to us alone; they are passed on.
fn is_json(text: &str, of: &[u8]) -> Result<(), String> {
    Value::read(text.as_bytes()).map_err(|error| format!("what was written is {error}: {text}"))?;
    let was_read = serde_json::from_slice::<Tree>(of).is_ok();
    match serde_json::from_str::<Tree>(text).map_err(|error| error.to_string()) {
        Err(error)
            if was_read && !["out of range", "surrogate", "hex escape"].iter().any(|w| error.contains(w)) =>
        {
            Err(format!("what was written of JSON is not: {error}: {text}"))
        }
        _ => Ok(()),
    }
}

struct Requests(Vec<&'static str>);

impl Requests {
    /// Splices: nothing but the model changes.
    fn splice(body: &Body<'_>, bytes: &[u8]) -> Result<(), String> {
        if body.edit().bytes() != bytes {
            return Err("a body without a rule is another one".to_owned());
        }
        let made = body.edit().model("a \"model\"").bytes();
        let kept = match body.range("model") {
            Some(range) => {
                let rest = &made[range.start..];
                bytes.starts_with(&made[..range.start]) && rest.ends_with(&bytes[range.end..])
            }
            None => made.len() > bytes.len(),
        };
        if !kept
            || Body::read(&made).map(|body| body.model().map(|m| m.into_owned()))
                != Ok(Some("a \"model\"".into()))
        {
            return Err(format!("the model was put in wrongly: {}", String::from_utf8_lossy(&made)));
        }
        let asked = body.edit().include_usage();
        let made = asked.bytes();
        if made.len() != asked.length() {
            return Err("a length is not that of the bytes".to_owned());
        }
        let is_object = body.get("stream_options").is_none_or(|options| options.raw().starts_with('{'));
        match Body::read(&made) {
            Ok(body) if is_object != body.asks_for_usage() => Err("the usage was not asked for".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Target for Requests {
    const NAME: &'static str = "dialect-requests";
    const CASES: u64 = 4000;

    fn input(&mut self, rng: &mut Rng) -> Parts {
        let text = *pick(rng, &self.0);
        vec![("body.json".to_owned(), damaged(text, rng))]
    }

    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String> {
        let bytes = &parts[0].1;
        let body = match Body::read(bytes) {
            Ok(body) => body,
            Err(BodyError::Json(error)) if serde_json::from_slice::<Tree>(bytes).is_ok() => {
                return Err(format!("JSON was refused: {error}"));
            }
            Err(error) => return refused(&error, parts),
        };
        Self::splice(&body, bytes)?;
        let (mut refusal, mut made) = (None, 0);
        for dialect in DIALECTS {
            let needs = Needs::of(dialect, &body);
            if needs.n == 0 || needs.size.tokens() > 4 * bytes.len() as u64 + 64 {
                return Err(format!("{needs:?} of {} bytes", bytes.len()));
            }
            for to in DIALECTS.into_iter().filter(|to| translate::is_possible(dialect, *to)) {
                match translate::request(dialect, to, &body, &arm(bytes.len())) {
                    Ok(translated) => {
                        is_json(&translated.body, bytes)?;
                        made += 1;
                        let back =
                            Body::read(translated.body.as_bytes()).map_err(|error| error.to_string())?;
                        // Whatever it says of it, the way back does not break.
                        let _back = translate::request(to, dialect, &back, &arm(bytes.len()));
                    }
                    Err(error) => refusal = Some(error.to_string()),
                }
            }
        }
        match refusal {
            Some(words) if made == 0 => refused_in(&words, parts),
            _ => Ok(Verdict::Accepted),
        }
    }
}

struct Replies;

impl Target for Replies {
    const NAME: &'static str = "dialect-replies";
    const CASES: u64 = 4000;

    fn input(&mut self, rng: &mut Rng) -> Parts {
        let text = *pick(rng, &REPLIES);
        vec![("reply.json".to_owned(), damaged(text, rng))]
    }

    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String> {
        let bytes = &parts[0].1;
        let status = [200_u16, 400, 413, 429, 500, 529][bytes.len() % 6];
        let failed = failure::of_status(status, &|_| None, bytes, 0);
        if failed.message.chars().count() > 2000 || failed.wait_ms.is_some_and(|wait| wait > 31 * 86_400_000)
        {
            return Err(format!("a failure of {} bytes", failed.message.len()));
        }
        let mut verdict = Verdict::Refused;
        for dialect in DIALECTS {
            is_json(&failed.problem().body(dialect), b"{}")?;
            let failure = failure::of_reply(dialect, bytes);
            if failure.is_none() {
                verdict = Verdict::Accepted;
            }
            if let Some(counts) = Value::read(bytes).ok().and_then(Counts::of_reply) {
                let usage = counts.settle(dialect);
                if usage.reasoning > usage.output || usage.total() > 8 * TOKENS_MAX {
                    return Err(format!("{usage:?}"));
                }
                let most = Tariff::flat(Prices::of(u64::MAX, u64::MAX)).tier("flex", u64::MAX).bill(&usage);
                let least = Tariff::flat(Prices::of(1, 1)).bill(&usage);
                if most < least {
                    return Err(format!("{least} nano-USD at one price, {most} at a higher one"));
                }
            }
            for caller in DIALECTS.into_iter().filter(|caller| translate::is_possible(*caller, dialect)) {
                let Ok(made) = translate::reply(dialect, caller, bytes, &Frame::default()) else { continue };
                is_json(&made.body, bytes)?;
                if failure.is_none()
                    && failure::of_reply(caller, made.body.as_bytes()).is_some_and(|f| f.status > 0)
                {
                    return Err(format!("an answer became an error: {}", made.body));
                }
            }
        }
        Ok(verdict)
    }
}

#[test]
fn bodies_of_requests() {
    attack(Requests(requests()));
}

#[test]
fn bodies_of_replies() {
    attack(Replies);
}
