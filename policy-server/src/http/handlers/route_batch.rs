//! `POST /v1/route/batch`: many queries, each with its own result, in the order asked.
//!
//! A batch has the time of its entries together. Where most of them miss it all the same, the batch is refused: a
//! caller who asked for decisions is not given the cheapest model for all of them in a reply that looks like success.

use crate::caller::Caller;
use crate::decide::{Ask, Decided, DecisionId, Failure, Service};
use crate::error::{ApiError, Code};
use crate::http::decision::{attribute, describe};
use crate::http::endpoint::{Endpoint, Kind};
use crate::http::extract::{Began, Json};
use crate::http::offload::Offload;
use crate::http::rates::Rates;
use crate::http::reply::json;
use crate::http::wire::{
    self, BatchItem, BatchReply, BatchRequest, BatchSummary, Body, ErrorBody, RouteRequest,
};
use crate::settings::Limits;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;
use std::sync::Arc;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    kind: Kind::Decision,
    request: Some(Body::of::<BatchRequest>()),
    reply: Some(Body::of::<BatchReply<'static>>()),
    errors: &[Code::BatchTooLarge],
    ..Endpoint::post("/v1/route/batch", "Decide many queries; each has its own result", || post(handle))
};

/// What a candidate takes in a reply, about.
const CANDIDATE_BYTES: usize = 160;

async fn handle(
    State(service): State<Arc<Service>>,
    State(limits): State<Limits>,
    State(rates): State<Arc<Rates>>,
    State(offload): State<Offload>,
    Extension(Began(began)): Extension<Began>,
    Extension(caller): Extension<Caller>,
    Json(batch): Json<BatchRequest>,
) -> Result<Response, ApiError> {
    let (found, max) = (batch.requests.len(), limits.batch_max);
    if found > max {
        let message = format!("`requests` has {found} entries, expected at most {max}");
        return Err(ApiError::new(Code::BatchTooLarge, message).param("requests"));
    }
    rates.charge(&caller.share, found.saturating_sub(1));
    // An entry that cannot be read fails alone.
    let mut asks = Vec::with_capacity(found);
    let read: Vec<Result<(), ApiError>> =
        batch.requests.into_iter().map(|entry| ask(entry).map(|ask| asks.push(ask))).collect();
    let mut outcomes = match service.decide_batch(asks, &caller, began, mostly_in_time).await {
        Ok(outcomes) => outcomes.into_iter(),
        Err(failure) => return Ok(failure.into_response()),
    };
    let missing = || Err(ApiError::internal("an entry of a batch has no outcome").into());
    let results: Vec<Result<Decided, Failure>> = read
        .into_iter()
        .map(|read| read.map_err(Failure::from).and_then(|()| outcomes.next().unwrap_or_else(missing)))
        .collect();
    let candidates = |decided: &Decided| decided.computed.decision.candidates.len();
    let n_bytes = CANDIDATE_BYTES * results.iter().flatten().map(candidates).sum::<usize>();
    offload.run(n_bytes, move || reply(&results)).await?
}

fn ask(entry: Value) -> Result<Ask, ApiError> {
    let mut request: RouteRequest = wire::parse_value(entry)?;
    let id = DecisionId::draw();
    Ok(Ask { policy: request.policy.take(), query: request.into_query(id.seed), id })
}

/// Refuses a batch of which most decisions were not made in time.
fn mostly_in_time(outcomes: &[Result<Decided, Failure>]) -> Result<(), ApiError> {
    let answered = outcomes.iter().flatten().count();
    let late = outcomes.iter().flatten().filter(|decided| decided.is_late()).count();
    if 2 * late <= answered {
        return Ok(());
    }
    let message = format!(
        "{late} of {answered} decisions were not made in time and nothing of the batch was kept; \
         try again, or with fewer entries"
    );
    Err(ApiError::new(Code::Overloaded, message))
}

fn reply<'a>(results: &'a [Result<Decided, Failure>]) -> Result<Response, ApiError> {
    let item = |result: &'a Result<Decided, Failure>| match result {
        Ok(decided) => BatchItem::Decision(Box::new(describe(decided))),
        Err(failure) => BatchItem::Error(ErrorBody::of(&failure.error)),
    };
    let answered = results.iter().flatten().count();
    let deadline_default = results.iter().flatten().filter(|decided| decided.is_late()).count();
    let (entries, decided) = (results.len(), answered - deadline_default);
    let summary = BatchSummary { entries, decided, deadline_default, failed: entries - answered };
    let mut response =
        json(&BatchReply { object: "list", data: results.iter().map(item).collect(), summary })?;
    if let Some(decided) = results.iter().flatten().next() {
        attribute(&mut response, decided);
    }
    Ok(response)
}
