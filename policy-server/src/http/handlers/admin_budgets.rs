//! `GET /admin/v1/budgets`: what each key with a budget has spent, and holds for calls under way.

use crate::decide::answer::account;
use crate::error::ApiError;
use crate::http::endpoint::{Access, Endpoint};
use crate::http::extract::Logged;
use crate::http::offload::Offload;
use crate::http::reply::json;
use crate::http::wire::{Body, BudgetBody, BudgetsReply};
use crate::ledger::{Account, Balance, unavailable};
use crate::settings::keys::Keys;
use crate::{clock::rfc3339, error::Code};
use arc_swap::ArcSwap;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    access: Access::Admin,
    reply: Some(Body::of::<BudgetsReply<'static>>()),
    errors: &[Code::NoStore, Code::StoreUnavailable],
    ..Endpoint::get("/admin/v1/budgets", "What keys with a budget have spent and hold", || get(handle))
};

async fn handle(
    State(keys): State<Arc<ArcSwap<Keys>>>,
    State(offload): State<Offload>,
    Logged(ledger): Logged,
) -> Result<Response, ApiError> {
    let keys = keys.load_full();
    let accounts: Vec<Account> = keys.with_budget().filter_map(|(_, key)| account(key)).collect();
    let read = offload.always(move || ledger.budgets().balances(accounts)).await?;
    let balances = read.map_err(unavailable)?;
    let name = |id: &str| keys.with_budget().find(|(_, key)| &*key.id == id).map_or("", |(name, _)| name);
    let data = balances.iter().map(|(balance, refused)| describe(name(&balance.key), balance, *refused));
    json(&BudgetsReply { object: "list", data: data.collect() })
}

fn describe<'a>(name: &'a str, balance: &'a Balance, refused: u64) -> BudgetBody<'a> {
    let usd = |nano: i64| nano as f64 / 1e9;
    let at = |ms: i64| rfc3339(u64::try_from(ms / 1000).unwrap_or(0));
    BudgetBody {
        key: &balance.key,
        name,
        window: balance.window.name(),
        starts: at(balance.span_ms[0]),
        ends: at(balance.span_ms[1]),
        limit_usd: usd(balance.limit),
        spent_usd: usd(balance.spent),
        held_usd: usd(balance.held),
        refused,
    }
}
