//! The learning loop: what is new in the log is applied to the [`PolicyLearner`] of each learning policy, and a
//! snapshot of what was learned is swapped into service.
//!
//! Decisions are never blocked, and feedback takes effect within a second. The state is saved in the store together
//! with the last event in it, under the name of the policy and the digest of its artifact: a new artifact starts from
//! what it was trained to, and learns from the events after its first appearance. Changes of arms made before then
//! apply to the new artifact too, by name.

use super::arms_file::ArmsFile;
use super::policy_learner::PolicyLearner;
use crate::ledger::{EXPIRE_EVERY, EventBody, Fold, Follower, Ledger, StoreError};
use crate::live::exploration::assembled;
use crate::live::{InService, Live, Served};
use crate::log::{Level, Log};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between two saves of the state; what is not saved is learned again from the log.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Begins the names of the checkpoints of what was learned.
const PREFIX: &str = "learning/";

/// Name of the checkpoint of what a policy learned from an artifact on.
fn checkpoint(policy: &str, digest: &str) -> String {
    format!("{PREFIX}{policy}/{digest}")
}

/// The policies that learn.
#[derive(Debug)]
pub(crate) struct LearningLoop {
    live: Arc<InService>,
    ledger: Arc<Ledger>,
    log: Log,
    learners: BTreeMap<String, Learning>,
    saved: Instant,
    /// When checkpoints of replaced artifacts were last looked for.
    swept: Option<Instant>,
}

/// One policy that learns.
#[derive(Debug)]
struct Learning {
    fold: Fold<PolicyLearner>,
    /// Last event of what is in service; `None` before anything was published.
    published: Option<u64>,
    /// The file that declares arms, where there is one.
    file: Option<ArmsFile>,
}

impl LearningLoop {
    pub(crate) fn new(live: &Arc<InService>, ledger: &Arc<Ledger>, log: &Log) -> Self {
        let (live, ledger, log) = (Arc::clone(live), Arc::clone(ledger), log.clone());
        Self { live, ledger, log, learners: BTreeMap::new(), saved: Instant::now(), swept: None }
    }

    /// Whether a policy in service learns.
    pub(crate) fn has_policies(&self) -> bool {
        self.live.load().policies.values().any(|served| served.learning.is_some())
    }

    /// Resumes or begins the fold of every learning policy whose artifact is new in service.
    ///
    /// # Errors
    /// If the store cannot be read, or what it holds does not fit a policy.
    pub(crate) fn enroll(&mut self) -> Result<(), StoreError> {
        let live = self.live.snapshot();
        for served in live.policies.values().filter(|served| served.learning.is_some()) {
            let known = self.learners.get(&served.name);
            if known.is_none_or(|known| known.fold.consumer.digest() != served.policy.digest)
                && let Some(learning) = self.resume(served)?
            {
                self.learners.insert(served.name.clone(), learning);
            }
        }
        Ok(())
    }

    /// The folds, to be fed.
    pub(crate) fn followers(&mut self) -> impl Iterator<Item = &mut dyn Follower> {
        self.learners.values_mut().map(|learning| &mut learning.fold as &mut dyn Follower)
    }

    /// Puts into service what was learned since the last time, and saves it now and then; `save` saves in any case.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub(crate) fn publish(&mut self, save: bool) -> Result<(), StoreError> {
        let live = self.live.snapshot();
        let save = save || self.saved.elapsed() >= SAVE_EVERY;
        for served in live.policies.values().filter(|served| served.learning.is_some()) {
            let Some(learning) = self.learners.get_mut(&served.name) else { continue };
            if learning.fold.consumer.digest() != served.policy.digest {
                continue;
            }
            if learning.follow_file(served, &self.ledger, &self.log)? {
                self.ledger.follow(&mut [&mut learning.fold])?;
            }
            let fold = &mut learning.fold;
            for (seq, reason) in fold.take_skipped() {
                skipped_record(&self.log, &served.name, seq, &reason);
            }
            if learning.published != Some(fold.high_water()) || served.arm_table.is_none() {
                publish(&self.live, served, &fold.consumer);
                learning.published = Some(fold.high_water());
            }
            if save && let Some((name, checkpoint)) = fold.checkpoint() {
                self.ledger.save_checkpoint(name, checkpoint)?;
            }
        }
        if save {
            self.saved = Instant::now();
        }
        self.sweep(&live)
    }

    /// Now and then deletes what replaced artifacts learned, once that holds up what is to expire.
    fn sweep(&mut self, live: &Live) -> Result<(), StoreError> {
        if self.swept.is_some_and(|last| last.elapsed() < EXPIRE_EVERY) {
            return Ok(());
        }
        self.swept = Some(Instant::now());
        let names =
            live.policies.values().map(|served| checkpoint(&served.name, &served.base.digest)).collect();
        let gone = self.ledger.forget(PREFIX, names)?;
        if gone > 0 {
            self.log.event(Level::Info, "learning_forgotten", json!({ "replaced_artifacts": gone }));
        }
        Ok(())
    }

    /// The fold of a policy: resumed where it was saved, else begun at the end of the log.
    fn resume(&self, served: &Served) -> Result<Option<Learning>, StoreError> {
        let Some(config) = &served.learning else { return Ok(None) };
        let metric = self.ledger.config().metrics.get(&config.metric).cloned().unwrap_or_default();
        let Some(mut learner) = PolicyLearner::new(&served.name, &served.base, config, &metric) else {
            return Ok(None);
        };
        let name = checkpoint(&served.name, &served.policy.digest);
        let known = self.ledger.read(|store| store.checkpoint(&name))?.is_some();
        let last = self.ledger.read(|store| store.last())?;
        if !known {
            learner.begin_after(last);
            let changes = self.ledger.read(|store| store.changes(&served.name))?;
            for event in changes.iter().filter(|event| event.seq <= last) {
                match &event.body {
                    EventBody::Change(change) => learner.changed(change),
                    EventBody::Unreadable(reason) => {
                        skipped_record(&self.log, &served.name, event.seq, reason);
                    }
                    EventBody::Decision(_) | EventBody::Feedback(..) => {}
                }
            }
        }
        let mut fold = Fold::new(&name, learner);
        if known {
            self.ledger.read(|store| fold.resume(store))?;
        } else {
            fold.skip_to(last);
            if let Some((name, checkpoint)) = fold.checkpoint() {
                self.ledger.save_checkpoint(name, checkpoint)?;
            }
        }
        let fields = json!({ "policy": served.name, "from_event": fold.high_water(), "resumed": known });
        self.log.event(Level::Info, "learning", fields);
        let file = config.arms_file.as_deref().map(ArmsFile::at);
        Ok(Some(Learning { fold, published: None, file }))
    }
}

impl Learning {
    /// Appends what the arms file newly declares; whether it did. A file that is refused is logged once.
    fn follow_file(&mut self, served: &Served, ledger: &Ledger, log: &Log) -> Result<bool, StoreError> {
        let Some(file) = &mut self.file else { return Ok(false) };
        let learner = &self.fold.consumer;
        let Some(online) = learner.learner().learner() else { return Ok(false) };
        let news = file.news(&served.name, learner.arm_table(), online, learner.metric().range);
        let change = match news {
            Ok(change) => change,
            Err(reason) => {
                let fields = json!({ "policy": served.name, "reason": reason });
                log.event(Level::Error, "arms_file_refused", fields);
                None
            }
        };
        let Some(change) = change else { return Ok(false) };
        let fields = json!({ "policy": served.name, "who": change.who, "arms": change.arms });
        ledger.change(change)?.blocking_recv().unwrap_or(Err(StoreError::Closed))?;
        log.event(Level::Info, "arms_changed", fields);
        Ok(true)
    }
}

/// Logs an event that a policy cannot learn from.
fn skipped_record(log: &Log, policy: &str, seq: u64, reason: &str) {
    let fields = json!({ "policy": policy, "seq": seq, "reason": reason });
    log.event(Level::Error, "learning_skipped_record", fields);
}

/// Puts what was learned into service, unless another artifact has been put there meanwhile.
fn publish(live: &InService, served: &Served, learner: &PolicyLearner) {
    let Some(config) = &served.learning else { return };
    let report = learner.report();
    let (lambda, epsilon) = (config.lambda + report.spend.lambda, report.epsilon);
    served.metrics.learned(report);
    let base = &served.base;
    let table = Arc::new(learner.arm_table().clone());
    let predictor = learner.learner().snapshot();
    let Some(policy) = assembled(base, config, [lambda, epsilon], table.arms.clone(), predictor) else {
        return;
    };
    let (n_updates, prices) = (learner.learner().n_updates(), learner.accounts().prices());
    let _replaced_meanwhile = live.swap(|live| {
        let current = live.policies.get(&served.name).filter(|c| c.policy.digest == base.digest)?;
        let learned = current.learned(policy, n_updates, table, prices);
        live.policies.insert(served.name.clone(), Arc::new(learned));
        Some(())
    });
}
