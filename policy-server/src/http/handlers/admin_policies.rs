//! `GET /admin/v1/policies`: what is in service, and what on disk was refused.

use crate::error::ApiError;
use crate::http::endpoint::{Access, Endpoint};
use crate::http::reply::json;
use crate::http::wire::{Body, PolicyBody, PolicyList};
use crate::live::{InService, Served};
use crate::upkeep::reload::Reloader;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use routewright_policy::Arm;
use std::sync::Arc;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    access: Access::Admin,
    reply: Some(Body::of::<PolicyList<'static>>()),
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
    let data = live.policies.values().map(|served| describe(served, refusals.get(&served.name)));
    json(&PolicyList { object: "list", data: data.collect() })
}

fn describe<'a>(served: &'a Served, refused: Option<&'a String>) -> PolicyBody<'a> {
    let (reloads, refusals) = served.metrics.reload_counts();
    let manifest = &served.policy.manifest;
    let model = |arm: &'a Arm| arm.model.as_str();
    PolicyBody {
        name: &served.name,
        version: &served.version,
        digest: &served.policy.digest,
        path: served.path.as_ref().map(|path| path.display().to_string()),
        loaded_at: served.loaded_at,
        method: &manifest.method,
        form: &manifest.form.name,
        featurizer: &manifest.featurizer.spec.name,
        selector: &manifest.selector.name,
        arms: served.policy.arms.iter().map(model).collect(),
        default_arm: served.policy.arms.get(served.default_arm).map(model).unwrap_or_default(),
        execution: if served.inline { "inline" } else { "worker" },
        metrics: &manifest.metrics,
        reloads,
        refusals,
        refused: refused.map(String::as_str),
    }
}
