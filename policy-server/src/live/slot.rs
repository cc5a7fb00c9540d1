//! From a registry to versions in service: what is active, what runs beside it.

use crate::ledger::TrialRecord;
use crate::live::Served;
use crate::live::metrics::Metrics;
use crate::live::rollouts::Rollouts;
use crate::live::shadow::Shadow;
use crate::log::chain;
use crate::registry::{Entry, Registry, Slot, State};
use crate::serve_error::ServeError;
use crate::settings::PolicyEntry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The version that decides a share of the requests.
#[derive(Debug, Clone)]
pub(crate) struct Canary {
    pub(crate) served: Arc<Served>,
    pub(crate) trial: TrialRecord,
    /// Its decisions since the server started.
    pub(crate) decisions: Arc<AtomicU64>,
}

/// Canary and shadows beside the active version of a slot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Challengers {
    pub(crate) canary: Option<Canary>,
    pub(crate) shadows: Vec<Shadow>,
    /// The registry that says so.
    pub(crate) slot: Slot,
}

impl Challengers {
    /// Every version in service beside `active`.
    pub(crate) fn known(&self, active: &Arc<Served>) -> Vec<Arc<Served>> {
        let shadows = self.shadows.iter().map(|shadow| &shadow.served);
        let beside = self.canary.iter().map(|canary| &canary.served).chain(shadows);
        std::iter::once(active).chain(beside).cloned().collect()
    }
}

/// A slot as it is to be served.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) active: Arc<Served>,
    pub(crate) challengers: Challengers,
}

/// Versions in service already, which are not loaded again.
type Known<'a> = &'a [Arc<Served>];

/// The policy of an entry: the artifact in its path, or the active version of its registry, with those beside it.
///
/// # Errors
/// As [`load`], or if the artifact is refused.
pub(crate) fn enter(
    entry: &PolicyEntry,
    metrics: &Metrics,
    rollouts: &Rollouts,
    challengers: &mut BTreeMap<String, Arc<Challengers>>,
) -> Result<Arc<Served>, ServeError> {
    let Some(dir) = &entry.registry else { return Served::load(entry, metrics).map(Arc::new) };
    let registry = Registry::at(dir);
    // A folder that cannot be written to is served all the same.
    let _best_effort = registry.reconcile();
    let loaded = load(entry, &registry, metrics, rollouts, &[])?;
    challengers.insert(loaded.active.name.clone(), Arc::new(loaded.challengers));
    Ok(loaded.active)
}

/// Loads what the registry of an entry names.
///
/// # Errors
/// If the registry cannot be read, has no active version, or one of its artifacts is refused.
pub(crate) fn load(
    entry: &PolicyEntry,
    registry: &Registry,
    metrics: &Metrics,
    rollouts: &Rollouts,
    known: Known<'_>,
) -> Result<Loaded, ServeError> {
    let fail = |reason: String| ServeError::Registry { path: registry.dir().display().to_string(), reason };
    let slot = registry.read().map_err(|error| fail(chain(&error)))?;
    let none = "it has no active policy; make one so with `routewright policy promote --to active`";
    let active = slot.active().ok_or_else(|| fail(none.to_owned()))?;
    let version = |found: &Entry| {
        // Only the active version learns: of the others nothing is to be kept but what was registered.
        let learning = entry.learning.clone().filter(|_| found.state == State::Active);
        let at = PolicyEntry { path: registry.artifact(found), learning, ..entry.clone() };
        version(&at, registry, found, metrics, known)
    };
    let canary = slot.canary().map(|found| {
        let served = version(found)?;
        let decisions = rollouts.canary_decisions(&served.name, &served.version);
        Ok::<_, ServeError>(Canary { served, trial: trial(active, found), decisions })
    });
    let shadows = slot.entries.iter().filter(|found| found.state == State::Shadow);
    let shadows = shadows.map(|found| {
        let served = version(found)?;
        let counts = rollouts.shadow_counts(&served.name, &served.version);
        Ok::<_, ServeError>(Shadow { served, counts })
    });
    let (active, canary) = (version(active)?, canary.transpose()?);
    let shadows = shadows.collect::<Result<_, _>>()?;
    Ok(Loaded { active, challengers: Challengers { canary, shadows, slot } })
}

fn trial(active: &Entry, canary: &Entry) -> TrialRecord {
    TrialRecord {
        canary: canary.digest.clone(),
        active: active.digest.clone(),
        since_ms: canary.since_ms.max(active.since_ms),
        share: canary.share.unwrap_or(0.0),
    }
}

/// One version; its artifact must be the one that was registered.
fn version(
    at: &PolicyEntry,
    registry: &Registry,
    found: &Entry,
    metrics: &Metrics,
    known: Known<'_>,
) -> Result<Arc<Served>, ServeError> {
    let is_it = |served: &&Arc<Served>| {
        served.policy.digest == found.digest && served.learning.is_some() == at.learning.is_some()
    };
    if let Some(served) = known.iter().find(is_it) {
        return Ok(Arc::clone(served));
    }
    let served = Served::load(at, metrics)?;
    if served.policy.digest != found.digest {
        let reason = format!(
            "`{}` holds version `{}`, not `{}` that was registered",
            at.path.display(),
            served.version,
            found.version()
        );
        return Err(ServeError::Registry { path: registry.dir().display().to_string(), reason });
    }
    Ok(Arc::new(served))
}
