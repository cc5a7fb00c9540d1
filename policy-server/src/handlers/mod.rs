//! One file a route: read the request, call the logic, write the reply.

mod answer;

pub(crate) mod admin_arms;
pub(crate) mod admin_learning;
pub(crate) mod admin_policies;
pub(crate) mod admin_promote;
pub(crate) mod admin_registry;
pub(crate) mod admin_reload;
pub(crate) mod admin_statistics;
pub(crate) mod completions;
pub(crate) mod fallback;
pub(crate) mod feedback;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod openapi;
pub(crate) mod ready;
pub(crate) mod route;
pub(crate) mod route_batch;
pub(crate) mod route_plain;
pub(crate) mod weights;

use crate::error::{ApiError, Code};
use crate::metrics::PolicyMetrics;
use crate::state::App;
use crate::store::ledger::Ledger;
use crate::wire;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;

/// Marks a response as the work of a policy, for the accounts and the log.
#[derive(Debug, Clone)]
pub(crate) struct Decided {
    pub(crate) policy: Arc<PolicyMetrics>,
    /// Of one decision: its id, and the model it chose.
    pub(crate) decision_id: Option<String>,
    pub(crate) model: Option<String>,
}

/// A longer body is read on a blocking thread.
const READ_AT_ONCE_MAX: usize = 64 << 10;

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

/// Reads the JSON of a body.
async fn parse<T: DeserializeOwned + Send + 'static>(app: &App, body: Bytes) -> Result<T, ApiError> {
    aside(app, body.len(), move || wire::parse(&body)).await?
}

/// Does the work that so many bytes make: at once where they are few, else on a blocking thread, as many at a time
/// as there are cores, so that the threads that serve connections stay free.
async fn aside<T: Send + 'static>(
    app: &App,
    n_bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if n_bytes <= READ_AT_ONCE_MAX {
        return Ok(work());
    }
    let permit = Arc::clone(&app.aside).acquire_owned().await;
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(permit);
        done
    });
    done.await.map_err(|error| ApiError::internal(format!("work on a long body failed: {error}")))
}

/// The log, or that there is none.
fn ledger(app: &App) -> Result<&Ledger, ApiError> {
    app.ledger.as_ref().ok_or_else(|| {
        let message = "this server logs nothing: no section [store] is configured";
        ApiError::new(Code::NoStore, message)
    })
}

/// A JSON reply.
fn json(value: &impl Serialize) -> Result<Response, ApiError> {
    serde_json::to_string(value)
        .map(json_text)
        .map_err(|error| ApiError::internal(format!("a reply could not be written: {error}")))
}

/// A reply that is JSON text already.
fn json_text(body: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}
