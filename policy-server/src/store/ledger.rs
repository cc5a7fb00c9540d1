//! The store as the server holds it: the writer, the statistics, and the thread that keeps house.

use super::event::DAY_MS;
use super::meter::{FeedbackStatus, StoreMeter};
use super::silence;
use super::writer::{Answer, Writer};
use super::{
    ChangeRecord, Checkpoint, DecisionRecord, Durability, Entry, FeedbackRecord, Fold, Receipt, Statistics,
    Store, StoreConfig, StoreError,
};
use crate::error::{ApiError, Code};
use crate::log::{Level, Log, chain};
use serde_json::json;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// Name of the checkpoint of the statistics.
const STATISTICS: &str = "statistics";
/// How often the statistics catch up by themselves.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// How often old decisions are looked for.
pub(crate) const EXPIRE_EVERY: Duration = Duration::from_secs(600);

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The statistics, and the connection they read with.
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
    writer: Writer,
    reading: Mutex<Reading>,
    log: Log,
}

/// The store of a server; dropped, it writes what waits.
#[derive(Debug)]
pub(crate) struct Ledger {
    shared: Arc<Shared>,
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
        let writing = super::open(config)?;
        let mut store = super::open(config)?;
        let mut statistics = Fold::new(STATISTICS, Statistics::default());
        statistics.resume(&mut *store)?;
        let (queue_max, group_max) = (config.queue_max, config.group_max);
        let writer = Writer::start(writing, Arc::clone(&meter), queue_max, group_max);
        let shared = Arc::new(Shared {
            config: config.clone(),
            meter,
            writer: writer.map_err(threads)?,
            reading: Mutex::new(Reading { store, statistics }),
            log,
        });
        let (stop, stopped) = channel::<()>();
        let own = Arc::clone(&shared);
        let keep = move || {
            let mut expired: Option<Instant> = None;
            loop {
                own.keep(&mut expired);
                // The housekeeper looks once more when it is told to stop.
                if stopped.recv_timeout(KEEP_EVERY) != Err(RecvTimeoutError::Timeout) {
                    return own.keep(&mut expired);
                }
            }
        };
        let keeper = std::thread::Builder::new().name("store-keeper".to_owned()).spawn(keep);
        Ok(Self { shared, stop: Some(stop), keeper: Some(keeper.map_err(threads)?) })
    }

    pub(crate) fn config(&self) -> &StoreConfig {
        &self.shared.config
    }

    pub(crate) fn meter(&self) -> &StoreMeter {
        &self.shared.meter
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
        answer.unwrap_or(Err(StoreError::Closed)).map(|_| ()).map_err(unavailable)
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

    /// Appends a change of arms; durable when the receiver hears of it.
    ///
    /// # Errors
    /// If the queue is full or the writer has ended.
    pub(crate) fn change(&self, change: ChangeRecord) -> Result<oneshot::Receiver<Answer>, StoreError> {
        self.shared.writer.append(vec![Entry::Change(Box::new(change))])
    }

    /// Statistics of all that is in the log now, and the last event in them. Blocks.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) fn statistics(&self) -> Result<(Statistics, u64), StoreError> {
        let mut reading = self.shared.reading();
        let Reading { store, statistics } = &mut *reading;
        statistics.catch_up(&mut **store)?;
        Ok((statistics.consumer.clone(), statistics.high_water()))
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

impl Shared {
    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decisions older than this expire: whole days, so that an exported day is whole or gone.
    fn expire_before(&self, now_ms: i64) -> Option<i64> {
        let days = i64::from(self.config.retention_days);
        (days > 0).then(|| (now_ms.div_euclid(DAY_MS) - days) * DAY_MS)
    }

    /// Catches up, saves, deletes what is old; a failure is told and tried again at the next turn.
    fn keep(&self, expired: &mut Option<Instant>) {
        if let Err(error) = self.try_keep(expired) {
            self.log.event(Level::Error, "store_housekeeping_failed", json!({ "reason": chain(&error) }));
        }
    }

    fn close_windows(&self) -> Result<(), StoreError> {
        let mut reading = self.reading();
        let closed = silence::close(&mut *reading.store, &self.writer, &self.config, now_ms())?;
        self.meter.defaults.fetch_add(closed, Relaxed);
        Ok(())
    }

    fn try_keep(&self, expired: &mut Option<Instant>) -> Result<(), StoreError> {
        let checkpoint = {
            let mut reading = self.reading();
            let Reading { store, statistics } = &mut *reading;
            statistics.catch_up(&mut **store)?;
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
        _ => "the store cannot take this now; nothing of it was kept, try again".to_owned(),
    };
    ApiError { inside: Some(chain(&error)), ..ApiError::new(Code::StoreUnavailable, message) }
}
