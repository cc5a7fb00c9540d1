//! Paths and methods that are not in the table.

use super::ApiError;
use crate::error::Code;
use crate::routes;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use routewright_data::suggest::near_names;

pub(crate) async fn not_found(uri: Uri) -> ApiError {
    let path = uri.path();
    let hint = near_names(path, routes::TABLE.iter().map(|row| row.path));
    ApiError::new(Code::NotFound, format!("no route `{path}`; {hint}"))
}

pub(crate) async fn method(method: Method, uri: Uri) -> Response {
    let path = uri.path();
    let allowed = routes::find(path).map_or("get", |row| row.method).to_uppercase();
    let message = format!("`{path}` does not accept `{method}`, expected `{allowed}`");
    let mut response = ApiError::new(Code::MethodNotAllowed, message).into_response();
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}
