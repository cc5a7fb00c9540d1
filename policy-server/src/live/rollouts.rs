//! What a server counts of the versions that are not active: decisions of canaries, agreement of shadows. The counts
//! outlive a reload.

use crate::exposition::{family, line};
use crate::live::shadow::{ShadowCounts, Shadows};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// By policy and version; versions come by hand, so they are few.
type ByVersion<T> = Mutex<BTreeMap<(String, String), Arc<T>>>;

/// The counts, and the queue of the shadows; one a server.
#[derive(Debug)]
pub(crate) struct Rollouts {
    pub(crate) shadows: Shadows,
    counts: ByVersion<ShadowCounts>,
    decided: ByVersion<AtomicU64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rollouts {
    /// Starts the thread of the shadows.
    ///
    /// # Errors
    /// If the system gives none.
    pub(crate) fn start() -> std::io::Result<Self> {
        let shadows = Shadows::start()?;
        Ok(Self { shadows, counts: Mutex::default(), decided: Mutex::default() })
    }

    /// What a shadow has done since the server started.
    pub(crate) fn shadow_counts(&self, policy: &str, version: &str) -> Arc<ShadowCounts> {
        Arc::clone(lock(&self.counts).entry((policy.to_owned(), version.to_owned())).or_default())
    }

    /// Decisions of a canary since the server started.
    pub(crate) fn canary_decisions(&self, policy: &str, version: &str) -> Arc<AtomicU64> {
        Arc::clone(lock(&self.decided).entry((policy.to_owned(), version.to_owned())).or_default())
    }

    /// The exposition of the metrics.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        let decided = lock(&self.decided);
        if !decided.is_empty() {
            family(&mut out, "canary_decisions_total", "counter", "Decisions of a canary.");
        }
        for ((policy, version), count) in decided.iter() {
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
