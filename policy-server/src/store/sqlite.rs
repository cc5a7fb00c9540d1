//! The log in one SQLite file: write-ahead journal, a commit is on disk before it is acknowledged.
//!
//! Table `decisions` also holds what later feedback is judged by (tenant, activation, the bill that counts),
//! so that the writer reads no record to take feedback. Sequence numbers come from `meta`, inside the
//! transaction that uses them: they grow strictly, across restarts, expiry and several writers.

use super::event::{DAY_MS, Judgement};
use super::{
    ChangeRecord, Checkpoint, DecisionRecord, Entry, Event, EventBody, FeedbackRecord, Found, Measure,
    Receipt, Replaced, Silent, Store, StoreError,
};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde::de::DeserializeOwned;
use std::path::Path;
use std::time::Duration;

/// "RWLG": marks a SQLite file as a store of ours.
const APPLICATION_ID: i64 = 0x5257_4c47;
/// Version 2 has table `changes`; a file of version 1 gets it when it is opened.
const VERSION: i64 = 2;
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
            // What `record` refuses comes back through the row reader.
            rusqlite::Error::FromSqlConversionFailure(_, _, reason) => {
                StoreError::Record { path: path.clone(), reason: reason.to_string() }
            }
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
        if number(&transaction, "PRAGMA user_version")? == 0 {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        transaction.execute_batch(CHANGES)?;
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

/// Reads a record out of a column.
fn record<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })?;
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// Writes a record into a column.
fn text(record: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(record).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// One transaction that appends.
struct Appending<'a> {
    transaction: &'a Transaction<'a>,
    seq: i64,
}

impl Appending<'_> {
    fn entry(&mut self, entry: &Entry) -> rusqlite::Result<Receipt> {
        match entry {
            Entry::Decision(decision) => self.decision(decision),
            Entry::Feedback(feedback, window_ms) => self.feedback(feedback, *window_ms),
            Entry::Change(change) => self.change(change),
        }
    }

    fn change(&mut self, change: &ChangeRecord) -> rusqlite::Result<Receipt> {
        let mut insert = self.transaction.prepare_cached(
            "INSERT INTO changes (seq, change_id, policy, body) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (change_id) DO NOTHING",
        )?;
        let inserted =
            insert.execute(params![self.seq + 1, change.change_id, change.policy, text(change)?])?;
        if inserted == 0 {
            return Ok(Receipt::Duplicate);
        }
        self.seq += 1;
        Ok(Receipt::Accepted { late: false })
    }

    fn decision(&mut self, decision: &DecisionRecord) -> rusqlite::Result<Receipt> {
        let mut insert = self.transaction.prepare_cached(
            "INSERT INTO decisions (seq, decision_id, at_ms, tenant, active, bill_nano, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (decision_id) DO NOTHING",
        )?;
        let inserted = insert.execute(params![
            self.seq + 1,
            decision.decision_id,
            decision.timestamp_ms,
            decision.tenant,
            !decision.deferred,
            decision.predicted_nano(),
            text(decision)?,
        ])?;
        if inserted == 0 {
            return Ok(Receipt::Duplicate);
        }
        self.seq += 1;
        Ok(Receipt::Accepted { late: false })
    }

    fn feedback(&mut self, feedback: &FeedbackRecord, window_ms: i64) -> rusqlite::Result<Receipt> {
        let Some(judged) = self.judged(&feedback.decision_id)? else { return Ok(Receipt::UnknownDecision) };
        if judged.tenant != feedback.tenant {
            return Ok(Receipt::Foreign);
        }
        let (id, content) = (feedback.outcome_id(), feedback.content());
        let mut known =
            self.transaction.prepare_cached("SELECT content FROM feedback WHERE outcome_id = ?1")?;
        if let Some(known) = known.query_row([&id], |row| row.get::<_, Vec<u8>>(0)).optional()? {
            return Ok(if known == content { Receipt::Duplicate } else { Receipt::Conflict });
        }
        if feedback.is_default && self.n_reports(feedback)? > 0 {
            return Ok(Receipt::Duplicate);
        }
        let Judged { at_ms, active, bill_nano, bill, .. } = judged;
        let Judgement { mut record, bill_nano: bill } =
            feedback.judged(at_ms, active, bill_nano, bill, window_ms);
        record.replaces = self.replaced(feedback)?;
        if record.activates || bill.is_some() {
            let mut update = self.transaction.prepare_cached(
                "UPDATE decisions SET active = active OR ?2, bill_nano = coalesce(?3, bill_nano),
                 bill_at_ms = CASE WHEN ?3 IS NULL THEN bill_at_ms ELSE ?4 END,
                 bill_id = CASE WHEN ?3 IS NULL THEN bill_id ELSE ?5 END WHERE decision_id = ?1",
            )?;
            update.execute(params![feedback.decision_id, record.activates, bill, feedback.at_ms(), id])?;
        }
        self.seq += 1;
        let mut insert = self.transaction.prepare_cached(
            "INSERT INTO feedback (seq, outcome_id, decision_id, content, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        insert.execute(params![self.seq, id, feedback.decision_id, content, text(&record)?])?;
        Ok(Receipt::Accepted { late: record.late })
    }

    /// Reports of the same metric on the same decision, a default value included.
    fn n_reports(&self, feedback: &FeedbackRecord) -> rusqlite::Result<i64> {
        let mut count = self.transaction.prepare_cached(
            "SELECT count(*) FROM feedback WHERE decision_id = ?1 AND json_extract(body, '$.metric') = ?2",
        )?;
        count.query_row(params![feedback.decision_id, feedback.metric], |row| row.get(0))
    }

    /// The default value that the report takes the place of, if it is the first to come after it.
    fn replaced(&self, feedback: &FeedbackRecord) -> rusqlite::Result<Option<Replaced>> {
        let Some(id) = feedback.silence_id().filter(|_| !feedback.is_default) else { return Ok(None) };
        let mut select =
            self.transaction.prepare_cached("SELECT seq, body FROM feedback WHERE outcome_id = ?1")?;
        let read = |row: &Row<'_>| Ok((sequence(row)?, record::<FeedbackRecord>(row, 1)?.measure));
        match select.query_row([id], read).optional()? {
            Some((seq, Some(Measure::Value(value)))) if self.n_reports(feedback)? == 1 => {
                Ok(Some(Replaced { value, seq }))
            }
            _ => Ok(None),
        }
    }

    fn judged(&self, decision_id: &str) -> rusqlite::Result<Option<Judged>> {
        let mut select = self.transaction.prepare_cached(
            "SELECT at_ms, tenant, active, bill_nano, bill_at_ms, bill_id FROM decisions
             WHERE decision_id = ?1",
        )?;
        let read = |row: &Row<'_>| {
            let bill = row.get::<_, Option<i64>>(4)?.zip(row.get::<_, Option<String>>(5)?);
            let (at_ms, tenant, active) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Judged { at_ms, tenant, active, bill_nano: row.get(3)?, bill })
        };
        select.query_row([decision_id], read).optional()
    }
}

/// What feedback is judged by.
struct Judged {
    at_ms: i64,
    tenant: Option<String>,
    active: bool,
    bill_nano: i64,
    bill: Option<(i64, String)>,
}

fn append(connection: &mut Connection, entries: &[Entry]) -> rusqlite::Result<Vec<Receipt>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let seq = last(&transaction)?;
    let mut appending = Appending { transaction: &transaction, seq };
    let receipts =
        entries.iter().map(|entry| appending.entry(entry)).collect::<rusqlite::Result<Vec<Receipt>>>()?;
    let seq = appending.seq;
    transaction.execute("UPDATE meta SET value = ?1 WHERE name = 'sequence'", [seq])?;
    transaction.commit()?;
    Ok(receipts)
}

fn last(connection: &Connection) -> rusqlite::Result<i64> {
    let mut select = connection.prepare_cached("SELECT value FROM meta WHERE name = 'sequence'")?;
    select.query_row([], |row| row.get(0))
}

/// The tables are read in one transaction: what one of them shows, the others have not yet passed.
fn read(connection: &mut Connection, after: i64, max: usize) -> rusqlite::Result<Vec<Event>> {
    let transaction = connection.transaction()?;
    let mut events = Vec::new();
    {
        let mut decisions = transaction
            .prepare_cached("SELECT seq, body FROM decisions WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
        for event in decisions.query_map(params![after, max as i64], |row| {
            Ok(Event { seq: sequence(row)?, body: EventBody::Decision(Box::new(record(row, 1)?)) })
        })? {
            events.push(event?);
        }
        let mut feedback = transaction.prepare_cached(
            "SELECT f.seq, f.body, d.body FROM feedback f JOIN decisions d USING (decision_id)
             WHERE f.seq > ?1 ORDER BY f.seq LIMIT ?2",
        )?;
        for event in feedback.query_map(params![after, max as i64], |row| {
            let body = EventBody::Feedback(Box::new(record(row, 1)?), Box::new(record(row, 2)?));
            Ok(Event { seq: sequence(row)?, body })
        })? {
            events.push(event?);
        }
        let mut changes = transaction
            .prepare_cached("SELECT seq, body FROM changes WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
        for event in changes.query_map(params![after, max as i64], |row| {
            Ok(Event { seq: sequence(row)?, body: EventBody::Change(Box::new(record(row, 1)?)) })
        })? {
            events.push(event?);
        }
    }
    transaction.commit()?;
    events.sort_by_key(|event| event.seq);
    events.truncate(max);
    Ok(events)
}

fn sequence(row: &Row<'_>) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(0)?.unsigned_abs())
}

fn changes(connection: &Connection, policy: &str) -> rusqlite::Result<Vec<(u64, ChangeRecord)>> {
    let mut select =
        connection.prepare_cached("SELECT seq, body FROM changes WHERE policy = ?1 ORDER BY seq")?;
    select.query_map([policy], |row| Ok((sequence(row)?, record(row, 1)?)))?.collect()
}

fn find(connection: &mut Connection, id: &str) -> rusqlite::Result<Option<Found>> {
    let transaction = connection.transaction()?;
    let mut select = transaction.prepare_cached("SELECT body FROM decisions WHERE decision_id = ?1")?;
    let Some(decision) = select.query_row([id], |row| record(row, 0)).optional()? else { return Ok(None) };
    let mut select =
        transaction.prepare_cached("SELECT body FROM feedback WHERE decision_id = ?1 ORDER BY seq")?;
    let feedback = select.query_map([id], |row| record(row, 0))?.collect::<rusqlite::Result<_>>()?;
    Ok(Some(Found { decision, feedback }))
}

fn of_day(
    connection: &mut Connection,
    day: i64,
    after: i64,
    max: usize,
) -> rusqlite::Result<Vec<(u64, Found)>> {
    let transaction = connection.transaction()?;
    let mut decisions = transaction.prepare_cached(
        "SELECT seq, body FROM decisions WHERE at_ms >= ?1 AND at_ms < ?2 AND seq > ?3 ORDER BY seq LIMIT ?4",
    )?;
    let mut feedback =
        transaction.prepare_cached("SELECT body FROM feedback WHERE decision_id = ?1 ORDER BY seq")?;
    let bounds = params![day * DAY_MS, (day + 1) * DAY_MS, after, max as i64];
    let rows = decisions.query_map(bounds, |row| Ok((sequence(row)?, record(row, 1)?)))?;
    rows.map(|row| {
        let (seq, decision): (u64, DecisionRecord) = row?;
        let own = feedback.query_map([&decision.decision_id], |row| record(row, 0))?;
        let feedback = own.collect::<rusqlite::Result<_>>()?;
        Ok((seq, Found { decision, feedback }))
    })
    .collect()
}

fn days(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    let sql = "SELECT DISTINCT at_ms / ?1 AS day FROM decisions ORDER BY day";
    connection.prepare(sql)?.query_map([DAY_MS], |row| row.get(0))?.collect()
}

fn silent(
    connection: &Connection,
    metric: &str,
    [from_ms, before_ms]: [i64; 2],
    max: usize,
) -> rusqlite::Result<Vec<Silent>> {
    let mut select = connection.prepare_cached(
        "SELECT decision_id, at_ms, tenant FROM decisions d WHERE at_ms >= ?1 AND at_ms < ?2 AND active
         AND NOT EXISTS (SELECT 1 FROM feedback f WHERE f.decision_id = d.decision_id
                         AND json_extract(f.body, '$.metric') = ?3)
         ORDER BY at_ms, seq LIMIT ?4",
    )?;
    let read =
        |row: &Row<'_>| Ok(Silent { decision_id: row.get(0)?, at_ms: row.get(1)?, tenant: row.get(2)? });
    select.query_map(params![from_ms, before_ms, metric, max as i64], read)?.collect()
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

    fn changes(&mut self, policy: &str) -> Result<Vec<(u64, ChangeRecord)>, StoreError> {
        changes(&self.connection, policy).map_err(self.fail("read"))
    }

    fn days(&mut self) -> Result<Vec<i64>, StoreError> {
        days(&self.connection).map_err(self.fail("read"))
    }

    fn of_day(&mut self, day: i64, after: u64, max: usize) -> Result<Vec<(u64, Found)>, StoreError> {
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
        let insert = "INSERT INTO checkpoints VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE
                      SET high_water = excluded.high_water, state = excluded.state";
        let saved = self.connection.execute(insert, params![name, high_water, checkpoint.state]);
        saved.map(|_| ()).map_err(self.fail("write to"))
    }

    fn forget(&mut self, prefix: &str, live: &[String], before_ms: i64) -> Result<u64, StoreError> {
        forget(&mut self.connection, prefix, live, before_ms).map_err(self.fail("write to"))
    }

    fn expire(&mut self, before_ms: i64) -> Result<u64, StoreError> {
        expire(&mut self.connection, before_ms).map_err(self.fail("write to"))
    }
}
