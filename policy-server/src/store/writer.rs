//! The one thread that writes: group commit.
//!
//! Requests queue their entries. The writer takes what waits, about `group_max` entries at most, appends it in
//! one transaction and answers everybody after the commit. Nothing is delayed to fill a group that a caller waits
//! for: while one commit waits for the disk, the next group gathers by itself. A group without a waiting caller
//! (decisions of durability `async`) is given [`UNHEARD_GATHERS`] to grow: a commit costs more processor time than
//! a decision, and takes it from the requests.

use super::meter::StoreMeter;
use super::{Entry, Receipt, Store, StoreError};
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

fn commit(
    store: &mut dyn Store,
    group: &[Entry],
    replies: Vec<(usize, Option<oneshot::Sender<Answer>>)>,
    meter: &StoreMeter,
) {
    let began = Instant::now();
    let answer = store.append(group);
    meter.commit.observe(began.elapsed());
    meter.waiting.fetch_sub(group.len() as u64, Relaxed);
    let decisions = group.iter().filter(|entry| matches!(entry, Entry::Decision(_))).count() as u64;
    if answer.is_err() {
        meter.failures.fetch_add(1, Relaxed);
    }
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
mod tests {
    use super::*;
    use crate::store::{ChangeRecord, Checkpoint, Event, Found, Silent, StoreConfig};
    use std::sync::Mutex;

    /// Keeps the sizes of the groups; fails while told to; waits for the gate before each.
    #[derive(Debug)]
    struct Fake {
        groups: Arc<Mutex<Vec<usize>>>,
        gate: std::sync::mpsc::Receiver<Result<(), StoreError>>,
    }

    impl Store for Fake {
        fn append(&mut self, entries: &[Entry]) -> Result<Vec<Receipt>, StoreError> {
            self.gate.recv().unwrap()?;
            self.groups.lock().unwrap().push(entries.len());
            Ok(vec![Receipt::Accepted { late: false }; entries.len()])
        }
        fn find(&mut self, _: &str) -> Result<Option<Found>, StoreError> {
            Ok(None)
        }
        fn read(&mut self, _: u64, _: usize) -> Result<Vec<Event>, StoreError> {
            Ok(Vec::new())
        }
        fn changes(&mut self, _: &str) -> Result<Vec<(u64, ChangeRecord)>, StoreError> {
            Ok(Vec::new())
        }
        fn days(&mut self) -> Result<Vec<i64>, StoreError> {
            Ok(Vec::new())
        }
        fn of_day(&mut self, _: i64, _: u64, _: usize) -> Result<Vec<(u64, Found)>, StoreError> {
            Ok(Vec::new())
        }
        fn silent(&mut self, _: &str, _: i64, _: i64, _: usize) -> Result<Vec<Silent>, StoreError> {
            Ok(Vec::new())
        }
        fn last(&mut self) -> Result<u64, StoreError> {
            Ok(0)
        }
        fn checkpoint(&mut self, _: &str) -> Result<Option<Checkpoint>, StoreError> {
            Ok(None)
        }
        fn save_checkpoint(&mut self, _: &str, _: &Checkpoint) -> Result<(), StoreError> {
            Ok(())
        }
        fn forget(&mut self, _: &str, _: &[String], _: i64) -> Result<u64, StoreError> {
            Ok(0)
        }
        fn expire(&mut self, _: i64) -> Result<u64, StoreError> {
            Ok(0)
        }
    }

    #[test]
    fn what_waits_is_one_group_a_failure_answers_all_of_it_and_a_full_queue_refuses() {
        let (open, gate) = channel();
        let groups = Arc::new(Mutex::new(Vec::new()));
        let meter = Arc::new(StoreMeter::new(&StoreConfig::at("")));
        let fake = Fake { groups: Arc::clone(&groups), gate };
        let writer = Writer::start(Box::new(fake), Arc::clone(&meter), 6, 4).unwrap();
        let entries = |n| vec![Entry::Decision(Box::default()); n];
        let mut first = vec![writer.append(entries(1)).unwrap()];
        // The writer is at the gate with the first one once nothing can be added to its group.
        std::thread::sleep(std::time::Duration::from_millis(50));
        first.extend((0..5).map(|_| writer.append(entries(1)).unwrap()));
        let refused = writer.append(entries(1)).unwrap_err();
        assert_eq!(refused, StoreError::QueueFull { waiting: 6, max: 6 });
        open.send(Ok(())).unwrap();
        open.send(Err(StoreError::Closed)).unwrap();
        open.send(Ok(())).unwrap();
        let answers: Vec<bool> = first.into_iter().map(|r| r.blocking_recv().unwrap().is_ok()).collect();
        assert_eq!(answers, [true, false, false, false, false, true], "a group of four failed as one");
        assert_eq!(*groups.lock().unwrap(), [1, 1]);
        assert_eq!((meter.logged.load(Relaxed), meter.not_logged.load(Relaxed)), (2, 4));
        assert_eq!(meter.waiting.load(Relaxed), 0);
    }

    #[test]
    fn entries_nobody_waits_for_gather_into_one_group_and_a_caller_among_them_is_answered() {
        let (open, gate) = channel();
        let groups = Arc::new(Mutex::new(Vec::new()));
        let meter = Arc::new(StoreMeter::new(&StoreConfig::at("")));
        let fake = Fake { groups: Arc::clone(&groups), gate };
        let writer = Writer::start(Box::new(fake), Arc::clone(&meter), 100, 50).unwrap();
        let entries = |n| vec![Entry::Decision(Box::default()); n];
        // The writer is held by a task while the others queue, so that time decides nothing.
        let (held, hold) = channel::<()>();
        let task = writer.run(move |_| hold.recv().unwrap()).unwrap();
        (0..7).for_each(|_| writer.append_unheard(entries(2)).unwrap());
        let heard = writer.append(entries(3)).unwrap();
        writer.append_unheard(entries(1)).unwrap();
        held.send(()).unwrap();
        open.send(Ok(())).unwrap();
        task.blocking_recv().unwrap();
        assert_eq!(heard.blocking_recv().unwrap().unwrap().len(), 3);
        drop(writer);
        assert_eq!(*groups.lock().unwrap(), [18]);
        assert_eq!((meter.logged.load(Relaxed), meter.waiting.load(Relaxed)), (18, 0));
    }
}
