//! Chunks of chat as a stream of messages.
//!
//! Messages have their blocks one after the other; chat may interleave its calls. So the parts of the answer form a
//! queue: the first is the open block and what comes for it is sent at once, what comes for others waits. A text or
//! thinking is over when something else follows, a call when its arguments are whole JSON or the answer ends.
//!
//! Calls are told apart by their index and, since some servers number all of them 0, by a new id.

use super::calls::{Known, Place, place};
use super::nesting::Nesting;
use super::replies::{messages_usage, shown, stop_of};
use super::{Frame, ids};
use crate::dialect::Dialect;
use crate::dialect::failure::{self, Problem};
use crate::dialect::json::{Value, Writer};
use crate::dialect::sse::{self, Event};
use crate::dialect::usage::{Counts, Usage};
use std::collections::VecDeque;

/// Bytes that wait at most; an answer that interleaves more becomes an error.
const WAITING_MAX: usize = 16 << 20;
/// Parts of an answer that wait at most.
const PARTS_MAX: usize = 1024;

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Kind {
    Text,
    Thinking,
    Call,
}

/// A part of the answer that is not over.
#[derive(Debug)]
struct Part {
    kind: Kind,
    /// What came and is not sent.
    waiting: String,
    /// Of a call: its index, its id as it came, its name, and how far its arguments are.
    index: i64,
    id: String,
    name: String,
    nesting: Nesting,
}

/// The machine.
#[derive(Debug)]
pub(super) struct ToMessages {
    frame: Frame,
    began: bool,
    parts: VecDeque<Part>,
    /// The first of the parts is an open block.
    is_open: bool,
    /// Index and id of calls that are over.
    closed: VecDeque<(i64, String)>,
    /// Number of the block that is open or comes next.
    block: u64,
    calls: u64,
    waiting: usize,
    counts: Option<Counts>,
    finish: Option<String>,
    refused: bool,
}

impl ToMessages {
    pub(super) fn new(frame: Frame) -> Self {
        Self {
            frame,
            began: false,
            parts: VecDeque::new(),
            is_open: false,
            closed: VecDeque::new(),
            block: 0,
            calls: 0,
            waiting: 0,
            counts: None,
            finish: None,
            refused: false,
        }
    }

    pub(super) fn counts(&self) -> Option<&Counts> {
        self.counts.as_ref()
    }

    /// Takes an event; whether it was the last.
    pub(super) fn event(&mut self, event: &Event<'_>, out: &mut String) -> bool {
        if event.is_done() {
            self.end(out);
            return true;
        }
        let Some(chunk) = event.json() else { return false };
        if chunk.has("error").is_some_and(|error| !matches!(error.raw(), "false" | "\"\"" | "0" | "{}"))
            || event.name == "error"
        {
            out.push_str(&failure::of_event(&event.data).problem().event(Dialect::Messages, 0));
            return true;
        }
        if let Some(counts) = Counts::of_reply(chunk) {
            self.counts.get_or_insert_default().merge(counts);
        }
        // Of several answers, the first.
        let is_first = |choice: &Value<'_>| choice.get("index").and_then(Value::integer).unwrap_or(0) == 0;
        let Some(choice) = chunk.get("choices").and_then(|choices| choices.items().find(is_first)) else {
            return false;
        };
        self.begin(chunk, out);
        if let Some(delta) = choice.has("delta").or(choice.has("message")) {
            self.delta(delta);
        }
        if let Some(finish) = choice.has("finish_reason").and_then(Value::text) {
            self.finish = Some(finish.into_owned());
        }
        self.flush(false, out);
        if self.waiting > WAITING_MAX || self.parts.len() > PARTS_MAX {
            let problem =
                Problem::new(502, "upstream_malformed", "the calls of the answer interleave beyond measure");
            out.push_str(&problem.event(Dialect::Messages, 0));
            return true;
        }
        false
    }

    /// The stream of the arm is over, without `[DONE]`.
    pub(super) fn finish(&mut self, out: &mut String) {
        self.end(out);
    }

    fn begin(&mut self, chunk: Value<'_>, out: &mut String) {
        if std::mem::replace(&mut self.began, true) {
            return;
        }
        let (id, model) = (chunk.get("id").and_then(Value::text), chunk.get("model").and_then(Value::text));
        let mut start = Writer::default();
        start.open('{').name("type").text("message_start").name("message").open('{');
        start
            .name("id")
            .text(shown(self.frame.id.as_deref(), id.as_deref(), "msg"))
            .name("type")
            .text("message");
        start.name("role").text("assistant").name("model");
        start.text(shown(self.frame.model.as_deref(), model.as_deref(), "")).name("content").raw("[]");
        start.name("stop_reason").raw("null").name("stop_sequence").raw("null").name("usage");
        messages_usage(&Usage::estimated(self.frame.input_estimate, 0), &mut start);
        start.close('}').close('}');
        out.push_str(&sse::written("message_start", &start.finish()));
    }

    fn delta(&mut self, delta: Value<'_>) {
        let text = |name: &str| delta.has(name).and_then(Value::text);
        if let Some(thought) = text("reasoning_content").or(text("reasoning")) {
            self.piece(Kind::Thinking, &thought);
        }
        if let Some(content) = text("content") {
            self.piece(Kind::Text, &content);
        }
        if let Some(refusal) = text("refusal") {
            self.refused |= !refusal.is_empty();
            self.piece(Kind::Text, &refusal);
        }
        for call in delta.get("tool_calls").into_iter().flat_map(Value::items) {
            self.call(call);
        }
    }

    fn piece(&mut self, kind: Kind, piece: &str) {
        if piece.is_empty() {
            return;
        }
        if self.parts.back().is_none_or(|part| part.kind != kind) {
            self.push(kind, 0);
        }
        if let Some(part) = self.parts.back_mut() {
            part.waiting.push_str(piece);
            self.waiting += piece.len();
        }
    }

    fn push(&mut self, kind: Kind, index: i64) {
        let (waiting, id, name) = (String::new(), String::new(), String::new());
        self.parts.push_back(Part { kind, waiting, index, id, name, nesting: Nesting::default() });
    }

    fn call(&mut self, call: Value<'_>) {
        let text = |value: Option<Value<'_>>| value.and_then(Value::text).unwrap_or_default().into_owned();
        let (id, name) = (text(call.get("id")), text(call.at(&["function", "name"])));
        let arguments = call.at(&["function", "arguments"]);
        // Some servers give the object itself.
        let arguments = arguments
            .map(|value| value.text().map_or_else(|| value.raw().to_owned(), |text| text.into_owned()));
        let index = call.get("index").and_then(Value::integer);
        let over =
            self.closed.iter().map(|(index, id)| Known { index: *index, id, is_whole: true, is_over: true });
        let parts = self.parts.iter().filter(|part| part.kind == Kind::Call);
        let open = parts.map(|part| {
            let is_whole = part.nesting.is_whole();
            Known { index: part.index, id: &part.id, is_whole, is_over: false }
        });
        let known: Vec<Known<'_>> = over.chain(open).collect();
        let at = match place(&known, index, &id, &name) {
            Place::Nowhere => return,
            Place::New => {
                self.push(Kind::Call, index.unwrap_or(-1));
                self.parts.len() - 1
            }
            Place::Known(at) => {
                let calls = self.parts.iter().enumerate().filter(|(_, part)| part.kind == Kind::Call);
                calls.map(|(at, _)| at).nth(at - self.closed.len()).unwrap_or_default()
            }
        };
        let Some(part) = self.parts.get_mut(at) else { return };
        if part.id.is_empty() {
            part.id = id;
        }
        if part.name.is_empty() {
            part.name = name;
        }
        if let Some(arguments) = arguments {
            part.nesting.read(&arguments);
            self.waiting += arguments.len();
            part.waiting.push_str(&arguments);
        }
    }

    /// Sends what may be sent of the parts, in order.
    fn flush(&mut self, is_end: bool, out: &mut String) {
        while let Some(part) = self.parts.front_mut() {
            // A call begins with its name; before it has one there is nothing to say.
            let can_open = part.kind != Kind::Call || is_end || !part.name.is_empty();
            if !can_open {
                return;
            }
            if !self.is_open {
                let start = start(part, self.block, self.calls);
                self.calls += u64::from(part.kind == Kind::Call);
                self.is_open = true;
                out.push_str(&sse::written("content_block_start", &start));
            }
            if !part.waiting.is_empty() {
                self.waiting -= part.waiting.len();
                let piece = std::mem::take(&mut part.waiting);
                out.push_str(&sse::written("content_block_delta", &delta(part.kind, self.block, &piece)));
            }
            let has_next = self.parts.len() > 1;
            let is_over = is_end
                || match self.parts.front() {
                    Some(part) if part.kind == Kind::Call => has_next && part.nesting.is_whole(),
                    _ => has_next,
                };
            if !is_over {
                return;
            }
            let stop = format!(r#"{{"type":"content_block_stop","index":{}}}"#, self.block);
            out.push_str(&sse::written("content_block_stop", &stop));
            if let Some(part) = self.parts.pop_front().filter(|part| part.kind == Kind::Call) {
                self.closed.push_back((part.index, part.id));
                if self.closed.len() > PARTS_MAX {
                    self.closed.pop_front();
                }
            }
            self.is_open = false;
            self.block += 1;
        }
    }

    /// The end: whole where the model said why it ended, else an error.
    fn end(&mut self, out: &mut String) {
        let Some(finish) = self.finish.take() else {
            let problem = Problem::new(
                502,
                "upstream_failed",
                "the stream of the model server ended before its answer",
            );
            out.push_str(&problem.event(Dialect::Messages, 0));
            return;
        };
        self.flush(true, out);
        let stop = if self.refused { "refusal" } else { stop_of(&finish, self.calls > 0) };
        let counts = self.counts.clone().unwrap_or_default();
        let mut delta = Writer::default();
        delta
            .open('{')
            .name("type")
            .text("message_delta")
            .name("delta")
            .open('{')
            .name("stop_reason")
            .text(stop);
        delta.name("stop_sequence").raw("null").close('}').name("usage");
        messages_usage(&counts.settle_or(Dialect::Chat, self.frame.input_estimate, 0), &mut delta);
        delta.close('}');
        out.push_str(&sse::written("message_delta", &delta.finish()));
        out.push_str(&sse::written("message_stop", r#"{"type":"message_stop"}"#));
    }
}

/// The event that begins a block.
fn start(part: &Part, block: u64, calls: u64) -> String {
    let mut out = Writer::default();
    out.open('{')
        .name("type")
        .text("content_block_start")
        .name("index")
        .number(block)
        .name("content_block")
        .open('{');
    match part.kind {
        Kind::Text => out.name("type").text("text").name("text").text(""),
        Kind::Thinking => {
            out.name("type").text("thinking").name("thinking").text("").name("signature").text("")
        }
        Kind::Call => {
            let minted = format!("call_{calls}");
            let id = if part.id.is_empty() { &minted } else { &part.id };
            out.name("type").text("tool_use").name("id").text(&ids::narrow(id));
            out.name("name").text(&part.name).name("input").raw("{}")
        }
    };
    out.close('}').close('}');
    out.finish()
}

fn delta(kind: Kind, block: u64, piece: &str) -> String {
    let mut out = Writer::default();
    out.open('{')
        .name("type")
        .text("content_block_delta")
        .name("index")
        .number(block)
        .name("delta")
        .open('{');
    match kind {
        Kind::Text => out.name("type").text("text_delta").name("text").text(piece),
        Kind::Thinking => out.name("type").text("thinking_delta").name("thinking").text(piece),
        Kind::Call => out.name("type").text("input_json_delta").name("partial_json").text(piece),
    };
    out.close('}').close('}');
    out.finish()
}
