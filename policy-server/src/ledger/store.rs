//! What a store is: an append-only log of events, and the errors, rows and checkpoints it deals in.

use super::account::{Done, Order};
use super::event::{DecisionRecord, Entry, Event, FeedbackRecord, Receipt, Silent};

/// Why the store could not do what it was asked. Cheap to copy: one failure answers a whole group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file could not be opened, or is no store of ours.
    #[error("cannot open store `{path}`: {reason}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The disk or the database refused.
    #[error("cannot {action} store `{path}`: {reason}")]
    Access {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: String,
        /// What it said.
        reason: String,
    },
    /// A record cannot be read back.
    #[error("store `{path}` holds a record that cannot be read: {reason}")]
    Record {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// An entry is not to enter the log; the store itself works.
    #[error("the log does not take this: {reason}")]
    Refused {
        /// What is wrong with it.
        reason: String,
    },
    /// The connection was lost during a commit, and could not be made anew to see what became of it.
    #[error("the connection to store `{path}` was lost while it was writing: {reason}")]
    Unsettled {
        /// The database.
        path: String,
        /// What it said.
        reason: String,
    },
    /// More entries wait for the writer than may.
    #[error("`{waiting}` entries wait for the store already, at most `{max}` may")]
    QueueFull {
        /// Entries waiting.
        waiting: usize,
        /// Most that may wait.
        max: usize,
    },
    /// The writer has ended.
    #[error("the writer of the store has ended")]
    Closed,
}

/// A decision and all that became of it, in the order of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The decision.
    pub decision: DecisionRecord,
    /// Its feedback.
    pub feedback: Vec<FeedbackRecord>,
    /// Feedback on it that cannot be read.
    pub unreadable: u64,
}

/// A decision of a list by its sequence number; `None` where it cannot be read.
pub type Listed = (u64, Option<Found>);

/// A table of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Decisions.
    Decisions,
    /// Feedback.
    Feedback,
    /// Changes of arms.
    Changes,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Decisions, Self::Feedback, Self::Changes];

    /// Its name in a store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decisions => "decisions",
            Self::Feedback => "feedback",
            Self::Changes => "changes",
        }
    }
}

/// A row of the log as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it is.
    pub table: Table,
    /// Its place in the log.
    pub seq: u64,
    /// Id of the decision, the outcome or the change.
    pub id: String,
    /// Decision that feedback belongs to; empty for others.
    pub decision_id: String,
    /// Its text, or why it has none.
    pub body: Result<String, String>,
}

/// State of a consumer, and the last event in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Sequence number of the last event that the state holds.
    pub high_water: u64,
    /// The state.
    pub state: Vec<u8>,
}

/// An append-only log of events. Blocking: its users give it a thread.
pub trait Store: Send + std::fmt::Debug {
    /// Appends all entries or none, durably; entry `i` has receipt `i`. A repeated entry changes nothing.
    ///
    /// # Errors
    /// If the transaction is not on disk; then nothing of it is in the log.
    fn append(&mut self, entries: &[Entry]) -> Result<Vec<Receipt>, StoreError>;

    /// A decision with its feedback.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn find(&mut self, decision_id: &str) -> Result<Option<Found>, StoreError>;

    /// At most `max` events after sequence number `after`, in order. An empty answer means the end.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn read(&mut self, after: u64, max: usize) -> Result<Vec<Event>, StoreError>;

    /// Every change of the arms of a policy, in order; they never expire. One that cannot be read is an event too.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn changes(&mut self, policy: &str) -> Result<Vec<Event>, StoreError>;

    /// The days (UTC, counted from 1970-01-01) that have decisions, in order.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn days(&mut self) -> Result<Vec<i64>, StoreError>;

    /// At most `max` decisions of a day after sequence number `after`, in order, with their feedback.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn of_day(&mut self, day: i64, after: u64, max: usize) -> Result<Vec<Listed>, StoreError>;

    /// At most `max` decisions that are active since that time (`from_ms` included, `before_ms` not) and have no report
    /// of the metric, the oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn silent(
        &mut self,
        metric: &str,
        from_ms: i64,
        before_ms: i64,
        max: usize,
    ) -> Result<Vec<Silent>, StoreError>;

    /// Sequence number of the last event; 0 for an empty log.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn last(&mut self) -> Result<u64, StoreError>;

    /// The checkpoint of that name.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn checkpoint(&mut self, name: &str) -> Result<Option<Checkpoint>, StoreError>;

    /// Replaces the checkpoint of that name, durably.
    ///
    /// # Errors
    /// If the transaction is not on disk; then the older checkpoint stays.
    fn save_checkpoint(&mut self, name: &str, checkpoint: &Checkpoint) -> Result<(), StoreError>;

    /// Deletes what was learned by others than `live` (names of checkpoints, all of which begin with `prefix`) once a
    /// decision that they have not seen was made before `before_ms`: they would hold it back from expiry for ever.
    /// Returns how many went.
    ///
    /// # Errors
    /// If the transaction is not on disk; then nothing was deleted.
    fn forget(&mut self, prefix: &str, live: &[String], before_ms: i64) -> Result<u64, StoreError>;

    /// Deletes decisions made before `before_ms`, with their feedback; events that some checkpoint has not
    /// seen stay. Returns how many decisions went.
    ///
    /// # Errors
    /// If the transaction is not on disk; then nothing was deleted.
    fn expire(&mut self, before_ms: i64) -> Result<u64, StoreError>;

    /// Carries out orders on the accounts of keys in one transaction, in their order; order `i` comes to result `i`.
    /// A store with a clock of its own goes by that instead of `now_ms`. Carried out again, holds and settlements count
    /// once.
    ///
    /// # Errors
    /// If the transaction is not on disk; then nothing of it was carried out.
    fn account(&mut self, orders: &[Order], now_ms: i64) -> Result<Vec<Done>, StoreError>;

    /// Commits a transaction that changes nothing: whether the store could take an entry now.
    ///
    /// # Errors
    /// If the transaction is not on disk.
    fn probe(&mut self) -> Result<(), StoreError>;

    /// At most `max` rows of a table after sequence number `after`, in order, as they are stored.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn rows(&mut self, table: Table, after: u64, max: usize) -> Result<Vec<Row>, StoreError>;

    /// Moves rows, each with the reason, to a table of their own that no consumer reads; returns how many.
    ///
    /// # Errors
    /// If the transaction is not on disk; then nothing was moved.
    fn set_aside(&mut self, damaged: &[(Row, String)]) -> Result<u64, StoreError>;

    /// What the database itself complains of; empty where it finds nothing, or looks at nothing.
    ///
    /// # Errors
    /// If it cannot be asked.
    fn integrity(&mut self) -> Result<Vec<String>, StoreError>;
}
