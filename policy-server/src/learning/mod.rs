//! Policies that learn while they serve.
//!
//! One thread reads the log every [`TURN`], applies what is new to the [`Lessons`] of each learning policy,
//! and swaps a snapshot of what was learned into service: decisions are never blocked, and feedback is felt
//! within a second. The state is saved in the store together with the last event in it, under the name of the policy
//! and the digest of its artifact: a new artifact starts from what it was trained to, and learns from the events
//! after its first appearance.

mod clock;
mod config;
mod lessons;
#[cfg(test)]
mod tests;

pub use config::LearningConfig;
pub(crate) use lessons::Lessons;

use crate::log::{Level, chain};
use crate::metrics::Learned;
use crate::state::{App, Live, Served};
use crate::store::{self, Fold, Store, StoreError};
use routewright_policy::selectors::{self, SelectorError};
use routewright_policy::{Policy, Selector, SelectorSpec};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Time between two looks at the log.
const TURN: Duration = Duration::from_millis(100);
/// Time between two saves of the state; what is not saved is learned again from the log.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Learns until the server stops.
pub(crate) struct School {
    store: Box<dyn Store>,
    classes: BTreeMap<String, Fold<Lessons>>,
    saved: Instant,
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
        let mut school = Self { store, classes: BTreeMap::new(), saved: Instant::now() };
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
            let fold = match self.classes.get_mut(&served.name) {
                Some(fold) if fold.consumer.digest() == served.policy.digest => fold,
                _ => match self.enroll(app, served)? {
                    Some(fold) => self.classes.entry(served.name.clone()).insert_entry(fold).into_mut(),
                    None => continue,
                },
            };
            let news = fold.catch_up(&mut *self.store)?;
            if news > 0 || served.lessons == 0 {
                publish(app, served, &fold.consumer);
            }
            if save && let (Some(ledger), Some((name, checkpoint))) = (&app.ledger, fold.checkpoint()) {
                ledger.save_checkpoint(name, checkpoint)?;
            }
        }
        if save {
            self.saved = Instant::now();
        }
        Ok(())
    }

    /// The fold of a policy: taken up where it was saved, else begun at the end of the log.
    fn enroll(&mut self, app: &App, served: &Served) -> Result<Option<Fold<Lessons>>, StoreError> {
        let (Some(config), Some(ledger)) = (&served.learning, &app.ledger) else { return Ok(None) };
        let metric = ledger.config().metrics.get(&config.metric).cloned().unwrap_or_default();
        let Some(lessons) = Lessons::new(&served.name, &served.base, config, &metric) else {
            return Ok(None);
        };
        let name = format!("learning/{}/{}", served.name, served.policy.digest);
        let known = self.store.checkpoint(&name)?.is_some();
        let mut fold = Fold::new(&name, lessons);
        if known {
            fold.resume(&mut *self.store)?;
        } else {
            fold.skip_to(self.store.last()?);
            if let Some((name, checkpoint)) = fold.checkpoint() {
                ledger.save_checkpoint(name, checkpoint)?;
            }
        }
        let fields = json!({ "policy": served.name, "from_event": fold.high_water(), "resumed": known });
        app.log.event(Level::Info, "learning", fields);
        Ok(Some(fold))
    }
}

/// The selector of a learning policy: the section's or the artifact's, at the price of money that spend asks for.
///
/// # Errors
/// If the section's selector cannot be built for the arms.
pub(crate) fn selector(
    policy: &Policy,
    config: &LearningConfig,
    lambda: f64,
) -> Result<Box<dyn Selector>, SelectorError> {
    let spec = config.selector.clone().unwrap_or_else(|| policy.manifest.selector.clone());
    if lambda == 0.0 {
        return selectors::build(&spec, &policy.arms);
    }
    let settings = json!({ "lambda": lambda, "selector": spec });
    selectors::build(&SelectorSpec { name: "priced".to_owned(), settings }, &policy.arms)
}

/// Puts what was learned into service, unless another artifact has been put there meanwhile.
fn publish(app: &App, served: &Served, lessons: &Lessons) {
    let Some(config) = &served.learning else { return };
    let lambda = lessons.pacer().map_or(0.0, |pacer| pacer.lambda());
    served.metrics.learned(Learned {
        updates: lessons.learner().n_updates(),
        refused: lessons.refused(),
        decisions: lessons.n_decisions(),
        lambda,
        mean_usd: lessons.pacer().map(|pacer| pacer.mean_usd()),
    });
    let base = &served.base;
    // The spec was built once already, when the policy was loaded.
    let Ok(selector) = selector(base, config, lambda) else { return };
    let policy = Policy {
        manifest: base.manifest.clone(),
        digest: base.digest.clone(),
        arms: base.arms.clone(),
        featurizer: Arc::clone(&base.featurizer),
        predictor: lessons.learner().snapshot(),
        selector,
    };
    let _one_swap_at_a_time = app.memory.blocking_lock();
    let mut live = Live::clone(&app.live.load());
    let Some(current) = live.policies.get(&served.name).filter(|c| c.policy.digest == base.digest) else {
        return;
    };
    let learned = current.learned(policy, lessons.learner().n_updates());
    live.policies.insert(served.name.clone(), Arc::new(learned));
    app.live.store(Arc::new(live));
}
