//! One file a route: read the request, call the logic, write the reply.

mod answer;

pub(crate) mod admin_policies;
pub(crate) mod admin_reload;
pub(crate) mod fallback;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod openapi;
pub(crate) mod ready;
pub(crate) mod route;
pub(crate) mod route_batch;
pub(crate) mod route_plain;

use crate::error::{ApiError, Code};
use crate::metrics::PolicyMetrics;
use crate::state::App;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;

/// Marks a response as the work of a policy, for the accounts.
#[derive(Debug, Clone)]
pub(crate) struct Decided(pub(crate) Arc<PolicyMetrics>);

/// The body, or why it could not be read.
fn body(app: &App, body: Result<Bytes, BytesRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let max = app.config.limits.body_bytes_max;
            ApiError::new(Code::BodyTooLarge, format!("the body is longer than {max} bytes"))
        }
        _ => ApiError::new(Code::InvalidRequest, "the body could not be read to its end"),
    })
}

/// A JSON reply.
fn json(value: &impl Serialize) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(value)
        .map_err(|error| ApiError::internal(format!("a reply could not be written: {error}")))?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}
