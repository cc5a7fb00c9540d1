//! The text of a chat request: what the models were asked.

use super::record::Record;
use crate::query_text::{self, Conversation, Unreadable};
use serde_json::Value;
use std::borrow::Cow;

/// A text that holds JSON (tables keep objects so) as the value it holds; any other value as it is.
pub(super) fn parsed(value: &Value) -> Cow<'_, Value> {
    match value {
        Value::String(text) if text.trim_start().starts_with(['[', '{']) => {
            serde_json::from_str(text).map_or(Cow::Borrowed(value), Cow::Owned)
        }
        _ => Cow::Borrowed(value),
    }
}

/// Where a record keeps the request, `""` being the record itself.
const PLACES: [&str; 6] = ["proxy_server_request", "", "body", "request", "request.body", "params"];

/// What was asked: in the field the user mapped, else in the first of [`PLACES`] with a list of turns, else in the
/// first with a text. `None` where it was not kept.
pub(super) fn asked(record: &Record, mapped: Option<&String>) -> Result<Option<Conversation>, Unreadable> {
    if let Some(name) = mapped {
        return record.value(name).map_or(Ok(None), |value| query_text::stored(&value));
    }
    let body = |name: &&str| match name.is_empty() {
        true => Some(Cow::Borrowed(&record.fields)),
        false => match parsed(record.value(name)?.as_ref()).into_owned() {
            Value::Object(fields) => Some(Cow::Owned(fields)),
            _ => None,
        },
    };
    let bodies = PLACES.iter().filter_map(body);
    let (with_turns, others): (Vec<_>, Vec<_>) = bodies.partition(|fields| query_text::has_turns(fields));
    with_turns.iter().chain(&others).find_map(|fields| query_text::stored_body(fields)).transpose()
}

/// The first text of a role in a list of chat messages.
pub(super) fn first_of(messages: &Value, role: &str) -> Option<String> {
    let messages = parsed(messages);
    let message = messages.as_array()?.iter().find(|message| message["role"] == role)?;
    content(&message["content"])
}

/// The text of a message's content: a text, or a list of parts of which the texts count.
pub(super) fn content(content: &Value) -> Option<String> {
    let text = match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let text = |part: &Value| {
                let text = part.as_str().or_else(|| part["text"].as_str()).or_else(|| part["value"].as_str());
                text.map(str::to_owned)
            };
            let texts = parts.iter().filter_map(text);
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// The answer of a model, in the shape of any API: a text, a message, parts of one, a completion (its first choice), a
/// response (the texts of its messages, joined).
pub(super) fn answer(response: &Value) -> Option<String> {
    let response = parsed(response);
    match response.as_ref() {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Array(items) => {
            if let Some(choice) = items.iter().find(|item| item.get("message").is_some()) {
                return answer(choice);
            }
            let texts: Vec<String> = items.iter().filter_map(|item| answer(item.get("content")?)).collect();
            if texts.is_empty() { content(&response) } else { Some(texts.join("\n")) }
        }
        Value::Object(fields) => {
            if let Some(choice) = fields.get("choices").and_then(|choices| choices.get(0)) {
                return answer(choice);
            }
            let nested = ["output_text", "output", "message", "content", "text", "raw"];
            nested.iter().filter_map(|name| fields.get(*name)).find_map(answer)
        }
        _ => None,
    }
}
