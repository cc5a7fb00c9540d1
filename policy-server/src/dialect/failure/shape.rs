//! Errors in the shape of the caller's dialect: as the body of a reply, and as an event of a stream that began.

use crate::dialect::Dialect;
use crate::dialect::json::Writer;
use crate::dialect::sse;

/// What the caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Status of the reply; in a stream, what it would have been.
    pub status: u16,
    /// A name for programs, as `upstream_unreachable`.
    pub code: String,
    /// Words for people.
    pub message: String,
    /// The field of the request that is to blame.
    pub param: Option<String>,
    /// The id of the request, which Anthropic's clients show.
    pub request_id: Option<String>,
}

impl Problem {
    /// A problem without field and id.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), param: None, request_id: None }
    }

    /// The body of a reply.
    pub fn body(&self, dialect: Dialect) -> String {
        let mut out = Writer::default();
        out.open('{');
        match dialect {
            Dialect::Messages => {
                out.name("type").text("error").name("error").open('{');
                out.name("type").text(self.anthropic_type()).name("message").text(&self.message).close('}');
                if let Some(id) = &self.request_id {
                    out.name("request_id").text(id);
                }
            }
            Dialect::Gemini => {
                out.name("error").open('{').name("code").number(u64::from(self.status));
                out.name("message").text(&self.message).name("status").text(self.google_status()).close('}');
            }
            _ => {
                out.name("error").open('{').name("message").text(&self.message);
                out.name("type").text(self.openai_type()).name("param").text_or_null(self.param.as_deref());
                out.name("code").text(&self.code).close('}');
            }
        }
        out.close('}');
        out.finish()
    }

    /// An event of a stream that began, as bytes to send. `number` is the next sequence number of a response. No
    /// `[DONE]` follows: the stream is not whole.
    pub fn event(&self, dialect: Dialect, number: u64) -> String {
        match dialect {
            Dialect::Messages => sse::written("error", &self.body(dialect)),
            Dialect::Responses => {
                let mut out = Writer::default();
                out.open('{').name("type").text("error").name("code").text(&self.code);
                out.name("message").text(&self.message).name("param").text_or_null(self.param.as_deref());
                out.name("sequence_number").number(number).close('}');
                sse::written("error", &out.finish())
            }
            _ => sse::written("", &self.body(dialect)),
        }
    }

    fn openai_type(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            402 => "insufficient_quota",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }

    fn anthropic_type(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            402 => "billing_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            408 | 504 => "timeout_error",
            429 => "rate_limit_error",
            529 => "overloaded_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        }
    }

    fn google_status(&self) -> &'static str {
        match self.status {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            409 => "ABORTED",
            402 | 429 => "RESOURCE_EXHAUSTED",
            408 | 504 => "DEADLINE_EXCEEDED",
            400..=499 => "INVALID_ARGUMENT",
            502 | 503 | 529 => "UNAVAILABLE",
            _ => "INTERNAL",
        }
    }
}
