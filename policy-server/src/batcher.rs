//! Worker threads for slow predictors, with micro-batches.
//!
//! A worker takes what is waiting for one policy, at most `micro_batch_max` queries, and decides it in one
//! prediction. Nothing is ever delayed to fill a batch: a lone request is a batch of one. Requests whose
//! caller has gone (deadline, disconnect) are dropped unseen.

use crate::error::ApiError;
use crate::limits::Limits;
use crate::query::Query;
use crate::stages::{self, Staged};
use routewright_policy::Policy;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;

/// One query waiting for a worker.
#[derive(Debug)]
struct Job {
    policy: Arc<Policy>,
    query: Arc<Query>,
    queued: Instant,
    reply: oneshot::Sender<Result<Staged, ApiError>>,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    queue_max: usize,
    micro_batch_max: usize,
}

/// The queue and its workers; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Batcher(Arc<Shared>);

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueFull;

impl Batcher {
    /// Starts the workers.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start(limits: &Limits) -> std::io::Result<Self> {
        let batcher = Self::without_workers(limits);
        for worker in 0..limits.worker_count() {
            let shared = Arc::clone(&batcher.0);
            let name = format!("decide-{worker}");
            // Detached: a worker ends with the queue, and no decision outlives the process.
            let _detached = std::thread::Builder::new().name(name).spawn(move || shared.work())?;
        }
        Ok(batcher)
    }

    fn without_workers(limits: &Limits) -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            queue_max: limits.queue_max,
            micro_batch_max: limits.micro_batch_max,
        }))
    }

    /// Queues a query; the receiver gets its result.
    ///
    /// # Errors
    /// If the queue is full.
    pub(crate) fn submit(
        &self,
        policy: Arc<Policy>,
        query: Arc<Query>,
    ) -> Result<oneshot::Receiver<Result<Staged, ApiError>>, QueueFull> {
        let (reply, receiver) = oneshot::channel();
        let mut queue = self.0.lock();
        if queue.jobs.len() >= self.0.queue_max {
            // Those whose caller has gone make room first.
            queue.jobs.retain(|job| !job.reply.is_closed());
            if queue.jobs.len() >= self.0.queue_max {
                return Err(QueueFull);
            }
        }
        queue.jobs.push_back(Job { policy, query, queued: Instant::now(), reply });
        drop(queue);
        self.0.wake.notify_one();
        Ok(receiver)
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The lock is never held across foreign code, so a poisoned one is still whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(batch) = self.next_batch() {
            let Some(policy) = batch.first().map(|job| Arc::clone(&job.policy)) else { continue };
            let started = Instant::now();
            let queries: Vec<Arc<Query>> = batch.iter().map(|job| Arc::clone(&job.query)).collect();
            for (job, mut result) in batch.into_iter().zip(stages::decide(&policy, &queries)) {
                if let Ok(staged) = &mut result {
                    staged.stages.queue = started - job.queued;
                }
                // The caller may have gone meanwhile.
                let _unheard = job.reply.send(result);
            }
        }
    }

    /// Waits for work; `None` when the queue is closed and empty. May be empty of jobs.
    fn next_batch(&self) -> Option<Vec<Job>> {
        let mut queue = self.lock();
        while queue.jobs.is_empty() {
            if queue.closed {
                return None;
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        Some(take_batch(&mut queue.jobs, self.micro_batch_max))
    }
}

/// Takes the oldest living job and every waiting one for the same policy, at most `max`, in order.
fn take_batch(jobs: &mut VecDeque<Job>, max: usize) -> Vec<Job> {
    let mut batch: Vec<Job> = Vec::new();
    let mut kept = VecDeque::new();
    while let Some(job) = jobs.pop_front() {
        if job.reply.is_closed() {
            continue;
        }
        let fits = batch.first().is_none_or(|first| Arc::ptr_eq(&first.policy, &job.policy));
        if fits {
            batch.push(job);
        } else {
            kept.push_back(job);
        }
        if batch.len() == max {
            break;
        }
    }
    kept.append(jobs);
    *jobs = kept;
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{policy, query};

    #[test]
    fn a_batch_is_what_waits_for_one_policy_without_the_dead() {
        let batcher = Batcher::without_workers(&Limits::default());
        let (a, b) = (Arc::new(policy("a")), Arc::new(policy("b")));
        let mut receivers: Vec<_> = [&a, &b, &a, &a, &a]
            .into_iter()
            .map(|p| Some(batcher.submit(Arc::clone(p), query("x")).unwrap()))
            .collect();
        receivers[2] = None; // its caller has gone
        let mut queue = batcher.0.lock();
        let batch = take_batch(&mut queue.jobs, 2);
        assert!(batch.iter().all(|job| Arc::ptr_eq(&job.policy, &a)));
        assert_eq!((batch.len(), queue.jobs.len()), (2, 2));
        assert!(Arc::ptr_eq(&queue.jobs[0].policy, &b), "order is kept");
    }

    #[test]
    fn a_full_queue_refuses_until_the_dead_make_room() {
        let limits = Limits { queue_max: 1, ..Limits::default() };
        let batcher = Batcher::without_workers(&limits);
        let policy = Arc::new(policy("a"));
        let waiting = batcher.submit(Arc::clone(&policy), query("x")).unwrap();
        assert_eq!(batcher.submit(Arc::clone(&policy), query("x")).unwrap_err(), QueueFull);
        drop(waiting);
        assert!(batcher.submit(policy, query("x")).is_ok());
    }

    #[test]
    fn workers_answer_and_end_with_the_queue() {
        let batcher = Batcher::start(&Limits { workers: 2, ..Limits::default() }).unwrap();
        let policy = Arc::new(policy("a"));
        let receivers: Vec<_> =
            (0..100).map(|_| batcher.submit(Arc::clone(&policy), query("x")).unwrap()).collect();
        for receiver in receivers {
            assert_eq!(receiver.blocking_recv().unwrap().unwrap().decision.arm, 1);
        }
        let shared = Arc::downgrade(&batcher.0);
        drop(batcher);
        while shared.strong_count() > 0 {
            std::thread::yield_now();
        }
    }
}
