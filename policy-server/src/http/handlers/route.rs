//! `POST /v1/route`: one query, one decision.

use crate::caller::Caller;
use crate::decide::{Ask, DecisionId, Service};
use crate::error::Code;
use crate::http::decision::{describe, mark};
use crate::http::endpoint::{Endpoint, Kind};
use crate::http::extract::{Began, Json};
use crate::http::reply::json;
use crate::http::session;
use crate::http::wire::{Body, DecisionBody, RouteRequest};
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::sync::Arc;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    kind: Kind::Decision,
    request: Some(Body::of::<RouteRequest>()),
    reply: Some(Body::of::<DecisionBody<'static>>()),
    errors: &[Code::UnknownCandidate, Code::NoEligibleCandidate],
    ..Endpoint::post("/v1/route", "Decide which model answers one query", || post(handle))
};

async fn handle(
    State(service): State<Arc<Service>>,
    Extension(began): Extension<Began>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Json(mut request): Json<RouteRequest>,
) -> Response {
    let named = request.request.as_ref().and_then(session::of_body);
    request.session_id = request.session_id.or_else(|| session::of_headers(&headers)).or(named);
    let id = DecisionId::draw();
    let ask = Ask { policy: request.policy.take(), query: request.into_query(id.seed), id };
    reply(&service, ask, &caller, began).await
}

/// Decides one query for whichever route it came by.
pub(super) async fn reply(service: &Service, ask: Ask, caller: &Caller, began: Began) -> Response {
    let decided = match service.decide(ask, caller, began.0).await {
        Ok(decided) => decided,
        Err(failure) => return failure.into_response(),
    };
    let mut response = json(&describe(&decided)).unwrap_or_else(IntoResponse::into_response);
    mark(&mut response, &decided);
    response
}
