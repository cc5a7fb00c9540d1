//! Hot reload: a new artifact is loaded beside the old one, then swapped in whole.
//!
//! The watch looks at each manifest every `reload_poll_ms`: inode, length and time first, its digest where
//! those differ, the artifact itself where that differs. An artifact that is refused leaves the old one in
//! service; the reason is counted and logged once, and looked at again at the next turn, since a copy may
//! only be half done.

use crate::config::PolicyEntry;
use crate::keys::Keys;
use crate::learning;
use crate::log::{Level, chain};
use crate::registry::Registry;
use crate::registry::slot::{self, Loaded};
use crate::registry::watch;
use crate::state::{App, Live, Served};
use routewright_data::files;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A manifest is a page of JSON.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;
/// Time between two looks at an artifact that was refused: it may just be being replaced.
const SETTLE: Duration = Duration::from_millis(50);

/// What tells two states of a file apart without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Fingerprint {
    /// `None` if there is no such file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&meta);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Self { inode, bytes: meta.len(), modified: meta.modified().ok() })
    }
}

/// What the last look saw.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    manifests: BTreeMap<String, Fingerprint>,
    /// Reason each refused artifact was refused for, so that it is reported once.
    refused: BTreeMap<String, String>,
    /// The keys file as last seen; the inner `None` is a missing file.
    keys: Option<Option<Fingerprint>>,
}

impl Memory {
    /// Why the artifact of a policy is refused at present.
    pub(crate) fn refusal(&self, policy: &str) -> Option<&str> {
        self.refused.get(policy).map(String::as_str)
    }
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

/// Looks at the artifacts every `reload_poll_ms` until `stop` ends.
pub(crate) async fn watch(app: Arc<App>, stop: impl Future<Output = ()>) {
    if app.config.reload_poll_ms == 0 {
        return;
    }
    let poll = Duration::from_millis(app.config.reload_poll_ms);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            () = tokio::time::sleep(poll) => {}
        }
        reload(&app, None, false).await;
        reload_keys(&app).await;
    }
}

/// Brings policies up to what is on disk: all, or `only` one; `forced` reads even what seems unchanged.
pub(crate) async fn reload(app: &Arc<App>, only: Option<&str>, forced: bool) -> Vec<(String, Outcome)> {
    let mut memory = app.memory.lock().await;
    let live = app.live.load_full();
    let mut outcomes = Vec::new();
    for served in live.policies.values().filter(|served| only.is_none_or(|name| name == served.name)) {
        let outcome = match (registry_of(app, &served.name), &served.path) {
            (Some(entry), _) => reload_slot(app, &mut memory, served, entry, forced).await,
            (None, Some(path)) => {
                reload_one(app, &mut memory, served, &path.join("manifest.json"), forced).await
            }
            (None, None) => Outcome::Unchanged,
        };
        outcomes.push((served.name.clone(), outcome));
    }
    outcomes
}

async fn reload_one(
    app: &Arc<App>,
    memory: &mut Memory,
    served: &Arc<Served>,
    manifest: &Path,
    forced: bool,
) -> Outcome {
    let name = &served.name;
    let fingerprint = Fingerprint::of(manifest);
    let known = memory.manifests.get(name).copied();
    if !forced && fingerprint.is_some() && known == fingerprint && memory.refusal(name).is_none() {
        return Outcome::Unchanged;
    }
    match load_settled(app, served, manifest).await {
        Ok(new) => {
            if let Some(fingerprint) = fingerprint {
                memory.manifests.insert(name.clone(), fingerprint);
            }
            memory.refused.remove(name);
            new.map_or(Outcome::Unchanged, |new| swap_in(app, served, new))
        }
        Err(reason) => refuse(app, memory, served, reason, forced),
    }
}

fn refuse(app: &App, memory: &mut Memory, served: &Served, reason: String, forced: bool) -> Outcome {
    let name = &served.name;
    if memory.refusal(name) != Some(&reason) || forced {
        served.metrics.reloaded(false);
        let fields = json!({ "policy": name, "reason": reason, "serving": served.version });
        app.log.event(Level::Error, "policy_reload_failed", fields);
    }
    memory.refused.insert(name.clone(), reason.clone());
    Outcome::Failed(reason)
}

/// The entry of a policy that a registry speaks for.
fn registry_of<'a>(app: &'a App, name: &str) -> Option<&'a PolicyEntry> {
    let mut entries = app.config.policies.iter().filter(|entry| entry.registry.is_some());
    entries.find(|entry| entry.name.as_deref() == Some(name))
}

/// Brings a slot up to its registry; versions in service already are kept as they are.
async fn reload_slot(
    app: &Arc<App>,
    memory: &mut Memory,
    served: &Arc<Served>,
    entry: &PolicyEntry,
    forced: bool,
) -> Outcome {
    let (name, registry) = (&served.name, Registry::at(entry.registry.clone().unwrap_or_default()));
    let fingerprint = Fingerprint::of(&registry.file());
    let known = memory.manifests.get(name).copied();
    if !forced && fingerprint.is_some() && known == fingerprint && memory.refusal(name).is_none() {
        return Outcome::Unchanged;
    }
    let (loading, entry, active) = (Arc::clone(app), entry.clone(), Arc::clone(served));
    let load = move || {
        let live = loading.live.load();
        let beside = live.challengers.get(&active.name).map(|beside| beside.known(&active));
        let known = beside.unwrap_or_else(|| vec![active]);
        slot::load(&entry, &registry, &loading.metrics, &loading.desk, &known)
    };
    let loaded = match tokio::task::spawn_blocking(load).await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(error)) => return refuse(app, memory, served, chain(&error), forced),
        Err(join) => return refuse(app, memory, served, format!("loading it panicked: {join}"), forced),
    };
    memory.refused.remove(name);
    if let Some(fingerprint) = fingerprint {
        memory.manifests.insert(name.clone(), fingerprint);
    }
    swap_slot(app, served, loaded)
}

/// Puts a slot into service; the caller holds the memory.
fn swap_slot(app: &App, old: &Served, Loaded { mut active, challengers }: Loaded) -> Outcome {
    let name = old.name.clone();
    let mut live = Live::clone(&app.live.load());
    if live.challengers.get(&name).is_some_and(|beside| beside.slot == challengers.slot) {
        return Outcome::Unchanged;
    }
    if active.policy.digest != old.policy.digest {
        active.metrics.reloaded(true);
        active.announce();
        active = Arc::new(learning::heeding(Served::clone(&active), old));
    }
    let fields = json!({
        "policy": name, "revision": challengers.slot.revision, "from": old.version, "to": active.version,
        "canary": challengers.canary.as_ref().map(|canary| &canary.served.version),
        "shadows": challengers.shadows.len(),
    });
    live.policies.insert(name.clone(), active);
    live.challengers.insert(name, Arc::new(challengers));
    app.live.store(Arc::new(live));
    app.log.event(Level::Info, "registry_followed", fields);
    watch::warn(app);
    Outcome::Reloaded
}

/// Loads what is on disk, `None` where it is in service already; a refusal is looked at twice.
async fn load_settled(
    app: &Arc<App>,
    served: &Arc<Served>,
    manifest: &Path,
) -> Result<Option<Served>, String> {
    for attempt in 0..2 {
        let (app, served, manifest) = (Arc::clone(app), Arc::clone(served), manifest.to_owned());
        let loaded = tokio::task::spawn_blocking(move || load_changed(&app, &served, &manifest)).await;
        match loaded {
            Ok(Ok(new)) => return Ok(new),
            Ok(Err(_)) if attempt == 0 => tokio::time::sleep(SETTLE).await,
            Ok(Err(reason)) => return Err(reason),
            Err(join) => return Err(format!("loading it panicked: {join}")),
        }
    }
    Ok(None)
}

fn load_changed(app: &App, served: &Served, manifest: &Path) -> Result<Option<Served>, String> {
    let bytes = files::read_up_to(manifest, MANIFEST_BYTES_MAX).map_err(|error| chain(&error))?;
    if blake3::hash(&bytes).to_hex().as_str() == served.policy.digest {
        return Ok(None);
    }
    let entries = app.config.policies.iter();
    let Some(entry) = entries.into_iter().find(|entry| Some(&entry.path) == served.path.as_ref()) else {
        return Ok(None);
    };
    // It keeps the name it is served under, whatever the new manifest says.
    let entry = crate::config::PolicyEntry { name: Some(served.name.clone()), ..entry.clone() };
    Served::load(&entry, &app.metrics).map(Some).map_err(|error| chain(&error))
}

/// Puts a version into service; the caller holds the memory, so no other swap can interleave.
fn swap_in(app: &App, old: &Served, new: Served) -> Outcome {
    if new.policy.digest == old.policy.digest {
        return Outcome::Unchanged;
    }
    new.metrics.reloaded(true);
    new.announce();
    let fields = json!({ "policy": new.name, "from": old.version, "to": new.version });
    let new = learning::heeding(new, old);
    let mut live = Live::clone(&app.live.load());
    live.policies.insert(new.name.clone(), Arc::new(new));
    app.live.store(Arc::new(live));
    app.log.event(Level::Info, "policy_reloaded", fields);
    Outcome::Reloaded
}

/// Reads the keys file again where it changed; a malformed one leaves the old keys in force.
async fn reload_keys(app: &Arc<App>) {
    let Some(path) = app.config.keys_file.as_deref() else { return };
    let mut memory = app.memory.lock().await;
    let fingerprint = Fingerprint::of(path);
    if memory.keys == Some(fingerprint) {
        return;
    }
    let first_look = memory.keys.is_none();
    memory.keys = Some(fingerprint);
    match Keys::load(Some(path), &app.config.api_keys) {
        Ok(keys) => {
            if !first_look {
                app.log.event(Level::Info, "keys_reloaded", json!({ "keys": keys.len() }));
            }
            app.keys.store(Arc::new(keys));
        }
        Err(error) => app.log.event(Level::Error, "keys_reload_failed", json!({ "reason": chain(&error) })),
    }
}
