//! An answer of a model on its way out: its body as it came, and the headers beside it.

use crate::decide::answer::{Answered, By, Chosen, Gateway, Said, Source};
use crate::dialect::Dialect;
use crate::error::ApiError;
use crate::http::decision::Attribution;
use crate::http::extract::From;
use crate::http::offload::Offload;
use crate::http::question;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Has models answer a request; `None` where it is for a fused model, or no model is called here.
///
/// # Errors
/// If the request cannot be read, or names what there is not.
pub(crate) async fn by_models(
    gateway: &Arc<Gateway>,
    offload: &Offload,
    api: Dialect,
    body: &Bytes,
    from: From,
) -> Result<Option<Response>, ApiError> {
    let From { began, caller, headers } = from;
    let key = Arc::clone(&caller.allowance);
    if gateway.upstreams.is_empty() && key.models.is_none() && !key.counts_tokens() {
        return Ok(None);
    }
    let (reader, body, length) = (Arc::clone(gateway), body.clone(), body.len());
    let read = move || question::read(&reader, api, body, headers, &key);
    let Some((asked, target)) = offload.run(length, read).await?? else { return Ok(None) };
    Ok(Some(match gateway.answer(asked, target, &caller, began.0).await {
        Ok(answered) => reply(answered),
        Err(failure) => failure.into_response(),
    }))
}

/// The reply to a request that a model answered.
fn reply(answered: Answered) -> Response {
    let Answered { status, headers, body, by } = answered;
    let streams = matches!(body, Said::Stream(_) | Said::Kept(_));
    let body = match body {
        Said::Whole(bytes) => Body::from(bytes),
        Said::Stream(flow) => Body::from_stream(*flow),
        Said::Kept(pieces) => Body::from_stream(Pieces(pieces.into_iter())),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    if streams {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // Proxies in front would gather the pieces.
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    }
    mark(headers, &by);
    let By { model, decision, .. } = by;
    if let Some(Chosen { id, metrics, .. }) = decision {
        let attribution = Attribution { policy: metrics, decision_id: Some(id), model: Some(model) };
        response.extensions_mut().insert(attribution);
    }
    response
}

/// The pieces of a stream that was kept, each by itself, as they came.
struct Pieces(std::vec::IntoIter<Bytes>);

impl Stream for Pieces {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}

/// Adds who answered, and how that came about.
fn mark(headers: &mut HeaderMap, by: &By) {
    let mut put = |name: &'static str, value: &str| {
        // A model whose name no header can carry is left out.
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("x-router-model", &by.model);
    if let Some(chosen) = &by.decision {
        put("x-router-policy", &chosen.policy);
        put("x-router-decision-id", &chosen.id);
        put("x-router-reason", chosen.reason);
    }
    if !by.passed_over.is_empty() {
        put("x-router-fallbacks", &by.passed_over.join(","));
    }
    if !by.called.is_empty() {
        put("x-router-calls", &by.called.join(","));
    }
    if !by.dropped.is_empty() {
        put("x-router-dropped", &by.dropped.join(","));
    }
    match by.cache {
        Some(Source::Hit) => put("x-router-cache", "hit"),
        Some(Source::Miss) => put("x-router-cache", "miss"),
        Some(Source::Bypass) => put("x-router-cache", "bypass"),
        None => {}
    }
    if let Some(nano) = by.nano_usd {
        put("x-router-cost-usd", &usd(nano));
    }
}

/// Nano-dollars as a decimal number of dollars, exactly.
fn usd(nano: u64) -> String {
    let text = format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_written_in_full() {
        let written = [0, 1, 250_000, 1_000_000_000, 12_345_678_901].map(usd);
        assert_eq!(written, ["0", "0.000000001", "0.00025", "1", "12.345678901"]);
    }
}
