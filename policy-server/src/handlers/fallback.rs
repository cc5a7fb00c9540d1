//! Paths and methods that are not in the table.

use super::ApiError;
use crate::error::Code;
use crate::routes;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use routewright_data::suggest::near_names;

pub(crate) async fn not_found(admin: bool, uri: Uri) -> ApiError {
    let path = uri.path();
    let (here, other) = if admin { ("admin", "data") } else { ("data", "admin") };
    if routes::find(path).is_some() {
        return ApiError::new(
            Code::NotFound,
            format!("`{path}` is a route of the {other} listener, this is the {here} listener"),
        );
    }
    let hint =
        near_names(path, routes::TABLE.iter().filter(|row| routes::is_on(row, admin)).map(|row| row.path));
    ApiError::new(Code::NotFound, format!("no route `{path}` on the {here} listener; {hint}"))
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
