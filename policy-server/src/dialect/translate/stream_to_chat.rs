//! A stream of messages as chunks of chat.
//!
//! The start is the chunk with the role, texts and thinking are deltas as they come, a call is its id and name and then
//! its arguments, the reason and the usage come at the end and `[DONE]` behind them. A block of thinking is given once
//! more when it is over, whole and with its signature (`thinking_blocks`), so that the caller can give it back.

use super::replies::{chat_usage, finish_of, shown};
use super::{Frame, ids};
use crate::dialect::Dialect;
use crate::dialect::failure::{self, Problem};
use crate::dialect::json::{Value, Writer};
use crate::dialect::sse::{self, Event};
use crate::dialect::usage::Counts;

/// Bytes of thinking kept to be given once more; longer ones are not.
const THINKING_MAX: usize = 4 << 20;
/// Blocks that may be open.
const BLOCKS_MAX: usize = 1024;

#[derive(Debug)]
enum Block {
    Text,
    /// Its text and signature so far.
    Thinking(String, String),
    /// Its number among the calls, what its start had as input, and whether arguments came.
    Call(u64, String, bool),
    Other,
}

/// The machine.
#[derive(Debug)]
pub(super) struct ToChat {
    frame: Frame,
    id: String,
    model: String,
    began: bool,
    open: Vec<(i64, Block)>,
    calls: u64,
    counts: Option<Counts>,
    finish: Option<&'static str>,
}

impl ToChat {
    pub(super) fn new(frame: Frame) -> Self {
        let (id, model) = (String::new(), String::new());
        Self { frame, id, model, began: false, open: Vec::new(), calls: 0, counts: None, finish: None }
    }

    pub(super) fn counts(&self) -> Option<&Counts> {
        self.counts.as_ref()
    }

    /// Takes an event; whether it was the last.
    pub(super) fn event(&mut self, event: &Event<'_>, out: &mut String) -> bool {
        let Some(value) = event.json() else { return false };
        let kind = value.get("type").and_then(Value::text);
        let kind = kind.as_deref().unwrap_or(&event.name);
        if let Some(counts) = Counts::of_reply(value) {
            self.counts.get_or_insert_default().merge(counts);
        }
        match kind {
            "message_start" => self.start(value.has("message"), out),
            "content_block_start" => self.block_start(value, out),
            "content_block_delta" => self.block_delta(value, out),
            "content_block_stop" => self.block_stop(index(value), out),
            "message_delta" => {
                let stop = value.at(&["delta", "stop_reason"]).and_then(Value::text);
                self.finish = stop.map(|stop| finish_of(&stop)).or(self.finish);
            }
            "message_stop" => {
                self.end(out);
                return true;
            }
            "ping" => out.push_str(": ping\n\n"),
            "error" => {
                out.push_str(&failure::of_event(&event.data).problem().event(Dialect::Chat, 0));
                return true;
            }
            _ => {}
        }
        false
    }

    /// The stream of the arm is over, without its last event.
    pub(super) fn finish(&mut self, out: &mut String) {
        self.end(out);
    }

    fn start(&mut self, message: Option<Value<'_>>, out: &mut String) {
        let text = |name: &str| message.and_then(|message| message.get(name)).and_then(Value::text);
        let (id, model) = (text("id"), text("model"));
        self.id = shown(self.frame.id.as_deref(), id.as_deref(), "msg").to_owned();
        self.model = shown(self.frame.model.as_deref(), model.as_deref(), "").to_owned();
        self.begin(out);
    }

    fn begin(&mut self, out: &mut String) {
        if !std::mem::replace(&mut self.began, true) {
            self.delta(r#"{"role":"assistant","content":""}"#, out);
        }
    }

    fn block_start(&mut self, value: Value<'_>, out: &mut String) {
        self.begin(out);
        let Some(block) = value.has("content_block") else { return };
        let text = |name: &str| block.get(name).and_then(Value::text).unwrap_or_default();
        let kind = text("type");
        let open = match &*kind {
            "text" => {
                self.piece("content", &text("text"), out);
                Block::Text
            }
            "thinking" => {
                self.piece("reasoning_content", &text("thinking"), out);
                Block::Thinking(text("thinking").into_owned(), text("signature").into_owned())
            }
            "redacted_thinking" => {
                let mut delta = Writer::default();
                delta.open('{').name("thinking_blocks").open('[').open('{').name("type").text(&kind);
                delta.name("data").text(&text("data")).close('}').close(']').close('}');
                self.delta(&delta.finish(), out);
                Block::Other
            }
            "tool_use" => {
                let at = self.calls;
                self.calls += 1;
                let mut delta = Writer::default();
                delta.open('{').name("tool_calls").open('[').open('{').name("index").number(at);
                delta
                    .name("id")
                    .text(&ids::widen(&text("id")))
                    .name("type")
                    .text("function")
                    .name("function")
                    .open('{');
                delta.name("name").text(&text("name")).name("arguments").text("");
                delta.close('}').close('}').close(']').close('}');
                self.delta(&delta.finish(), out);
                Block::Call(at, block.has("input").map_or("{}", Value::raw).to_owned(), false)
            }
            _ => Block::Other,
        };
        let index = index(value);
        self.open.retain(|(other, _)| *other != index);
        if self.open.len() < BLOCKS_MAX {
            self.open.push((index, open));
        }
    }

    fn block_delta(&mut self, value: Value<'_>, out: &mut String) {
        let index = index(value);
        let Some(delta) = value.has("delta") else { return };
        let text = |name: &str| delta.get(name).and_then(Value::text).unwrap_or_default();
        let kind = text("type");
        match &*kind {
            "text_delta" => self.piece("content", &text("text"), out),
            "thinking_delta" => {
                let piece = text("thinking");
                if let Some(Block::Thinking(whole, _)) = self.block(index) {
                    // What is longer than may be kept is not completed.
                    if whole.len() <= THINKING_MAX {
                        whole.push_str(&piece);
                    }
                }
                self.piece("reasoning_content", &piece, out);
            }
            "signature_delta" => {
                if let Some(Block::Thinking(_, signature)) = self.block(index)
                    && signature.len() <= THINKING_MAX
                {
                    signature.push_str(&text("signature"));
                }
            }
            "input_json_delta" => {
                let piece = text("partial_json");
                if let Some(Block::Call(at, _, said)) = self.block(index).filter(|_| !piece.is_empty()) {
                    *said = true;
                    let at = *at;
                    self.arguments(at, &piece, out);
                }
            }
            _ => {}
        }
    }

    fn block_stop(&mut self, index: i64, out: &mut String) {
        let at = self.open.iter().position(|(other, _)| *other == index);
        let Some((_, block)) = at.map(|at| self.open.remove(at)) else { return };
        match block {
            // No arguments at all are an empty object; some servers give them whole with the start.
            Block::Call(at, input, false) => self.arguments(at, &input, out),
            Block::Thinking(text, signature)
                if text.len() + signature.len() <= THINKING_MAX && !signature.is_empty() =>
            {
                let mut delta = Writer::default();
                delta.open('{').name("thinking_blocks").open('[').open('{').name("type").text("thinking");
                delta.name("thinking").text(&text).name("signature").text(&signature);
                delta.close('}').close(']').close('}');
                self.delta(&delta.finish(), out);
            }
            _ => {}
        }
    }

    fn block(&mut self, index: i64) -> Option<&mut Block> {
        self.open.iter_mut().find(|(other, _)| *other == index).map(|(_, block)| block)
    }

    /// The end: whole where the model said why it ended, else an error.
    fn end(&mut self, out: &mut String) {
        let open: Vec<i64> = self.open.iter().map(|(index, _)| *index).collect();
        let Some(finish) = self.finish else {
            let problem = Problem::new(
                502,
                "upstream_failed",
                "the stream of the model server ended before its answer",
            );
            out.push_str(&problem.event(Dialect::Chat, 0));
            return;
        };
        for index in open {
            self.block_stop(index, out);
        }
        self.begin(out);
        self.chunk(
            &format!(r#"[{{"index":0,"delta":{{}},"logprobs":null,"finish_reason":"{finish}"}}]"#),
            None,
            out,
        );
        if self.frame.usage {
            let mut usage = Writer::default();
            let counts = self.counts.clone().unwrap_or_default();
            chat_usage(&counts.settle_or(Dialect::Messages, self.frame.input_estimate, 0), &mut usage);
            self.chunk("[]", Some(&usage.finish()), out);
        }
        out.push_str("data: [DONE]\n\n");
    }

    fn arguments(&self, at: u64, piece: &str, out: &mut String) {
        let mut delta = Writer::default();
        delta.open('{').name("tool_calls").open('[').open('{').name("index").number(at);
        delta
            .name("function")
            .open('{')
            .name("arguments")
            .text(piece)
            .close('}')
            .close('}')
            .close(']')
            .close('}');
        self.delta(&delta.finish(), out);
    }

    fn piece(&self, name: &str, text: &str, out: &mut String) {
        if !text.is_empty() {
            let mut delta = Writer::default();
            delta.open('{').name(name).text(text).close('}');
            self.delta(&delta.finish(), out);
        }
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

fn index(value: Value<'_>) -> i64 {
    value.get("index").and_then(Value::integer).unwrap_or_default()
}
