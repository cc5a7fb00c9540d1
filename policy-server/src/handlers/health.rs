//! `GET /health`: the process lives.

use super::{ApiError, json};
use axum::response::Response;
use serde_json::json as object;

pub(crate) async fn handle() -> Result<Response, ApiError> {
    json(&object!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}
