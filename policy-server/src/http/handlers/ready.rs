//! `GET /ready`: every policy is loaded, decisions can be logged where they must be, the server is not shutting down.

use crate::error::{ApiError, Code};
use crate::http::endpoint::{Access, Endpoint};
use crate::http::reply::json;
use crate::http::wire::{Body, Status, StoreStatus};
use crate::ledger::Ledger;
use crate::lifecycle::Lifecycle;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    access: Access::Open,
    reply: Some(Body::of::<Status>()),
    errors: &[Code::ShuttingDown, Code::StoreUnavailable],
    ..Endpoint::get("/ready", "Whether requests are taken", || get(handle))
};

async fn handle(
    State(lifecycle): State<Arc<Lifecycle>>,
    State(ledger): State<Option<Arc<Ledger>>>,
) -> Result<Response, ApiError> {
    if lifecycle.is_draining() {
        return Err(ApiError::new(Code::ShuttingDown, "the server is shutting down"));
    }
    let condition = ledger.map(|ledger| ledger.condition());
    // Where no decision is replied before it is logged, a server that cannot log takes no traffic.
    if let Some(reason) = condition.as_ref().filter(|c| c.is_awaited).and_then(|c| c.failing.clone()) {
        let message = "the store takes no entries now, and decisions wait for it";
        return Err(ApiError { inside: Some(reason), ..ApiError::new(Code::StoreUnavailable, message) });
    }
    let store = condition.map(|condition| {
        let status = if condition.failing.is_some() { "unavailable" } else { "available" };
        StoreStatus { status, unreadable_records: condition.unreadable }
    });
    json(&Status { status: "ready", version: env!("CARGO_PKG_VERSION"), store: Some(store) })
}
