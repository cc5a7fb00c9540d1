//! `POST /v1/route`: one query, one decision.

use super::answer::{self, Ticket};
use super::{ApiError, Bytes, BytesRejection, json};
use crate::guard::{Began, Caller};
use crate::query::Query;
use crate::registry::turn::Turn;
use crate::session;
use crate::state::App;
use crate::wire::RouteRequest;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    Extension(began): Extension<Began>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = super::body(&app, body)?;
    let mut request: RouteRequest = super::parse(&app, body).await?;
    let wanted = request.policy.take();
    let named = request.request.as_ref().and_then(session::of_body);
    request.session_id = request.session_id.or_else(|| session::of_headers(&headers)).or(named);
    let ticket = Ticket::draw();
    let seed = ticket.seed;
    reply(&app, wanted.as_deref(), request.into_query(seed), ticket, began, &caller).await
}

/// Decides one query for whichever route it came by; what fails is booked on the policy it was meant for.
pub(super) async fn reply(
    app: &App,
    wanted: Option<&str>,
    query: Result<Query, ApiError>,
    ticket: Ticket,
    began: Began,
    caller: &Caller,
) -> Result<Response, ApiError> {
    // The version this request sees from here on, whatever is reloaded meanwhile.
    let turn = Turn::of(&app.live.load(), wanted, query.as_ref().ok())?;
    match decide(app, &turn, query, ticket, began, caller).await {
        Ok(response) => Ok(response),
        Err(error) => {
            let mut response = error.into_response();
            answer::belongs_to(&mut response, &turn.served);
            Ok(response)
        }
    }
}

async fn decide(
    app: &App,
    turn: &Turn,
    query: Result<Query, ApiError>,
    ticket: Ticket,
    began: Began,
    caller: &Caller,
) -> Result<Response, ApiError> {
    let served = &turn.served;
    let mut query = query?;
    answer::prepare(app, served, &mut query, caller)?;
    let query = Arc::new(query);
    let pending = answer::begin(app, served, &query, true, caller);
    let deadline = app.config.limits.decision_deadline().map(|deadline| began.0 + deadline);
    let staged = answer::finish(served, &query, pending, deadline).await?;
    if let Some(ledger) = app.ledger.as_ref().filter(|_| answer::is_logged(app, &query)) {
        ledger.decided(vec![answer::record(app, turn, &query, &staged, &ticket.id, caller)]).await?;
    }
    answer::count(turn, &query, &staged);
    let mut response = json(&answer::describe(turn, &query, &staged, &ticket.id))?;
    answer::mark(&mut response, served, &staged, &ticket.id);
    answer::shadow(app, turn, &query, &staged);
    Ok(response)
}
