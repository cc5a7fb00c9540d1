//! Worker threads for slow predictors, with micro-batches.
//!
//! A worker takes what is waiting for one policy, at most `micro_batch_max` queries, and decides it in one
//! prediction. Nothing is ever delayed to fill a batch: a lone request is a batch of one. Requests whose
//! caller has gone (deadline, disconnect) are dropped unseen.
//!
//! Callers wait in lines of their own and are served in turn, so that one with a thousand queries delays another by
//! one micro-batch, not by a thousand. Where the queue is full, the newest query of the longest line makes room.

use crate::caller::Share;
use crate::error::{ApiError, Code};
use crate::live::query::Query;
use crate::live::stages;
use crate::live::stages::Computed;
use crate::settings::Limits;
use routewright_policy::Policy;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Time between two looks for jobs whose caller has gone, while the queue is full: each is a look at every job.
const SWEEP_EVERY: Duration = Duration::from_millis(10);
/// Queries of a line that are looked at for more of the policy of a batch.
const LOOK_AHEAD: usize = 256;

/// One query waiting for a worker.
#[derive(Debug)]
struct Job {
    policy: Arc<Policy>,
    query: Arc<Query>,
    queued: Instant,
    reply: oneshot::Sender<Result<Computed, ApiError>>,
}

#[derive(Debug, Default)]
struct Queue {
    /// What waits, by caller; no line is empty.
    lines: HashMap<Share, VecDeque<Job>>,
    /// Every caller who waits, once, the next one first.
    turns: VecDeque<Share>,
    /// Number of jobs in all lines.
    waiting: usize,
    swept: Option<Instant>,
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

impl Queue {
    fn push(&mut self, share: &Share, job: Job) {
        let line = self.lines.entry(share.clone()).or_default();
        if line.is_empty() {
            self.turns.push_back(share.clone());
        }
        line.push_back(job);
        self.waiting += 1;
    }

    /// Makes room for one more job of a caller; whether there is any.
    fn make_room(&mut self, share: &Share) -> bool {
        if self.sweep() {
            return true;
        }
        let own = self.lines.get(share).map_or(0, VecDeque::len);
        let longest = self.lines.values_mut().max_by_key(|line| line.len());
        let Some(newest) = longest.filter(|line| line.len() > own + 1).and_then(VecDeque::pop_back) else {
            return false;
        };
        self.waiting -= 1;
        let crowded =
            ApiError::new(Code::Overloaded, "too many decisions of this caller are waiting; try again");
        // The caller may have gone meanwhile.
        let _unheard = newest.reply.send(Err(crowded));
        true
    }

    /// Drops the jobs whose caller has gone; whether there were any.
    fn sweep(&mut self) -> bool {
        if self.swept.is_some_and(|last| last.elapsed() < SWEEP_EVERY) {
            return false;
        }
        self.swept = Some(Instant::now());
        self.lines.values_mut().for_each(|line| line.retain(|job| !job.reply.is_closed()));
        self.lines.retain(|_, line| !line.is_empty());
        self.turns.retain(|share| self.lines.contains_key(share));
        let waiting = self.lines.values().map(VecDeque::len).sum();
        let before = std::mem::replace(&mut self.waiting, waiting);
        waiting < before
    }

    /// Takes the next living job and more for the same policy, at most `max`, of one caller after the other.
    fn take_batch(&mut self, max: usize) -> Vec<Job> {
        let mut batch: Vec<Job> = Vec::new();
        let mut passed = 0;
        while batch.len() < max && passed < self.turns.len() {
            let Some(share) = self.turns.pop_front() else { break };
            let Some(line) = self.lines.get_mut(&share) else { continue };
            let before = line.len();
            while line.front().is_some_and(|job| job.reply.is_closed()) {
                line.pop_front();
            }
            let fits = |job: &Job| {
                !job.reply.is_closed()
                    && batch.first().is_none_or(|first: &Job| Arc::ptr_eq(&first.policy, &job.policy))
            };
            let next = line.iter().take(LOOK_AHEAD).position(fits).and_then(|at| line.remove(at));
            self.waiting -= before - line.len();
            if line.is_empty() {
                self.lines.remove(&share);
            } else {
                self.turns.push_back(share);
            }
            match next {
                Some(job) => {
                    batch.push(job);
                    passed = 0;
                }
                None => passed += 1,
            }
        }
        batch
    }
}

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

    pub(crate) fn without_workers(limits: &Limits) -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            queue_max: limits.queue_max,
            micro_batch_max: limits.micro_batch_max,
        }))
    }

    /// Queues a query of a caller; the receiver gets its result.
    ///
    /// # Errors
    /// If the queue is full.
    pub(crate) fn submit(
        &self,
        policy: Arc<Policy>,
        query: Arc<Query>,
        share: &Share,
    ) -> Result<oneshot::Receiver<Result<Computed, ApiError>>, QueueFull> {
        let (reply, receiver) = oneshot::channel();
        let mut queue = self.0.lock();
        if queue.waiting >= self.0.queue_max && !queue.make_room(share) {
            return Err(QueueFull);
        }
        queue.push(share, Job { policy, query, queued: Instant::now(), reply });
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
                if let Ok(computed) = &mut result {
                    computed.stages.queue = started - job.queued;
                }
                // The caller may have gone meanwhile.
                let _unheard = job.reply.send(result);
            }
        }
    }

    /// Waits for work; `None` when the queue is closed and empty. May be empty of jobs.
    fn next_batch(&self) -> Option<Vec<Job>> {
        let mut queue = self.lock();
        while queue.turns.is_empty() {
            if queue.closed {
                return None;
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        Some(queue.take_batch(self.micro_batch_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Caller;
    use crate::testing::{policy, query};

    fn me() -> Share {
        Caller::default().share
    }

    #[test]
    fn a_batch_is_what_waits_for_one_policy_without_the_dead() {
        let batcher = Batcher::without_workers(&Limits::default());
        let (a, b) = (Arc::new(policy("a")), Arc::new(policy("b")));
        let mut receivers: Vec<_> = [&a, &b, &a, &a, &a]
            .into_iter()
            .map(|p| Some(batcher.submit(Arc::clone(p), query("x"), &me()).unwrap()))
            .collect();
        receivers[2] = None; // its caller has gone
        let mut queue = batcher.0.lock();
        let batch = queue.take_batch(2);
        assert!(batch.iter().all(|job| Arc::ptr_eq(&job.policy, &a)));
        assert_eq!((batch.len(), queue.waiting), (2, 3));
        let next = queue.take_batch(9);
        assert!(next.len() == 1 && Arc::ptr_eq(&next[0].policy, &b), "order is kept");
        assert_eq!((queue.take_batch(9).len(), queue.waiting), (1, 0));
        assert!(queue.turns.is_empty() && queue.lines.is_empty());
    }

    #[test]
    fn callers_take_turns_however_many_queries_one_has() {
        let batcher = Batcher::without_workers(&Limits::default());
        let policy = Arc::new(policy("a"));
        let (greedy, modest) = (Share::Key("greedy".into()), Share::Key("modest".into()));
        let ask =
            |share: &Share, text: &str| batcher.submit(Arc::clone(&policy), query(text), share).unwrap();
        let _many: Vec<_> = (0..1000).map(|_| ask(&greedy, "many")).collect();
        let _few: Vec<_> = (0..3).map(|_| ask(&modest, "few")).collect();
        let batch = batcher.0.lock().take_batch(8);
        let texts: Vec<&str> = batch.iter().map(|job| job.query.text.as_str()).collect();
        assert_eq!(texts, ["many", "few", "many", "few", "many", "few", "many", "many"]);
    }

    #[test]
    fn a_full_queue_refuses_until_the_dead_make_room() {
        let limits = Limits { queue_max: 1, ..Limits::default() };
        let batcher = Batcher::without_workers(&limits);
        let policy = Arc::new(policy("a"));
        let waiting = batcher.submit(Arc::clone(&policy), query("x"), &me()).unwrap();
        assert_eq!(batcher.submit(Arc::clone(&policy), query("x"), &me()).unwrap_err(), QueueFull);
        drop(waiting);
        // The queue is not looked through at every try.
        while batcher.submit(Arc::clone(&policy), query("x"), &me()).is_err() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_full_queue_takes_the_place_of_its_longest_line() {
        let limits = Limits { queue_max: 4, ..Limits::default() };
        let batcher = Batcher::without_workers(&limits);
        let policy = Arc::new(policy("a"));
        let (greedy, modest) = (Share::Key("greedy".into()), Share::Key("modest".into()));
        let ask = |share: &Share| batcher.submit(Arc::clone(&policy), query("x"), share);
        let mut many: Vec<_> = (0..4).map(|_| ask(&greedy).unwrap()).collect();
        let _first = ask(&modest).unwrap();
        let dropped = many.pop().unwrap().blocking_recv().unwrap().unwrap_err();
        assert_eq!(dropped.code, Code::Overloaded);
        let _second = ask(&modest).unwrap();
        assert_eq!(ask(&modest).unwrap_err(), QueueFull, "two each: nobody has more than a share");
        assert_eq!(ask(&greedy).unwrap_err(), QueueFull);
    }

    #[test]
    fn workers_answer_and_end_with_the_queue() {
        let batcher = Batcher::start(&Limits { workers: 2, ..Limits::default() }).unwrap();
        let policy = Arc::new(policy("a"));
        let receivers: Vec<_> =
            (0..100).map(|_| batcher.submit(Arc::clone(&policy), query("x"), &me()).unwrap()).collect();
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
