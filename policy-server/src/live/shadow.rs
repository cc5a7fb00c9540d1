//! Shadows decide what was decided, once it is in the log, on one thread behind a bounded queue.
//!
//! They never delay the reply, never change it, and their decisions enter no log: what remains of them are counts by
//! version. A full queue drops the request and counts it. The difference of predicted scores is by the shadow's own
//! prediction: its score of what it would have chosen, less its score of what was served.

use crate::live::Served;
use crate::live::query::Query;
use crate::live::stages;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Requests waiting for shadows.
const QUEUE_MAX: usize = 1024;
const MICRO: f64 = 1e6;

/// What a shadow has done.
#[derive(Debug, Default)]
pub(crate) struct ShadowCounts {
    pub(crate) agreed: AtomicU64,
    pub(crate) differed: AtomicU64,
    /// Requests it could not decide.
    pub(crate) failed: AtomicU64,
    pub(crate) dropped: AtomicU64,
    /// Decisions whose difference of scores is known, and the sum in millionths.
    pub(crate) compared: AtomicU64,
    difference_micro: AtomicI64,
}

impl ShadowCounts {
    /// Sum of the differences of predicted scores.
    pub(crate) fn difference(&self) -> f64 {
        self.difference_micro.load(Relaxed) as f64 / MICRO
    }
}

/// A version that shadows, with its counts.
#[derive(Debug, Clone)]
pub(crate) struct Shadow {
    pub(crate) served: Arc<Served>,
    pub(crate) counts: Arc<ShadowCounts>,
}

/// A request that was answered.
#[derive(Debug)]
struct Job {
    shadow: Shadow,
    query: Arc<Query>,
    /// The model that was served.
    model: String,
}

/// The queue; its thread ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Shadows(SyncSender<Job>);

impl Shadows {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives none.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        // Detached: it ends with the queue.
        let _detached = std::thread::Builder::new().name("shadow".to_owned()).spawn(move || work(&jobs))?;
        Ok(Self(queue))
    }

    /// Hands a request over, or drops it.
    pub(crate) fn submit(&self, shadow: &Shadow, query: &Arc<Query>, model: &str) {
        let job = Job { shadow: shadow.clone(), query: Arc::clone(query), model: model.to_owned() };
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = self.0.try_send(job) {
            job.shadow.counts.dropped.fetch_add(1, Relaxed);
        }
    }
}

fn work(jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        decide(&job);
    }
}

fn decide(Job { shadow, query, model }: &Job) {
    let counts = &shadow.counts;
    let policy = &shadow.served.policy;
    // A shadow reads the request by its own rule.
    let mut query = Arc::clone(query);
    let is_read = query.is_read_alike(policy)
        || Arc::make_mut(&mut query).read_by(&shadow.served.name, policy).is_ok() && !query.has_no_text;
    let decided = is_read.then(|| stages::decide(policy, std::slice::from_ref(&query)).pop()).flatten();
    let Some(Ok(computed)) = decided else {
        counts.failed.fetch_add(1, Relaxed);
        return;
    };
    let served = policy.arms.iter().position(|arm| arm.model == *model);
    let agrees = served == Some(computed.decision.arm);
    if agrees { &counts.agreed } else { &counts.differed }.fetch_add(1, Relaxed);
    let score =
        |arm: usize| computed.decision.candidates.get(arm).map_or(f32::NAN, |candidate| candidate.score);
    let difference = served.map_or(f64::NAN, |arm| f64::from(score(computed.decision.arm) - score(arm)));
    if difference.is_finite() {
        counts.compared.fetch_add(1, Relaxed);
        counts.difference_micro.fetch_add((difference * MICRO).round() as i64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::metrics::Metrics;
    use crate::settings::PolicyEntry;
    use crate::testing::{policy, query};

    fn shadow() -> Shadow {
        let served = Served::new(&PolicyEntry::at("unused"), None, policy("p"), &Metrics::default()).unwrap();
        Shadow { served: Arc::new(served), counts: Arc::default() }
    }

    #[test]
    fn agreement_and_the_difference_of_scores_are_counted() {
        let shadow = shadow(); // It would choose `large`, 0.8 against 0.5 of `small`.
        for model in ["large", "small", "unknown"] {
            decide(&Job { shadow: shadow.clone(), query: query("x"), model: model.to_owned() });
        }
        let counts = &shadow.counts;
        assert_eq!((counts.agreed.load(Relaxed), counts.differed.load(Relaxed)), (1, 2));
        assert_eq!(counts.compared.load(Relaxed), 2);
        assert!((counts.difference() - 0.3).abs() < 1e-5);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (queue, _jobs) = sync_channel(1);
        let (shadows, shadow) = (Shadows(queue), shadow());
        for _ in 0..3 {
            shadows.submit(&shadow, &query("x"), "large");
        }
        assert_eq!(shadow.counts.dropped.load(Relaxed), 2);
    }
}
