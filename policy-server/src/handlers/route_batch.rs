//! `POST /v1/route/batch`: many queries, each with its own result, in the order asked.

use super::answer::{self, Pending, Ticket};
use super::{ApiError, Bytes, BytesRejection, json_text};
use crate::error::Code;
use crate::guard::{Began, Caller};
use crate::query::Query;
use crate::registry::turn::Turn;
use crate::state::{App, Live};
use crate::store::DecisionRecord;
use crate::wire::{self, BatchRequest, RouteRequest};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;
use std::sync::Arc;

/// An entry that is with its policy.
struct Entry {
    turn: Turn,
    query: Arc<Query>,
    ticket: Ticket,
    pending: Pending,
}

pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    Extension(began): Extension<Began>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = super::body(&app, body)?;
    let batch: BatchRequest = wire::parse(&body)?;
    let (found, max) = (batch.requests.len(), app.config.limits.batch_max);
    if found > max {
        let message = format!("`requests` has {found} entries, expected at most {max}");
        return Err(ApiError::new(Code::BatchTooLarge, message).param("requests"));
    }
    // One look at the live policies: the whole batch sees one version of each.
    let live = app.live.load_full();
    // Everything is queued before anything is waited for, so that it is decided together.
    let entries: Vec<_> =
        batch.requests.into_iter().map(|entry| begin(&app, &live, entry, &caller)).collect();
    // Written as text right away: through `Value` an f32 would gain digits it never had.
    let mut data = Vec::with_capacity(entries.len());
    let mut policy = None;
    let mut records = Vec::new();
    for entry in entries {
        let result = match entry {
            Ok(entry) => {
                policy.get_or_insert_with(|| Arc::clone(&entry.turn.served));
                finish(&app, entry, began, &caller, &mut records).await
            }
            Err(error) => Err(error),
        };
        data.push(result.unwrap_or_else(|error| error.body().to_string()));
    }
    // One group for the whole batch.
    if let Some(ledger) = &app.ledger {
        ledger.decided(records).await?;
    }
    let mut response = json_text(format!("{{\"object\":\"list\",\"data\":[{}]}}", data.join(",")));
    if let Some(served) = policy {
        answer::belongs_to(&mut response, &served);
    }
    Ok(response)
}

fn begin(app: &App, live: &Live, entry: Value, caller: &Caller) -> Result<Entry, ApiError> {
    let mut request: RouteRequest = wire::parse_value(entry)?;
    let wanted = request.policy.take();
    let ticket = Ticket::draw();
    let mut query = request.into_query(ticket.seed)?;
    let turn = Turn::of(live, wanted.as_deref(), Some(&query))?;
    answer::prepare(app, &turn.served, &mut query, caller)?;
    let query = Arc::new(query);
    let pending = answer::begin(app, &turn.served, &query, false);
    Ok(Entry { turn, query, ticket, pending })
}

async fn finish(
    app: &App,
    entry: Entry,
    began: Began,
    caller: &Caller,
    records: &mut Vec<DecisionRecord>,
) -> Result<String, ApiError> {
    let Entry { turn, query, ticket, pending } = entry;
    let staged = answer::finish(app, &turn.served, &query, pending, began.0).await?;
    if answer::is_logged(app, &query) {
        records.push(answer::record(app, &turn, &query, &staged, &ticket.id, caller));
    }
    answer::count(&turn, &query, &staged);
    answer::shadow(app, &turn, &query, &staged);
    serde_json::to_string(&answer::describe(&turn, &query, &staged, &ticket.id))
        .map_err(|error| ApiError::internal(format!("a reply could not be written: {error}")))
}
