//! What surrounds every handler: request id, key, time limit, panic, count, log.

use crate::error::{ApiError, Code};
use crate::handlers::Decided;
use crate::keys::same_secret;
use crate::log::Level;
use crate::metrics::Stage;
use crate::routes::{self, Access, Endpoint};
use crate::stages::panic_text;
use crate::state::App;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const OVERHEAD: HeaderName = HeaderName::from_static("x-router-overhead-ms");
/// Longest request id that is echoed.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// When a request began; handlers measure their deadline from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Began(pub(crate) Instant);

/// Whose key a request came with: the name of its record; `None` where keys are not asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller(pub(crate) Option<Arc<str>>);

/// One listener's side of the guard.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    pub(crate) app: Arc<App>,
    pub(crate) admin: bool,
}

/// Runs a request between its checks and its accounts.
pub(crate) async fn around(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    request.extensions_mut().insert(Began(began));
    let id = request_id(request.headers());
    let row = routes::find(request.uri().path());
    let endpoint = row.map_or(Endpoint::Unknown, |row| row.endpoint);
    let access = row.map_or(Access::Key, |row| row.access);
    let mut response = match authorize(&guard, access, request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            limited(&guard.app, next.run(request)).await
        }
        Err(error) => error.into_response(),
    };
    account(&guard.app, endpoint, began.elapsed(), &id, &response);
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    if endpoint.decides() {
        let ms = format!("{:.3}", began.elapsed().as_secs_f64() * 1000.0);
        headers.extend(HeaderValue::try_from(ms).ok().map(|ms| (OVERHEAD, ms)));
    }
    response
}

/// The caller's id where it is printable and short, else a fresh one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let usable = |id: &&HeaderValue| {
        !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(usable) {
        return id.clone();
    }
    let mut buffer = [0_u8; uuid::fmt::Hyphenated::LENGTH];
    let fresh = crate::ids::fresh();
    let fresh = fresh.hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(fresh).unwrap_or(HeaderValue::from_static("-"))
}

fn authorize(guard: &Guard, access: Access, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let config = &guard.app.config;
    match access {
        Access::Open => return Ok(Caller::default()),
        Access::KeyUnlessOpened if config.metrics_open => return Ok(Caller::default()),
        _ => {}
    }
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let presented = bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()));
    let accepted = if guard.admin {
        let Some(expected) = &config.admin_key else { return Ok(Caller::default()) };
        presented.map(|key| same_secret(key, expected).then(Caller::default))
    } else {
        let keys = guard.app.keys.load();
        if !keys.required() {
            return Ok(Caller::default());
        }
        presented.map(|key| keys.find(key).map(|record| Caller(Some(record.name.as_str().into()))))
    };
    let message = match accepted {
        Some(Some(caller)) => return Ok(caller),
        Some(None) => "the API key is not valid",
        None => "no API key was given, expected `Authorization: Bearer sk-rw-...` or `x-api-key: sk-rw-...`",
    };
    Err(ApiError::new(Code::InvalidApiKey, message))
}

/// Runs a handler within the time limit; a panic becomes an error like any other.
async fn limited(app: &App, handler: impl Future<Output = Response>) -> Response {
    let mut handler = Box::pin(handler);
    let caught = std::future::poll_fn(move |context| {
        // The handler is dropped after a panic, so nothing half-changed is seen again.
        match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(panic) => {
                let inside = format!("a handler panicked: {}", panic_text(&*panic));
                std::task::Poll::Ready(ApiError::internal(inside).into_response())
            }
        }
    });
    let ms = app.config.limits.request_timeout_ms;
    match tokio::time::timeout(Duration::from_millis(ms), caught).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("the request was not complete within {ms} ms");
            ApiError::new(Code::RequestTimeout, message).into_response()
        }
    }
}

/// Counts and logs a request.
fn account(app: &App, endpoint: Endpoint, took: Duration, id: &HeaderValue, response: &Response) {
    let error = response.extensions().get::<ApiError>();
    let decided = response.extensions().get::<Decided>();
    let policy = decided.map(|decided| &*decided.0);
    app.metrics.request(endpoint, policy, error.map(|error| error.code));
    if let Some(policy) = policy {
        policy.stage(Stage::Total, took);
    }
    let inside = error.and_then(|error| error.inside.as_deref());
    let serious = error.is_some_and(|error| matches!(error.code, Code::Internal | Code::FusionFailed));
    if serious || app.config.log_requests {
        let level = if serious { Level::Error } else { Level::Info };
        let fields = json!({
            "request_id": id.to_str().unwrap_or("-"),
            "endpoint": endpoint.label(),
            "status": response.status().as_u16(),
            "code": error.map(|error| error.code.label()),
            "inside": inside,
            "policy": policy.map(|policy| policy.name()),
            "ms": took.as_secs_f64() * 1000.0,
        });
        app.log.event(level, "request", fields);
    }
}
