//! The text a policy routes on, out of the request bodies of three APIs.
//!
//! It is the text of the last user turn: its string content, or its text parts joined by line breaks.
//! Turns without any text (images, tool results) are passed over. Unknown fields are never looked at, so
//! they are accepted.

use crate::error::{ApiError, Code};
use serde::Deserialize;
use serde_json::Value;

/// Shape of the body in `request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InputFormat {
    /// `POST /v1/chat/completions`: `messages[]`.
    #[default]
    OpenaiChat,
    /// `POST /v1/responses`: `input`.
    OpenaiResponses,
    /// `POST /v1/messages`: `messages[]`.
    AnthropicMessages,
}

/// The text of the last user turn.
///
/// # Errors
/// If the body is not of that format or no user turn has text; the field is named.
pub(crate) fn text(format: InputFormat, body: &Value) -> Result<String, ApiError> {
    let (field, part) = match format {
        InputFormat::OpenaiChat | InputFormat::AnthropicMessages => ("messages", "text"),
        InputFormat::OpenaiResponses => ("input", "input_text"),
    };
    let param = format!("request.{field}");
    let refuse = |reason: String| ApiError::new(Code::InvalidRequest, reason).param(&param);
    if !body.is_object() {
        let reason = format!("`request` is {}, expected an object", kind(body));
        return Err(ApiError::new(Code::InvalidRequest, reason).param("request"));
    }
    let turns = match &body[field] {
        Value::String(text) if format == InputFormat::OpenaiResponses => return non_empty(text, &param),
        Value::Array(turns) => turns,
        other => {
            let expected = if field == "input" { "a string or an array" } else { "an array" };
            return Err(refuse(format!("`{param}` is {}, expected {expected}", kind(other))));
        }
    };
    let users = turns.iter().rev().filter(|turn| turn["role"] == "user");
    let mut texts = users.map(|turn| content_text(&turn["content"], part));
    texts.find(|text| !text.is_empty()).ok_or_else(|| {
        refuse(format!("`{param}` has no text to route on, expected a turn of role `user` with text"))
    })
}

/// String content, or the text parts of it.
fn content_text(content: &Value, part: &str) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            // A part without a type is read as text: some clients leave it out.
            let is_text = |p: &&Value| p["type"] == part || p["type"] == "text" || p["type"].is_null();
            let texts: Vec<&str> = parts.iter().filter(is_text).filter_map(|p| p["text"].as_str()).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

fn non_empty(text: &str, param: &str) -> Result<String, ApiError> {
    if text.is_empty() {
        return Err(ApiError::new(Code::InvalidRequest, format!("`{param}` is empty")).param(param));
    }
    Ok(text.to_owned())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "missing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ok(format: InputFormat, body: Value) -> String {
        text(format, &body).unwrap()
    }

    #[test]
    fn the_last_user_turn_is_read_in_every_format() {
        use InputFormat::{AnthropicMessages, OpenaiChat, OpenaiResponses};
        let chat = json!({ "model": "auto", "tools": [{}], "messages": [
            { "role": "system", "content": "s" }, { "role": "user", "content": "first" },
            { "role": "assistant", "content": "a" },
            { "role": "user", "content": [{ "type": "text", "text": "second" },
                { "type": "image_url", "image_url": {} }, { "type": "text", "text": "part" }] },
            { "role": "tool", "content": "t" } ] });
        assert_eq!(ok(OpenaiChat, chat), "second\npart");
        assert_eq!(ok(OpenaiResponses, json!({ "input": "plain" })), "plain");
        let items = json!({ "instructions": "i", "input": [
            { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "x" }] },
            { "type": "function_call_output", "output": "y" } ] });
        assert_eq!(ok(OpenaiResponses, items), "x");
        let anthropic = json!({ "system": "s", "messages": [
            { "role": "user", "content": "ask" }, { "role": "assistant", "content": "call" },
            { "role": "user", "content": [{ "type": "tool_result", "content": "42" }] } ] });
        assert_eq!(ok(AnthropicMessages, anthropic), "ask", "a tool result is no user text");
    }

    #[test]
    fn a_body_without_user_text_is_refused_with_the_field() {
        for (format, body, param) in [
            (InputFormat::OpenaiChat, json!([]), "request"),
            (InputFormat::OpenaiChat, json!({}), "request.messages"),
            (InputFormat::OpenaiChat, json!({ "messages": "x" }), "request.messages"),
            (InputFormat::OpenaiChat, json!({ "messages": [] }), "request.messages"),
            (InputFormat::AnthropicMessages, json!({ "messages": [{ "role": "user" }] }), "request.messages"),
            (InputFormat::OpenaiResponses, json!({ "input": 3 }), "request.input"),
            (InputFormat::OpenaiResponses, json!({ "input": "" }), "request.input"),
        ] {
            let error = text(format, &body).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{error:?}");
            assert!(error.message.contains(&format!("`{param}`")), "{error:?}");
        }
    }
}
