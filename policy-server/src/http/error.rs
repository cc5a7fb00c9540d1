//! How an error crosses HTTP: its status, its body, the headers that go with it.

use crate::dialect::Dialect;
use crate::dialect::failure::Problem;
use crate::error::{ApiError, Code};
use crate::http::wire::ErrorBody;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Seconds after which a request may be tried again where the server is not available.
const RETRY_AFTER: u64 = 1;

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Puts an error of ours into the shape of another API than OpenAI's.
pub(crate) fn in_shape(response: &mut Response, shape: Dialect) {
    let Some(error) = response.extensions().get::<ApiError>().filter(|_| shape == Dialect::Messages) else {
        return;
    };
    let (status, _, code) = error.code.row();
    let body = Problem::new(status, code, ErrorBody::message_of(error)).body(shape);
    *response.body_mut() = body.into();
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = ErrorBody::of(&self).text();
        let json = HeaderValue::from_static("application/json");
        let mut response = (status, [(header::CONTENT_TYPE, json)], body).into_response();
        let headers = response.headers_mut();
        if self.code == Code::InvalidApiKey {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let unavailable = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER);
        if let Some(seconds) = self.retry_after.or(unavailable) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == Code::BudgetExceeded {
            // Clients of vendors would ask again and again.
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response.extensions_mut().insert(self);
        response
    }
}
