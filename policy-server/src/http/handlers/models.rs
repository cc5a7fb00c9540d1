//! `GET /v1/models`: policies and the arms they choose among, as a list of models.

use crate::error::ApiError;
use crate::http::endpoint::Endpoint;
use crate::http::reply::json;
use crate::live::fusion::{Fusions, PREFIX};
use crate::live::{InService, Served};
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use routewright_policy::Arm;
use serde_json::{Value, json as object};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    reply: Some("ModelList"),
    ..Endpoint::get("/v1/models", "Policies and arms, as models", || get(handle))
};

/// The same for an SDK whose base URL is `/route/v1`.
pub(crate) const FOR_SDKS: Endpoint = Endpoint {
    path: "/route/v1/models",
    title: "Policies and arms, as models, for an SDK whose base URL is /route/v1",
    ..ENDPOINT
};

/// The arms that may be chosen.
fn available(served: &Served) -> impl Iterator<Item = &Arm> {
    served.policy.arms.iter().filter(|arm| !arm.retired)
}

async fn handle(
    State(live): State<Arc<InService>>,
    State(fusions): State<Arc<Fusions>>,
) -> Result<Response, ApiError> {
    let live = live.load();
    let mut data: Vec<Value> = Vec::new();
    let mut arms: BTreeMap<&str, (&Arm, u64, Vec<&str>)> = BTreeMap::new();
    for served in live.policies.values() {
        let created = served.loaded_at;
        data.push(object!({
            "id": format!("routewright/{}", served.name),
            "object": "model",
            "created": created,
            "owned_by": "routewright",
            "kind": "policy",
            "version": served.version,
            "method": served.policy.manifest.method,
            "default": live.default.as_deref() == Some(served.name.as_str()),
            "arms": available(served).map(|arm| &arm.model).collect::<Vec<_>>(),
        }));
        for arm in available(served) {
            arms.entry(&arm.model).or_insert((arm, created, Vec::new())).2.push(&served.name);
        }
    }
    // Arms of one name are one model; its facts are those of the first policy that has it.
    data.extend(arms.into_iter().map(|(model, (arm, created, policies))| {
        object!({
            "id": model,
            "object": "model",
            "created": created,
            "owned_by": model.split_once('/').map_or("unknown", |(owner, _)| owner),
            "kind": "arm",
            "policies": policies,
            "mean_cost_usd": arm.price.mean_cost_usd,
            "input_usd_per_mtok": arm.price.input_usd_per_mtok,
            "output_usd_per_mtok": arm.price.output_usd_per_mtok,
            "mean_latency_ms": arm.mean_latency_ms,
            "tags": arm.tags,
        })
    }));
    let created = fusions.loaded_at;
    data.extend(fusions.models.iter().map(|(name, ensemble)| {
        object!({
            "id": format!("{PREFIX}{name}"),
            "object": "model",
            "created": created,
            "owned_by": "routewright",
            "kind": "fusion",
            "system": ensemble.system().name,
            "members": ensemble.backends().iter().map(|backend| backend.name()).collect::<Vec<_>>(),
        })
    }));
    json(&object!({ "object": "list", "data": data }))
}
