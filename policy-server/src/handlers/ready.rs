//! `GET /ready`: every policy is loaded, decisions can be logged where they must be, the server is not shutting down.

use super::{ApiError, json};
use crate::error::Code;
use crate::state::App;
use crate::store::ledger::Ledger;
use axum::extract::State;
use axum::response::Response;
use serde_json::json as object;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(crate) async fn handle(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    if app.draining.load(Relaxed) {
        return Err(ApiError::new(Code::ShuttingDown, "the server is shutting down"));
    }
    let condition = app.ledger.as_ref().map(Ledger::condition);
    // Where no decision is replied before it is logged, a server that cannot log takes no traffic.
    if let Some(reason) = condition.as_ref().filter(|c| c.is_awaited).and_then(|c| c.failing.clone()) {
        let message = "the store takes no entries now, and decisions wait for it";
        return Err(ApiError { inside: Some(reason), ..ApiError::new(Code::StoreUnavailable, message) });
    }
    let store = condition.map(|condition| {
        let status = if condition.failing.is_some() { "unavailable" } else { "available" };
        object!({ "status": status, "unreadable_records": condition.unreadable })
    });
    json(&object!({ "status": "ready", "version": env!("CARGO_PKG_VERSION"), "store": store }))
}
