//! `GET /admin/v1/registry`: which versions stand in each slot, and how the shadows and the canary do.

use super::{ApiError, json};
use crate::config::PolicyEntry;
use crate::error::Code;
use crate::log::chain;
use crate::registry::{Registry, RegistryError, settings, watch};
use crate::state::App;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json as object};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(crate) async fn handle(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let reading = Arc::clone(&app);
    let slots = move || {
        let entries = reading.config.policies.iter().filter(|entry| entry.registry.is_some());
        entries.map(|entry| describe(&reading, entry)).collect::<Result<Vec<Value>, ApiError>>()
    };
    let slots = tokio::task::spawn_blocking(slots).await;
    let data = slots.map_err(|_| ApiError::internal("the registry could not be read"))??;
    json(&object!({ "object": "list", "data": data }))
}

/// A registry that cannot be read, or refuses, as an error of HTTP.
pub(super) fn refused(error: &RegistryError) -> ApiError {
    match error {
        RegistryError::Refused(why) => ApiError::new(Code::PromotionRefused, why.clone()),
        other => ApiError::internal(chain(other)),
    }
}

/// One slot. Reads the disk.
pub(super) fn describe(app: &App, entry: &PolicyEntry) -> Result<Value, ApiError> {
    let name = entry.name.as_deref().unwrap_or_default();
    let registry = Registry::at(entry.registry.clone().unwrap_or_default());
    let slot = registry.read().map_err(|error| refused(&error))?;
    let live = app.live.load();
    let beside = live.challengers.get(name);
    let shadow = |version: &str| {
        let shadow = beside?.shadows.iter().find(|shadow| shadow.served.version == version)?;
        let counts = &shadow.counts;
        let compared = counts.compared.load(Relaxed);
        let mean = (compared > 0).then(|| counts.difference() / compared as f64);
        Some(object!({
            "agreed": counts.agreed.load(Relaxed),
            "differed": counts.differed.load(Relaxed),
            "failed": counts.failed.load(Relaxed),
            "dropped": counts.dropped.load(Relaxed),
            "score_difference": mean,
        }))
    };
    let versions = slot.entries.iter().map(|found| {
        object!({
            "version": found.version(),
            "digest": found.digest,
            "path": registry.artifact(found).display().to_string(),
            "state": found.state,
            "share": found.share,
            "since_ms": found.since_ms,
            "reason": found.reason,
            "shadow": shadow(found.version()),
        })
    });
    let trial = beside.and_then(|beside| app.desk.trial(name, beside.canary.as_ref()?));
    let metric = app.config.store.as_ref().and_then(|store| settings::metric(entry, store));
    let figures = metric
        .zip(trial.as_ref())
        .and_then(|(metric, trial)| trial.metrics.get(metric).map(|sides| watch::evidence(metric, sides)));
    Ok(object!({
        "policy": name,
        "registry": registry.dir().display().to_string(),
        "revision": slot.revision,
        "serving_revision": beside.map(|beside| beside.slot.revision),
        "versions": versions.collect::<Vec<_>>(),
        "trial": figures,
    }))
}
