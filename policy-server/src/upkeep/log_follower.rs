//! The thread that follows the log for all that learns from it: every [`POLL`] one pass feeds the learning loop, the
//! watch over canaries and the statistics, and each of them does what follows from it.

use crate::ledger::{Follower, Ledger, StoreError};
use crate::lifecycle::Lifecycle;
use crate::live::InService;
use crate::log::{Level, Log, chain};
use crate::upkeep::canary::{Canaries, Watch};
use crate::upkeep::learning::LearningLoop;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Time between two looks at the log.
const POLL: Duration = Duration::from_millis(100);

/// Follows the log until the server stops.
#[derive(Debug)]
pub(crate) struct LogFollower {
    ledger: Arc<Ledger>,
    log: Log,
    learning: LearningLoop,
    watch: Option<Watch>,
}

impl LogFollower {
    /// Resumes what was learned and judged before, and puts it into service; `None` if there is no log, or nothing
    /// to be learned from it.
    ///
    /// # Errors
    /// If the store cannot be read, or what it holds does not fit a policy.
    pub(crate) fn open(
        live: &Arc<InService>,
        canaries: &Arc<Canaries>,
        ledger: Option<&Arc<Ledger>>,
        log: &Log,
    ) -> Result<Option<Self>, StoreError> {
        let Some(ledger) = ledger else { return Ok(None) };
        let learning = LearningLoop::new(live, ledger, log);
        let watch = Watch::open(canaries, ledger)?;
        if watch.is_none() && !learning.has_policies() {
            return Ok(None);
        }
        let mut follower = Self { ledger: Arc::clone(ledger), log: log.clone(), learning, watch };
        // A canary that is rolled back here is reloaded by the watch over the registry's file.
        let _reloaded_later = follower.poll(true)?;
        Ok(Some(follower))
    }

    /// Follows until the server stops; failures are logged once and retried on the next poll. Policies whose canary was
    /// rolled back are sent to `fallen`.
    pub(crate) fn run(mut self, lifecycle: &Lifecycle, fallen: &UnboundedSender<String>) {
        let mut failed = false;
        loop {
            let stopping = lifecycle.is_stopping();
            match self.poll(stopping) {
                Ok(rolled_back) => {
                    failed = false;
                    // Nobody reloads once the server stops.
                    rolled_back.into_iter().for_each(|policy| drop(fallen.send(policy)));
                }
                Err(error) if !failed => {
                    failed = true;
                    self.log.event(Level::Error, "log_follower_failed", json!({ "reason": chain(&error) }));
                }
                Err(_) => {}
            }
            if stopping {
                return;
            }
            std::thread::sleep(POLL);
        }
    }

    /// One pass over what is new; returns the policies whose canary was rolled back.
    fn poll(&mut self, save: bool) -> Result<Vec<String>, StoreError> {
        // What cannot be learned from keeps no canary from being judged.
        let enrolled = self.learning.enroll();
        let watch = self.watch.iter_mut().map(Watch::follower);
        let mut followers: Vec<&mut dyn Follower> = self.learning.followers().chain(watch).collect();
        self.ledger.follow(&mut followers)?;
        let published = self.learning.publish(save);
        let fallen = self.watch.as_mut().map_or(Ok(Vec::new()), |watch| watch.judge(save));
        enrolled.and(published).and(fallen)
    }
}
