//! The turns of a request, out of the bodies of three APIs. What of them is routed on is the policy's own rule, see
//! [`routewright_data::query_text`].

use crate::error::{ApiError, Code};
use routewright_data::query_text::{self, Conversation, Dialect};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// Shape of the body in `request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum InputFormat {
    // `POST /v1/chat/completions`: `messages[]`.
    #[default]
    OpenaiChat,
    // `POST /v1/responses`: `input`.
    OpenaiResponses,
    // `POST /v1/messages`: `messages[]`.
    AnthropicMessages,
}

impl From<InputFormat> for Dialect {
    fn from(format: InputFormat) -> Self {
        match format {
            InputFormat::OpenaiChat => Self::OpenaiChat,
            InputFormat::OpenaiResponses => Self::OpenaiResponses,
            InputFormat::AnthropicMessages => Self::AnthropicMessages,
        }
    }
}

/// The turns of the body in `request`.
///
/// # Errors
/// If the body is not of that format, or no turn of the user has anything; the field is named.
pub(crate) fn read(format: InputFormat, body: &Value) -> Result<Conversation, ApiError> {
    let refuse = |field: &str, reason: &str| {
        ApiError::new(Code::InvalidRequest, format!("`{field}` {reason}")).param(field)
    };
    let dialect = Dialect::from(format);
    let conversation = query_text::read(dialect, body).map_err(|error| match error.field.as_str() {
        "request" => refuse("request", &error.reason),
        field => refuse(&format!("request.{field}"), &error.reason),
    })?;
    // Whether there is a user does not depend on the rule.
    if !conversation.has_media && routewright_data::QueryText::LastUser.text(&conversation).is_none() {
        let field = format!("request.{}", dialect.field());
        return Err(refuse(&field, "has no text to route on, expected a turn of role `user` with text"));
    }
    Ok(conversation)
}

/// An error of [`read`] where the body is the request itself, and not a field of it.
pub(crate) fn of_the_body(mut error: ApiError) -> ApiError {
    error.message = error.message.replace("`request.", "`").replace("`request`", "the body");
    error.param = error.param.and_then(|param| param.strip_prefix("request.").map(str::to_owned));
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_body_without_user_text_is_refused_with_the_field() {
        for (format, body, param) in [
            (InputFormat::OpenaiChat, json!([]), "request"),
            (InputFormat::OpenaiChat, json!({}), "request.messages"),
            (InputFormat::OpenaiChat, json!({ "messages": "x" }), "request.messages"),
            (InputFormat::OpenaiChat, json!({ "messages": [] }), "request.messages"),
            (InputFormat::OpenaiChat, json!({ "messages": [7] }), "request.messages[0]"),
            (
                InputFormat::OpenaiChat,
                json!({ "messages": [{ "role": "user", "content": 7 }] }),
                "request.messages[0].content",
            ),
            (InputFormat::AnthropicMessages, json!({ "messages": [{ "role": "user" }] }), "request.messages"),
            (InputFormat::OpenaiResponses, json!({ "input": 3 }), "request.input"),
            (InputFormat::OpenaiResponses, json!({ "input": "" }), "request.input"),
        ] {
            let error = read(format, &body).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{error:?}");
            assert!(error.message.contains(&format!("`{param}`")), "{error:?}");
        }
    }
}
