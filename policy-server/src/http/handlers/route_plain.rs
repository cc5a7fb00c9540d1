//! `POST /route/v1/...`: the plain body of another API, so that an SDK with a changed base URL works.
//!
//! `model` picks the policy: `routewright/<policy>[@version]` or `router-<policy>`; any other name, such as
//! `auto` or the model the client would have called, means the default policy.

use crate::caller::Caller;
use crate::decide::{Ask, DecisionId, Service};
use crate::error::{ApiError, Code};
use crate::http::conversation::{self, InputFormat};
use crate::http::endpoint::{Endpoint, Kind};
use crate::http::extract::{Began, Json};
use crate::http::handlers::route;
use crate::http::session;
use crate::http::wire::{Body, DecisionBody, PlainChat, PlainMessages, PlainResponses};
use crate::live::query::Query;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use serde_json::Value;
use std::sync::Arc;

pub(crate) const CHAT: Endpoint = Endpoint {
    kind: Kind::Decision,
    request: Some(Body::of::<PlainChat>()),
    reply: Some(Body::of::<DecisionBody<'static>>()),
    ..Endpoint::post("/route/v1/chat/completions", "Decide on a plain OpenAI chat body", || post(chat))
};

pub(crate) const RESPONSES: Endpoint = Endpoint {
    kind: Kind::Decision,
    request: Some(Body::of::<PlainResponses>()),
    reply: Some(Body::of::<DecisionBody<'static>>()),
    ..Endpoint::post("/route/v1/responses", "Decide on a plain OpenAI responses body", || post(responses))
};

pub(crate) const MESSAGES: Endpoint = Endpoint {
    kind: Kind::Decision,
    request: Some(Body::of::<PlainMessages>()),
    reply: Some(Body::of::<DecisionBody<'static>>()),
    ..Endpoint::post("/route/v1/messages", "Decide on a plain Anthropic messages body", || post(messages))
};

/// What the reply says to someone who takes it for a completion.
const NOTICE: &str = "a routing decision, not a completion: call the model named in `action.model` yourself";

async fn chat(
    State(service): State<Arc<Service>>,
    Extension(began): Extension<Began>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    decide(&service, InputFormat::OpenaiChat, &headers, &body, began, &caller).await
}

async fn responses(
    State(service): State<Arc<Service>>,
    Extension(began): Extension<Began>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    decide(&service, InputFormat::OpenaiResponses, &headers, &body, began, &caller).await
}

async fn messages(
    State(service): State<Arc<Service>>,
    Extension(began): Extension<Began>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    decide(&service, InputFormat::AnthropicMessages, &headers, &body, began, &caller).await
}

async fn decide(
    service: &Service,
    format: InputFormat,
    headers: &HeaderMap,
    body: &Value,
    began: Began,
    caller: &Caller,
) -> Response {
    let model = body["model"].as_str().unwrap_or_default();
    let policy = model.strip_prefix("routewright/").or_else(|| model.strip_prefix("router-"));
    let id = DecisionId::draw();
    let asked =
        whole(body).and_then(|()| conversation::read(format, body)).map_err(conversation::of_the_body);
    let query = asked.map(|conversation| Query {
        conversation: Some(conversation),
        seed: id.seed,
        session_id: session::of_headers(headers).or_else(|| session::of_body(body)),
        notice: Some(NOTICE),
        ..Query::default()
    });
    route::reply(service, Ask { policy: policy.map(str::to_owned), query, id }, caller, began).await
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
