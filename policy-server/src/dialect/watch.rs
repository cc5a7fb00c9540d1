//! What a stream has come to, from its events, while its bytes are forwarded as they are.
//!
//! A [`Watch`] tells when the first event with content comes (until then another model may still answer, since nothing
//! of weight was sent), whether the stream is whole, why it ended, what it used, and an error that came as an event.
//! Until the first content it parses every event; afterwards only those that mention a usage, a reason to finish or
//! an error.
//!
//! ```
//! use routewright_policy_server::dialect::{Dialect, sse::Events, watch::Watch};
//!
//! let mut events = Events::default();
//! let mut watch = Watch::new(Dialect::Chat);
//! events.push(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n");
//! while let Some(event) = events.next() {
//!     watch.event(&event?);
//! }
//! assert!(!watch.has_content());
//! events.push(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: [DONE]\n\n");
//! while let Some(event) = events.next() {
//!     watch.event(&event?);
//! }
//! assert!(watch.has_content() && watch.is_done() && watch.finish().is_none());
//! # Ok::<(), routewright_policy_server::dialect::sse::TooLong>(())
//! ```

use super::Dialect;
use super::json::{Kind, Value};
use super::sse::Event;
use super::usage::Counts;

/// Bytes kept of an error and of names.
const KEPT_MAX: usize = 64 << 10;
const NAME_MAX: usize = 256;

/// Observes a stream.
#[derive(Debug, Clone)]
pub struct Watch {
    dialect: Dialect,
    has_content: bool,
    is_done: bool,
    finish: Option<String>,
    error: Option<String>,
    counts: Option<Counts>,
    id: Option<String>,
    model: Option<String>,
    events: u64,
    malformed: u64,
    data_bytes: u64,
}

impl Watch {
    /// Observes a stream of this dialect.
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            has_content: false,
            is_done: false,
            finish: None,
            error: None,
            counts: None,
            id: None,
            model: None,
            events: 0,
            malformed: 0,
            data_bytes: 0,
        }
    }

    /// Whether text, reasoning, a call or a reason to finish came.
    pub fn has_content(&self) -> bool {
        self.has_content
    }

    /// Whether the mark of the end came: `[DONE]`, `message_stop`, the last event of a response, Gemini's reason to
    /// finish. A stream that ends before it and without [`Watch::finish`] was cut off.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Why the model ended, in the dialect's word; of several choices, the last.
    pub fn finish(&self) -> Option<&str> {
        self.finish.as_deref()
    }

    /// The JSON of an event that is an error, at most 64 KiB of it.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Counts of tokens as far as they were said.
    pub fn counts(&self) -> Option<&Counts> {
        self.counts.as_ref()
    }

    /// The id of the answer at the server.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The model that answers, as the server says.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Events seen.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Events that were parsed and are no JSON.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Bytes of data of all events: an upper bound of what was written, where nothing is counted.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Takes an event; whether the stream has content now.
    pub fn event(&mut self, event: &Event<'_>) -> bool {
        self.events += 1;
        self.data_bytes += event.data.len() as u64;
        if event.is_done() {
            self.is_done = true;
            return self.has_content;
        }
        if self.has_content && !self.is_of_interest(event) {
            return true;
        }
        match event.json() {
            Some(value) => self.value(event, value),
            None => self.malformed += 1,
        }
        self.has_content
    }

    fn is_of_interest(&self, event: &Event<'_>) -> bool {
        let names: &[&str] = match self.dialect {
            Dialect::Chat | Dialect::Completions | Dialect::Embeddings => {
                &["usage", "finish_reason", "error"]
            }
            Dialect::Responses => &["usage", "status", "error"],
            Dialect::Messages => &["usage", "stop_reason", "error"],
            Dialect::Gemini => &["usageMetadata", "finishReason", "error"],
        };
        let is_named =
            matches!(&*event.name, "error" | "message_stop") || event.name.starts_with("response.");
        let ends = event.name.ends_with(".delta") || event.name.ends_with(".done");
        let has_mark = event.data.contains("message_stop") || event.data.contains("\"response.");
        (is_named && !ends)
            || (event.name.is_empty() && has_mark)
            || names.iter().any(|name| event.mentions(name))
    }

    fn value(&mut self, event: &Event<'_>, value: Value<'_>) {
        // Gemini's errors may be wrapped in a list.
        let value = if value.kind() == Kind::List { value.items().next().unwrap_or(value) } else { value };
        if let Some(counts) = Counts::of_reply(value) {
            self.counts.get_or_insert_default().merge(counts);
        }
        let inner = value.at(&["message"]).or(value.at(&["response"])).unwrap_or(value);
        let name = |value: Option<Value<'_>>| {
            let text = value.and_then(Value::text)?;
            Some(text.chars().take(NAME_MAX).collect::<String>()).filter(|text| !text.is_empty())
        };
        if self.id.is_none() {
            self.id = name(inner.has("id").or(inner.has("responseId")));
        }
        if self.model.is_none() {
            self.model = name(inner.has("model").or(inner.has("modelVersion")));
        }
        let kind = value.get("type").and_then(Value::text).unwrap_or_default();
        if is_error(event, &kind, value) {
            self.error.get_or_insert_with(|| value.raw().chars().take(KEPT_MAX).collect());
        }
        let finish = match self.dialect {
            Dialect::Chat | Dialect::Completions | Dialect::Embeddings => {
                last(value, "choices", "finish_reason")
            }
            Dialect::Gemini => last(value, "candidates", "finishReason"),
            Dialect::Messages => value.at(&["delta", "stop_reason"]),
            Dialect::Responses if is_end(&kind) => value.at(&["response", "status"]),
            Dialect::Responses => None,
        };
        if let Some(finish) = name(finish) {
            self.finish = Some(finish);
        }
        self.is_done |= match self.dialect {
            Dialect::Messages => kind == "message_stop" || event.name == "message_stop",
            Dialect::Responses => is_end(&kind),
            Dialect::Gemini => self.finish.is_some(),
            _ => false,
        };
        self.has_content |= self.finish.is_some() || has_content(self.dialect, &kind, value);
    }
}

/// A field of the last item of a list that has it.
fn last<'a>(value: Value<'a>, list: &str, field: &str) -> Option<Value<'a>> {
    value.has(list)?.items().filter_map(|item| item.has(field)).last()
}

fn is_end(kind: &str) -> bool {
    matches!(kind, "response.completed" | "response.incomplete" | "response.failed")
}

/// Whether an event is an error: by its name, its type, or an `error` that is not empty.
fn is_error(event: &Event<'_>, kind: &str, value: Value<'_>) -> bool {
    let is_named = event.name == "error" || matches!(kind, "error" | "response.failed");
    is_named
        || value.has("error").is_some_and(|error| !matches!(error.raw(), "false" | "\"\"" | "0" | "{}"))
        || value.get("object").is_some_and(|object| object.is_text("error"))
}

fn is_said(value: Option<Value<'_>>) -> bool {
    value.is_some_and(|value| !matches!(value.raw(), "\"\"" | "[]" | "{}" | "null"))
}

/// Whether an event has a text, reasoning or a call.
fn has_content(dialect: Dialect, kind: &str, value: Value<'_>) -> bool {
    let choices = || value.get("choices").into_iter().flat_map(Value::items);
    match dialect {
        Dialect::Chat => {
            let fields = [
                "content",
                "reasoning_content",
                "reasoning",
                "reasoning_details",
                "refusal",
                "tool_calls",
                "function_call",
                "audio",
            ];
            choices()
                .filter_map(|choice| choice.has("delta").or(choice.has("message")))
                .any(|delta| fields.iter().any(|field| is_said(delta.get(field))))
        }
        Dialect::Completions => choices().any(|choice| is_said(choice.get("text"))),
        Dialect::Embeddings => is_said(value.get("data")),
        Dialect::Messages => match kind {
            "content_block_delta" => {
                let fields = ["text", "thinking", "partial_json", "signature", "citation"];
                fields.iter().any(|field| is_said(value.at(&["delta", field])))
            }
            // A call is one without arguments, too; what thinking is redacted comes whole.
            "content_block_start" => value
                .at(&["content_block", "type"])
                .is_some_and(|kind| !kind.is_text("text") && !kind.is_text("thinking")),
            _ => false,
        },
        Dialect::Responses => {
            let calls = value.at(&["item", "type"]).and_then(Value::text);
            (kind.ends_with(".delta") && is_said(value.get("delta")))
                || (kind == "response.output_item.added" && calls.is_some_and(|kind| kind.ends_with("_call")))
                || kind == "response.completed"
        }
        Dialect::Gemini => {
            let candidates = value.get("candidates").into_iter().flat_map(Value::items);
            let parts =
                candidates.filter_map(|candidate| candidate.at(&["content", "parts"])).flat_map(Value::items);
            let mut parts = parts;
            parts.any(|part| {
                let fields = ["text", "functionCall", "inlineData", "executableCode"];
                fields.iter().any(|field| is_said(part.get(field)))
            }) || is_said(value.at(&["promptFeedback", "blockReason"]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::sse::Events;

    /// A stream, watched; and the number of the event at which content came.
    fn watched(dialect: Dialect, stream: &str) -> (Watch, Option<u64>) {
        let (mut events, mut watch, mut at) = (Events::default(), Watch::new(dialect), None);
        for byte in stream.as_bytes() {
            events.push(&[*byte]);
            while let Some(event) = events.next() {
                if watch.event(&event.unwrap()) {
                    at = at.or(Some(watch.events()));
                }
            }
        }
        while let Some(event) = events.finish() {
            watch.event(&event.unwrap());
        }
        (watch, at)
    }

    fn data(events: &[&str]) -> String {
        events.iter().map(|event| format!("data: {}\n\n", event.replace('\n', " "))).collect()
    }

    #[test]
    fn a_stream_of_chat() {
        let stream = data(&[
            r#"{"id":"c1","choices":[],"prompt_filter_results":[]}"#,
            r#"{"id":"c1","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},
                "finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"service_tier":"default"}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":7}}"#,
            "[DONE]",
        ]);
        let (watch, at) = watched(Dialect::Chat, &stream);
        assert_eq!(
            (at, watch.finish(), watch.is_done(), watch.id(), watch.model()),
            (Some(3), Some("stop"), true, Some("c1"), Some("m"))
        );
        assert_eq!(watch.counts().unwrap().settle(Dialect::Chat).output, 7);
        assert!(watch.error().is_none() && watch.malformed() == 0);
    }

    #[test]
    fn a_call_and_reasoning_are_content() {
        for delta in [
            r#"{"tool_calls":[{"index":0,"id":"call_1","function":{"name":"f","arguments":""}}]}"#,
            r#"{"reasoning_content":"x"}"#,
            r#"{"reasoning":"x","content":""}"#,
            r#"{"refusal":"no"}"#,
        ] {
            let stream = data(&[&format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#)]);
            assert_eq!(watched(Dialect::Chat, &stream).1, Some(1), "{delta}");
        }
        for delta in ["{}", r#"{"role":"assistant","content":"","refusal":null}"#, r#"{"tool_calls":[]}"#] {
            let stream = data(&[&format!(r#"{{"choices":[{{"delta":{delta},"finish_reason":null}}]}}"#)]);
            assert_eq!(watched(Dialect::Chat, &stream).1, None, "{delta}");
        }
        let empty = data(&[r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#]);
        assert_eq!(watched(Dialect::Chat, &empty).1, Some(1));
    }

    #[test]
    fn a_stream_of_messages() {
        let stream = concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\",",
            "\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n",
            "event: ping\ndata: {\"type\":\"ping\"}\n\n",
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",",
            "\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",",
            "\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
            "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
            "event: message_delta\ndata: {\"type\":\"message_delta\",",
            "\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":30}}\n\n",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        );
        let (watch, at) = watched(Dialect::Messages, stream);
        assert_eq!(
            (at, watch.finish(), watch.is_done(), watch.id()),
            (Some(4), Some("end_turn"), true, Some("msg_1"))
        );
        let usage = watch.counts().unwrap().settle(Dialect::Messages);
        assert_eq!((usage.input(), usage.output), (9, 30));
        // Names of events left out, as some servers do.
        let bare: String = stream
            .lines()
            .filter(|line| !line.starts_with("event"))
            .map(|line| format!("{line}\n"))
            .collect();
        let (watch, at) = watched(Dialect::Messages, &bare);
        assert_eq!((at, watch.finish(), watch.is_done()), (Some(4), Some("end_turn"), true));
    }

    #[test]
    fn a_stream_of_a_response() {
        let stream = data(&[
            r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","model":"m","status":
                "in_progress","output":[],"error":null,"usage":null}}"#,
            r#"{"type":"response.output_item.added","output_index":0,"item":{"id":"msg_1","type":"message",
                "status":"in_progress","content":[]}}"#,
            r#"{"type":"response.output_text.delta","delta":"Hi"}"#,
            r#"{"type":"response.output_text.done","text":"Hi"}"#,
            r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":
                "max_output_tokens"},"usage":{"input_tokens":9,"output_tokens":7}}}"#,
        ]);
        let (watch, at) = watched(Dialect::Responses, &stream);
        assert_eq!(
            (at, watch.finish(), watch.is_done(), watch.id()),
            (Some(3), Some("incomplete"), true, Some("resp_1"))
        );
        assert!(watch.error().is_none());
        assert_eq!(watch.counts().unwrap().settle(Dialect::Responses).output, 7);
    }

    #[test]
    fn a_stream_of_gemini() {
        let stream = data(&[
            r#"{"candidates":[{"content":{"role":"model","parts":[{"text":""}]}}],"usageMetadata":{
                "promptTokenCount":9},"modelVersion":"m","responseId":"r"}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"!"}]},"finishReason":"STOP"}],"usageMetadata":{
                "promptTokenCount":9,"candidatesTokenCount":2,"thoughtsTokenCount":5}}"#,
        ]);
        let (watch, at) = watched(Dialect::Gemini, &stream);
        assert_eq!(
            (at, watch.finish(), watch.is_done(), watch.id()),
            (Some(2), Some("STOP"), true, Some("r"))
        );
        assert_eq!(watch.counts().unwrap().settle(Dialect::Gemini).output, 7);
        let blocked =
            data(&[r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":9}}"#]);
        assert_eq!(watched(Dialect::Gemini, &blocked).1, Some(1));
    }

    #[test]
    fn errors_are_noticed_before_and_behind_content() {
        let errors = [
            (Dialect::Chat, "data: {\"error\":{\"message\":\"m\",\"code\":500}}\n\n"),
            (Dialect::Chat, "data: {\"object\":\"error\",\"message\":\"m\"}\n\n"),
            (
                Dialect::Messages,
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
            ),
            (Dialect::Messages, "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n"),
            (Dialect::Responses, "event: error\ndata: {\"type\":\"error\",\"code\":\"x\"}\n\n"),
            (
                Dialect::Responses,
                "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"x\"}}}\n\n",
            ),
            (Dialect::Gemini, "data: [{\"error\":{\"code\":429}}]\n\n"),
        ];
        for (dialect, error) in errors {
            assert!(watched(dialect, error).0.error().is_some(), "{error}");
        }
        let late = data(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#, r#"{"error":{"message":"m"}}"#]);
        assert!(watched(Dialect::Chat, &late).0.error().is_some());
        let none = data(&[r#"{"choices":[{"delta":{"content":"\"error\": 1"}}],"error":null}"#]);
        assert!(watched(Dialect::Chat, &none).0.error().is_none());
        let (cut, _) =
            watched(Dialect::Chat, &data(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#, "{\"cho"]));
        assert!(!cut.is_done() && cut.finish().is_none());
        assert_eq!(watched(Dialect::Chat, &data(&["{\"cho", "x"])).0.malformed(), 2);
    }
}
