//! `GET /admin/v1/policies`: what is in service, and what on disk was refused.

use crate::error::ApiError;
use crate::http::endpoint::{Access, Endpoint};
use crate::http::reply::json;
use crate::live::{InService, Served};
use crate::upkeep::reload::Reloader;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json as object};
use std::sync::Arc;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    access: Access::Admin,
    reply: Some("PolicyList"),
    ..Endpoint::get("/admin/v1/policies", "Policies in service, with their versions and refusals", || {
        get(handle)
    })
};

async fn handle(
    State(live): State<Arc<InService>>,
    State(reloader): State<Arc<Reloader>>,
) -> Result<Response, ApiError> {
    let refusals = reloader.refusals().await;
    let live = live.load();
    let describe = |served: &Arc<Served>| -> Value {
        let (reloads, refused) = served.metrics.reload_counts();
        let manifest = &served.policy.manifest;
        object!({
            "name": served.name,
            "version": served.version,
            "digest": served.policy.digest,
            "path": served.path.as_ref().map(|path| path.display().to_string()),
            "loaded_at": served.loaded_at,
            "method": manifest.method,
            "form": manifest.form.name,
            "featurizer": manifest.featurizer.spec.name,
            "selector": manifest.selector.name,
            "arms": served.policy.arms.iter().map(|arm| &arm.model).collect::<Vec<_>>(),
            "default_arm": served.policy.arms.get(served.default_arm).map(|arm| &arm.model),
            "execution": if served.inline { "inline" } else { "worker" },
            "metrics": manifest.metrics,
            "reloads": reloads,
            "refusals": refused,
            "refused": refusals.get(&served.name),
        })
    };
    let data: Vec<Value> = live.policies.values().map(describe).collect();
    json(&object!({ "object": "list", "data": data }))
}
