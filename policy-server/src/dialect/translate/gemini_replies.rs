//! Replies and streams of Gemini as those of chat: each event of a stream is a part of a reply, calls come whole.

use super::Frame;
use super::notes::{Notes, Refused, invalid};
use super::replies::{chat_usage, shown};
use crate::dialect::Dialect;
use crate::dialect::failure::{self, Problem};
use crate::dialect::json::{Kind, Value, Writer};
use crate::dialect::sse::{self, Event};
use crate::dialect::usage::Counts;

/// The reason of chat for one of Gemini's; None where the answer is broken.
fn finish_of(reason: &str, has_calls: bool) -> Option<&'static str> {
    match reason {
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" => None,
        "MAX_TOKENS" => Some("length"),
        "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" => {
            Some("content_filter")
        }
        reason if reason.starts_with("IMAGE_") => Some("content_filter"),
        _ if has_calls => Some("tool_calls"),
        _ => Some("stop"),
    }
}

/// The part of an answer that a reply or an event has.
#[derive(Debug, Default)]
struct Piece {
    text: String,
    thought: String,
    /// Calls as chat has them, without their index.
    calls: Vec<String>,
    reason: Option<String>,
}

/// Reads the first candidate; `calls` is how many came before in the answer of this id.
fn piece(reply: Value<'_>, calls: usize, id: &str) -> Piece {
    let mut piece = Piece::default();
    let candidate = reply.at(&["candidates", "0"]);
    for part in candidate.and_then(|c| c.at(&["content", "parts"])).into_iter().flat_map(Value::items) {
        if let Some(call) = part.has("functionCall") {
            let own = call.get("id").and_then(Value::text).filter(|id| !id.is_empty());
            // Ids are to differ between turns.
            let minted = format!("call_{id}_{}", calls + piece.calls.len());
            let mut out = Writer::default();
            out.name("id").text(own.as_deref().unwrap_or(&minted)).name("type").text("function");
            out.name("function")
                .open('{')
                .name("name")
                .text(&call.get("name").and_then(Value::text).unwrap_or_default());
            out.name("arguments").text(call.has("args").map_or("{}", Value::raw)).close('}');
            if let Some(signature) = part.has("thoughtSignature") {
                out.name("extra_content").open('{').name("google").open('{');
                out.name("thought_signature").raw(signature.raw()).close('}').close('}');
            }
            piece.calls.push(out.finish());
        } else if let Some(text) = part.get("text").and_then(Value::text) {
            let is_thought = part.get("thought").and_then(Value::bool) == Some(true);
            if is_thought { piece.thought.push_str(&text) } else { piece.text.push_str(&text) }
        }
    }
    let blocked = reply
        .at(&["promptFeedback", "blockReason"])
        .filter(|_| candidate.is_none())
        .map(|_| "SAFETY".to_owned());
    let reason = candidate.and_then(|candidate| candidate.has("finishReason")).and_then(Value::text);
    piece.reason = reason.map(|reason| reason.into_owned()).or(blocked);
    piece
}

/// A reply of Gemini as one of chat.
pub(super) fn to_chat(reply: Value<'_>, frame: &Frame, notes: &mut Notes) -> Result<String, Refused> {
    let reply = if reply.kind() == Kind::List { reply.items().next().unwrap_or(reply) } else { reply };
    let said = reply.get("responseId").and_then(Value::text);
    let piece = piece(reply, 0, said.as_deref().unwrap_or("0"));
    let reason = piece.reason.ok_or_else(|| invalid("candidates", "have no `finishReason`"))?;
    let finish = finish_of(&reason, !piece.calls.is_empty());
    let finish = finish.ok_or_else(|| invalid("candidates[0].finishReason", format!("is `{reason}`")))?;
    if reply.at(&["candidates", "1"]).is_some() {
        notes.drop("candidates[1]", "one answer is translated")?;
    }
    let (id, model) =
        (reply.get("responseId").and_then(Value::text), reply.get("modelVersion").and_then(Value::text));
    let mut out = Writer::default();
    out.open('{').name("id").text(shown(frame.id.as_deref(), id.as_deref(), "gemini"));
    out.name("object").text("chat.completion").name("created").number(frame.created);
    out.name("model").text(shown(frame.model.as_deref(), model.as_deref(), ""));
    out.name("choices")
        .open('[')
        .open('{')
        .name("index")
        .number(0)
        .name("message")
        .open('{')
        .name("role")
        .text("assistant");
    out.name("content")
        .text_or_null(Some(piece.text.as_str()).filter(|text| !text.is_empty()))
        .name("refusal")
        .raw("null");
    if !piece.thought.is_empty() {
        out.name("reasoning_content").text(&piece.thought);
    }
    if !piece.calls.is_empty() {
        out.name("tool_calls").raw(&format!("[{{{}}}]", piece.calls.join("},{")));
    }
    out.close('}').name("logprobs").raw("null").name("finish_reason").text(finish).close('}').close(']');
    if let Some(counts) = Counts::of_reply(reply) {
        out.name("usage");
        chat_usage(&counts.settle(Dialect::Gemini), &mut out);
    }
    out.close('}');
    Ok(out.finish())
}

/// The machine of a stream.
#[derive(Debug)]
pub(super) struct GeminiToChat {
    frame: Frame,
    id: String,
    model: String,
    began: bool,
    calls: usize,
    counts: Option<Counts>,
    reason: Option<String>,
}

impl GeminiToChat {
    pub(super) fn new(frame: Frame) -> Self {
        let (id, model) = (String::new(), String::new());
        Self { frame, id, model, began: false, calls: 0, counts: None, reason: None }
    }

    pub(super) fn counts(&self) -> Option<&Counts> {
        self.counts.as_ref()
    }

    /// Takes an event; whether it was the last, which only an error is.
    pub(super) fn event(&mut self, event: &Event<'_>, out: &mut String) -> bool {
        let Some(value) = event.json() else { return false };
        let value = if value.kind() == Kind::List { value.items().next().unwrap_or(value) } else { value };
        if value.has("error").is_some() || event.name == "error" {
            out.push_str(&failure::of_event(&event.data).problem().event(Dialect::Chat, 0));
            return true;
        }
        if let Some(counts) = Counts::of_reply(value) {
            self.counts.get_or_insert_default().merge(counts);
        }
        if !std::mem::replace(&mut self.began, true) {
            let text = |name: &str| value.get(name).and_then(Value::text);
            let (id, model) = (text("responseId"), text("modelVersion"));
            self.id = shown(self.frame.id.as_deref(), id.as_deref(), "gemini").to_owned();
            self.model = shown(self.frame.model.as_deref(), model.as_deref(), "").to_owned();
            self.delta(r#"{"role":"assistant","content":""}"#, out);
        }
        let piece = piece(value, self.calls, &self.id);
        for (name, text) in [("reasoning_content", &piece.thought), ("content", &piece.text)] {
            if !text.is_empty() {
                let mut delta = Writer::default();
                delta.open('{').name(name).text(text).close('}');
                self.delta(&delta.finish(), out);
            }
        }
        for call in piece.calls {
            self.delta(&format!(r#"{{"tool_calls":[{{"index":{},{call}}}]}}"#, self.calls), out);
            self.calls += 1;
        }
        self.reason = piece.reason.or(self.reason.take());
        false
    }

    /// The stream of the arm is over: it has no mark of its end but the reason.
    pub(super) fn finish(&mut self, out: &mut String) {
        let finish = self.reason.as_deref().and_then(|reason| finish_of(reason, self.calls > 0));
        let Some(finish) = finish else {
            let problem = Problem::new(
                502,
                "upstream_failed",
                "the stream of the model server ended before its answer",
            );
            out.push_str(&problem.event(Dialect::Chat, 0));
            return;
        };
        self.chunk(
            &format!(r#"[{{"index":0,"delta":{{}},"logprobs":null,"finish_reason":"{finish}"}}]"#),
            None,
            out,
        );
        if self.frame.usage {
            let mut usage = Writer::default();
            let counts = self.counts.clone().unwrap_or_default();
            chat_usage(&counts.settle_or(Dialect::Gemini, self.frame.input_estimate, 0), &mut usage);
            self.chunk("[]", Some(&usage.finish()), out);
        }
        out.push_str("data: [DONE]\n\n");
    }

    fn delta(&self, delta: &str, out: &mut String) {
        self.chunk(
            &format!(r#"[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":null}}]"#),
            None,
            out,
        );
    }

    fn chunk(&self, choices: &str, usage: Option<&str>, out: &mut String) {
        let mut chunk = Writer::default();
        chunk.open('{').name("id").text(&self.id).name("object").text("chat.completion.chunk");
        chunk
            .name("created")
            .number(self.frame.created)
            .name("model")
            .text(&self.model)
            .name("choices")
            .raw(choices);
        if self.frame.usage {
            chunk.name("usage").raw(usage.unwrap_or("null"));
        }
        chunk.close('}');
        out.push_str(&sse::written("", &chunk.finish()));
    }
}
