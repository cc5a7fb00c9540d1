//! The body of every error, in the shape of OpenAI's.

use crate::error::ApiError;
use schemars::JsonSchema;
use serde::Serialize;

/// Longest message and name of a field that are sent, bytes: what a caller sent may be part of both.
const MESSAGE_BYTES_MAX: usize = 4096;
const PARAM_BYTES_MAX: usize = 256;

/// The body of every error.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Error", deny_unknown_fields)]
pub(crate) struct ErrorBody {
    pub(crate) error: ErrorObject,
}

/// What went wrong.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ErrorObject {
    /// for people; may change
    message: String,
    #[serde(rename = "type")]
    #[schemars(extend("enum" = [
        "invalid_request_error", "authentication_error", "insufficient_quota", "server_error"
    ]))]
    kind: &'static str,
    /// field at fault
    param: Option<String>,
    /// for programs; stable
    code: &'static str,
}

impl ErrorBody {
    pub(crate) fn of(error: &ApiError) -> Self {
        let (_, kind, code) = error.code.row();
        let message = cut(&error.message, MESSAGE_BYTES_MAX);
        let param = error.param.as_deref().map(|param| cut(param, PARAM_BYTES_MAX));
        Self { error: ErrorObject { message, kind, param, code } }
    }

    /// The message of an error as it is sent.
    pub(crate) fn message_of(error: &ApiError) -> String {
        cut(&error.message, MESSAGE_BYTES_MAX)
    }

    /// The JSON of the body.
    pub(crate) fn text(&self) -> String {
        // A plain struct of texts: writing it cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The text, cut at the end of a character where it is too long.
fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(bytes_max)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn what_a_caller_sent_is_repeated_in_part_only() {
        let long = "ä".repeat(2_000_000);
        let error = ApiError::new(Code::InvalidRequest, format!("unknown field `{long}`")).param(&long);
        let body = ErrorBody::of(&error).text();
        assert!(body.len() < 5000 && body.contains("unknown field `ää"), "{} bytes", body.len());
        assert_eq!(cut("äb", 1), "...");
        assert_eq!(cut("äb", 3), "äb");
    }
}
