//! `GET /health`: the process lives.

use crate::error::ApiError;
use crate::http::endpoint::{Access, Endpoint};
use crate::http::reply::json;
use axum::response::Response;
use axum::routing::get;
use serde_json::json as object;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    access: Access::Open,
    reply: Some("Status"),
    ..Endpoint::get("/health", "Whether the process lives", || get(handle))
};

async fn handle() -> Result<Response, ApiError> {
    json(&object!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}
