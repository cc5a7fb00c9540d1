//! `GET /v1/models`: policies and the arms they choose among, as a list of models.

use crate::error::ApiError;
use crate::http::endpoint::Endpoint;
use crate::http::reply::json;
use crate::http::wire::{Body, ModelBody, ModelKind, ModelList};
use crate::live::fusion::{Fusions, PREFIX};
use crate::live::{InService, Served};
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use routewright_policy::Arm;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    reply: Some(Body::of::<ModelList<'static>>()),
    ..Endpoint::get("/v1/models", "Policies and arms, as models", || get(handle))
};

/// The same for an SDK whose base URL is `/route/v1`.
pub(crate) const FOR_SDKS: Endpoint = Endpoint {
    path: "/route/v1/models",
    title: "Policies and arms, as models, for an SDK whose base URL is /route/v1",
    ..ENDPOINT
};

/// Owner of policies and fused models.
const OURS: &str = "routewright";

/// The arms that may be chosen.
fn available(served: &Served) -> impl Iterator<Item = &Arm> {
    served.policy.arms.iter().filter(|arm| !arm.retired)
}

async fn handle(
    State(live): State<Arc<InService>>,
    State(fusions): State<Arc<Fusions>>,
) -> Result<Response, ApiError> {
    let live = live.load();
    let mut data: Vec<ModelBody<'_>> = Vec::new();
    let mut arms: BTreeMap<&str, (&Arm, u64, Vec<&str>)> = BTreeMap::new();
    for served in live.policies.values() {
        let created = served.loaded_at;
        let kind = ModelKind::Policy {
            version: &served.version,
            method: &served.policy.manifest.method,
            default: live.default.as_deref() == Some(served.name.as_str()),
            arms: available(served).map(|arm| arm.model.as_str()).collect(),
        };
        data.push(model(format!("routewright/{}", served.name), created, OURS, kind));
        for arm in available(served) {
            arms.entry(&arm.model).or_insert((arm, created, Vec::new())).2.push(&served.name);
        }
    }
    // Arms of one name are one model; its facts are those of the first policy that has it.
    data.extend(arms.into_iter().map(|(name, (arm, created, policies))| {
        let kind = ModelKind::Arm {
            policies,
            mean_cost_usd: arm.price.mean_cost_usd,
            input_usd_per_mtok: arm.price.input_usd_per_mtok,
            output_usd_per_mtok: arm.price.output_usd_per_mtok,
            mean_latency_ms: arm.mean_latency_ms,
            tags: &arm.tags,
        };
        let owner = name.split_once('/').map_or("unknown", |(owner, _)| owner);
        model(name.to_owned(), created, owner, kind)
    }));
    data.extend(fusions.models.iter().map(|(name, ensemble)| {
        let kind = ModelKind::Fusion {
            system: ensemble.system().name,
            members: ensemble.backends().iter().map(|backend| backend.name()).collect(),
        };
        model(format!("{PREFIX}{name}"), fusions.loaded_at, OURS, kind)
    }));
    json(&ModelList { object: "list", data })
}

fn model<'a>(id: String, created: u64, owned_by: &'a str, kind: ModelKind<'a>) -> ModelBody<'a> {
    ModelBody { id, object: "model", created, owned_by, kind }
}
