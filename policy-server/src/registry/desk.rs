//! What a server holds of its registries besides the versions: the queue of shadows, counts, figures of trials.

use super::shadow::{ShadowCounts, Shadows};
use super::slot::Canary;
use super::trial::Trial;
use crate::metrics::{family, line};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Decisions of one version by a registry's word.
type Turns = Arc<AtomicU64>;
/// By policy and version; versions come by hand, so they are few.
type ByVersion<T> = Mutex<BTreeMap<(String, String), Arc<T>>>;

/// The desk, one a server.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) shadows: Shadows,
    counts: ByVersion<ShadowCounts>,
    turns: ByVersion<AtomicU64>,
    /// By policy, as the watch saw them last.
    trials: Mutex<BTreeMap<String, Trial>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// Starts the thread of the shadows.
    ///
    /// # Errors
    /// If the system gives none.
    pub(crate) fn start() -> std::io::Result<Self> {
        let shadows = Shadows::start()?;
        Ok(Self { shadows, counts: Mutex::default(), turns: Mutex::default(), trials: Mutex::default() })
    }

    /// What a shadow has done since the server started.
    pub(crate) fn shadow_counts(&self, policy: &str, version: &str) -> Arc<ShadowCounts> {
        Arc::clone(lock(&self.counts).entry((policy.to_owned(), version.to_owned())).or_default())
    }

    /// Decisions of a canary since the server started.
    pub(crate) fn turns(&self, policy: &str, version: &str) -> Turns {
        Arc::clone(lock(&self.turns).entry((policy.to_owned(), version.to_owned())).or_default())
    }

    pub(crate) fn publish(&self, trials: &BTreeMap<String, Trial>) {
        trials.clone_into(&mut lock(&self.trials));
    }

    /// The figures of the trial of a canary, where any feedback has come.
    pub(crate) fn trial(&self, policy: &str, canary: &Canary) -> Option<Trial> {
        lock(&self.trials).get(policy).filter(|trial| trial.record == canary.trial).cloned()
    }

    /// The exposition of the metrics.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        let turns = lock(&self.turns);
        if !turns.is_empty() {
            family(&mut out, "canary_decisions_total", "counter", "Decisions of a canary.");
        }
        for ((policy, version), count) in turns.iter() {
            let labels = format!("policy=\"{policy}\",version=\"{version}\"");
            line(&mut out, &format!("routewright_canary_decisions_total{{{labels}}}"), count.load(Relaxed));
        }
        let counts = lock(&self.counts);
        if counts.is_empty() {
            return out;
        }
        family(&mut out, "shadow_decisions_total", "counter", "Requests by what a shadow did.");
        for ((policy, version), shadow) in counts.iter() {
            for (result, count) in [
                ("agreed", &shadow.agreed),
                ("differed", &shadow.differed),
                ("failed", &shadow.failed),
                ("dropped", &shadow.dropped),
            ] {
                let labels = format!("policy=\"{policy}\",version=\"{version}\",result=\"{result}\"");
                line(
                    &mut out,
                    &format!("routewright_shadow_decisions_total{{{labels}}}"),
                    count.load(Relaxed),
                );
            }
        }
        let name = "shadow_score_difference";
        family(
            &mut out,
            name,
            "summary",
            "Predicted score of the shadow's choice less that of the served one.",
        );
        for ((policy, version), shadow) in counts.iter() {
            let labels = format!("policy=\"{policy}\",version=\"{version}\"");
            line(&mut out, &format!("routewright_{name}_sum{{{labels}}}"), shadow.difference());
            line(&mut out, &format!("routewright_{name}_count{{{labels}}}"), shadow.compared.load(Relaxed));
        }
        out
    }
}
