//! The text of a chat request: what the models were asked.

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

/// The prompt of a list of chat messages: the texts of all that are not the assistant's or a tool's, joined
/// by an empty line. `None` when there is no such text.
pub(super) fn prompt(messages: &Value) -> Option<String> {
    join(messages, |role| !matches!(role, "assistant" | "tool" | "function"))
}

/// The first text of a role in a list of chat messages.
pub(super) fn first_of(messages: &Value, role: &str) -> Option<String> {
    let messages = parsed(messages);
    let message = messages.as_array()?.iter().find(|message| message["role"] == role)?;
    content(&message["content"])
}

fn join(messages: &Value, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let messages = parsed(messages);
    if let Value::String(text) = messages.as_ref() {
        return Some(text.clone()).filter(|text| !text.is_empty());
    }
    let messages = messages.as_array()?.iter();
    let wanted = messages.filter(|message| wanted(message["role"].as_str().unwrap_or("user")));
    let texts: Vec<String> = wanted.filter_map(|message| content(&message["content"])).collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
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
