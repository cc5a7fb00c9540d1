//! `POST /route/v1/...`: the plain body of another API, so that an SDK with a changed base URL works.
//!
//! `model` picks the policy: `routewright/<policy>[@version]` or `router-<policy>`; any other name, such as
//! `auto` or the model the client would have called, means the default policy.

use super::answer::Ticket;
use super::{ApiError, Bytes, BytesRejection, route};
use crate::extract::{self, InputFormat};
use crate::guard::{Began, Caller};
use crate::query::Query;
use crate::session;
use crate::state::App;
use crate::wire::{self, Explain};
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use routewright_policy::Constraints;
use serde_json::Value;
use std::sync::Arc;

type Body = Result<Bytes, BytesRejection>;

pub(crate) async fn chat(
    State(app): State<Arc<App>>,
    Extension(began): Extension<Began>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    decide(&app, InputFormat::OpenaiChat, &headers, body, began, &caller).await
}

pub(crate) async fn responses(
    State(app): State<Arc<App>>,
    Extension(began): Extension<Began>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    decide(&app, InputFormat::OpenaiResponses, &headers, body, began, &caller).await
}

pub(crate) async fn messages(
    State(app): State<Arc<App>>,
    Extension(began): Extension<Began>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    decide(&app, InputFormat::AnthropicMessages, &headers, body, began, &caller).await
}

async fn decide(
    app: &App,
    format: InputFormat,
    headers: &HeaderMap,
    body: Body,
    began: Began,
    caller: &Caller,
) -> Result<Response, ApiError> {
    let body: Value = wire::parse(&super::body(app, body)?)?;
    let model = body["model"].as_str().unwrap_or_default();
    let policy = model.strip_prefix("routewright/").or_else(|| model.strip_prefix("router-"));
    let ticket = Ticket::draw();
    let query = extract::text(format, &body).map_err(plain_param).map(|text| Query {
        text,
        vector: None,
        source: None,
        candidates: None,
        objective: None,
        constraints: Constraints::default(),
        seed: ticket.seed,
        price: 0.0,
        session_id: session::of_headers(headers).or_else(|| session::of_body(&body)),
        explain: Explain::Summary,
        dry_run: false,
        deferred: false,
        keep_features: false,
    });
    route::reply(app, policy, query, ticket, began, caller).await
}

/// Here the body is the request itself.
fn plain_param(mut error: ApiError) -> ApiError {
    error.message = error.message.replace("`request.", "`").replace("`request`", "the body");
    error.param = error.param.and_then(|param| param.strip_prefix("request.").map(str::to_owned));
    error
}
