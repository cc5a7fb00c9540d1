//! What is measured of the store, in the text of Prometheus.

use crate::exposition::{Histogram, family, line};
use crate::ledger::StoreError;
use crate::settings::StoreConfig;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// What can become of feedback, as the label `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeedbackStatus {
    Accepted,
    Late,
    Duplicate,
    Refused,
    Unavailable,
}

const STATUSES: [(FeedbackStatus, &str); 5] = [
    (FeedbackStatus::Accepted, "accepted"),
    (FeedbackStatus::Late, "late"),
    (FeedbackStatus::Duplicate, "duplicate"),
    (FeedbackStatus::Refused, "refused"),
    (FeedbackStatus::Unavailable, "unavailable"),
];
/// Label of feedback that names no metric, or none of ours.
const NO_METRIC: &str = "none";

/// Counters of one store.
#[derive(Debug, Default)]
pub(crate) struct StoreMeter {
    feedback: BTreeMap<String, [AtomicU64; STATUSES.len()]>,
    pub(crate) logged: AtomicU64,
    pub(crate) not_logged: AtomicU64,
    pub(crate) waiting: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) defaults: AtomicU64,
    pub(crate) unreadable: AtomicU64,
    pub(crate) commit: Histogram,
    /// Why the last transaction failed, if it did.
    failing: Mutex<Option<String>>,
}

impl StoreMeter {
    pub(crate) fn new(config: &StoreConfig) -> Self {
        let names = config.metrics.keys().map(String::as_str).chain([NO_METRIC]);
        let feedback = names.map(|name| (name.to_owned(), Default::default())).collect();
        Self { feedback, ..Self::default() }
    }

    /// A transaction is on disk.
    pub(crate) fn works(&self) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A transaction failed, and what it held is not to blame.
    pub(crate) fn fails(&self, error: &StoreError) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = Some(crate::log::chain(error));
    }

    /// Why the store takes nothing at present; `None` where it does, as far as is known.
    pub(crate) fn failing(&self) -> Option<String> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn feedback(&self, metric: Option<&str>, status: FeedbackStatus) {
        let counts = metric.and_then(|name| self.feedback.get(name)).or_else(|| self.feedback.get(NO_METRIC));
        let at = STATUSES.iter().position(|(known, _)| *known == status);
        if let (Some(counts), Some(at)) = (counts, at) {
            counts[at].fetch_add(1, Relaxed);
        }
    }

    /// The exposition; `lag` is the number of events that the statistics have not seen.
    pub(crate) fn render(&self, lag: Option<u64>) -> String {
        let mut out = String::new();
        family(&mut out, "feedback_total", "counter", "Feedback by metric and what became of it.");
        for (metric, counts) in &self.feedback {
            for ((_, status), count) in STATUSES.iter().zip(counts) {
                let labels = format!("metric=\"{metric}\",status=\"{status}\"");
                line(&mut out, &format!("routewright_feedback_total{{{labels}}}"), count.load(Relaxed));
            }
        }
        for (name, kind, help, value) in [
            ("decisions_logged_total", "counter", "Decisions that are in the log.", &self.logged),
            (
                "decisions_not_logged_total",
                "counter",
                "Decisions replied or refused unlogged.",
                &self.not_logged,
            ),
            ("store_failures_total", "counter", "Transactions the store refused.", &self.failures),
            (
                "store_unreadable_total",
                "counter",
                "Records passed over because they cannot be read.",
                &self.unreadable,
            ),
            ("store_expired_total", "counter", "Decisions deleted by age.", &self.expired),
            ("defaults_total", "counter", "Default values given to silent decisions.", &self.defaults),
            ("store_queue_depth", "gauge", "Entries waiting for the writer.", &self.waiting),
        ] {
            family(&mut out, name, kind, help);
            line(&mut out, &format!("routewright_{name}"), value.load(Relaxed));
        }
        family(&mut out, "store_up", "gauge", "Whether the last transaction is on disk.");
        line(&mut out, "routewright_store_up", u8::from(self.failing().is_none()));
        if let Some(lag) = lag {
            family(&mut out, "store_lag_events", "gauge", "Events the statistics have not seen.");
            line(&mut out, "routewright_store_lag_events", lag);
        }
        family(&mut out, "store_commit_seconds", "histogram", "Time of a group commit.");
        self.commit.write(&mut out, "routewright_store_commit_seconds", "");
        out
    }
}
