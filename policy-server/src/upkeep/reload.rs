//! Hot reload: a new artifact is loaded beside the old one, then swapped in whole.
//!
//! The watch looks at each manifest every `reload_poll_ms`: inode, length and time first, its digest where
//! those differ, the artifact itself where that differs. An artifact that is refused leaves the old one in
//! service; the reason is counted and logged once, and the artifact is tried again on the next poll, since a copy may
//! only be half done.

use crate::fingerprint::Fingerprint;
use crate::live::metrics::Metrics;
use crate::live::rollouts::Rollouts;
use crate::live::slot::{self, Loaded};
use crate::live::{InService, Served};
use crate::log::{Level, Log, chain};
use crate::registry::Registry;
use crate::settings::keys::{KeyError, Keys};
use crate::settings::{FUSION_PREFIX, PolicyEntry, ServerConfig};
use crate::upkeep::unwatched;
use arc_swap::ArcSwap;
use routewright_data::files;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A manifest is a page of JSON.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;
/// Time between two looks at an artifact that was refused: it may just be being replaced.
const SETTLE: Duration = Duration::from_millis(50);

/// What the last look saw.
#[derive(Debug, Default)]
struct Seen {
    manifests: BTreeMap<String, Fingerprint>,
    /// Reason each refused artifact was refused for, so that it is reported once.
    refused: BTreeMap<String, String>,
    /// The keys file as last seen; the inner `None` is a missing file.
    keys: Option<Option<Fingerprint>>,
}

/// Takes what is on disk into service.
#[derive(Debug)]
pub(crate) struct Reloader {
    config: Arc<ServerConfig>,
    live: Arc<InService>,
    metrics: Arc<Metrics>,
    rollouts: Arc<Rollouts>,
    keys: Arc<ArcSwap<Keys>>,
    log: Log,
    /// Held for the length of a reload, so there is one at a time.
    seen: tokio::sync::Mutex<Seen>,
}

/// What became of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What is on disk is in service already.
    Unchanged,
    /// A new version is in service.
    Reloaded,
    /// What is on disk was refused.
    Failed(String),
}

impl Reloader {
    pub(crate) fn new(
        config: &Arc<ServerConfig>,
        live: &Arc<InService>,
        metrics: &Arc<Metrics>,
        rollouts: &Arc<Rollouts>,
        keys: &Arc<ArcSwap<Keys>>,
        log: &Log,
    ) -> Self {
        Self {
            config: Arc::clone(config),
            live: Arc::clone(live),
            metrics: Arc::clone(metrics),
            rollouts: Arc::clone(rollouts),
            keys: Arc::clone(keys),
            log: log.clone(),
            seen: tokio::sync::Mutex::default(),
        }
    }

    /// Looks at the artifacts every `reload_poll_ms` until `stop` ends.
    pub(crate) async fn watch(self: Arc<Self>, stop: impl Future<Output = ()>) {
        if self.config.reload_poll_ms == 0 {
            return;
        }
        let poll = Duration::from_millis(self.config.reload_poll_ms);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(poll) => {}
            }
            self.reload(None, false).await;
            self.reload_keys().await;
        }
    }

    /// Brings policies up to what is on disk: all, or `only` one; `forced` reads even what seems unchanged.
    pub(crate) async fn reload(self: &Arc<Self>, only: Option<&str>, forced: bool) -> Vec<(String, Outcome)> {
        let mut seen = self.seen.lock().await;
        let live = self.live.snapshot();
        let mut outcomes = Vec::new();
        for served in live.policies.values().filter(|served| only.is_none_or(|name| name == served.name)) {
            let outcome = match (self.registry_of(&served.name), &served.path) {
                (Some(entry), _) => self.reload_slot(&mut seen, served, entry, forced).await,
                (None, Some(path)) => {
                    self.reload_artifact(&mut seen, served, &path.join("manifest.json"), forced).await
                }
                (None, None) => Outcome::Unchanged,
            };
            outcomes.push((served.name.clone(), outcome));
        }
        outcomes
    }

    /// Why the artifact of a policy is refused at present, by policy.
    pub(crate) async fn refusals(&self) -> BTreeMap<String, String> {
        self.seen.lock().await.refused.clone()
    }

    /// The entry of a policy whose versions a registry names.
    fn registry_of(&self, name: &str) -> Option<&PolicyEntry> {
        let mut entries = self.config.policies.iter().filter(|entry| entry.registry.is_some());
        entries.find(|entry| entry.name.as_deref() == Some(name))
    }

    async fn reload_artifact(
        self: &Arc<Self>,
        seen: &mut Seen,
        served: &Arc<Served>,
        manifest: &Path,
        forced: bool,
    ) -> Outcome {
        let fingerprint = Fingerprint::of(manifest);
        if !forced && seen.is_known(&served.name, fingerprint) {
            return Outcome::Unchanged;
        }
        match self.load_settled(served, manifest).await {
            Ok(new) => {
                seen.accept(&served.name, fingerprint);
                new.map_or(Outcome::Unchanged, |new| self.swap_artifact(new))
            }
            Err(reason) => self.refuse(seen, served, reason, forced),
        }
    }

    fn refuse(&self, seen: &mut Seen, served: &Served, reason: String, forced: bool) -> Outcome {
        let name = &served.name;
        if seen.refused.get(name) != Some(&reason) || forced {
            served.metrics.reloaded(false);
            let fields = json!({ "policy": name, "reason": reason, "serving": served.version });
            self.log.event(Level::Error, "policy_reload_failed", fields);
        }
        seen.refused.insert(name.clone(), reason.clone());
        Outcome::Failed(reason)
    }

    /// Brings a slot up to its registry; versions in service already are kept as they are.
    async fn reload_slot(
        self: &Arc<Self>,
        seen: &mut Seen,
        served: &Arc<Served>,
        entry: &PolicyEntry,
        forced: bool,
    ) -> Outcome {
        let registry = Registry::at(entry.registry.clone().unwrap_or_default());
        let fingerprint = Fingerprint::of(&registry.file());
        if !forced && seen.is_known(&served.name, fingerprint) {
            return Outcome::Unchanged;
        }
        let (loading, entry, active) = (Arc::clone(self), entry.clone(), Arc::clone(served));
        let load = move || {
            let live = loading.live.load();
            let beside = live.challengers.get(&active.name).map(|beside| beside.known(&active));
            let known = beside.unwrap_or_else(|| vec![active]);
            slot::load(&entry, &registry, &loading.metrics, &loading.rollouts, &known)
        };
        let loaded = match tokio::task::spawn_blocking(load).await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(error)) => return self.refuse(seen, served, chain(&error), forced),
            Err(join) => return self.refuse(seen, served, format!("loading it panicked: {join}"), forced),
        };
        seen.accept(&served.name, fingerprint);
        self.swap_slot(loaded)
    }

    /// Puts a slot into service.
    fn swap_slot(&self, Loaded { active, challengers }: Loaded) -> Outcome {
        let swapped = self.live.swap(|live| {
            let name = active.name.clone();
            let current = Arc::clone(live.policies.get(&name)?);
            if live.challengers.get(&name).is_some_and(|beside| beside.slot == challengers.slot) {
                return None;
            }
            // Of the same artifact, what is in service may have learned more since the slot was loaded.
            let active = if active.policy.digest == current.policy.digest {
                current.clone()
            } else {
                active.metrics.reloaded(true);
                active.announce();
                Arc::new(Served::clone(&active).without_arms_removed_from(&current))
            };
            let fields = json!({
                "policy": name, "revision": challengers.slot.revision, "from": current.version,
                "to": active.version,
                "canary": challengers.canary.as_ref().map(|canary| &canary.served.version),
                "shadows": challengers.shadows.len(),
            });
            live.policies.insert(name.clone(), active);
            live.challengers.insert(name, Arc::new(challengers));
            Some(fields)
        });
        let Some(fields) = swapped else { return Outcome::Unchanged };
        self.log.event(Level::Info, "registry_followed", fields);
        unwatched::warn(&self.config, &self.live, &self.log);
        Outcome::Reloaded
    }

    /// Loads what is on disk, `None` where it is in service already; a refusal is looked at twice.
    async fn load_settled(
        self: &Arc<Self>,
        served: &Arc<Served>,
        manifest: &Path,
    ) -> Result<Option<Served>, String> {
        for attempt in 0..2 {
            let (loading, served, manifest) = (Arc::clone(self), Arc::clone(served), manifest.to_owned());
            let loaded = tokio::task::spawn_blocking(move || loading.load_changed(&served, &manifest)).await;
            match loaded {
                Ok(Ok(new)) => return Ok(new),
                Ok(Err(_)) if attempt == 0 => tokio::time::sleep(SETTLE).await,
                Ok(Err(reason)) => return Err(reason),
                Err(join) => return Err(format!("loading it panicked: {join}")),
            }
        }
        Ok(None)
    }

    fn load_changed(&self, served: &Served, manifest: &Path) -> Result<Option<Served>, String> {
        let bytes = files::read_up_to(manifest, MANIFEST_BYTES_MAX).map_err(|error| chain(&error))?;
        if blake3::hash(&bytes).to_hex().as_str() == served.policy.digest {
            return Ok(None);
        }
        let mut entries = self.config.policies.iter();
        let Some(entry) = entries.find(|entry| Some(&entry.path) == served.path.as_ref()) else {
            return Ok(None);
        };
        // It keeps the name it is served under, whatever the new manifest says.
        let entry = PolicyEntry { name: Some(served.name.clone()), ..entry.clone() };
        Served::load(&entry, &self.metrics).map(Some).map_err(|error| chain(&error))
    }

    /// Puts a version into service.
    fn swap_artifact(&self, new: Served) -> Outcome {
        let swapped = self.live.swap(|live| {
            let current = live.policies.get(&new.name).filter(|c| c.policy.digest != new.policy.digest)?;
            new.metrics.reloaded(true);
            new.announce();
            let fields = json!({ "policy": new.name, "from": current.version, "to": new.version });
            let new = new.without_arms_removed_from(current);
            live.policies.insert(new.name.clone(), Arc::new(new));
            Some(fields)
        });
        let Some(fields) = swapped else { return Outcome::Unchanged };
        self.log.event(Level::Info, "policy_reloaded", fields);
        Outcome::Reloaded
    }

    /// Reads the keys file again where it changed; a malformed one leaves the old keys in force.
    async fn reload_keys(&self) {
        let Some(path) = self.config.keys_file.as_deref() else { return };
        let mut seen = self.seen.lock().await;
        let fingerprint = Fingerprint::of(path);
        if seen.keys == Some(fingerprint) {
            return;
        }
        let first_look = seen.keys.is_none();
        seen.keys = Some(fingerprint);
        match read_keys(&self.config) {
            Ok(keys) => {
                if !first_look {
                    self.log.event(Level::Info, "keys_reloaded", json!({ "keys": keys.len() }));
                }
                self.keys.store(Arc::new(keys));
            }
            Err(error) => {
                self.log.event(Level::Error, "keys_reload_failed", json!({ "reason": chain(&error) }));
            }
        }
    }
}

/// The keys of a configuration.
///
/// # Errors
/// If one cannot be read, or may use what the configuration lacks.
pub(crate) fn read_keys(config: &ServerConfig) -> Result<Keys, KeyError> {
    let keys = Keys::load(config.keys_file.as_deref(), &config.api_keys)?;
    let fused = config.fusions.keys().map(|name| format!("{FUSION_PREFIX}{name}"));
    let models: Vec<String> = config.models.keys().cloned().chain(fused).collect();
    keys.check(config.store.is_some(), &models)?;
    Ok(keys)
}

impl Seen {
    /// Whether a file was accepted as it is.
    fn is_known(&self, policy: &str, fingerprint: Option<Fingerprint>) -> bool {
        let known = self.manifests.get(policy).copied();
        fingerprint.is_some() && known == fingerprint && !self.refused.contains_key(policy)
    }

    fn accept(&mut self, policy: &str, fingerprint: Option<Fingerprint>) {
        self.refused.remove(policy);
        if let Some(fingerprint) = fingerprint {
            self.manifests.insert(policy.to_owned(), fingerprint);
        }
    }
}
