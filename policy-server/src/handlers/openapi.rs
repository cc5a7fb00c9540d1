//! `GET /openapi.json`: the description of every route.

use super::{ApiError, json};
use crate::openapi::document;
use axum::response::Response;

pub(crate) async fn handle() -> Result<Response, ApiError> {
    let document = document();
    json(&document.map_err(|error| ApiError::internal(format!("the schemas are not JSON: {error}")))?)
}
