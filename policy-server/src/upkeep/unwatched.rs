//! Canaries that nothing rolls back, for want of a log.

use crate::live::InService;
use crate::log::{Level, Log};
use crate::settings::{Durability, ServerConfig};
use serde_json::json;

/// Warns of canaries in service where no decisions are logged.
pub(crate) fn warn(config: &ServerConfig, live: &InService, log: &Log) {
    if config.store.as_ref().is_some_and(|store| store.durability != Durability::Off) {
        return;
    }
    for (policy, beside) in &live.load().challengers {
        if let Some(canary) = &beside.canary {
            let hint = "without a section [store] that logs decisions it is never rolled back by itself";
            let fields = json!({ "policy": policy, "version": canary.served.version, "hint": hint });
            log.event(Level::Warn, "canary_unwatched", fields);
        }
    }
}
