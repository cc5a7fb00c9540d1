//! `POST /admin/v1/policies/reload`: takes what is on disk into service, now.

use crate::error::{ApiError, Code};
use crate::http::endpoint::{Access, Endpoint};
use crate::http::extract::Raw;
use crate::http::offload::Offload;
use crate::http::reply::json;
use crate::http::wire::{self, Body, ReloadReply, ReloadRequest, ReloadedBody};
use crate::live::InService;
use crate::upkeep::reload::{Outcome, Reloader};
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use std::sync::Arc;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    access: Access::Admin,
    request: Some(Body::of::<ReloadRequest>()),
    reply: Some(Body::of::<ReloadReply<'static>>()),
    body_is_optional: true,
    errors: &[Code::ReloadFailed],
    ..Endpoint::post("/admin/v1/policies/reload", "Take what is on disk into service", || post(handle))
};

async fn handle(
    State(live): State<Arc<InService>>,
    State(reloader): State<Arc<Reloader>>,
    State(offload): State<Offload>,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    let request: ReloadRequest = match body.is_empty() {
        true => ReloadRequest::default(),
        false => offload.run(body.len(), move || wire::parse(&body)).await??,
    };
    if let Some(name) = &request.policy {
        live.load().find(Some(name))?;
    }
    let outcomes = reloader.reload(request.policy.as_deref(), true).await;
    let refused = outcomes.iter().filter_map(|(name, outcome)| match outcome {
        Outcome::Failed(reason) => Some(format!("policy `{name}` keeps its version: {reason}")),
        _ => None,
    });
    let refused: Vec<String> = refused.collect();
    if !refused.is_empty() {
        return Err(ApiError::new(Code::ReloadFailed, refused.join("; ")));
    }
    let live = live.load();
    let data = outcomes.iter().map(|(name, outcome)| {
        let served = live.policies.get(name);
        ReloadedBody {
            name,
            result: if *outcome == Outcome::Reloaded { "reloaded" } else { "unchanged" },
            version: served.map(|served| served.version.as_str()).unwrap_or_default(),
            digest: served.map(|served| served.policy.digest.as_str()).unwrap_or_default(),
        }
    });
    json(&ReloadReply { object: "list", data: data.collect() })
}
