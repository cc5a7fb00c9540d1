//! `POST /admin/v1/policies/reload`: takes what is on disk into service, now.

use super::{ApiError, Bytes, BytesRejection, json};
use crate::error::Code;
use crate::reload::{Outcome, reload};
use crate::state::App;
use crate::wire::ReloadRequest;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json as object};
use std::sync::Arc;

pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = super::body(&app, body)?;
    let request: ReloadRequest =
        if body.is_empty() { ReloadRequest::default() } else { super::parse(&app, body).await? };
    if let Some(name) = &request.policy {
        app.live.load().find(Some(name))?;
    }
    let outcomes = reload(&app, request.policy.as_deref(), true).await;
    let refused = outcomes.iter().filter_map(|(name, outcome)| match outcome {
        Outcome::Failed(reason) => Some(format!("policy `{name}` keeps its version: {reason}")),
        _ => None,
    });
    let refused: Vec<String> = refused.collect();
    if !refused.is_empty() {
        return Err(ApiError::new(Code::ReloadFailed, refused.join("; ")));
    }
    let live = app.live.load();
    let describe = |(name, outcome): &(String, Outcome)| -> Value {
        let served = live.policies.get(name);
        object!({
            "name": name,
            "result": if *outcome == Outcome::Reloaded { "reloaded" } else { "unchanged" },
            "version": served.map(|served| &served.version),
            "digest": served.map(|served| &served.policy.digest),
        })
    };
    let data: Vec<Value> = outcomes.iter().map(describe).collect();
    json(&object!({ "object": "list", "data": data }))
}
