//! The one thread that writes: group commit.
//!
//! Requests queue their entries. The writer takes what waits, about `group_max` entries at most, appends it in
//! one transaction and answers everybody after the commit. Nothing is delayed to fill a group that a caller waits
//! for: while one commit waits for the disk, the next group gathers by itself. A group without a waiting caller
//! (decisions of durability `async`) is given [`UNHEARD_GATHERS`] to grow: a commit costs more processor time than
//! a decision, and takes it from the requests.
//!
//! A group that the store refuses for what is in it is written request by request, so that no caller's entry fails for
//! another one's. Where the store itself fails, all of the group do: trying again would only take longer.

use crate::ledger::meter::StoreMeter;
use crate::ledger::{Entry, Receipt, Store, StoreError};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What is told to those who wait.
pub(crate) type Answer = Result<Vec<Receipt>, StoreError>;
type Task = Box<dyn FnOnce(&mut dyn Store) + Send>;
/// How many entries a request has, and where their receipts are waited for.
type Waiting = (usize, Option<oneshot::Sender<Answer>>);

/// How long a group that no caller waits for gathers.
const UNHEARD_GATHERS: Duration = Duration::from_millis(2);

enum Job {
    /// Entries, and where their receipts are waited for.
    Append(Vec<Entry>, Option<oneshot::Sender<Answer>>),
    Do(Task),
}

/// The queue of the writer; dropped, it writes what waits and ends.
pub(crate) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    meter: Arc<StoreMeter>,
    queue_max: usize,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("queue_max", &self.queue_max).finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives none.
    pub(crate) fn start(
        store: Box<dyn Store>,
        meter: Arc<StoreMeter>,
        queue_max: usize,
        group_max: usize,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let counts = Arc::clone(&meter);
        let work = move || work(store, &queue, &counts, group_max);
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), meter, queue_max })
    }

    /// Queues entries that are committed together; the receiver gets their receipts.
    ///
    /// # Errors
    /// If too many wait already: a group larger than the queue is taken only by an empty one.
    pub(crate) fn append(&self, entries: Vec<Entry>) -> Result<oneshot::Receiver<Answer>, StoreError> {
        let (reply, receiver) = oneshot::channel();
        self.queue(entries, Some(reply))?;
        Ok(receiver)
    }

    /// Queues entries whose receipts nobody waits for; see [`Writer::append`].
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub(crate) fn append_unheard(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.queue(entries, None)
    }

    fn queue(&self, entries: Vec<Entry>, reply: Option<oneshot::Sender<Answer>>) -> Result<(), StoreError> {
        let n = entries.len() as u64;
        let waiting = self.meter.waiting.fetch_add(n, Relaxed);
        if waiting > 0 && waiting + n > self.queue_max as u64 {
            self.meter.waiting.fetch_sub(n, Relaxed);
            return Err(StoreError::QueueFull { waiting: waiting as usize, max: self.queue_max });
        }
        self.send(Job::Append(entries, reply)).inspect_err(|_| {
            self.meter.waiting.fetch_sub(n, Relaxed);
        })
    }

    /// Has the writer do something between two groups; the receiver gets the result.
    ///
    /// # Errors
    /// If the writer has ended.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut dyn Store) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, StoreError> {
        let (reply, receiver) = oneshot::channel();
        self.send(Job::Do(Box::new(move |store| {
            // Nobody may wait for it any more.
            let _unheard = reply.send(task(store));
        })))?;
        Ok(receiver)
    }

    fn send(&self, job: Job) -> Result<(), StoreError> {
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(job).map_err(|_| StoreError::Closed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has answered nobody; there is nothing left to do about it.
            let _panicked = thread.join();
        }
    }
}

fn work(mut store: Box<dyn Store>, queue: &Receiver<Job>, meter: &StoreMeter, group_max: usize) {
    let mut next = None;
    while let Some(job) = next.take().or_else(|| queue.recv().ok()) {
        match job {
            Job::Do(task) => task(&mut *store),
            Job::Append(entries, reply) => {
                if reply.is_none() && entries.len() < group_max {
                    // Asleep and not at the queue, so that no request has to wake it.
                    std::thread::sleep(UNHEARD_GATHERS);
                }
                let mut group = entries;
                let mut replies = vec![(group.len(), reply)];
                while group.len() < group_max {
                    match queue.try_recv() {
                        Ok(Job::Append(entries, reply)) => {
                            replies.push((entries.len(), reply));
                            group.extend(entries);
                        }
                        // It was queued after the group and is done after it.
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                commit(&mut *store, &group, replies, meter);
            }
        }
    }
}

fn commit(store: &mut dyn Store, group: &[Entry], replies: Vec<Waiting>, meter: &StoreMeter) {
    let answer = append(store, group, meter);
    if matches!(answer, Err(StoreError::Refused { .. })) && replies.len() > 1 {
        return one_by_one(store, group, replies, meter);
    }
    settle(group, replies, &answer, meter);
}

/// Writes each request of a group by itself; once the store fails, the rest fails with it.
fn one_by_one(store: &mut dyn Store, mut group: &[Entry], replies: Vec<Waiting>, meter: &StoreMeter) {
    let mut failed: Option<StoreError> = None;
    for (n, reply) in replies {
        let (own, rest) = group.split_at(n);
        group = rest;
        let answer = match &failed {
            Some(error) => Err(error.clone()),
            None => append(store, own, meter),
        };
        if let Err(error) = &answer
            && !matches!(error, StoreError::Refused { .. })
        {
            failed = Some(error.clone());
        }
        settle(own, vec![(n, reply)], &answer, meter);
    }
}

/// One transaction; the store is known to work or not by it.
fn append(store: &mut dyn Store, entries: &[Entry], meter: &StoreMeter) -> Answer {
    let began = Instant::now();
    let answer = store.append(entries);
    meter.commit.observe(began.elapsed());
    match &answer {
        Ok(_) => meter.works(),
        Err(StoreError::Refused { .. }) => {
            meter.failures.fetch_add(1, Relaxed);
        }
        Err(error) => {
            meter.failures.fetch_add(1, Relaxed);
            meter.fails(error);
        }
    }
    answer
}

/// Answers those who wait for the entries.
fn settle(group: &[Entry], replies: Vec<Waiting>, answer: &Answer, meter: &StoreMeter) {
    meter.waiting.fetch_sub(group.len() as u64, Relaxed);
    let decisions = group.iter().filter(|entry| matches!(entry, Entry::Decision(_))).count() as u64;
    if answer.is_err() { &meter.not_logged } else { &meter.logged }.fetch_add(decisions, Relaxed);
    let mut receipts = answer.as_ref().map_or(&[][..], Vec::as_slice);
    for (n, reply) in replies {
        let (own, rest) = receipts.split_at(n.min(receipts.len()));
        receipts = rest;
        let Some(reply) = reply else { continue };
        let own = answer.as_ref().map(|_| own.to_vec()).map_err(StoreError::clone);
        // The caller may have gone: what is committed stays, and its retry is a duplicate.
        let _unheard = reply.send(own);
    }
}

#[cfg(test)]
mod tests;
