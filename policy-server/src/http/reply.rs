//! Replies that are JSON.

use crate::error::ApiError;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A JSON reply.
///
/// # Errors
/// If the value cannot be written.
pub(crate) fn json(value: &impl Serialize) -> Result<Response, ApiError> {
    text(value).map(json_text)
}

/// The text of a value; an `f32` keeps its digits, which it would not through [`serde_json::Value`].
///
/// # Errors
/// If the value cannot be written.
pub(crate) fn text(value: &impl Serialize) -> Result<String, ApiError> {
    serde_json::to_string(value)
        .map_err(|error| ApiError::internal(format!("a reply could not be written: {error}")))
}

/// A reply that is JSON text already.
pub(crate) fn json_text(body: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}
