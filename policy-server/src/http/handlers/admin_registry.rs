//! `GET /admin/v1/registry`: which versions stand in each slot, and how the shadows and the canary do.

use crate::error::{ApiError, Code};
use crate::http::endpoint::{Access, Endpoint};
use crate::http::offload::Offload;
use crate::http::reply::json;
use crate::http::wire::{Body, RegistryReply, RegistrySlot, ShadowBody, SideBody, TrialBody, VersionBody};
use crate::live::InService;
use crate::log::chain;
use crate::registry::{Registry, RegistryError};
use crate::settings::PolicyEntry;
use crate::upkeep::canary::{Canaries, Evidence, Side};
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const TITLE: &str = "Versions in each slot: active, canary, shadows, candidates, retired";

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    access: Access::Admin,
    reply: Some(Body::of::<RegistryReply>()),
    ..Endpoint::get("/admin/v1/registry", TITLE, || get(handle))
};

async fn handle(
    State(live): State<Arc<InService>>,
    State(canaries): State<Arc<Canaries>>,
    State(offload): State<Offload>,
) -> Result<Response, ApiError> {
    let slots = move || {
        let slots = canaries.slots().map(|entry| describe(&live, &canaries, entry));
        slots.collect::<Result<Vec<RegistrySlot>, ApiError>>()
    };
    json(&RegistryReply { object: "list", data: offload.always(slots).await?? })
}

/// A registry that cannot be read, or refuses, as an error of HTTP.
pub(super) fn refused(error: &RegistryError) -> ApiError {
    match error {
        RegistryError::Refused(why) => ApiError::new(Code::PromotionRefused, why.clone()),
        other => ApiError::internal(chain(other)),
    }
}

/// One slot. Reads the disk.
pub(super) fn describe(
    live: &InService,
    canaries: &Canaries,
    entry: &PolicyEntry,
) -> Result<RegistrySlot, ApiError> {
    let name = entry.name.as_deref().unwrap_or_default();
    let registry = Registry::at(entry.registry.clone().unwrap_or_default());
    let slot = registry.read().map_err(|error| refused(&error))?;
    let live = live.load();
    let beside = live.challengers.get(name);
    let shadow = |version: &str| {
        let shadow = beside?.shadows.iter().find(|shadow| shadow.served.version == version)?;
        let counts = &shadow.counts;
        let compared = counts.compared.load(Relaxed);
        Some(ShadowBody {
            agreed: counts.agreed.load(Relaxed),
            differed: counts.differed.load(Relaxed),
            failed: counts.failed.load(Relaxed),
            dropped: counts.dropped.load(Relaxed),
            score_difference: (compared > 0).then(|| counts.difference() / compared as f64),
        })
    };
    let versions = slot.entries.iter().map(|found| VersionBody {
        version: found.version().to_owned(),
        digest: found.digest.clone(),
        path: registry.artifact(found).display().to_string(),
        state: found.state.name(),
        share: found.share,
        since_ms: found.since_ms,
        reason: found.reason.clone(),
        shadow: shadow(found.version()),
    });
    let evidence = beside.and_then(|beside| canaries.evidence(entry, beside.canary.as_ref()?));
    Ok(RegistrySlot {
        policy: name.to_owned(),
        registry: registry.dir().display().to_string(),
        revision: slot.revision,
        serving_revision: beside.map(|beside| beside.slot.revision),
        versions: versions.collect(),
        trial: evidence.map(trial),
    })
}

fn trial(Evidence { metric, canary, active }: Evidence) -> TrialBody {
    let side = |side: Side| SideBody { count: side.count, mean: side.mean, interval: side.interval };
    TrialBody { metric, canary: side(canary), active: side(active) }
}
