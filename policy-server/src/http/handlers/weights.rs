//! `POST /v1/weights`: how much each member of an ensemble counts for what follows a state.
//!
//! The weights are the distribution of a decision that is not drawn. So they are computed as decisions are, by the
//! version that is assigned, on the workers where that takes long, within the deadline, but nothing is logged and there
//! is no default for them.

use crate::caller::Caller;
use crate::decide::{Ask, DecisionId, Service};
use crate::error::Code;
use crate::http::decision::attribute;
use crate::http::endpoint::{Endpoint, Kind};
use crate::http::extract::{Began, Json};
use crate::http::reply::json;
use crate::http::session;
use crate::http::wire::{Body, Weights, WeightsRequest};
use crate::live::query::{Explain, Query};
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use routewright_policy::env;
use std::sync::Arc;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    kind: Kind::Plain,
    request: Some(Body::of::<WeightsRequest>()),
    reply: Some(Body::of::<Weights>()),
    errors: &[Code::Overloaded],
    ..Endpoint::post("/v1/weights", "Weigh the members of an ensemble for what follows a state", || {
        post(handle)
    })
};

async fn handle(
    State(service): State<Arc<Service>>,
    Extension(Began(began)): Extension<Began>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Json(request): Json<WeightsRequest>,
) -> Response {
    let state = env::State { prompt: &request.prompt, text: &request.text, span: request.span };
    let id = DecisionId::draw();
    let query = Query {
        text: state.to_text(),
        seed: id.seed,
        session_id: session::of_headers(&headers),
        explain: Explain::None,
        dry_run: true,
        ..Query::default()
    };
    let ask = Ask { policy: request.policy, query: Ok(query), id };
    let decided = match service.weigh(ask, &caller, began).await {
        Ok(decided) => decided,
        Err(failure) => return failure.into_response(),
    };
    let served = decided.served();
    let weights = json(&Weights {
        policy: served.name.clone(),
        version: served.version.clone(),
        models: served.policy.arms.iter().map(|arm| arm.model.clone()).collect(),
        weights: decided.computed.decision.candidates.iter().map(|arm| arm.propensity).collect(),
        span: served.policy.manifest.params.get("span").cloned(),
    });
    let mut response = weights.unwrap_or_else(IntoResponse::into_response);
    attribute(&mut response, &decided);
    response
}
