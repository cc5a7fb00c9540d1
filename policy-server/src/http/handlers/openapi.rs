//! `GET /openapi.json`: the description of every route.

use crate::error::ApiError;
use crate::http::document::Document;
use crate::http::endpoint::Endpoint;
use crate::http::reply::json;
use crate::http::wire::{Body, OpenApiDocument};
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    reply: Some(Body::of::<OpenApiDocument>()),
    ..Endpoint::get("/openapi.json", "This document", || get(handle))
};

async fn handle(State(Document(document)): State<Document>) -> Result<Response, ApiError> {
    json(&*document)
}
