//! `GET /health`: the process lives.

use crate::error::ApiError;
use crate::http::endpoint::{Access, Endpoint};
use crate::http::reply::json;
use crate::http::wire::{Body, Status};
use axum::response::Response;
use axum::routing::get;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    access: Access::Open,
    reply: Some(Body::of::<Status>()),
    ..Endpoint::get("/health", "Whether the process lives", || get(handle))
};

async fn handle() -> Result<Response, ApiError> {
    json(&Status { status: "ok", version: env!("CARGO_PKG_VERSION"), store: None })
}
