//! The log in one SQLite file: write-ahead journal, a commit is on disk before it is acknowledged.
//!
//! Table `decisions` also holds what later feedback is judged by (tenant, activation, the bill that counts),
//! so that the writer reads no record to take feedback. Sequence numbers come from `meta`, inside the
//! transaction that uses them: they grow strictly, across restarts, expiry and several writers.

mod append;
mod books;
mod read;

use crate::ledger::{
    Checkpoint, Done, Entry, Event, Found, Listed, Order, Receipt, Row as RawRow, Silent, Store, StoreError,
    Table,
};
use append::{append, last};
use read::{changes, days, find, of_day, read, rows, sequence, silent};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use std::path::Path;
use std::time::Duration;

/// "RWLG": marks a SQLite file as a store of ours.
const APPLICATION_ID: i64 = 0x5257_4c47;
/// Version 2 has table `changes`, version 3 the time of activation and table `unreadable`, version 4 the accounts of
/// keys; an older file gets what it lacks when it is opened.
const VERSION: i64 = 4;
/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const TABLES: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO meta VALUES ('sequence', 0);
    CREATE TABLE decisions (
        seq INTEGER PRIMARY KEY, decision_id TEXT NOT NULL UNIQUE, at_ms INTEGER NOT NULL, tenant TEXT,
        active INTEGER NOT NULL, bill_nano INTEGER NOT NULL, bill_at_ms INTEGER, bill_id TEXT,
        body TEXT NOT NULL);
    CREATE INDEX decisions_by_time ON decisions (at_ms);
    CREATE TABLE feedback (
        seq INTEGER PRIMARY KEY, outcome_id TEXT NOT NULL UNIQUE, decision_id TEXT NOT NULL,
        content BLOB NOT NULL, body TEXT NOT NULL);
    CREATE INDEX feedback_by_decision ON feedback (decision_id);
    CREATE TABLE checkpoints (
        name TEXT PRIMARY KEY, high_water INTEGER NOT NULL, state BLOB NOT NULL) WITHOUT ROWID;";
const CHANGES: &str = "
    CREATE TABLE IF NOT EXISTS changes (
        seq INTEGER PRIMARY KEY, change_id TEXT NOT NULL UNIQUE, policy TEXT NOT NULL, body TEXT NOT NULL);";

/// `active_ms` is set where a decision was activated after it was made. `unreadable` is where repair puts records.
const ACTIVATION: &str = "
    ALTER TABLE decisions ADD COLUMN active_ms INTEGER;
    CREATE INDEX decisions_by_activation ON decisions (coalesce(active_ms, at_ms));
    CREATE TABLE unreadable (
        seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, reason TEXT NOT NULL, body);";
/// A store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: String,
}

impl SqliteStore {
    /// Opens a store, making it where there is none.
    ///
    /// # Errors
    /// If the file cannot be made or opened, or is something else than a store of this version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display().to_string();
        let fail = |error: rusqlite::Error| StoreError::Open { path: shown.clone(), reason: said(&error) };
        let mut connection = Connection::open(path).map_err(fail)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(fail)?;
        prepare(&mut connection).map_err(fail)?;
        let read = |pragma: &str| number(&connection, pragma).map_err(fail);
        let (id, version) = (read("PRAGMA application_id")?, read("PRAGMA user_version")?);
        if id != APPLICATION_ID || version != VERSION {
            let reason = if id == APPLICATION_ID {
                format!("it has version `{version}`, this build reads version `{VERSION}`")
            } else {
                "it is a SQLite file of another program; expected a store, or a path where none is".to_owned()
            };
            return Err(StoreError::Open { path: shown, reason });
        }
        Ok(Self { connection, path: shown })
    }

    /// Opens a store that must be there.
    ///
    /// # Errors
    /// As [`SqliteStore::open`], and if there is no file.
    pub fn open_existing(path: &Path) -> Result<Self, StoreError> {
        if !path.is_file() {
            let reason = "there is no such file; expected the `store.path` of a server".to_owned();
            return Err(StoreError::Open { path: path.display().to_string(), reason });
        }
        Self::open(path)
    }

    /// Sets how long a statement waits for another process that writes.
    #[cfg(test)]
    pub(super) fn patience(&self, timeout: Duration) -> Result<(), StoreError> {
        self.connection.busy_timeout(timeout).map_err(self.fail("set up"))
    }

    fn fail(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
        let path = self.path.clone();
        move |error| match error {
            // What `record` and `text` refuse comes back through the readers and writers of rows.
            rusqlite::Error::FromSqlConversionFailure(_, _, reason) => {
                StoreError::Record { path: path.clone(), reason: reason.to_string() }
            }
            rusqlite::Error::ToSqlConversionFailure(reason) => {
                StoreError::Refused { reason: reason.to_string() }
            }
            error if is_of_the_entry(&error) => StoreError::Refused { reason: error.to_string() },
            error => StoreError::Access { action, path: path.clone(), reason: said(&error) },
        }
    }
}

/// What SQLite said, with the cause an operator can act on first.
fn said(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => format!("the disk is full ({error})"),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            format!("another process holds it locked ({error})")
        }
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            format!("the file is damaged or no SQLite file ({error})")
        }
        _ => error.to_string(),
    }
}

/// Whether what was to be written is at fault, not the file or the disk.
fn is_of_the_entry(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, ParameterOutOfRange, TooBig, TypeMismatch};
    let code = error.sqlite_error_code();
    matches!(code, Some(ConstraintViolation | ParameterOutOfRange | TooBig | TypeMismatch))
}

/// Makes the tables of an empty file, and sets what is a property of the connection.
fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    if !is_behind(connection)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have made them meanwhile.
    if is_behind(&transaction)? {
        let version = number(&transaction, "PRAGMA user_version")?;
        if version == 0 {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        if version < 3 {
            transaction.execute_batch(CHANGES)?;
            transaction.execute_batch(ACTIVATION)?;
        }
        transaction.execute_batch(books::ACCOUNTS)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()
}

/// Whether it is an empty file, or a store of an older version.
fn is_behind(connection: &Connection) -> rusqlite::Result<bool> {
    let older = number(connection, "PRAGMA application_id")? == APPLICATION_ID
        && number(connection, "PRAGMA user_version")? < VERSION;
    Ok(older || number(connection, "SELECT count(*) FROM sqlite_schema")? == 0)
}

fn number(connection: &Connection, query: &str) -> rusqlite::Result<i64> {
    connection.query_row(query, [], |row| row.get(0))
}

fn expire(connection: &mut Connection, before_ms: i64) -> rusqlite::Result<u64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // A consumer that has not seen an event needs it, and the decision that it belongs to.
    let seen: Option<i64> =
        transaction.query_row("SELECT min(high_water) FROM checkpoints", [], |row| row.get(0))?;
    let old = "SELECT decision_id FROM decisions d WHERE at_ms < ?1 AND seq <= ?2 AND NOT EXISTS
               (SELECT 1 FROM feedback f WHERE f.decision_id = d.decision_id AND f.seq > ?2)";
    let bound = params![before_ms, seen.unwrap_or(i64::MAX)];
    transaction.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS expired (decision_id TEXT PRIMARY KEY); DELETE FROM temp.expired",
    )?;
    transaction.execute(&format!("INSERT INTO temp.expired {old}"), bound)?;
    transaction
        .execute("DELETE FROM feedback WHERE decision_id IN (SELECT decision_id FROM temp.expired)", [])?;
    let gone = transaction
        .execute("DELETE FROM decisions WHERE decision_id IN (SELECT decision_id FROM temp.expired)", [])?;
    transaction.commit()?;
    Ok(gone as u64)
}

fn forget(
    connection: &mut Connection,
    prefix: &str,
    live: &[String],
    before_ms: i64,
) -> rusqlite::Result<u64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let names: Vec<String> = transaction
        .prepare(
            "SELECT name FROM checkpoints c WHERE substr(name, 1, length(?1)) = ?1
             AND EXISTS (SELECT 1 FROM decisions d WHERE d.seq > c.high_water AND d.at_ms < ?2)",
        )?
        .query_map(params![prefix, before_ms], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut gone = 0;
    for name in names.iter().filter(|name| !live.contains(name)) {
        gone += transaction.execute("DELETE FROM checkpoints WHERE name = ?1", [name])?;
    }
    transaction.commit()?;
    Ok(gone as u64)
}

/// Moves rows to table `unreadable`, byte for byte.
fn set_aside(connection: &mut Connection, damaged: &[(RawRow, String)]) -> rusqlite::Result<u64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut moved = 0;
    for (row, reason) in damaged {
        let (kind, seq) = (row.table.name(), i64::try_from(row.seq).unwrap_or(i64::MAX));
        let copy = format!(
            "INSERT OR IGNORE INTO unreadable (seq, kind, id, reason, body)
             SELECT seq, ?2, ?3, ?4, body FROM {kind} WHERE seq = ?1"
        );
        moved += transaction.execute(&copy, params![seq, kind, row.id, reason])?;
        transaction.execute(&format!("DELETE FROM {kind} WHERE seq = ?1"), [seq])?;
    }
    transaction.commit()?;
    Ok(moved as u64)
}

impl Store for SqliteStore {
    fn append(&mut self, entries: &[Entry]) -> Result<Vec<Receipt>, StoreError> {
        append(&mut self.connection, entries).map_err(self.fail("write to"))
    }

    fn find(&mut self, decision_id: &str) -> Result<Option<Found>, StoreError> {
        find(&mut self.connection, decision_id).map_err(self.fail("read"))
    }

    fn read(&mut self, after: u64, max: usize) -> Result<Vec<Event>, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        read(&mut self.connection, after, max).map_err(self.fail("read"))
    }

    fn changes(&mut self, policy: &str) -> Result<Vec<Event>, StoreError> {
        changes(&self.connection, policy).map_err(self.fail("read"))
    }

    fn days(&mut self) -> Result<Vec<i64>, StoreError> {
        days(&self.connection).map_err(self.fail("read"))
    }

    fn of_day(&mut self, day: i64, after: u64, max: usize) -> Result<Vec<Listed>, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        of_day(&mut self.connection, day, after, max).map_err(self.fail("read"))
    }

    fn silent(
        &mut self,
        metric: &str,
        from_ms: i64,
        before_ms: i64,
        max: usize,
    ) -> Result<Vec<Silent>, StoreError> {
        silent(&self.connection, metric, [from_ms, before_ms], max).map_err(self.fail("read"))
    }

    fn last(&mut self) -> Result<u64, StoreError> {
        last(&self.connection).map(i64::unsigned_abs).map_err(self.fail("read"))
    }

    fn checkpoint(&mut self, name: &str) -> Result<Option<Checkpoint>, StoreError> {
        let select = "SELECT high_water, state FROM checkpoints WHERE name = ?1";
        let read = |row: &Row<'_>| Ok(Checkpoint { high_water: sequence(row)?, state: row.get(1)? });
        self.connection.query_row(select, [name], read).optional().map_err(self.fail("read"))
    }

    fn save_checkpoint(&mut self, name: &str, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let high_water = i64::try_from(checkpoint.high_water).unwrap_or(i64::MAX);
        // A server that is behind does not undo what another one saved.
        let insert = "INSERT INTO checkpoints VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE
                      SET high_water = excluded.high_water, state = excluded.state
                      WHERE excluded.high_water >= checkpoints.high_water";
        let saved = self.connection.execute(insert, params![name, high_water, checkpoint.state]);
        saved.map(|_| ()).map_err(self.fail("write to"))
    }

    fn forget(&mut self, prefix: &str, live: &[String], before_ms: i64) -> Result<u64, StoreError> {
        forget(&mut self.connection, prefix, live, before_ms).map_err(self.fail("write to"))
    }

    fn expire(&mut self, before_ms: i64) -> Result<u64, StoreError> {
        expire(&mut self.connection, before_ms).map_err(self.fail("write to"))
    }

    fn account(&mut self, orders: &[Order], now_ms: i64) -> Result<Vec<Done>, StoreError> {
        books::account(&mut self.connection, orders, now_ms).map_err(self.fail("write to"))
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        // An append of nothing takes the lock, writes the counter and syncs, as any other does.
        append(&mut self.connection, &[]).map(|_| ()).map_err(self.fail("write to"))
    }

    fn rows(&mut self, table: Table, after: u64, max: usize) -> Result<Vec<RawRow>, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        rows(&self.connection, table, after, max).map_err(self.fail("read"))
    }

    fn set_aside(&mut self, damaged: &[(RawRow, String)]) -> Result<u64, StoreError> {
        set_aside(&mut self.connection, damaged).map_err(self.fail("write to"))
    }

    fn integrity(&mut self) -> Result<Vec<String>, StoreError> {
        let read = |connection: &Connection| -> rusqlite::Result<Vec<String>> {
            let mut check = connection.prepare("PRAGMA integrity_check")?;
            check.query_map([], |row| row.get(0))?.collect()
        };
        let found = read(&self.connection).map_err(self.fail("check"))?;
        Ok(found.into_iter().filter(|line| line != "ok").collect())
    }
}
