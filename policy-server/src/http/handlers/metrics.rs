//! `GET /metrics`: Prometheus text exposition.

use crate::decide::answer::{Gateway, account};
use crate::error::ApiError;
use crate::http::endpoint::{Access, Endpoint};
use crate::http::offload::Offload;
use crate::ledger::{Account, Ledger, render_budgets};
use crate::live::metrics::Metrics;
use crate::live::rollouts::Rollouts;
use crate::settings::keys::Keys;
use arc_swap::ArcSwap;
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
    State(keys): State<Arc<ArcSwap<Keys>>>,
    State(offload): State<Offload>,
) -> Result<Response, ApiError> {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let mut text = metrics.render();
    text.push_str(&rollouts.render());
    text.push_str(&gateway.upstreams.render());
    if !gateway.upstreams.is_empty() {
        text.push_str(&gateway.cache.render());
    }
    if let Some(ledger) = ledger {
        let accounts: Vec<Account> = keys.load().with_budget().filter_map(|(_, key)| account(key)).collect();
        // The lag of the statistics and the balances are read from the store.
        let read = move || {
            let balances = ledger.budgets().balances(accounts).unwrap_or_default();
            ledger.render_metrics() + &render_budgets(&balances)
        };
        text.push_str(&offload.always(read).await?);
    }
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
