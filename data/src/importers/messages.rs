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
const PLACES: [&str; 5] = ["proxy_server_request", "", "body", "request", "request.body"];

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
            let texts = parts.iter().filter_map(|part| part["text"].as_str().or_else(|| part.as_str()));
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// The answer in a chat (or text) completion: the content of its first choice.
pub(super) fn answer(response: &Value) -> Option<String> {
    let response = parsed(response);
    if let Value::String(text) = response.as_ref() {
        return Some(text.clone()).filter(|text| !text.is_empty());
    }
    let choice = response.get("choices")?.get(0)?;
    choice
        .get("message")
        .and_then(|message| content(&message["content"]))
        .or_else(|| content(&choice["text"]))
}
