//! `POST /v1/route/batch`: many queries, each with its own result, in the order asked.
//!
//! A batch has the time of its entries together. Where most of them miss it all the same, the batch is refused: a
//! caller who asked for decisions is not given the cheapest model for all of them in a reply that looks like success.

use super::answer::{self, Pending, Ticket};
use super::{ApiError, Bytes, BytesRejection, json_text};
use crate::error::Code;
use crate::guard::{Began, Caller};
use crate::query::Query;
use crate::registry::turn::Turn;
use crate::stages::Staged;
use crate::state::{App, Live};
use crate::wire::{self, BatchRequest, BatchSummary, RouteRequest};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use routewright_policy::Reason;
use serde_json::Value;
use std::sync::Arc;

/// What a candidate takes in a reply, about.
const CANDIDATE_BYTES: usize = 160;

/// An entry that is with its policy.
struct Entry {
    turn: Turn,
    query: Arc<Query>,
    ticket: Ticket,
    pending: Pending,
}

/// An entry that is decided.
struct Done {
    turn: Turn,
    query: Arc<Query>,
    ticket: Ticket,
    staged: Staged,
}

pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    Extension(began): Extension<Began>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = super::body(&app, body)?;
    let batch: BatchRequest = super::parse(&app, body).await?;
    let (found, max) = (batch.requests.len(), app.config.limits.batch_max);
    if found > max {
        let message = format!("`requests` has {found} entries, expected at most {max}");
        return Err(ApiError::new(Code::BatchTooLarge, message).param("requests"));
    }
    app.rates.charge(&caller.share, found.saturating_sub(1));
    // One look at the live policies: the whole batch sees one version of each.
    let live = app.live.load_full();
    // Everything is queued before anything is waited for, so that it is decided together.
    let entries: Vec<_> =
        batch.requests.into_iter().map(|entry| begin(&app, &live, entry, &caller)).collect();
    let deadline = app.config.limits.batch_deadline(found).map(|deadline| began.0 + deadline);
    let mut results = Vec::with_capacity(entries.len());
    for entry in entries {
        results.push(match entry {
            Ok(Entry { turn, query, ticket, pending }) => {
                let staged = answer::finish(&turn.served, &query, pending, deadline).await;
                staged.map(|staged| Done { turn, query, ticket, staged })
            }
            Err(error) => Err(error),
        });
    }
    let summary = summarize(&results)?;
    // One group for the whole batch, and nothing is counted or shown before it is in the log.
    if let Some(ledger) = &app.ledger {
        let logged = results.iter().flatten().filter(|done| answer::is_logged(&app, &done.query));
        let record = |done: &Done| {
            answer::record(&app, &done.turn, &done.query, &done.staged, &done.ticket.id, &caller)
        };
        let records = logged.map(record).collect();
        ledger.decided(records).await?;
    }
    let candidates = |done: &Done| done.staged.decision.candidates.len();
    let n_bytes = CANDIDATE_BYTES * results.iter().flatten().map(candidates).sum::<usize>();
    let writing = Arc::clone(&app);
    super::aside(&app, n_bytes, move || reply(&writing, &results, &summary)).await?
}

fn begin(app: &App, live: &Live, entry: Value, caller: &Caller) -> Result<Entry, ApiError> {
    let mut request: RouteRequest = wire::parse_value(entry)?;
    let wanted = request.policy.take();
    let ticket = Ticket::draw();
    let mut query = request.into_query(ticket.seed)?;
    let turn = Turn::of(live, wanted.as_deref(), Some(&query))?;
    answer::prepare(app, &turn.served, &mut query, caller)?;
    let query = Arc::new(query);
    let pending = answer::begin(app, &turn.served, &query, false, caller);
    Ok(Entry { turn, query, ticket, pending })
}

/// What became of the entries.
///
/// # Errors
/// If most of those that could be decided were not in time.
fn summarize(results: &[Result<Done, ApiError>]) -> Result<BatchSummary, ApiError> {
    let late = |done: &&Done| done.staged.decision.reason == Reason::DeadlineDefault;
    let answered = results.iter().flatten().count();
    let deadline_default = results.iter().flatten().filter(late).count();
    if 2 * deadline_default > answered {
        let message = format!(
            "{deadline_default} of {answered} decisions were not made in time and nothing of the batch was kept; \
             try again, or with fewer entries"
        );
        return Err(ApiError::new(Code::Overloaded, message));
    }
    let (entries, decided) = (results.len(), answered - deadline_default);
    Ok(BatchSummary { entries, decided, deadline_default, failed: entries - answered })
}

/// Counts the decisions and writes them.
fn reply(
    app: &App,
    results: &[Result<Done, ApiError>],
    summary: &BatchSummary,
) -> Result<Response, ApiError> {
    let unwritten = |error| ApiError::internal(format!("a reply could not be written: {error}"));
    // Written as text right away: through `Value` an f32 would gain digits it never had.
    let mut data = Vec::with_capacity(results.len());
    for result in results {
        data.push(match result {
            Ok(Done { turn, query, ticket, staged }) => {
                answer::count(turn, query, staged);
                answer::shadow(app, turn, query, staged);
                serde_json::to_string(&answer::describe(turn, query, staged, &ticket.id))
                    .map_err(unwritten)?
            }
            Err(error) => error.body().to_string(),
        });
    }
    let summary = serde_json::to_string(summary).map_err(unwritten)?;
    let data = data.join(",");
    let mut response = json_text(format!("{{\"object\":\"list\",\"data\":[{data}],\"summary\":{summary}}}"));
    if let Some(done) = results.iter().flatten().next() {
        answer::belongs_to(&mut response, &done.turn.served);
    }
    Ok(response)
}
