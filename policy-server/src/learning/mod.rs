//! Policies that learn while they serve.
//!
//! One thread reads the log every [`TURN`], applies what is new to the [`Lessons`] of each learning policy,
//! and swaps a snapshot of what was learned into service: decisions are never blocked, and feedback is felt
//! within a second. The state is saved in the store together with the last event in it, under the name of the policy
//! and the digest of its artifact: a new artifact starts from what it was trained to, and learns from the events
//! after its first appearance. What was said of its arms before is said of the new artifact too, by name.

mod accounts;
mod arms_file;
mod clock;
mod config;
mod lessons;
mod report;
mod roster;
#[cfg(test)]
mod tests;

pub(crate) use arms_file::change_id;
pub use config::{Budget, LearningConfig, Observations};
pub(crate) use lessons::Lessons;
pub(crate) use report::{DriftFigure, Report, Spend};
pub(crate) use roster::Roster;

use arms_file::ArmsFile;

use crate::log::{Level, chain};
use crate::state::{App, Live, Served};
use crate::store::ledger::EXPIRE_EVERY;
use crate::store::{self, EventBody, Fold, Store, StoreError};
use routewright_policy::decide::WEIGHT_MAX;
use routewright_policy::selectors::{self, SelectorError};
use routewright_policy::{Arm, Policy, Predictor, Selector, SelectorSpec};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Time between two looks at the log.
const TURN: Duration = Duration::from_millis(100);
/// Time between two saves of the state; what is not saved is learned again from the log.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Begins the names of the checkpoints of what was learned.
const LEARNING: &str = "learning/";

/// Name of the checkpoint of what a policy learned from an artifact on.
fn checkpoint(policy: &str, digest: &str) -> String {
    format!("{LEARNING}{policy}/{digest}")
}

/// Learns until the server stops.
pub(crate) struct School {
    store: Box<dyn Store>,
    classes: BTreeMap<String, Class>,
    saved: Instant,
    /// When it was last looked for what others learned and nobody needs any more.
    swept: Option<Instant>,
}

/// One policy that learns.
#[derive(Debug)]
struct Class {
    fold: Fold<Lessons>,
    /// The file that declares arms, where there is one.
    file: Option<ArmsFile>,
}

impl School {
    /// Takes up what was learned before, and puts it into service; `None` if no policy learns.
    ///
    /// # Errors
    /// If the store cannot be read, or what it holds does not fit a policy.
    pub(crate) fn open(app: &App) -> Result<Option<Self>, StoreError> {
        let Some(ledger) = &app.ledger else { return Ok(None) };
        if !app.live.load().policies.values().any(|served| served.learning.is_some()) {
            return Ok(None);
        }
        let store = store::open(ledger.config())?;
        let mut school = Self { store, classes: BTreeMap::new(), saved: Instant::now(), swept: None };
        school.turn(app, true)?;
        Ok(Some(school))
    }

    /// Looks at the log until `app` is stopping; a failure is told and tried again at the next turn.
    pub(crate) fn run(mut self, app: &App) {
        let mut failed = false;
        loop {
            let stopping = app.stopping.load(Relaxed);
            match self.turn(app, stopping) {
                Ok(()) => failed = false,
                Err(error) if !failed => {
                    failed = true;
                    app.log.event(Level::Error, "learning_failed", json!({ "reason": chain(&error) }));
                }
                Err(_) => {}
            }
            if stopping {
                return;
            }
            std::thread::sleep(TURN);
        }
    }

    fn turn(&mut self, app: &App, save: bool) -> Result<(), StoreError> {
        let live = app.live.load_full();
        let save = save || self.saved.elapsed() >= SAVE_EVERY;
        for served in live.policies.values().filter(|served| served.learning.is_some()) {
            let class = match self.classes.get_mut(&served.name) {
                Some(class) if class.fold.consumer.digest() == served.policy.digest => class,
                _ => match self.enroll(app, served)? {
                    Some(class) => self.classes.entry(served.name.clone()).insert_entry(class).into_mut(),
                    None => continue,
                },
            };
            let mut news = class.fold.catch_up(&mut *self.store)?;
            if follow(app, served, class)? {
                news += class.fold.catch_up(&mut *self.store)?;
            }
            let fold = &mut class.fold;
            for (seq, reason) in fold.take_skipped() {
                skipped_record(app, &served.name, seq, &reason);
            }
            if news > 0 || served.roster.is_none() {
                publish(app, served, &fold.consumer);
            }
            if save && let (Some(ledger), Some((name, checkpoint))) = (&app.ledger, fold.checkpoint()) {
                ledger.save_checkpoint(name, checkpoint)?;
            }
        }
        if save {
            self.saved = Instant::now();
        }
        self.sweep(app, &live)
    }

    /// Now and then forgets what was learned by artifacts that were replaced, once that holds up what is to expire.
    fn sweep(&mut self, app: &App, live: &Live) -> Result<(), StoreError> {
        let due = self.swept.is_none_or(|last| last.elapsed() >= EXPIRE_EVERY);
        let Some(ledger) = app.ledger.as_ref().filter(|_| due) else { return Ok(()) };
        self.swept = Some(Instant::now());
        let names =
            live.policies.values().map(|served| checkpoint(&served.name, &served.base.digest)).collect();
        let gone = ledger.forget(LEARNING, names)?;
        if gone > 0 {
            app.log.event(Level::Info, "learning_forgotten", json!({ "replaced_artifacts": gone }));
        }
        Ok(())
    }

    /// The fold of a policy: taken up where it was saved, else begun at the end of the log.
    fn enroll(&mut self, app: &App, served: &Served) -> Result<Option<Class>, StoreError> {
        let (Some(config), Some(ledger)) = (&served.learning, &app.ledger) else { return Ok(None) };
        let metric = ledger.config().metrics.get(&config.metric).cloned().unwrap_or_default();
        let Some(mut lessons) = Lessons::new(&served.name, &served.base, config, &metric) else {
            return Ok(None);
        };
        let name = checkpoint(&served.name, &served.policy.digest);
        let known = self.store.checkpoint(&name)?.is_some();
        let last = self.store.last()?;
        if !known {
            lessons.begin_after(last);
            for event in self.store.changes(&served.name)?.iter().filter(|event| event.seq <= last) {
                match &event.body {
                    EventBody::Change(change) => lessons.changed(change),
                    EventBody::Unreadable(reason) => skipped_record(app, &served.name, event.seq, reason),
                    EventBody::Decision(_) | EventBody::Feedback(..) => {}
                }
            }
        }
        let mut fold = Fold::new(&name, lessons);
        if known {
            fold.resume(&mut *self.store)?;
        } else {
            fold.skip_to(last);
            if let Some((name, checkpoint)) = fold.checkpoint() {
                ledger.save_checkpoint(name, checkpoint)?;
            }
        }
        let fields = json!({ "policy": served.name, "from_event": fold.high_water(), "resumed": known });
        app.log.event(Level::Info, "learning", fields);
        Ok(Some(Class { fold, file: config.arms_file.as_deref().map(ArmsFile::at) }))
    }
}

/// Logs an event that a policy cannot learn from.
fn skipped_record(app: &App, policy: &str, seq: u64, reason: &str) {
    let fields = json!({ "policy": policy, "seq": seq, "reason": reason });
    app.log.event(Level::Error, "learning_skipped_record", fields);
}

/// Appends what the file of a policy says anew; whether it did. A file that is refused is told once.
fn follow(app: &App, served: &Served, class: &mut Class) -> Result<bool, StoreError> {
    let (Some(file), Some(ledger)) = (&mut class.file, &app.ledger) else { return Ok(false) };
    let lessons = &class.fold.consumer;
    let Some(learner) = lessons.learner().learner() else { return Ok(false) };
    let news = file.news(&served.name, lessons.roster(), learner, lessons.metric().range);
    let change = match news {
        Ok(change) => change,
        Err(reason) => {
            let fields = json!({ "policy": served.name, "reason": reason });
            app.log.event(Level::Error, "arms_file_refused", fields);
            None
        }
    };
    let Some(change) = change else { return Ok(false) };
    let fields = json!({ "policy": served.name, "who": change.who, "arms": change.arms });
    ledger.change(change)?.blocking_recv().unwrap_or(Err(StoreError::Closed))?;
    app.log.event(Level::Info, "arms_changed", fields);
    Ok(true)
}

/// The selector of a learning policy: the section's or the artifact's, at the price of money given, with a share of
/// the calls made at random.
///
/// # Errors
/// If the section's selector cannot be built for the arms.
pub(crate) fn selector(
    policy: &Policy,
    config: &LearningConfig,
    lambda: f64,
    epsilon: f64,
) -> Result<Box<dyn Selector>, SelectorError> {
    // Spend that is far over its target asks for no more than the greatest price there is.
    let lambda = lambda.min(WEIGHT_MAX);
    let mut spec = config.selector.clone().unwrap_or_else(|| policy.manifest.selector.clone());
    if epsilon > 0.0 {
        let settings = json!({ "epsilon": epsilon, "selector": spec });
        spec = SelectorSpec { name: "epsilon-greedy".to_owned(), settings };
    }
    if lambda == 0.0 {
        return selectors::build(&spec, &policy.arms);
    }
    let settings = json!({ "lambda": lambda, "selector": spec });
    selectors::build(&SelectorSpec { name: "priced".to_owned(), settings }, &policy.arms)
}

/// Puts what was learned into service, unless another artifact has been put there meanwhile.
fn publish(app: &App, served: &Served, lessons: &Lessons) {
    let Some(config) = &served.learning else { return };
    let report = lessons.report();
    let (lambda, epsilon) = (config.lambda + report.spend.lambda, report.epsilon);
    served.metrics.learned(report);
    let base = &served.base;
    let roster = Arc::new(lessons.roster().clone());
    let predictor = lessons.learner().snapshot();
    let Some(policy) = assembled(base, config, [lambda, epsilon], roster.arms.clone(), predictor) else {
        return;
    };
    let _one_swap_at_a_time = app.memory.blocking_lock();
    let mut live = Live::clone(&app.live.load());
    let Some(current) = live.policies.get(&served.name).filter(|c| c.policy.digest == base.digest) else {
        return;
    };
    let learned = current.learned(policy, lessons.learner().n_updates(), roster, lessons.accounts().prices());
    live.policies.insert(served.name.clone(), Arc::new(learned));
    app.live.store(Arc::new(live));
}

/// A policy of an artifact with other arms and another predictor.
fn assembled(
    base: &Policy,
    config: &LearningConfig,
    [lambda, epsilon]: [f64; 2],
    arms: Vec<Arm>,
    predictor: Box<dyn Predictor>,
) -> Option<Policy> {
    // The spec was built once already, when the policy was loaded.
    let selector = selector(base, config, lambda, epsilon).ok()?;
    let (manifest, digest) = (base.manifest.clone(), base.digest.clone());
    Some(Policy { manifest, digest, arms, featurizer: Arc::clone(&base.featurizer), predictor, selector })
}

/// A new version of a policy that does not choose what the old one no longer chose: what else was said of its arms
/// is in force once the learner has seen it, but a removed arm may be gone.
pub(crate) fn heeding(new: Served, old: &Served) -> Served {
    let (Some(config), Some(roster)) = (&new.learning, &old.roster) else { return new };
    let gone = |arm: &Arm| roster.find(&arm.model).is_some_and(|at| roster.arms[at].retired);
    let retire = |arm: &Arm| Arm { retired: arm.retired || gone(arm), ..arm.clone() };
    let arms: Vec<Arm> = new.base.arms.iter().map(retire).collect();
    // Where no arm would be left, the new one is served as it is.
    if arms == new.base.arms || arms.iter().all(|arm| arm.retired) {
        return new;
    }
    let Some(learner) = new.base.predictor.learner() else { return new };
    match assembled(&new.base, config, [config.lambda, 0.0], arms, learner.snapshot()) {
        Some(policy) => new.with_arms_of(policy),
        None => new,
    }
}
