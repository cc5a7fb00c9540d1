//! The watch over canaries: every second it judges what feedback has come, and rolls a falling canary back.
//!
//! A canary falls when the upper bound of its mean is below the lower bound of the active version's, by
//! [`Sequence`]. The bounds hold at all times at once, so that a canary which is as good as the active
//! version is rolled back with probability at most [`ALARM`], however long it runs and however often one looks. Nothing
//! is ever promoted here.
//!
//! Its state is a fold over the log with a checkpoint of its own, so a restart continues where it was.

use crate::ledger::{Fold, Follower, Ledger, StoreError, TrialRecord};
use crate::live::InService;
use crate::live::slot::Canary;
use crate::log::{Level, Log, chain};
use crate::registry::{Ask, Entry, Grounds, Registry, RegistryError, Sequence, Verb};
use crate::settings::{PolicyEntry, ServerConfig, registry};
use crate::upkeep::trial::{Sides, Trial, Trials};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Probability that a canary as good as the active version is ever rolled back.
pub(crate) const ALARM: f64 = 0.05;
const EVERY: Duration = Duration::from_secs(1);
/// How often the state is saved: it is read again from the log where it was not.
const SAVE_EVERY: Duration = Duration::from_secs(10);
const CHECKPOINT: &str = "canary trials";
/// Who is named in the audit.
const WHO: &str = "watch";

/// The registries of a server, and the figures of their trials as the watch saw them last.
#[derive(Debug)]
pub(crate) struct Canaries {
    config: Arc<ServerConfig>,
    live: Arc<InService>,
    log: Log,
    /// By policy.
    trials: Mutex<BTreeMap<String, Trial>>,
}

/// Figures of a trial on one metric, as the audit keeps them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Evidence {
    pub(crate) metric: String,
    pub(crate) canary: Side,
    pub(crate) active: Side,
}

/// One side of a trial, on the scale from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Side {
    /// Reports.
    pub(crate) count: u64,
    pub(crate) mean: Option<f64>,
    /// Bounds of the mean that hold at all times at once.
    pub(crate) interval: [f64; 2],
}

/// The fold over the feedback of both sides.
#[derive(Debug)]
pub(crate) struct Watch {
    canaries: Arc<Canaries>,
    ledger: Arc<Ledger>,
    fold: Fold<Trials>,
    judged: Instant,
    saved: Instant,
}

impl Canaries {
    pub(crate) fn new(config: &Arc<ServerConfig>, live: &Arc<InService>, log: &Log) -> Self {
        let (config, live) = (Arc::clone(config), Arc::clone(live));
        Self { config, live, log: log.clone(), trials: Mutex::default() }
    }

    /// Policies that have a registry.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &PolicyEntry> {
        self.config.policies.iter().filter(|entry| entry.registry.is_some())
    }

    /// Figures of the trial of a canary on the metric it is judged by, where any feedback has come.
    pub(crate) fn evidence(&self, entry: &PolicyEntry, canary: &Canary) -> Option<Evidence> {
        let metric = registry::metric(entry, self.config.store.as_ref()?)?;
        let trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        let trial = trials.get(entry.name.as_deref()?).filter(|trial| trial.record == canary.trial)?;
        trial.metrics.get(metric).map(|sides| Evidence::of(metric, sides))
    }

    /// The name of the policy, if its canary fell and was rolled back.
    fn judge(&self, entry: &PolicyEntry, trials: &Trials) -> Option<String> {
        let (name, dir) = (entry.name.as_ref()?, entry.registry.as_ref()?);
        let live = self.live.load();
        let canary = live.challengers.get(name)?.canary.as_ref()?;
        let trial = trials.policies.get(name).filter(|trial| trial.record == canary.trial)?;
        let metric = registry::metric(entry, self.config.store.as_ref()?)?;
        let sides = trial.metrics.get(metric).filter(|sides| has_fallen(sides))?;
        // Plain numbers: writing them cannot fail.
        let evidence = serde_json::to_value(Evidence::of(metric, sides)).unwrap_or_default();
        match roll_back(&Registry::at(dir), &trial.record, metric, sides, evidence.clone()) {
            Ok(false) => None,
            Ok(true) => {
                let fields =
                    json!({ "policy": name, "version": canary.served.version, "evidence": evidence });
                self.log.event(Level::Warn, "canary_rolled_back", fields);
                Some(name.clone())
            }
            Err(error) => {
                let fields = json!({ "policy": name, "reason": chain(&error) });
                self.log.event(Level::Error, "canary_rollback_failed", fields);
                None
            }
        }
    }
}

impl Watch {
    /// Resumes the fold; `None` where there is no registry.
    ///
    /// # Errors
    /// If its checkpoint cannot be read.
    pub(crate) fn open(canaries: &Arc<Canaries>, ledger: &Arc<Ledger>) -> Result<Option<Self>, StoreError> {
        // A checkpoint that stays behind would keep old events from expiring, so it moves on without registries too.
        if canaries.slots().next().is_none() && ledger.read(|store| store.checkpoint(CHECKPOINT))?.is_none() {
            return Ok(None);
        }
        let mut fold = Fold::new(CHECKPOINT, Trials::new(ledger.config().metrics.clone()));
        ledger.read(|store| fold.resume(store))?;
        let (canaries, ledger) = (Arc::clone(canaries), Arc::clone(ledger));
        Ok(Some(Self { canaries, ledger, fold, judged: Instant::now(), saved: Instant::now() }))
    }

    /// The fold, to be fed.
    pub(crate) fn follower(&mut self) -> &mut dyn Follower {
        &mut self.fold
    }

    /// Judges every canary, once a second or where it is to `save`; returns the policies whose canary was rolled back.
    ///
    /// # Errors
    /// If the state cannot be saved.
    pub(crate) fn judge(&mut self, save: bool) -> Result<Vec<String>, StoreError> {
        if !save && self.judged.elapsed() < EVERY {
            return Ok(Vec::new());
        }
        self.judged = Instant::now();
        let canaries = &self.canaries;
        for (seq, reason) in self.fold.take_skipped() {
            let fields = json!({ "seq": seq, "reason": reason });
            canaries.log.event(Level::Error, "canary_watch_skipped_record", fields);
        }
        let trials = &self.fold.consumer;
        trials.policies.clone_into(&mut canaries.trials.lock().unwrap_or_else(PoisonError::into_inner));
        let fallen: Vec<String> =
            canaries.slots().filter_map(|entry| canaries.judge(entry, trials)).collect();
        if (save || self.saved.elapsed() >= SAVE_EVERY || !fallen.is_empty())
            && let Some((name, checkpoint)) = self.fold.checkpoint()
        {
            self.saved = Instant::now();
            self.ledger.save_checkpoint(name, checkpoint)?;
        }
        Ok(fallen)
    }
}

/// Whether the canary is worse, beyond doubt.
fn has_fallen(sides: &Sides) -> bool {
    sides.canary.bounds(ALARM).1 < sides.active.bounds(ALARM).0
}

impl Evidence {
    fn of(metric: &str, sides: &Sides) -> Self {
        let side = |sequence: &Sequence| {
            let (low, high) = sequence.bounds(ALARM);
            Side { count: sequence.n(), mean: sequence.mean(), interval: [low, high] }
        };
        Self { metric: metric.to_owned(), canary: side(&sides.canary), active: side(&sides.active) }
    }
}

/// Retires the canary unless somebody was faster; whether it did.
fn roll_back(
    registry: &Registry,
    trial: &TrialRecord,
    metric: &str,
    sides: &Sides,
    evidence: Value,
) -> Result<bool, RegistryError> {
    let slot = registry.read()?;
    let is_tried = |entry: &&Entry| entry.digest == trial.canary && entry.since_ms <= trial.since_ms;
    if slot.canary().filter(is_tried).is_none() {
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
