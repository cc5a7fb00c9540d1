//! Paths and methods that are not in the table.

use crate::error::{ApiError, Code};
use crate::http::endpoint::Endpoint;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use routewright_data::suggest::near_names;

/// The row of a path, whatever the method; a slash behind the path is ignored.
fn find(rows: &'static [Endpoint], path: &str) -> Option<&'static Endpoint> {
    rows.iter().find(|row| row.is_of(path))
}

pub(crate) fn not_found(rows: &'static [Endpoint], admin: bool, uri: Uri) -> ApiError {
    let path = uri.path();
    let (here, other) = if admin { ("admin", "data") } else { ("data", "admin") };
    if find(rows, path).is_some() {
        return ApiError::new(
            Code::NotFound,
            format!("`{path}` is a route of the {other} listener, this is the {here} listener"),
        );
    }
    let hint = near_names(path, rows.iter().filter(|row| row.is_on(admin)).map(|row| row.path));
    ApiError::new(Code::NotFound, format!("no route `{path}` on the {here} listener; {hint}"))
}

pub(crate) fn method(rows: &'static [Endpoint], method: Method, uri: Uri) -> Response {
    let path = uri.path();
    let allowed = find(rows, path).map_or("get", |row| row.method).to_uppercase();
    let message = format!("`{path}` does not accept `{method}`, expected `{allowed}`");
    let mut response = ApiError::new(Code::MethodNotAllowed, message).into_response();
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}
