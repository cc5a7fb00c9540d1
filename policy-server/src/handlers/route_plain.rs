//! `POST /route/v1/...`: the plain body of another API, so that an SDK with a changed base URL works.
//!
//! `model` picks the policy: `routewright/<policy>[@version]` or `router-<policy>`; any other name, such as
//! `auto` or the model the client would have called, means the default policy.

use super::answer::Ticket;
use super::{ApiError, Bytes, BytesRejection, route};
use crate::error::Code;
use crate::extract::{self, InputFormat};
use crate::guard::{Began, Caller};
use crate::query::Query;
use crate::session;
use crate::state::App;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;
use std::sync::Arc;

/// What the reply says to someone who takes it for a completion.
const NOTICE: &str = "a routing decision, not a completion: call the model named in `action.model` yourself";

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
    let body: Value = super::parse(app, super::body(app, body)?).await?;
    let model = body["model"].as_str().unwrap_or_default();
    let policy = model.strip_prefix("routewright/").or_else(|| model.strip_prefix("router-"));
    let ticket = Ticket::draw();
    let asked = whole(&body).and_then(|()| extract::conversation(format, &body)).map_err(plain_param);
    let query = asked.map(|conversation| Query {
        conversation: Some(conversation),
        seed: ticket.seed,
        session_id: session::of_headers(headers).or_else(|| session::of_body(&body)),
        notice: Some(NOTICE),
        ..Query::default()
    });
    route::reply(app, policy, query, ticket, began, caller).await
}

/// A decision is not streamed: a client that asked for a stream would wait for events of an answer.
fn whole(body: &Value) -> Result<(), ApiError> {
    if matches!(body["stream"], Value::Null | Value::Bool(false)) {
        return Ok(());
    }
    let message = "this route decides which model answers and streams nothing: leave `stream` out, and set it \
                   when you call the model named in `action.model`";
    Err(ApiError::new(Code::InvalidRequest, message).param("request.stream"))
}

/// Here the body is the request itself.
fn plain_param(mut error: ApiError) -> ApiError {
    error.message = error.message.replace("`request.", "`").replace("`request`", "the body");
    error.param = error.param.and_then(|param| param.strip_prefix("request.").map(str::to_owned));
    error
}
