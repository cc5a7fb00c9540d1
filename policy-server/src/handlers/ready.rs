//! `GET /ready`: every policy is loaded and the server is not shutting down.

use super::{ApiError, json};
use crate::error::Code;
use crate::state::App;
use axum::extract::State;
use axum::response::Response;
use serde_json::json as object;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(crate) async fn handle(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    if app.stopping.load(Relaxed) {
        return Err(ApiError::new(Code::ShuttingDown, "the server is shutting down"));
    }
    json(&object!({ "status": "ready", "version": env!("CARGO_PKG_VERSION") }))
}
