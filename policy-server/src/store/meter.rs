//! What is measured of the store, in the text of Prometheus.

use super::StoreConfig;
use crate::metrics::{Histogram, family, line};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
    pub(crate) commit: Histogram,
}

impl StoreMeter {
    pub(crate) fn new(config: &StoreConfig) -> Self {
        let names = config.metrics.keys().map(String::as_str).chain([NO_METRIC]);
        let feedback = names.map(|name| (name.to_owned(), Default::default())).collect();
        Self { feedback, ..Self::default() }
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
            ("store_expired_total", "counter", "Decisions deleted by age.", &self.expired),
            ("defaults_total", "counter", "Default values given to silent decisions.", &self.defaults),
            ("store_queue_depth", "gauge", "Entries waiting for the writer.", &self.waiting),
        ] {
            family(&mut out, name, kind, help);
            line(&mut out, &format!("routewright_{name}"), value.load(Relaxed));
        }
        if let Some(lag) = lag {
            family(&mut out, "store_lag_events", "gauge", "Events the statistics have not seen.");
            line(&mut out, "routewright_store_lag_events", lag);
        }
        family(&mut out, "store_commit_seconds", "histogram", "Time of a group commit.");
        self.commit.write(&mut out, "routewright_store_commit_seconds", "");
        out
    }
}
