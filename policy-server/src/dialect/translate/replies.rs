//! Replies of messages as replies of chat, and back.

use super::notes::{Notes, Refused, invalid};
use super::{Frame, ids};
use crate::dialect::Dialect;
use crate::dialect::json::{Kind, Value, Writer};
use crate::dialect::usage::{Counts, Usage};

/// The reason of chat for one of messages.
pub(super) fn finish_of(stop: &str) -> &'static str {
    match stop {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        _ => "stop",
    }
}

/// The reason of messages for one of chat. Some servers say `stop` with calls, on which callers of messages would not
/// act.
pub(super) fn stop_of(finish: &str, has_calls: bool) -> &'static str {
    match finish {
        "length" => "max_tokens",
        "content_filter" => "refusal",
        "tool_calls" | "function_call" => "tool_use",
        _ if has_calls => "tool_use",
        _ => "end_turn",
    }
}

/// Usage as chat has it: the input includes what caches had.
pub(super) fn chat_usage(usage: &Usage, out: &mut Writer) {
    out.open('{').name("prompt_tokens").number(usage.input()).name("completion_tokens").number(usage.output);
    out.name("total_tokens").number(usage.total()).name("prompt_tokens_details").open('{');
    out.name("cached_tokens").number(usage.read);
    out.name("cache_write_tokens").number(usage.write_5m + usage.write_1h).close('}');
    out.name("completion_tokens_details")
        .open('{')
        .name("reasoning_tokens")
        .number(usage.reasoning)
        .close('}')
        .close('}');
}

/// Usage as messages have it: the input excludes what caches had.
pub(super) fn messages_usage(usage: &Usage, out: &mut Writer) {
    out.open('{').name("input_tokens").number(usage.uncached);
    out.name("cache_creation_input_tokens").number(usage.write_5m + usage.write_1h);
    out.name("cache_read_input_tokens").number(usage.read);
    if usage.write_1h > 0 {
        out.name("cache_creation").open('{').name("ephemeral_5m_input_tokens").number(usage.write_5m);
        out.name("ephemeral_1h_input_tokens").number(usage.write_1h).close('}');
    }
    out.name("output_tokens").number(usage.output).close('}');
}

/// The id or model that the caller sees.
pub(super) fn shown<'a>(own: Option<&'a str>, said: Option<&'a str>, otherwise: &'a str) -> &'a str {
    own.or(said.filter(|said| !said.is_empty())).unwrap_or(otherwise)
}

/// A reply of messages as one of chat.
pub(super) fn to_chat(reply: Value<'_>, frame: &Frame, notes: &mut Notes) -> Result<String, Refused> {
    let blocks = reply.has("content").filter(|content| content.kind() == Kind::List);
    let blocks = blocks.ok_or_else(|| invalid("content", "is no list"))?;
    let (mut text, mut thought) = (None::<String>, String::new());
    let (mut thinking, mut calls) = (Vec::new(), Writer::default());
    let mut has_calls = false;
    calls.open('[');
    for (at, block) in blocks.items().enumerate() {
        let kind = block.get("type").and_then(Value::text).unwrap_or_default();
        match &*kind {
            "text" => {
                text.get_or_insert_default()
                    .push_str(&block.get("text").and_then(Value::text).unwrap_or_default());
                if block.has("citations").is_some_and(|citations| citations.raw() != "[]") {
                    notes.drop(format!("content[{at}].citations"), "has no counterpart")?;
                }
            }
            "thinking" | "redacted_thinking" => {
                thinking.push(block.raw());
                thought.push_str(&block.get("thinking").and_then(Value::text).unwrap_or_default());
            }
            "tool_use" => {
                has_calls = true;
                chat_call(block, &mut calls);
            }
            _ => notes.drop(format!("content[{at}]"), "is a block that chat does not have")?,
        }
    }
    calls.close(']');
    let stop = reply.get("stop_reason").and_then(Value::text).unwrap_or_default();
    let (id, model) = (reply.get("id").and_then(Value::text), reply.get("model").and_then(Value::text));
    let mut out = Writer::default();
    out.open('{').name("id").text(shown(frame.id.as_deref(), id.as_deref(), "msg"));
    out.name("object").text("chat.completion").name("created").number(frame.created);
    out.name("model").text(shown(frame.model.as_deref(), model.as_deref(), ""));
    out.name("choices").open('[').open('{').name("index").number(0).name("message").open('{');
    out.name("role")
        .text("assistant")
        .name("content")
        .text_or_null(text.as_deref())
        .name("refusal")
        .raw("null");
    if !thought.is_empty() {
        out.name("reasoning_content").text(&thought);
    }
    if !thinking.is_empty() {
        out.name("thinking_blocks").raw(&format!("[{}]", thinking.join(",")));
    }
    if has_calls {
        out.name("tool_calls").raw(&calls.finish());
    }
    out.close('}')
        .name("logprobs")
        .raw("null")
        .name("finish_reason")
        .text(finish_of(&stop))
        .close('}')
        .close(']');
    if let Some(counts) = Counts::of_reply(reply) {
        out.name("usage");
        chat_usage(&counts.settle(Dialect::Messages), &mut out);
    }
    out.close('}');
    Ok(out.finish())
}

fn chat_call(block: Value<'_>, out: &mut Writer) {
    let text = |name: &str| block.get(name).and_then(Value::text).unwrap_or_default();
    out.open('{').name("id").text(&ids::widen(&text("id"))).name("type").text("function");
    out.name("function").open('{').name("name").text(&text("name"));
    out.name("arguments").text(block.has("input").map_or("{}", Value::raw)).close('}').close('}');
}

/// A reply of chat as one of messages.
pub(super) fn to_messages(reply: Value<'_>, frame: &Frame, notes: &mut Notes) -> Result<String, Refused> {
    let choice = reply.at(&["choices", "0"]).ok_or_else(|| invalid("choices", "is empty"))?;
    let message = choice.has("message").ok_or_else(|| invalid("choices[0].message", "is missing"))?;
    if reply.at(&["choices", "1"]).is_some() {
        notes.drop("choices[1]", "messages have one answer")?;
    }
    let (mut content, mut has_calls) = (Writer::default(), false);
    content.open('[');
    let reasoning = message.has("reasoning_content").or(message.has("reasoning")).and_then(Value::text);
    match (message.has("thinking_blocks"), reasoning.filter(|text| !text.is_empty())) {
        (Some(blocks), _) => blocks.items().for_each(|block| {
            content.raw(block.raw());
        }),
        // Without a signature: there is none to give, and none is made up.
        (None, Some(text)) => {
            content.open('{').name("type").text("thinking").name("thinking").text(&text);
            content.name("signature").text("").close('}');
        }
        (None, None) => {}
    }
    let refusal = message.has("refusal").and_then(Value::text).filter(|text| !text.is_empty());
    for text in texts(message).into_iter().chain(refusal.as_ref().map(|text| text.to_string())) {
        content.open('{').name("type").text("text").name("text").text(&text).close('}');
    }
    for (at, call) in message.get("tool_calls").into_iter().flat_map(Value::items).enumerate() {
        has_calls = true;
        messages_call(&format!("choices[0].message.tool_calls[{at}]"), at, call, &mut content)?;
    }
    content.close(']');
    let finish = choice.get("finish_reason").and_then(Value::text).unwrap_or_default();
    let stop = if refusal.is_some() { "refusal" } else { stop_of(&finish, has_calls) };
    let (id, model) = (reply.get("id").and_then(Value::text), reply.get("model").and_then(Value::text));
    let mut out = Writer::default();
    out.open('{')
        .name("id")
        .text(shown(frame.id.as_deref(), id.as_deref(), "msg"))
        .name("type")
        .text("message");
    out.name("role").text("assistant").name("model").text(shown(
        frame.model.as_deref(),
        model.as_deref(),
        "",
    ));
    out.name("content")
        .raw(&content.finish())
        .name("stop_reason")
        .text(stop)
        .name("stop_sequence")
        .raw("null");
    let counts = Counts::of_reply(reply).unwrap_or_default();
    out.name("usage");
    messages_usage(&counts.settle_or(Dialect::Chat, frame.input_estimate, 0), &mut out);
    out.close('}');
    Ok(out.finish())
}

/// The texts of a message, of a text or of parts; empty ones are none.
fn texts(message: Value<'_>) -> Vec<String> {
    let Some(content) = message.has("content") else { return Vec::new() };
    let whole = content.text().map(|text| text.into_owned());
    let parts = content
        .items()
        .filter_map(|part| part.get("text").and_then(Value::text))
        .map(|text| text.into_owned());
    whole.into_iter().chain(parts).filter(|text| !text.is_empty()).collect()
}

fn messages_call(field: &str, at: usize, call: Value<'_>, out: &mut Writer) -> Result<(), Refused> {
    let function = call.has("function").ok_or_else(|| invalid(field, "is no call of a function"))?;
    let name = function.get("name").and_then(Value::text).unwrap_or_default();
    let arguments = function.has("arguments");
    let text = arguments.and_then(Value::text).unwrap_or_default();
    let input = match (arguments.map(Value::kind), text.trim()) {
        // Some servers give the object itself.
        (Some(Kind::Object), _) => arguments.map_or("{}", Value::raw),
        (_, "") => "{}",
        (_, text) => {
            let read = Value::read(text.as_bytes()).ok().filter(|value| value.kind() == Kind::Object);
            read.ok_or_else(|| invalid(format!("{field}.function.arguments"), "are no JSON object"))?.raw()
        }
    };
    let id = call.get("id").and_then(Value::text).filter(|id| !id.is_empty());
    let minted = format!("call_{at}");
    out.open('{')
        .name("type")
        .text("tool_use")
        .name("id")
        .text(&ids::narrow(id.as_deref().unwrap_or(&minted)));
    out.name("name").text(&name).name("input").raw(input).close('}');
    Ok(())
}
