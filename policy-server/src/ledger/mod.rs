//! The durable log: every decision, and what became of it, each exactly once.
//!
//! A store (`store`) is an append-only log of events with a strictly increasing sequence number. `sqlite` keeps it in
//! one file, `postgres` in a database. `writer` is the one thread that appends to it: it takes all requests that wait,
//! writes them in one transaction, and acknowledges them after the commit is on disk. Readers (the learning loop, the
//! statistics, the export) use connections of their own.
//!
//! Exactly once, in three steps: a decision id and an idempotency key are unique in the file, so a repeated
//! delivery changes nothing; an event has one sequence number for ever; a consumer saves its state together
//! with the last number it has seen ([`Fold`]), so a restart neither skips nor repeats.
//!
//! The store also keeps the accounts of keys (`account`): what each has spent in its windows, and holds for calls under
//! way. `budgets` is their one door.
//!
//! What depends on the order of arrival is settled by the writer, inside the transaction: whether feedback
//! is late, whether it is the one that activates a deferred decision, and by how much it changes what the
//! decision is known to cost. A consumer only adds numbers up.

mod account;
mod budgets;
mod check;
mod codec;
#[cfg(test)]
mod damage_tests;
mod event;
mod export;
mod fold;
mod handle;
pub(crate) mod meter;
mod open;
#[cfg(feature = "postgres")]
mod postgres;
mod silence;
mod sqlite;
mod statistics;
mod store;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use account::{AMOUNT_MAX, Account, Balance, Done, Order, Window};
pub(crate) use budgets::{Hold, render as render_budgets};
pub use check::{Fault, Health, check, repair};
pub(crate) use event::RETURN;
pub use event::{
    AnswerRecord, ArmChange, CallRecord, ChangeRecord, DecisionRecord, Entry, EpisodeRecord, Event,
    EventBody, FeedbackRecord, Measure, Receipt, Replaced, Silent, TrialRecord,
};
pub use export::{ExportError, ExportOptions, ExportSummary, export};
pub use fold::{Consumer, Fold};
pub(crate) use handle::{EXPIRE_EVERY, Ledger, unavailable};
pub use open::open;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;
pub use statistics::{ArmStatistics, MetricStatistics, Statistics};
pub use store::{Checkpoint, Found, Listed, Row, Store, StoreError, Table};
pub(crate) use tail::Follower;
