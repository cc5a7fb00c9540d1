//! The store as the server holds it: the writer, the statistics, and the thread that keeps house.

use crate::clock::now_ms;
use crate::error::{ApiError, Code};
use crate::ledger::budgets::Budgets;
use crate::ledger::event::DAY_MS;
use crate::ledger::meter::{FeedbackStatus, StoreMeter};
use crate::ledger::statistics::CHECKPOINT;
use crate::ledger::tail::{Follower, feed};
use crate::ledger::writer::{Answer, Writer};
use crate::ledger::{
    ChangeRecord, Checkpoint, DecisionRecord, Entry, FeedbackRecord, Fold, Receipt, Statistics, Store,
    StoreError,
};
use crate::ledger::{open, silence};
use crate::log::{Level, Log, chain};
use crate::settings::{Durability, StoreConfig};
use serde_json::json;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How often the statistics catch up by themselves.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// How often old decisions are looked for.
pub(crate) const EXPIRE_EVERY: Duration = Duration::from_secs(600);

/// What an operator wants to know of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Why it takes nothing at present, where it does not.
    pub(crate) failing: Option<String>,
    /// Whether decisions wait for it.
    pub(crate) is_awaited: bool,
    /// Records passed over since the start because they cannot be read.
    pub(crate) unreadable: u64,
}

/// The connection of the tail, and the statistics, which every pass of it feeds.
#[derive(Debug)]
struct Reading {
    store: Box<dyn Store>,
    statistics: Fold<Statistics>,
}

/// What the server and the housekeeper share.
#[derive(Debug)]
struct Shared {
    config: StoreConfig,
    meter: Arc<StoreMeter>,
    writer: Arc<Writer>,
    reading: Mutex<Reading>,
    log: Log,
}

/// The store of a server; dropped, it writes what waits.
#[derive(Debug)]
pub(crate) struct Ledger {
    shared: Arc<Shared>,
    budgets: Budgets,
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl Ledger {
    /// Opens the store and starts its threads.
    ///
    /// # Errors
    /// If the store cannot be opened.
    pub(crate) fn open(config: &StoreConfig, log: Log) -> Result<Self, StoreError> {
        let threads = |error: std::io::Error| StoreError::Open {
            path: config.path.display().to_string(),
            reason: format!("no thread for it: {error}"),
        };
        let meter = Arc::new(StoreMeter::new(config));
        let writing = open(config)?;
        let mut store = open(config)?;
        let mut statistics = Fold::new(CHECKPOINT, Statistics::default());
        statistics.resume(&mut *store)?;
        let (queue_max, group_max) = (config.queue_max, config.group_max);
        let writer = Writer::start(writing, Arc::clone(&meter), queue_max, group_max);
        let writer = Arc::new(writer.map_err(threads)?);
        let budgets = Budgets::start(Arc::clone(&writer), log.clone()).map_err(threads)?;
        let shared = Arc::new(Shared {
            config: config.clone(),
            meter,
            writer,
            reading: Mutex::new(Reading { store, statistics }),
            log,
        });
        let (stop, stopped) = channel::<()>();
        let own = Arc::clone(&shared);
        let keep = move || {
            let mut turn = Housekeeping::default();
            loop {
                own.keep(&mut turn);
                // The housekeeper looks once more when it is told to stop.
                if stopped.recv_timeout(KEEP_EVERY) != Err(RecvTimeoutError::Timeout) {
                    return own.keep(&mut turn);
                }
            }
        };
        let keeper = std::thread::Builder::new().name("store-keeper".to_owned()).spawn(keep);
        Ok(Self { shared, budgets, stop: Some(stop), keeper: Some(keeper.map_err(threads)?) })
    }

    pub(crate) fn config(&self) -> &StoreConfig {
        &self.shared.config
    }

    /// The accounts of keys.
    pub(crate) fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    pub(crate) fn meter(&self) -> &StoreMeter {
        &self.shared.meter
    }

    /// How the store is, as far as is known; asks nothing of it.
    pub(crate) fn condition(&self) -> Condition {
        let Shared { config, meter, .. } = &*self.shared;
        Condition {
            failing: meter.failing(),
            is_awaited: config.durability == Durability::BeforeAck,
            unreadable: meter.unreadable.load(Relaxed),
        }
    }

    /// Logs decisions: durable when this returns, queued, or not at all, as configured.
    ///
    /// # Errors
    /// If they must be durable and are not.
    pub(crate) async fn decided(&self, decisions: Vec<DecisionRecord>) -> Result<(), ApiError> {
        let durability = self.shared.config.durability;
        if durability == Durability::Off || decisions.is_empty() {
            return Ok(());
        }
        let n = decisions.len() as u64;
        let entries = decisions.into_iter().map(|decision| Entry::Decision(Box::new(decision))).collect();
        let not_logged = |_: &StoreError| {
            self.shared.meter.not_logged.fetch_add(n, Relaxed);
        };
        if durability == Durability::Async {
            // Counted where the queue is full; the reply does not depend on it.
            let _counted = self.shared.writer.append_unheard(entries).inspect_err(not_logged);
            return Ok(());
        }
        let queued = self.shared.writer.append(entries).inspect_err(not_logged);
        let answer = queued.map_err(unavailable)?.await;
        let receipts = answer.unwrap_or(Err(StoreError::Closed)).map_err(unavailable)?;
        if receipts.contains(&Receipt::Conflict) {
            let message =
                "another decision has this id; give the id, seed and answers of one episode, or no id";
            return Err(ApiError::new(Code::DecisionConflict, message));
        }
        Ok(())
    }

    /// Appends feedback, durable when this returns; record `i` has receipt `i`.
    ///
    /// # Errors
    /// If the store cannot take it; then none of it is in the log.
    pub(crate) async fn feedback(&self, records: Vec<FeedbackRecord>) -> Result<Vec<Receipt>, ApiError> {
        let window_ms = self.shared.config.window_ms();
        let metrics: Vec<Option<String>> = records.iter().map(|record| record.metric.clone()).collect();
        let entry = |record| Entry::Feedback(Box::new(record), window_ms);
        let queued = self.shared.writer.append(records.into_iter().map(entry).collect());
        let answer = match queued {
            Ok(receiver) => receiver.await.unwrap_or(Err(StoreError::Closed)),
            Err(error) => Err(error),
        };
        for (at, metric) in metrics.iter().enumerate() {
            let status = match answer.as_ref().ok().and_then(|receipts| receipts.get(at)) {
                Some(Receipt::Accepted { late: false }) => FeedbackStatus::Accepted,
                Some(Receipt::Accepted { late: true }) => FeedbackStatus::Late,
                Some(Receipt::Duplicate) => FeedbackStatus::Duplicate,
                Some(_) => FeedbackStatus::Refused,
                None => FeedbackStatus::Unavailable,
            };
            self.shared.meter.feedback(metric.as_deref(), status);
        }
        answer.map_err(unavailable)
    }

    /// Appends what the server itself saw of a call, without waiting: it is on disk with the next group. What cannot be
    /// queued is counted.
    pub(crate) fn note(&self, record: FeedbackRecord) {
        if self.shared.config.durability == Durability::Off {
            return;
        }
        let entry = Entry::Feedback(Box::new(record), self.shared.config.window_ms());
        let status = match self.shared.writer.append_unheard(vec![entry]) {
            Ok(()) => FeedbackStatus::Accepted,
            Err(_) => FeedbackStatus::Unavailable,
        };
        self.shared.meter.feedback(None, status);
    }

    /// Appends a change of arms; durable when the receiver hears of it.
    ///
    /// # Errors
    /// If the queue is full or the writer has ended.
    pub(crate) fn change(&self, change: ChangeRecord) -> Result<oneshot::Receiver<Answer>, StoreError> {
        self.shared.writer.append(vec![Entry::Change(Box::new(change))])
    }

    /// Appends a change of arms, durable when this returns.
    ///
    /// # Errors
    /// If the store cannot take it.
    pub(crate) async fn changed(&self, change: ChangeRecord) -> Result<(), ApiError> {
        let appended = self.change(change).map_err(unavailable)?.await;
        appended.unwrap_or(Err(StoreError::Closed)).map(|_| ()).map_err(unavailable)
    }

    /// Brings the followers and the statistics to the end of the log, in one pass over what any of them has not seen.
    /// Blocks; between two pages others may read.
    ///
    /// # Errors
    /// If the store cannot be read; what was taken until then stays.
    pub(crate) fn follow(&self, followers: &mut [&mut dyn Follower]) -> Result<(), StoreError> {
        self.shared.follow(followers)
    }

    /// Reads the store on the connection of the tail. Blocks.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&mut dyn Store) -> T) -> T {
        read(&mut *self.shared.reading().store)
    }

    /// Statistics of all that is in the log now, and the last event in them. Blocks.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) fn statistics(&self) -> Result<(Statistics, u64), StoreError> {
        self.shared.follow(&mut [])?;
        let reading = self.shared.reading();
        Ok((reading.statistics.consumer.clone(), reading.statistics.high_water()))
    }

    /// The exposition of the metrics. Blocks for a moment.
    pub(crate) fn render_metrics(&self) -> String {
        let lag = {
            let mut reading = self.shared.reading();
            let seen = reading.statistics.high_water();
            reading.store.last().ok().map(|last| last.saturating_sub(seen))
        };
        self.shared.meter.render(lag)
    }

    /// Saves the state of a consumer. Blocks.
    ///
    /// # Errors
    /// If it is not on disk.
    pub(crate) fn save_checkpoint(&self, name: String, checkpoint: Checkpoint) -> Result<(), StoreError> {
        let saved = self.shared.writer.run(move |store| store.save_checkpoint(&name, &checkpoint))?;
        saved.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Deletes what was learned by others than `live` and holds up what is due to expire. Blocks.
    ///
    /// # Errors
    /// If it is not on disk.
    pub(crate) fn forget(&self, prefix: &'static str, live: Vec<String>) -> Result<u64, StoreError> {
        let Some(before) = self.shared.expire_before(now_ms()) else { return Ok(0) };
        let gone = self.shared.writer.run(move |store| store.forget(prefix, &live, before))?;
        gone.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Waits until all that is queued now is on disk or refused. Blocks.
    pub(crate) fn flush(&self) {
        self.budgets.flush();
        if let Ok(done) = self.shared.writer.run(|_| ()) {
            // An error means that the writer has ended, and with it its queue.
            let _ended = done.blocking_recv();
        }
    }

    /// Whether a decision of that id, if it was ever made, has expired.
    pub(crate) fn has_expired(&self, decision_id: &str) -> bool {
        let made = decision_id.strip_prefix("dec_").and_then(|id| uuid::Uuid::parse_str(id).ok());
        let made = made.and_then(|id| id.get_timestamp()).map(|time| time.to_unix());
        let (Some((seconds, nanos)), Some(before)) = (made, self.shared.expire_before(now_ms())) else {
            return false;
        };
        (seconds as i64).saturating_mul(1000).saturating_add(i64::from(nanos / 1_000_000)) < before
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _panicked = keeper.join();
        }
    }
}

/// What the housekeeper remembers from one turn to the next.
#[derive(Debug, Default)]
struct Housekeeping {
    /// When old decisions were looked for.
    expired: Option<Instant>,
    /// What was logged of the store last: why it takes nothing, where it does not.
    logged: Option<String>,
    /// Why the last turn failed.
    failed: Option<String>,
}

impl Shared {
    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decisions older than this expire: whole days, so that an exported day is whole or gone.
    fn expire_before(&self, now_ms: i64) -> Option<i64> {
        let days = i64::from(self.config.retention_days);
        (days > 0).then(|| (now_ms.div_euclid(DAY_MS) - days) * DAY_MS)
    }

    /// Catches up, saves, deletes what is old. A failure is retried at the next turn, and logged once.
    fn keep(&self, turn: &mut Housekeeping) {
        let failed = self.try_keep(&mut turn.expired).err();
        if failed.is_some() || self.meter.failing().is_some() {
            self.probe();
        }
        let reason = failed.as_ref().map(|error| chain(error));
        if let Some(reason) = reason.as_ref().filter(|reason| turn.failed.as_ref() != Some(reason)) {
            self.log.event(Level::Error, "store_housekeeping_failed", json!({ "reason": reason }));
        }
        turn.failed = reason;
        self.report(turn);
    }

    /// Asks whether the store takes entries: without it one that has failed would never be asked again where no request
    /// comes because it has failed.
    fn probe(&self) {
        let asked = self.writer.run(|store| store.probe());
        match asked.map(|answer| answer.blocking_recv().unwrap_or(Err(StoreError::Closed))) {
            Ok(Ok(())) => self.meter.works(),
            Ok(Err(error)) | Err(error) => self.meter.fails(&error),
        }
    }

    /// Logs when the store begins and stops to fail, with or without a log of requests.
    fn report(&self, turn: &mut Housekeeping) {
        let failing = self.meter.failing();
        let not_logged = self.meter.not_logged.load(Relaxed);
        match (&turn.logged, &failing) {
            (None, Some(reason)) => {
                let fields = json!({ "reason": reason, "decisions_not_logged": not_logged });
                self.log.event(Level::Error, "store_unavailable", fields);
            }
            (Some(_), None) => {
                let fields = json!({ "decisions_not_logged": not_logged });
                self.log.event(Level::Warn, "store_recovered", fields);
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        turn.logged = failing;
    }

    fn follow(&self, followers: &mut [&mut dyn Follower]) -> Result<(), StoreError> {
        loop {
            let mut reading = self.reading();
            let Reading { store, statistics } = &mut *reading;
            let mut all: Vec<&mut dyn Follower> = vec![statistics];
            all.extend(followers.iter_mut().map(|follower| &mut **follower as &mut dyn Follower));
            if !feed(&mut **store, &mut all)? {
                return Ok(());
            }
        }
    }

    fn close_windows(&self) -> Result<(), StoreError> {
        let mut reading = self.reading();
        let closed = silence::close(&mut *reading.store, &self.writer, &self.config, now_ms())?;
        self.meter.defaults.fetch_add(closed, Relaxed);
        Ok(())
    }

    fn try_keep(&self, expired: &mut Option<Instant>) -> Result<(), StoreError> {
        let caught_up = self.follow(&mut []);
        let checkpoint = {
            let mut reading = self.reading();
            let statistics = &mut reading.statistics;
            self.meter.unreadable.store(statistics.unreadable(), Relaxed);
            for (seq, reason) in statistics.take_skipped() {
                let fields = json!({ "seq": seq, "reason": reason });
                self.log.event(Level::Error, "store_record_unreadable", fields);
            }
            caught_up?;
            statistics.checkpoint()
        };
        if let Some((name, checkpoint)) = checkpoint {
            let save = self.writer.run(move |store| store.save_checkpoint(&name, &checkpoint))?;
            save.blocking_recv().unwrap_or(Err(StoreError::Closed))?;
        }
        self.close_windows()?;
        let due = expired.is_none_or(|last| last.elapsed() >= EXPIRE_EVERY);
        if let Some(before) = self.expire_before(now_ms()).filter(|_| due) {
            *expired = Some(Instant::now());
            let gone = self.writer.run(move |store| store.expire(before))?;
            let gone = gone.blocking_recv().unwrap_or(Err(StoreError::Closed))?;
            self.meter.expired.fetch_add(gone, Relaxed);
        }
        Ok(())
    }
}

pub(crate) fn unavailable(error: StoreError) -> ApiError {
    let message = match &error {
        StoreError::QueueFull { .. } => format!("{error}; try again"),
        // What is to blame is what we made of the request, not the store.
        StoreError::Refused { .. } => return ApiError::internal(chain(&error)),
        StoreError::Unsettled { .. } => {
            "the connection to the store was lost while it was writing, so whether this was kept is not known; \
             try again: feedback that was kept already counts once"
                .to_owned()
        }
        _ => "the store cannot take this now; nothing of it was kept, try again".to_owned(),
    };
    ApiError { inside: Some(chain(&error)), ..ApiError::new(Code::StoreUnavailable, message) }
}
