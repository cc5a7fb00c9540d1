//! The watch over canaries: every second it reads what feedback has come, and rolls a falling canary back.
//!
//! A canary falls when the upper bound of its mean is below the lower bound of the active version's, by
//! [`Sequence`](super::Sequence). The bounds hold at all times at once, so that a canary which is as good as the active
//! version is rolled back with probability at most [`ALARM`], however long it runs and however often one looks. Nothing
//! is ever promoted here.
//!
//! Its state is a fold over the log with a checkpoint of its own, so a restart goes on where it was.

use super::trial::{Sides, Trials};
use super::{Ask, Grounds, Registry, RegistryError, Sequence, Verb, settings};
use crate::config::PolicyEntry;
use crate::log::{Level, chain};
use crate::reload::reload;
use crate::state::App;
use crate::store::{self, Durability, Fold, Store, StoreError};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Probability that a canary as good as the active version is ever rolled back.
pub(crate) const ALARM: f64 = 0.05;
const EVERY: Duration = Duration::from_secs(1);
/// How often the state is saved: it is read again from the log where it was not.
const SAVE_EVERY: Duration = Duration::from_secs(10);
const CHECKPOINT: &str = "canary trials";
/// Who is named in the audit.
const WHO: &str = "watch";

/// The fold and its connection.
#[derive(Debug)]
pub(crate) struct Watch {
    store: Box<dyn Store>,
    fold: Fold<Trials>,
    saved: Instant,
}

impl Watch {
    /// Opens the log; `None` where there is none, or no registry.
    ///
    /// # Errors
    /// If the log cannot be opened or its checkpoint cannot be read.
    pub(crate) fn open(app: &App) -> Result<Option<Self>, StoreError> {
        let Some(config) = &app.config.store else { return Ok(None) };
        let has_registry = app.config.policies.iter().any(|entry| entry.registry.is_some());
        let mut store = store::open(config)?;
        // A checkpoint that stays behind would keep old events from expiring, so it moves on without registries too.
        if !has_registry && store.checkpoint(CHECKPOINT)?.is_none() {
            return Ok(None);
        }
        let mut fold = Fold::new(CHECKPOINT, Trials::new(config.metrics.clone()));
        fold.resume(&mut *store)?;
        Ok(Some(Self { store, fold, saved: Instant::now() }))
    }

    /// Catches up and judges; returns the policies whose canary was rolled back. Blocks.
    fn look(&mut self, app: &App) -> Result<Vec<String>, StoreError> {
        let caught_up = self.fold.catch_up(&mut *self.store);
        for (seq, reason) in self.fold.take_skipped() {
            let fields = json!({ "seq": seq, "reason": reason });
            app.log.event(Level::Error, "canary_watch_skipped_record", fields);
        }
        caught_up?;
        let trials = &self.fold.consumer;
        app.desk.publish(&trials.policies);
        let entries = app.config.policies.iter();
        let fallen: Vec<String> = entries.filter_map(|entry| judge(app, entry, trials)).collect();
        if (self.saved.elapsed() >= SAVE_EVERY || !fallen.is_empty())
            && let (Some(ledger), Some((name, checkpoint))) = (&app.ledger, self.fold.checkpoint())
        {
            self.saved = Instant::now();
            ledger.save_checkpoint(name, checkpoint)?;
        }
        Ok(fallen)
    }
}

/// Tells of canaries that nobody watches, for want of a log.
pub(crate) fn warn(app: &App) {
    let store = app.config.store.as_ref();
    if store.is_some_and(|store| store.durability != Durability::Off) {
        return;
    }
    for (policy, beside) in &app.live.load().challengers {
        if let Some(canary) = &beside.canary {
            let hint = "without a section [store] that logs decisions it is never rolled back by itself";
            let fields = json!({ "policy": policy, "version": canary.served.version, "hint": hint });
            app.log.event(Level::Warn, "canary_unwatched", fields);
        }
    }
}

/// Watches until `stop` ends.
pub(crate) async fn run(app: Arc<App>, watch: Option<Watch>, stop: impl Future<Output = ()>) {
    warn(&app);
    let Some(mut watch) = watch else { return };
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let looking = Arc::clone(&app);
        let look = move || {
            let fallen = watch.look(&looking);
            (watch, fallen)
        };
        // A panic of the watch ends it, and says so.
        let Ok((back, fallen)) = tokio::task::spawn_blocking(look).await else {
            return app.log.event(Level::Error, "canary_watch_ended", json!({}));
        };
        watch = back;
        match fallen {
            Ok(fallen) => {
                for policy in fallen {
                    reload(&app, Some(&policy), true).await;
                }
            }
            Err(error) => {
                app.log.event(Level::Error, "canary_watch_failed", json!({ "reason": chain(&error) }));
            }
        }
    }
}

/// The name of the policy, if its canary fell and was rolled back.
fn judge(app: &App, entry: &PolicyEntry, trials: &Trials) -> Option<String> {
    let (name, dir) = (entry.name.as_ref()?, entry.registry.as_ref()?);
    let live = app.live.load();
    let canary = live.challengers.get(name)?.canary.as_ref()?;
    let trial = trials.policies.get(name).filter(|trial| trial.record == canary.trial)?;
    let metric = settings::metric(entry, app.config.store.as_ref()?)?;
    let sides = trial.metrics.get(metric).filter(|sides| has_fallen(sides))?;
    let evidence = evidence(metric, sides);
    let rolled = roll_back(&Registry::at(dir), &trial.record, metric, sides, evidence.clone());
    match rolled {
        Ok(false) => return None,
        Ok(true) => {
            let fields = json!({ "policy": name, "version": canary.served.version, "evidence": evidence });
            app.log.event(Level::Warn, "canary_rolled_back", fields);
        }
        Err(error) => {
            let fields = json!({ "policy": name, "reason": chain(&error) });
            app.log.event(Level::Error, "canary_rollback_failed", fields);
            return None;
        }
    }
    Some(name.clone())
}

/// Whether the canary is worse, beyond doubt.
pub(crate) fn has_fallen(sides: &Sides) -> bool {
    sides.canary.bounds(ALARM).1 < sides.active.bounds(ALARM).0
}

fn side(sequence: &Sequence) -> Value {
    let (low, high) = sequence.bounds(ALARM);
    json!({ "count": sequence.n(), "mean": sequence.mean(), "interval": [low, high] })
}

/// Figures of a trial, on the scale from 0 to 1.
pub(crate) fn evidence(metric: &str, sides: &Sides) -> Value {
    json!({ "metric": metric, "canary": side(&sides.canary), "active": side(&sides.active) })
}

/// Retires the canary unless somebody was faster; whether it did.
fn roll_back(
    registry: &Registry,
    trial: &crate::store::TrialRecord,
    metric: &str,
    sides: &Sides,
    evidence: Value,
) -> Result<bool, RegistryError> {
    let slot = registry.read()?;
    let stands = |entry: &&super::Entry| entry.digest == trial.canary && entry.since_ms <= trial.since_ms;
    if slot.canary().filter(stands).is_none() {
        return Ok(false);
    }
    let (own, other) = (sides.canary.bounds(ALARM).1, sides.active.bounds(ALARM).0);
    let reason = format!(
        "{metric} fell: at most {own:.3} after {} reports, where the active version has at least {other:.3} after {}",
        sides.canary.n(),
        sides.active.n()
    );
    let ask = Ask {
        who: WHO.to_owned(),
        verb: Verb::Rollback,
        reason,
        grounds: Grounds::Evidence(evidence),
        revision: Some(slot.revision),
    };
    registry.apply(&ask).map(|_| true)
}
