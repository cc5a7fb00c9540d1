//! What a whole answer to a chat says, for programs that judge it; and an answer on its way out as a stream, or
//! explained.

use super::question::Question;
use super::{Answered, By, Said};
use crate::clock::now_seconds;
use crate::dialect::Dialect;
use crate::dialect::json::Value as Written;
use crate::dialect::splice::Body;
use crate::dialect::sse::written;
use crate::dialect::usage::Counts;
use crate::error::ApiError;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use routewright_data::answers::confidence::TokenConfidence;
use routewright_data::answers::normalize::Normalizer;
use routewright_policy::program::Confidence;
use serde_json::{Value, json};

/// A whole answer that is kept until it is known whether it is the reply.
#[derive(Debug, Clone)]
pub(super) struct Whole {
    pub(super) model: String,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
}

/// What an answer says.
#[derive(Debug, Default)]
pub(super) struct Saying {
    /// Text, and calls of tools as JSON behind it.
    pub(super) text: String,
    pub(super) finish: Option<String>,
    pub(super) input: Option<u64>,
    pub(super) output: Option<u64>,
    /// Log-probabilities of its tokens.
    pub(super) logprobs: Vec<f32>,
}

/// Longest text that counts as a short answer as it is, bytes.
const SHORT_BYTES_MAX: usize = 80;
/// Rules that take a short answer as it is given, and find none in a text.
const AS_GIVEN: [&str; 2] = ["exact", "string"];

/// Reads the first choice of a chat.
pub(super) fn saying(bytes: &[u8]) -> Saying {
    let Ok(value) = Written::read(bytes) else { return Saying::default() };
    let message = |field: &str| value.at(&["choices", "0", "message", field]);
    let mut text = match message("content") {
        Some(content) => match content.text() {
            Some(text) => text.into_owned(),
            None => {
                content.items().filter_map(|part| part.has("text")?.text()).collect::<Vec<_>>().join("\n")
            }
        },
        None => message("refusal").and_then(Written::text).unwrap_or_default().into_owned(),
    };
    if let Some(calls) = message("tool_calls").filter(|calls| calls.items().next().is_some()) {
        text.push_str(if text.is_empty() { "" } else { "\n" });
        text.push_str(calls.raw());
    }
    let tokens = value.at(&["choices", "0", "logprobs", "content"]);
    let logprobs =
        tokens.into_iter().flat_map(Written::items).filter_map(|token| token.has("logprob")?.number());
    let counts = Counts::of_reply(value);
    let usage = counts.as_ref().map(|counts| counts.settle(Dialect::Chat));
    Saying {
        text,
        finish: value.at(&["choices", "0", "finish_reason"]).and_then(Written::text).map(|f| f.into_owned()),
        input: usage.as_ref().filter(|_| counts.as_ref().is_some_and(Counts::has_input)).map(|u| u.input()),
        output: usage.as_ref().filter(|_| counts.as_ref().is_some_and(Counts::has_output)).map(|u| u.output),
        logprobs: logprobs.map(|value| value as f32).collect(),
    }
}

/// The short answer of a text, for votes: what the rule of the program reads, where it reads texts; else a field
/// `answer` of JSON, the content of a box, the text where it is short, its last number.
pub(super) fn short(text: &str, rule: Option<&'static Normalizer>) -> Option<String> {
    if let Some(rule) = rule.filter(|rule| !AS_GIVEN.contains(&rule.name)) {
        return rule.form(text);
    }
    let form = |rule: &str| Normalizer::named(rule).ok()?.form(text);
    let whole = || form("string").filter(|_| text.trim().len() <= SHORT_BYTES_MAX);
    // Without a box that rule takes the whole text.
    let boxed = || form("boxed").filter(|_| text.contains("\\boxed"));
    form("json").or_else(boxed).or_else(whole).or_else(|| form("number"))
}

/// What a model said of its certainty, where it reported log-probabilities.
pub(super) fn confidence(logprobs: &[f32]) -> Option<Confidence> {
    let summed = TokenConfidence::of(logprobs)?;
    Some(Confidence {
        logprob_mean: Some(summed.mean),
        logprob_min: Some(summed.min),
        logprob_quantiles: summed.quantiles.to_vec(),
        ..Confidence::default()
    })
}

impl Whole {
    /// A text of the policy's own, as an answer to a chat.
    pub(super) fn of_text(text: &str, id: &str) -> Self {
        let message = json!({ "role": "assistant", "content": text, "refusal": null });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop", "logprobs": null });
        let usage = json!({ "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0 });
        let (id, created) = (format!("chatcmpl-{id}"), now_seconds());
        let body = json!({ "id": id, "object": "chat.completion", "created": created, "model": "routewright",
                           "choices": [choice], "usage": usage });
        Self {
            model: "routewright".to_owned(),
            headers: HeaderMap::new(),
            bytes: Bytes::from(body.to_string()),
        }
    }

    /// The answer as the reply, as a stream where one was asked for.
    ///
    /// # Errors
    /// If it is no JSON, which it was checked for.
    pub(super) fn answered(self, question: &Question, by: By) -> Result<Answered, ApiError> {
        let Self { mut headers, bytes, .. } = self;
        let detail = by.detail.as_deref().filter(|_| question.explains);
        let status = StatusCode::OK;
        if !question.streams {
            let body = explained(bytes, detail);
            return Ok(Answered { status, headers, body: Said::Whole(body), by });
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        let body = as_stream(&bytes, question, detail)?;
        Ok(Answered { status, headers, body: Said::Whole(body), by })
    }
}

/// An answer with the field `routewright`, where that was asked for.
pub(super) fn explained(bytes: Bytes, detail: Option<&str>) -> Bytes {
    let Some(detail) = detail else { return bytes };
    match Body::read(&bytes) {
        Ok(body) => Bytes::from(body.edit().set("routewright", detail).bytes()),
        Err(_) => bytes,
    }
}

/// A whole answer as the chunks of a stream.
fn as_stream(bytes: &[u8], question: &Question, detail: Option<&str>) -> Result<Bytes, ApiError> {
    let answer: Value = serde_json::from_slice(bytes)
        .map_err(|error| ApiError::internal(format!("an answer could not be read again: {error}")))?;
    let chunk = |choices: Value| {
        let mut chunk = json!({ "id": answer["id"], "object": "chat.completion.chunk", "created": answer["created"],
                                "model": answer["model"], "choices": choices });
        if answer["service_tier"].is_string() {
            chunk["service_tier"] = answer["service_tier"].clone();
        }
        chunk
    };
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for (at, choice) in answer["choices"].as_array().into_iter().flatten().enumerate() {
        let index = choice["index"].as_u64().unwrap_or(at as u64);
        let mut delta = choice["message"].clone();
        for (at, call) in delta["tool_calls"].as_array_mut().into_iter().flatten().enumerate() {
            call["index"] = json!(at);
        }
        first.push(
            json!({ "index": index, "delta": delta, "logprobs": choice["logprobs"], "finish_reason": null }),
        );
        last.push(json!({ "index": index, "delta": {}, "finish_reason": choice["finish_reason"] }));
    }
    let mut out = written("", &chunk(json!(first)).to_string());
    out.push_str(&written("", &chunk(json!(last)).to_string()));
    let asks = Body::read(&question.body).is_ok_and(|body| body.asks_for_usage());
    if asks {
        let mut usage = chunk(json!([]));
        usage["usage"] = answer["usage"].clone();
        out.push_str(&written("", &usage.to_string()));
    }
    if let Some(detail) = detail {
        let mut explained = chunk(json!([]));
        explained["routewright"] = serde_json::from_str(detail).unwrap_or_default();
        out.push_str(&written("", &explained.to_string()));
    }
    out.push_str("data: [DONE]\n\n");
    Ok(Bytes::from(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_says_is_read_for_the_program() {
        let body = r#"{"choices":[{"finish_reason":"stop","message":{"content":[{"type":"text","text":"a"},
            {"type":"text","text":"b"}],"tool_calls":[{"id":"1"}]},"logprobs":{"content":[{"token":"a","logprob":-0.5},
            {"token":"b","logprob":-1.5}]}}],"usage":{"prompt_tokens":9,"completion_tokens":7,
            "prompt_tokens_details":{"cached_tokens":4}}}"#;
        let read = saying(body.as_bytes());
        assert_eq!((read.text.as_str(), read.finish.as_deref()), ("a\nb\n[{\"id\":\"1\"}]", Some("stop")));
        assert_eq!((read.input, read.output), (Some(9), Some(7)));
        let confidence = confidence(&read.logprobs).unwrap();
        assert_eq!((confidence.logprob_mean, confidence.logprob_min), (Some(-1.0), Some(-1.5)));
        assert_eq!(saying(b"no json").text, "");
    }

    #[test]
    fn short_answers_of_votes_are_found() {
        let found = |text: &str| short(text, Normalizer::named("exact").ok());
        assert_eq!(found("{\"answer\": \"B\"}").as_deref(), Some("B"));
        assert_eq!(found("so it is \\boxed{42}.").as_deref(), Some("42"));
        assert_eq!(found(" Paris. ").as_deref(), Some("paris"));
        assert_eq!(found(&format!("{} which makes 1,234", "word ".repeat(40))).as_deref(), Some("1234"));
        let option = Normalizer::named("option").ok();
        assert_eq!(short("The answer is (C) because", option).as_deref(), Some("C"));
        assert_eq!(short("nothing of the kind", option), None);
    }
}
