//! `POST /admin/v1/promote`: another state for a version. What needs evidence needs `force` here: the evidence is
//! weighed by `routewright policy promote`, where the logs are.

use super::admin_registry::{describe, refused};
use super::{ApiError, Bytes, BytesRejection, json};
use crate::error::Code;
use crate::registry::{Ask, Grounds, Registry, Verb};
use crate::reload::{Outcome, reload};
use crate::state::App;
use crate::wire::PromoteRequest;
use axum::extract::State;
use axum::response::Response;
use routewright_data::suggest::near_names;
use std::sync::Arc;

/// Who is named in the audit.
const WHO: &str = "admin";
const ROLLBACK: &str = "rollback";

pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let request: PromoteRequest = super::parse(&app, super::body(&app, body)?).await?;
    let name = request.policy.clone();
    let changing = Arc::clone(&app);
    let changed = tokio::task::spawn_blocking(move || change(&changing, request)).await;
    changed.map_err(|_| ApiError::internal("the registry could not be changed"))??;
    for (_, outcome) in reload(&app, Some(&name), true).await {
        if let Outcome::Failed(reason) = outcome {
            let message = format!("the registry says so now, but `{name}` is served as before: {reason}");
            return Err(ApiError::new(Code::ReloadFailed, message));
        }
    }
    let reading = Arc::clone(&app);
    let slot = tokio::task::spawn_blocking(move || {
        let entries = &mut reading.config.policies.iter();
        let entry = entries.find(|entry| entry.name.as_ref() == Some(&name));
        entry.map(|entry| describe(&reading, entry))
    });
    let slot = slot.await.ok().flatten().transpose()?;
    json(&slot.ok_or_else(|| ApiError::internal("the registry could not be read"))?)
}

fn change(app: &App, request: PromoteRequest) -> Result<(), ApiError> {
    let slots = || app.config.policies.iter().filter(|entry| entry.registry.is_some());
    let names = || slots().filter_map(|entry| entry.name.as_deref());
    let entry = slots().find(|entry| entry.name.as_ref() == Some(&request.policy));
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
