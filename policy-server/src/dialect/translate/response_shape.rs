//! A response and its items, as clients of responses read them.

use super::Frame;
use super::replies::shown;
use crate::dialect::json::{Value, Writer};
use crate::dialect::usage::Usage;

/// What an item of the output is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// Thinking that was shown.
    Reasoning(String),
    /// Text.
    Text(String),
    /// A refusal in words.
    Refusal(String),
    /// A call: its id, the function and its arguments.
    Call(String, String, String),
}

impl Item {
    /// The id of the item, the same wherever the item is told. `at` is its place in the output.
    pub(super) fn id(&self, response: &str, at: u64, frame: &Frame) -> String {
        let kind = match self {
            Self::Reasoning(_) => "rs",
            Self::Text(_) | Self::Refusal(_) => "msg",
            Self::Call(_, name, _) if frame.custom_tools.contains(name) => "ctc",
            Self::Call(..) => "fc",
        };
        format!("{kind}_{}_{at}", response.trim_start_matches("resp_"))
    }

    /// The item, empty where it begins.
    pub(super) fn json(&self, id: &str, status: &str, frame: &Frame) -> String {
        let mut out = Writer::default();
        out.open('{').name("id").text(id);
        match self {
            Self::Reasoning(text) => {
                out.name("type").text("reasoning").name("summary").open('[');
                if !text.is_empty() {
                    out.raw(&self.part());
                }
                out.close(']');
            }
            Self::Text(text) | Self::Refusal(text) => {
                out.name("type").text("message").name("status").text(status).name("role").text("assistant");
                out.name("content").open('[');
                if status != "in_progress" || !text.is_empty() {
                    out.raw(&self.part());
                }
                out.close(']');
            }
            Self::Call(call, name, arguments) => {
                let is_custom = frame.custom_tools.contains(name);
                out.name("type").text(if is_custom { "custom_tool_call" } else { "function_call" });
                out.name("status").text(status).name("call_id").text(call).name("name").text(name);
                match is_custom {
                    true => out.name("input").text(&free_text(arguments)),
                    false => out.name("arguments").text(arguments),
                };
            }
        }
        out.close('}');
        out.finish()
    }

    /// The part that the item has.
    pub(super) fn part(&self) -> String {
        let mut out = Writer::default();
        out.open('{').name("type");
        match self {
            Self::Reasoning(text) => out.text("summary_text").name("text").text(text),
            Self::Refusal(text) => out.text("refusal").name("refusal").text(text),
            Self::Text(text) | Self::Call(_, _, text) => out
                .text("output_text")
                .name("annotations")
                .raw("[]")
                .name("logprobs")
                .raw("[]")
                .name("text")
                .text(text),
        };
        out.close('}');
        out.finish()
    }

    /// More of it.
    pub(super) fn push(&mut self, piece: &str) {
        match self {
            Self::Reasoning(text) | Self::Text(text) | Self::Refusal(text) | Self::Call(_, _, text) => {
                text.push_str(piece)
            }
        }
    }
}

/// The text that the function made of a tool with free text was called with.
pub(super) fn free_text(arguments: &str) -> String {
    let read =
        Value::read(arguments.as_bytes()).ok().and_then(|value| value.has("input")).and_then(Value::text);
    read.map_or_else(|| arguments.to_owned(), |text| text.into_owned())
}

/// The id of the response, of the arm's or the caller's own.
pub(super) fn response_id(frame: &Frame, said: Option<&str>) -> String {
    let id = shown(frame.id.as_deref(), said, "0");
    if id.starts_with("resp_") { id.to_owned() } else { format!("resp_{id}") }
}

/// Status and reason of a response, for a reason of chat.
pub(super) fn status_of(finish: &str) -> (&'static str, Option<&'static str>) {
    match finish {
        "length" => ("incomplete", Some("max_output_tokens")),
        "content_filter" => ("incomplete", Some("content_filter")),
        _ => ("completed", None),
    }
}

/// A response. `status` is `in_progress` as long as it is written.
pub(super) fn response(
    id: &str,
    model: &str,
    status: (&str, Option<&str>),
    output: &[String],
    usage: Option<&Usage>,
    frame: &Frame,
) -> String {
    let mut out = Writer::default();
    out.open('{')
        .name("id")
        .text(id)
        .name("object")
        .text("response")
        .name("created_at")
        .number(frame.created);
    out.name("status").text(status.0).name("background").raw("false").name("error").raw("null");
    out.name("incomplete_details");
    match status.1 {
        Some(reason) => out.open('{').name("reason").text(reason).close('}'),
        None => out.raw("null"),
    };
    out.name("instructions").raw("null").name("max_output_tokens").raw("null").name("metadata").raw("{}");
    out.name("model").text(model).name("output").raw(&format!("[{}]", output.join(",")));
    out.name("parallel_tool_calls")
        .raw("true")
        .name("previous_response_id")
        .raw("null")
        .name("store")
        .raw("false");
    out.name("temperature").raw("null").name("text").raw(r#"{"format":{"type":"text"}}"#);
    out.name("tool_choice").text("auto").name("tools").raw("[]").name("top_p").raw("null").name("usage");
    match usage {
        Some(usage) => usage_of(usage, &mut out),
        None => {
            out.raw("null");
        }
    }
    out.close('}');
    out.finish()
}

fn usage_of(usage: &Usage, out: &mut Writer) {
    out.open('{').name("input_tokens").number(usage.input()).name("input_tokens_details").open('{');
    out.name("cached_tokens").number(usage.read);
    out.name("cache_write_tokens").number(usage.write_5m.saturating_add(usage.write_1h)).close('}');
    out.name("output_tokens").number(usage.output).name("output_tokens_details").open('{');
    out.name("reasoning_tokens")
        .number(usage.reasoning)
        .close('}')
        .name("total_tokens")
        .number(usage.total())
        .close('}');
}
