//! `GET /metrics`: Prometheus text exposition.

use crate::decide::answer::Gateway;
use crate::error::ApiError;
use crate::http::endpoint::{Access, Endpoint};
use crate::http::offload::Offload;
use crate::ledger::Ledger;
use crate::live::metrics::Metrics;
use crate::live::rollouts::Rollouts;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    access: Access::KeyUnlessOpened,
    ..Endpoint::get("/metrics", "Prometheus text exposition", || get(handle))
};

async fn handle(
    State(metrics): State<Arc<Metrics>>,
    State(rollouts): State<Arc<Rollouts>>,
    State(gateway): State<Arc<Gateway>>,
    State(ledger): State<Option<Arc<Ledger>>>,
    State(offload): State<Offload>,
) -> Result<Response, ApiError> {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let mut text = metrics.render();
    text.push_str(&rollouts.render());
    text.push_str(&gateway.upstreams.render());
    if let Some(ledger) = ledger {
        // The lag of the statistics is read from the store.
        text.push_str(&offload.always(move || ledger.render_metrics()).await?);
    }
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
