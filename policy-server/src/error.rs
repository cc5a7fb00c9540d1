//! One error type of the HTTP surface: a stable code, a message for the caller, a note for the log.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use routewright_policy::DecideError;
use serde_json::json;

/// What went wrong, as callers may rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidJson,
    InvalidRequest,
    UnknownCandidate,
    InvalidApiKey,
    ForeignOrigin,
    ModelNotFound,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    BodyTooLarge,
    MediaType,
    InvalidHttp,
    UriTooLong,
    HeadTooLarge,
    RateLimited,
    BatchTooLarge,
    NoEligibleCandidate,
    ReloadFailed,
    PromotionRefused,
    DecisionNotFound,
    DecisionExpired,
    ForeignDecision,
    FeedbackConflict,
    UnknownMetric,
    UnknownSource,
    UnknownModel,
    ValueOutOfRange,
    NoStore,
    StoreUnavailable,
    FusionFailed,
    Overloaded,
    ShuttingDown,
    Internal,
}

impl Code {
    /// Every code, in the order of the documentation.
    pub(crate) const ALL: [Self; 33] = [
        Self::InvalidJson,
        Self::InvalidRequest,
        Self::UnknownCandidate,
        Self::InvalidApiKey,
        Self::ForeignOrigin,
        Self::ModelNotFound,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::MediaType,
        Self::InvalidHttp,
        Self::UriTooLong,
        Self::HeadTooLarge,
        Self::RateLimited,
        Self::BatchTooLarge,
        Self::NoEligibleCandidate,
        Self::ReloadFailed,
        Self::PromotionRefused,
        Self::DecisionNotFound,
        Self::DecisionExpired,
        Self::ForeignDecision,
        Self::FeedbackConflict,
        Self::UnknownMetric,
        Self::UnknownSource,
        Self::UnknownModel,
        Self::ValueOutOfRange,
        Self::NoStore,
        Self::StoreUnavailable,
        Self::FusionFailed,
        Self::Overloaded,
        Self::ShuttingDown,
        Self::Internal,
    ];

    /// Status, `error.type` and `error.code`.
    pub(crate) fn row(self) -> (StatusCode, &'static str, &'static str) {
        const REQUEST: &str = "invalid_request_error";
        const SERVER: &str = "server_error";
        match self {
            Self::InvalidJson => (StatusCode::BAD_REQUEST, REQUEST, "invalid_json"),
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, REQUEST, "invalid_request"),
            Self::UnknownCandidate => (StatusCode::BAD_REQUEST, REQUEST, "unknown_candidate"),
            Self::InvalidApiKey => (StatusCode::UNAUTHORIZED, "authentication_error", "invalid_api_key"),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, REQUEST, "foreign_origin"),
            Self::ModelNotFound => (StatusCode::NOT_FOUND, REQUEST, "model_not_found"),
            Self::NotFound => (StatusCode::NOT_FOUND, REQUEST, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, REQUEST, "method_not_allowed"),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, REQUEST, "request_timeout"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, REQUEST, "body_too_large"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, REQUEST, "unsupported_media_type"),
            Self::InvalidHttp => (StatusCode::BAD_REQUEST, REQUEST, "invalid_http"),
            Self::UriTooLong => (StatusCode::URI_TOO_LONG, REQUEST, "uri_too_long"),
            Self::HeadTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, REQUEST, "head_too_large"),
            Self::RateLimited => (StatusCode::TOO_MANY_REQUESTS, REQUEST, "rate_limited"),
            Self::BatchTooLarge => (StatusCode::UNPROCESSABLE_ENTITY, REQUEST, "batch_too_large"),
            Self::NoEligibleCandidate => (StatusCode::UNPROCESSABLE_ENTITY, REQUEST, "no_eligible_candidate"),
            Self::ReloadFailed => (StatusCode::UNPROCESSABLE_ENTITY, REQUEST, "reload_failed"),
            Self::PromotionRefused => (StatusCode::CONFLICT, REQUEST, "promotion_refused"),
            Self::DecisionNotFound => (StatusCode::NOT_FOUND, REQUEST, "decision_not_found"),
            Self::DecisionExpired => (StatusCode::GONE, REQUEST, "decision_expired"),
            Self::ForeignDecision => (StatusCode::FORBIDDEN, REQUEST, "foreign_decision"),
            Self::FeedbackConflict => (StatusCode::CONFLICT, REQUEST, "feedback_conflict"),
            Self::UnknownMetric => (StatusCode::UNPROCESSABLE_ENTITY, REQUEST, "unknown_metric"),
            Self::UnknownSource => (StatusCode::UNPROCESSABLE_ENTITY, REQUEST, "unknown_source"),
            Self::UnknownModel => (StatusCode::UNPROCESSABLE_ENTITY, REQUEST, "unknown_model"),
            Self::ValueOutOfRange => (StatusCode::UNPROCESSABLE_ENTITY, REQUEST, "value_out_of_range"),
            Self::NoStore => (StatusCode::NOT_IMPLEMENTED, SERVER, "no_store"),
            Self::StoreUnavailable => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "store_unavailable"),
            Self::FusionFailed => (StatusCode::BAD_GATEWAY, SERVER, "fusion_failed"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "overloaded"),
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "shutting_down"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "internal_error"),
        }
    }

    /// `error.code`, also the `outcome` label of the request counter.
    pub(crate) fn label(self) -> &'static str {
        self.row().2
    }
}

/// Longest message and name of a field that are sent, bytes: what a caller sent may be part of both.
const MESSAGE_BYTES_MAX: usize = 4096;
const PARAM_BYTES_MAX: usize = 256;

/// The text, cut at the end of a character where it is too long.
fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(bytes_max)])
}

/// An error on its way to the caller.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    /// Stable code.
    pub(crate) code: Code,
    /// What the caller is told.
    pub(crate) message: String,
    /// Field at fault, where there is one.
    pub(crate) param: Option<String>,
    /// What only the log is told.
    pub(crate) inside: Option<String>,
    /// Seconds after which it may go better, where that is known.
    pub(crate) retry_after: Option<u64>,
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None, inside: None, retry_after: None }
    }

    #[must_use]
    pub(crate) fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// A fault of ours: the caller learns that, the log learns what.
    pub(crate) fn internal(inside: impl Into<String>) -> Self {
        let message = "the server failed to answer this request; its log says why";
        Self { inside: Some(inside.into()), ..Self::new(Code::Internal, message) }
    }

    /// The OpenAI error object.
    pub(crate) fn body(&self) -> serde_json::Value {
        let (_, kind, code) = self.code.row();
        let message = cut(&self.message, MESSAGE_BYTES_MAX);
        let param = self.param.as_deref().map(|param| cut(param, PARAM_BYTES_MAX));
        json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
    }
}

impl From<DecideError> for ApiError {
    fn from(error: DecideError) -> Self {
        let message = error.to_string();
        match error {
            DecideError::Feature(_) => Self::new(Code::InvalidRequest, message),
            DecideError::UnknownCandidate { .. } => {
                Self::new(Code::UnknownCandidate, message).param("candidates")
            }
            DecideError::Number { field, .. } => Self::new(Code::InvalidRequest, message).param(field),
            DecideError::NoEligible { .. } => Self::new(Code::NoEligibleCandidate, message),
            _ => Self::internal(message),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, _, _) = self.code.row();
        let body = self.body().to_string();
        let json = HeaderValue::from_static("application/json");
        let mut response = (status, [(header::CONTENT_TYPE, json)], body).into_response();
        let headers = response.headers_mut();
        if self.code == Code::InvalidApiKey {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let unavailable = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        if let Some(seconds) = self.retry_after.or(unavailable) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_sent_is_repeated_in_part_only() {
        let long = "ä".repeat(2_000_000);
        let error = ApiError::new(Code::InvalidRequest, format!("unknown field `{long}`")).param(&long);
        let body = error.body().to_string();
        assert!(body.len() < 5000 && body.contains("unknown field `ää"), "{} bytes", body.len());
        assert_eq!(cut("äb", 1), "...");
        assert_eq!(cut("äb", 3), "äb");
    }
}
