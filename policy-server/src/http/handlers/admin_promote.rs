//! `POST /admin/v1/promote`: another state for a version. What needs evidence needs `force` here: the evidence is
//! weighed by `routewright policy promote`, where the logs are.

use crate::error::{ApiError, Code};
use crate::http::endpoint::{Access, Endpoint};
use crate::http::extract::Json;
use crate::http::handlers::admin_registry::{describe, refused};
use crate::http::offload::Offload;
use crate::http::reply::json;
use crate::http::wire::{Body, PromoteRequest, RegistrySlot};
use crate::live::InService;
use crate::registry::{Ask, Grounds, Registry, Verb};
use crate::upkeep::canary::Canaries;
use crate::upkeep::reload::{Outcome, Reloader};
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use routewright_data::suggest::near_names;
use std::sync::Arc;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    access: Access::Admin,
    request: Some(Body::of::<PromoteRequest>()),
    reply: Some(Body::of::<RegistrySlot>()),
    errors: &[Code::ReloadFailed, Code::PromotionRefused],
    ..Endpoint::post("/admin/v1/promote", "Give a version another state, or roll back", || post(handle))
};

/// Who is named in the audit.
const WHO: &str = "admin";
const ROLLBACK: &str = "rollback";

async fn handle(
    State(live): State<Arc<InService>>,
    State(canaries): State<Arc<Canaries>>,
    State(reloader): State<Arc<Reloader>>,
    State(offload): State<Offload>,
    Json(request): Json<PromoteRequest>,
) -> Result<Response, ApiError> {
    let name = request.policy.clone();
    let changing = Arc::clone(&canaries);
    offload.always(move || change(&changing, request)).await??;
    for (_, outcome) in reloader.reload(Some(&name), true).await {
        if let Outcome::Failed(reason) = outcome {
            let message = format!("the registry says so now, but `{name}` is served as before: {reason}");
            return Err(ApiError::new(Code::ReloadFailed, message));
        }
    }
    let slot = move || {
        let entry = canaries.slots().find(|entry| entry.name.as_ref() == Some(&name));
        entry.map(|entry| describe(&live, &canaries, entry))
    };
    let slot = offload.always(slot).await?.transpose()?;
    json(&slot.ok_or_else(|| ApiError::internal("the registry could not be read"))?)
}

fn change(canaries: &Canaries, request: PromoteRequest) -> Result<(), ApiError> {
    let names = || canaries.slots().filter_map(|entry| entry.name.as_deref());
    let entry = canaries.slots().find(|entry| entry.name.as_ref() == Some(&request.policy));
    let Some(dir) = entry.and_then(|entry| entry.registry.clone()) else {
        let message = format!(
            "no registry is configured for policy `{}`; {}",
            request.policy,
            near_names(&request.policy, names())
        );
        return Err(ApiError::new(Code::ModelNotFound, message).param("policy"));
    };
    let registry = Registry::at(dir);
    let invalid = |message: String, param: &str| ApiError::new(Code::InvalidRequest, message).param(param);
    let verb = if request.to == ROLLBACK {
        Verb::Rollback
    } else {
        let to = request.to.parse().map_err(|why| invalid(format!("{why}, or `{ROLLBACK}`"), "to"))?;
        let slot = registry.read().map_err(|error| refused(&error))?;
        let missing = || invalid("`version` is missing: which one?".to_owned(), "version");
        let version = request.version.as_deref().ok_or_else(missing)?;
        let digest = slot.find(version).map_err(|why| invalid(why, "version"))?.digest.clone();
        Verb::Promote { digest, path: None, to }
    };
    let grounds = if request.force { Grounds::Forced(None) } else { Grounds::Nothing };
    let reason = request.reason.unwrap_or_default();
    let ask = Ask { who: WHO.to_owned(), verb, reason, grounds, revision: None };
    registry.apply(&ask).map(|_| ()).map_err(|error| refused(&error))
}
