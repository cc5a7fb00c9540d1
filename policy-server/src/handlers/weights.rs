//! `POST /v1/weights`: how much each member of an ensemble counts for what follows a state.
//!
//! The weights are the distribution of a decision that is not drawn. So they are computed as decisions are: by the
//! version whose turn it is, on the workers where that takes long, within the deadline. There is no default for them.

use super::{ApiError, Bytes, BytesRejection, answer, json};
use crate::error::Code;
use crate::guard::{Began, Caller};
use crate::query::Query;
use crate::registry::turn::Turn;
use crate::session;
use crate::state::App;
use crate::wire::{Explain, WeightsReply, WeightsRequest};
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use routewright_policy::Reason;
use routewright_policy::env;
use std::sync::Arc;

pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    Extension(began): Extension<Began>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = super::body(&app, body)?;
    let request: WeightsRequest = super::parse(&app, body).await?;
    let state = env::State { prompt: &request.prompt, text: &request.text, span: request.span };
    let query = Arc::new(Query {
        text: state.to_text(),
        seed: answer::Ticket::draw().seed,
        session_id: session::of_headers(&headers),
        explain: Explain::None,
        dry_run: true,
        ..Query::default()
    });
    let turn = Turn::of(&app.live.load(), request.policy.as_deref(), Some(&query))?;
    let weighed = weigh(&app, &turn, &query, began, &caller).await;
    let mut response = weighed.unwrap_or_else(IntoResponse::into_response);
    answer::belongs_to(&mut response, &turn.served);
    Ok(response)
}

async fn weigh(
    app: &App,
    turn: &Turn,
    query: &Arc<Query>,
    began: Began,
    caller: &Caller,
) -> Result<Response, ApiError> {
    let served = &turn.served;
    let pending = answer::begin(app, served, query, true, caller);
    let deadline = app.config.limits.decision_deadline().map(|deadline| began.0 + deadline);
    let staged = answer::finish(served, query, pending, deadline).await?;
    if staged.decision.reason == Reason::DeadlineDefault {
        let message = "the weights were not computed in time, and there are no default ones; try again";
        return Err(ApiError::new(Code::Overloaded, message));
    }
    answer::count(turn, query, &staged);
    json(&WeightsReply {
        policy: served.name.clone(),
        version: served.version.clone(),
        models: served.policy.arms.iter().map(|arm| arm.model.clone()).collect(),
        weights: staged.decision.candidates.iter().map(|candidate| candidate.propensity).collect(),
        span: served.policy.manifest.params.get("span").cloned(),
    })
}
