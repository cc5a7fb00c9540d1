//! The log in PostgreSQL: several servers append to one log.
//!
//! The tables are those of `sqlite`. Every transaction that appends first takes one advisory lock, so that
//! sequence numbers become visible in their order: without it a reader could see number 8, go on from there,
//! and never see number 7, which was taken earlier and committed later. Readers use snapshots, for the same
//! reason. A lost connection is replaced at the next use. What was appended when it was lost is appended once
//! more: whether the commit had reached the database or not, every entry is in the log once then.

use crate::ledger::codec::{self, Record};
use crate::ledger::event::{DAY_MS, Judgement};
use crate::ledger::{
    ChangeRecord, Checkpoint, DecisionRecord, Done, Entry, Event, EventBody, FeedbackRecord, Found, Listed,
    Measure, Order, Receipt, Replaced, Row as RawRow, Silent, Store, StoreError, Table,
};
use crate::settings::Secret;
use postgres::{Client, IsolationLevel, NoTls, Row, Transaction};
use std::fmt;

mod books;
mod repair;

/// "RWLG", as in the header of the SQLite file.
const LOCK: i64 = 0x5257_4c47;
/// Held open longer by a machine that vanished, a transaction would stop everybody who appends.
const SESSION: &str = "SET synchronous_commit = on; SET idle_in_transaction_session_timeout = '30s'";
/// What messages call it; the address may hold a password.
const SHOWN: &str = "postgres";
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS routewright_meta (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
    INSERT INTO routewright_meta VALUES ('sequence', 0) ON CONFLICT DO NOTHING;
    CREATE TABLE IF NOT EXISTS routewright_decisions (
        seq BIGINT PRIMARY KEY, decision_id TEXT NOT NULL UNIQUE, at_ms BIGINT NOT NULL, tenant TEXT,
        active BOOLEAN NOT NULL, bill_nano BIGINT NOT NULL, bill_at_ms BIGINT, bill_id TEXT, body TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS routewright_decisions_by_time ON routewright_decisions (at_ms);
    CREATE TABLE IF NOT EXISTS routewright_feedback (
        seq BIGINT PRIMARY KEY, outcome_id TEXT NOT NULL UNIQUE, decision_id TEXT NOT NULL,
        content BYTEA NOT NULL, body TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS routewright_feedback_by_decision ON routewright_feedback (decision_id);
    CREATE TABLE IF NOT EXISTS routewright_changes (
        seq BIGINT PRIMARY KEY, change_id TEXT NOT NULL UNIQUE, policy TEXT NOT NULL, body TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS routewright_checkpoints (
        name TEXT PRIMARY KEY, high_water BIGINT NOT NULL, state BYTEA NOT NULL);
    ALTER TABLE routewright_decisions ADD COLUMN IF NOT EXISTS active_ms BIGINT;
    CREATE INDEX IF NOT EXISTS routewright_decisions_by_activation
        ON routewright_decisions (coalesce(active_ms, at_ms));
    CREATE TABLE IF NOT EXISTS routewright_unreadable (
        seq BIGINT PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, reason TEXT NOT NULL, body TEXT);";
/// The value of a key in the body of feedback `f`. A body that was cut off has none, nor one with U+0000 in a text,
/// which older builds took in: the database would fail to read it.
macro_rules! of_body {
    ($key:literal) => {
        concat!(
            "CASE WHEN f.body LIKE '{%}' AND position('\\u0000' in f.body) = 0 THEN f.body::json->>'",
            $key,
            "' END"
        )
    };
}

/// A store in a PostgreSQL database.
pub struct PostgresStore {
    url: Secret,
    client: Option<Client>,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

/// Why a transaction failed.
enum Fault {
    /// The database, or the connection to it.
    Database(postgres::Error),
    /// A record that cannot be read.
    Record(String),
    /// A record that is not to be written.
    Refused(String),
}

impl From<postgres::Error> for Fault {
    fn from(error: postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl Fault {
    fn told(self, action: &'static str) -> StoreError {
        match self {
            Self::Database(error) if is_of_the_entry(&error) => {
                StoreError::Refused { reason: crate::log::chain(&error) }
            }
            Self::Database(error) => {
                let reason = crate::log::chain(&error);
                StoreError::Access { action, path: SHOWN.to_owned(), reason }
            }
            Self::Record(reason) => StoreError::Record { path: SHOWN.to_owned(), reason },
            Self::Refused(reason) => StoreError::Refused { reason },
        }
    }
}

/// Whether what was to be written is at fault, not the database: a text it cannot hold, a number out of range, a row
/// that is there already (classes 22 and 23 of SQLSTATE).
fn is_of_the_entry(error: &postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("22") || code.code().starts_with("23"))
}

impl PostgresStore {
    /// Connects, and makes the tables where they are missing.
    ///
    /// # Errors
    /// If the database cannot be reached or refuses.
    pub fn open(url: Secret) -> Result<Self, StoreError> {
        let mut store = Self { url, client: None };
        // The blocking client has a runtime of its own, which must not start inside another one.
        let opened = std::thread::scope(|scope| {
            scope.spawn(|| store.with("open", |client| Ok(client.batch_execute("SELECT 1")?))).join()
        });
        opened.unwrap_or(Err(StoreError::Closed))?;
        Ok(store)
    }

    /// Does something on the connection, which is made where there is none.
    fn with<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&mut Client) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let mut client = match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => connect(&self.url).map_err(|fault| fault.told("open"))?,
        };
        let done = work(&mut client).map_err(|fault| fault.told(action));
        self.client = Some(client);
        done
    }
}

/// Carries out orders on a connection that may be lost meanwhile. Holds and settlements that arrived count once.
fn account_surely(store: &mut PostgresStore, orders: &[Order]) -> Result<Vec<Done>, StoreError> {
    let first = store.with("write to", |client| books::account(client, orders));
    let was_lost = store.client.as_ref().is_some_and(Client::is_closed);
    match first {
        Err(StoreError::Access { .. }) if was_lost => {
            store.with("write to", |client| books::account(client, orders))
        }
        other => other,
    }
}

/// Appends on a connection that may be lost meanwhile.
fn append_surely(store: &mut PostgresStore, entries: &[Entry]) -> Result<Vec<Receipt>, StoreError> {
    let first = store.with("write to", |client| append(client, entries));
    let was_lost = store.client.as_ref().is_some_and(Client::is_closed);
    let Err(StoreError::Access { path, reason, .. }) = &first else { return first };
    if !was_lost {
        return first;
    }
    // The commit may or may not have arrived. What it brought is a duplicate now.
    match store.with("write to", |client| append(client, entries)) {
        Err(StoreError::Access { .. }) => {
            Err(StoreError::Unsettled { path: path.clone(), reason: reason.clone() })
        }
        other => other,
    }
}

fn connect(url: &Secret) -> Result<Client, Fault> {
    let mut client = Client::connect(url.reveal(), NoTls)?;
    let mut transaction = client.transaction()?;
    // Two servers that start together make the tables one after the other.
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
    transaction.batch_execute(TABLES)?;
    transaction.batch_execute(books::ACCOUNTS)?;
    transaction.commit()?;
    client.batch_execute(SESSION)?;
    Ok(client)
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // Closing blocks on the client's own runtime, and this may be dropped inside another one.
            let _closed = std::thread::spawn(move || drop(client)).join();
        }
    }
}

/// The record in a column, or why it cannot be read.
fn decoded<T: Record>(row: &Row, column: usize) -> Result<T, String> {
    codec::decode(row.get::<_, &str>(column))
}

/// The text of a record.
fn text(record: &impl Record) -> Result<String, Fault> {
    codec::encode(record).map_err(Fault::Refused)
}

fn sequence(row: &Row) -> u64 {
    row.get::<_, i64>(0).unsigned_abs()
}

/// One transaction that appends.
struct Appending<'a> {
    transaction: Transaction<'a>,
    seq: i64,
}

impl Appending<'_> {
    fn entry(&mut self, entry: &Entry) -> Result<Receipt, Fault> {
        match entry {
            Entry::Decision(decision) => self.decision(decision),
            Entry::Feedback(feedback, window_ms) => self.feedback(feedback, *window_ms),
            Entry::Change(change) => self.change(change),
        }
    }

    fn change(&mut self, change: &ChangeRecord) -> Result<Receipt, Fault> {
        let seq = self.seq + 1;
        let inserted = self.transaction.execute(
            "INSERT INTO routewright_changes (seq, change_id, policy, body) VALUES ($1, $2, $3, $4)
             ON CONFLICT (change_id) DO NOTHING",
            &[&seq, &change.change_id, &change.policy, &text(change)?],
        )?;
        if inserted == 0 {
            return Ok(Receipt::Duplicate);
        }
        self.seq = seq;
        Ok(Receipt::Accepted { late: false })
    }

    fn decision(&mut self, decision: &DecisionRecord) -> Result<Receipt, Fault> {
        let seq = self.seq + 1;
        let inserted = self.transaction.execute(
            "INSERT INTO routewright_decisions (seq, decision_id, at_ms, tenant, active, bill_nano, body)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (decision_id) DO NOTHING",
            &[
                &seq,
                &decision.decision_id,
                &decision.timestamp_ms,
                &decision.tenant,
                &!decision.deferred,
                &decision.predicted_nano(),
                &text(decision)?,
            ],
        )?;
        if inserted == 0 {
            let known = "SELECT body FROM routewright_decisions WHERE decision_id = $1";
            let known = self.transaction.query_one(known, &[&decision.decision_id])?;
            return Ok(codec::again(decision, known.get(0)));
        }
        self.seq = seq;
        Ok(Receipt::Accepted { late: false })
    }

    fn feedback(&mut self, feedback: &FeedbackRecord, window_ms: i64) -> Result<Receipt, Fault> {
        let judged = self.transaction.query_opt(
            "SELECT at_ms, tenant, active, bill_nano, bill_at_ms, bill_id FROM routewright_decisions
             WHERE decision_id = $1",
            &[&feedback.decision_id],
        )?;
        let Some(judged) = judged else { return Ok(Receipt::UnknownDecision) };
        if judged.get::<_, Option<String>>(1) != feedback.tenant {
            return Ok(Receipt::Foreign);
        }
        let (id, content) = (feedback.outcome_id(), feedback.content());
        let known = "SELECT content FROM routewright_feedback WHERE outcome_id = $1";
        if let Some(known) = self.transaction.query_opt(known, &[&id])? {
            let same = known.get::<_, &[u8]>(0) == content;
            return Ok(if same { Receipt::Duplicate } else { Receipt::Conflict });
        }
        if feedback.is_default && self.n_reports(feedback)? > 0 {
            return Ok(Receipt::Duplicate);
        }
        let counted: Option<(i64, String)> = judged.get::<_, Option<i64>>(4).zip(judged.get(5));
        let judgement = feedback.judged(judged.get(0), judged.get(2), judged.get(3), counted, window_ms);
        let Judgement { mut record, bill_nano: bill } = judgement;
        record.replaces = self.replaced(feedback)?;
        record.repeats = self.repeats(feedback)?;
        if record.activates || bill.is_some() {
            let active_ms = record.activates.then_some(record.received_at_ms);
            self.transaction.execute(
                "UPDATE routewright_decisions SET active = active OR $2, bill_nano = coalesce($3, bill_nano),
                 bill_at_ms = CASE WHEN $3::BIGINT IS NULL THEN bill_at_ms ELSE $4 END,
                 bill_id = CASE WHEN $3::BIGINT IS NULL THEN bill_id ELSE $5 END,
                 active_ms = coalesce($6, active_ms) WHERE decision_id = $1",
                &[&feedback.decision_id, &record.activates, &bill, &feedback.at_ms(), &id, &active_ms],
            )?;
        }
        self.seq += 1;
        self.transaction.execute(
            "INSERT INTO routewright_feedback (seq, outcome_id, decision_id, content, body)
             VALUES ($1, $2, $3, $4, $5)",
            &[&self.seq, &id, &feedback.decision_id, &content, &text(&record)?],
        )?;
        Ok(Receipt::Accepted { late: record.late })
    }
}

impl Appending<'_> {
    /// Reports of the same metric on the same decision, a default value included.
    fn n_reports(&mut self, feedback: &FeedbackRecord) -> Result<i64, Fault> {
        let count = concat!(
            "SELECT count(*) FROM routewright_feedback f WHERE decision_id = $1 AND ",
            of_body!("metric"),
            " = $2",
        );
        Ok(self.transaction.query_one(count, &[&feedback.decision_id, &feedback.metric])?.get(0))
    }

    /// Whether the same reporter reported the same metric of the same decision before.
    fn repeats(&mut self, feedback: &FeedbackRecord) -> Result<bool, Fault> {
        if feedback.measure.is_none() || feedback.is_default {
            return Ok(false);
        }
        // It ends with the first row that is found: a thousand reports of one decision cost no more than two.
        let first = concat!(
            "SELECT EXISTS (SELECT 1 FROM routewright_feedback f WHERE decision_id = $1 AND ",
            of_body!("metric"),
            " = $2 AND ",
            of_body!("measure"),
            " IS NOT NULL AND ",
            of_body!("is_default"),
            " IS DISTINCT FROM 'true' AND ($3::TEXT IS NULL OR ",
            of_body!("source"),
            " = $3))",
        );
        let values: [&(dyn postgres::types::ToSql + Sync); 3] =
            [&feedback.decision_id, &feedback.metric, &feedback.declared_source()];
        Ok(self.transaction.query_one(first, &values)?.get(0))
    }

    /// The default value that the report takes the place of, if it is the first to come after it.
    fn replaced(&mut self, feedback: &FeedbackRecord) -> Result<Option<Replaced>, Fault> {
        let Some(id) = feedback.silence_id().filter(|_| !feedback.is_default) else { return Ok(None) };
        let select = "SELECT seq, body FROM routewright_feedback WHERE outcome_id = $1";
        let Some(row) = self.transaction.query_opt(select, &[&id])? else { return Ok(None) };
        let default = decoded::<FeedbackRecord>(&row, 1).ok();
        match default.and_then(|default| default.measure) {
            Some(Measure::Value(value)) if self.n_reports(feedback)? == 1 => {
                Ok(Some(Replaced { value, seq: sequence(&row) }))
            }
            _ => Ok(None),
        }
    }
}

fn append(client: &mut Client, entries: &[Entry]) -> Result<Vec<Receipt>, Fault> {
    let mut transaction = client.transaction()?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
    let seq = last(&mut transaction)?;
    let mut appending = Appending { transaction, seq };
    let receipts = entries.iter().map(|entry| appending.entry(entry)).collect::<Result<Vec<_>, _>>()?;
    let Appending { mut transaction, seq } = appending;
    transaction.execute("UPDATE routewright_meta SET value = $1 WHERE name = 'sequence'", &[&seq])?;
    transaction.commit()?;
    Ok(receipts)
}

fn last(transaction: &mut Transaction<'_>) -> Result<i64, Fault> {
    let select = "SELECT value FROM routewright_meta WHERE name = 'sequence'";
    Ok(transaction.query_one(select, &[])?.get(0))
}

/// A transaction in which every statement sees the same log.
fn snapshot(client: &mut Client) -> Result<Transaction<'_>, Fault> {
    let builder = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    Ok(builder.read_only(true).start()?)
}

fn read(client: &mut Client, after: i64, max: i64) -> Result<Vec<Event>, Fault> {
    let mut transaction = snapshot(client)?;
    let mut events = Vec::new();
    let decisions = "SELECT seq, body FROM routewright_decisions WHERE seq > $1 ORDER BY seq LIMIT $2";
    for row in transaction.query(decisions, &[&after, &max])? {
        events.push(event(&row, decoded(&row, 1).map(|decision| EventBody::Decision(Box::new(decision)))));
    }
    let feedback = "SELECT f.seq, f.body, d.body FROM routewright_feedback f
                    JOIN routewright_decisions d USING (decision_id)
                    WHERE f.seq > $1 ORDER BY f.seq LIMIT $2";
    for row in transaction.query(feedback, &[&after, &max])? {
        let decision = decoded(&row, 2).map_err(|reason| format!("of its decision: {reason}"));
        let body = decoded(&row, 1).and_then(|feedback| Ok((feedback, decision?)));
        let body =
            body.map(|(feedback, decision)| EventBody::Feedback(Box::new(feedback), Box::new(decision)));
        events.push(event(&row, body));
    }
    let changes = "SELECT seq, body FROM routewright_changes WHERE seq > $1 ORDER BY seq LIMIT $2";
    for row in transaction.query(changes, &[&after, &max])? {
        events.push(change(&row));
    }
    transaction.commit()?;
    events.sort_by_key(|event| event.seq);
    events.truncate(max as usize);
    Ok(events)
}

/// The event of a row that begins with its number.
fn event(row: &Row, body: Result<EventBody, String>) -> Event {
    Event { seq: sequence(row), body: body.unwrap_or_else(EventBody::Unreadable) }
}

fn change(row: &Row) -> Event {
    event(row, decoded(row, 1).map(|change| EventBody::Change(Box::new(change))))
}

fn changes(client: &mut Client, policy: &str) -> Result<Vec<Event>, Fault> {
    let select = "SELECT seq, body FROM routewright_changes WHERE policy = $1 ORDER BY seq";
    Ok(client.query(select, &[&policy])?.iter().map(change).collect())
}

/// A decision with what can be read of its feedback.
fn found(decision: DecisionRecord, feedback: &[Row]) -> Found {
    let read: Vec<_> = feedback.iter().filter_map(|row| decoded(row, 0).ok()).collect();
    let unreadable = (feedback.len() - read.len()) as u64;
    Found { decision, feedback: read, unreadable }
}

fn find(client: &mut Client, id: &str) -> Result<Option<Found>, Fault> {
    let mut transaction = snapshot(client)?;
    let select = "SELECT body FROM routewright_decisions WHERE decision_id = $1";
    let Some(decision) = transaction.query_opt(select, &[&id])? else { return Ok(None) };
    let select = "SELECT body FROM routewright_feedback WHERE decision_id = $1 ORDER BY seq";
    let feedback = transaction.query(select, &[&id])?;
    Ok(Some(found(decoded(&decision, 0).map_err(Fault::Record)?, &feedback)))
}

fn of_day(client: &mut Client, day: i64, after: i64, max: i64) -> Result<Vec<Listed>, Fault> {
    let mut transaction = snapshot(client)?;
    let select = "SELECT seq, body FROM routewright_decisions
                  WHERE at_ms >= $1 AND at_ms < $2 AND seq > $3 ORDER BY seq LIMIT $4";
    let rows = transaction.query(select, &[&(day * DAY_MS), &((day + 1) * DAY_MS), &after, &max])?;
    let select =
        transaction.prepare("SELECT body FROM routewright_feedback WHERE decision_id = $1 ORDER BY seq")?;
    let mut all = Vec::new();
    for row in rows {
        let Ok(decision) = decoded::<DecisionRecord>(&row, 1) else {
            all.push((sequence(&row), None));
            continue;
        };
        let feedback = transaction.query(&select, &[&decision.decision_id])?;
        all.push((sequence(&row), Some(found(decision, &feedback))));
    }
    Ok(all)
}

fn silent(
    client: &mut Client,
    metric: &str,
    [from_ms, before_ms]: [i64; 2],
    max: i64,
) -> Result<Vec<Silent>, Fault> {
    let select = concat!(
        "SELECT decision_id, coalesce(active_ms, at_ms), tenant FROM routewright_decisions d
         WHERE coalesce(active_ms, at_ms) >= $1 AND coalesce(active_ms, at_ms) < $2 AND active AND NOT EXISTS
         (SELECT 1 FROM routewright_feedback f WHERE f.decision_id = d.decision_id AND ",
        of_body!("metric"),
        " = $3) ORDER BY coalesce(active_ms, at_ms), seq LIMIT $4",
    );
    let rows = client.query(select, &[&from_ms, &before_ms, &metric, &max])?;
    let read = |row: &Row| Silent { decision_id: row.get(0), at_ms: row.get(1), tenant: row.get(2) };
    Ok(rows.iter().map(read).collect())
}

fn expire(client: &mut Client, before_ms: i64) -> Result<u64, Fault> {
    let mut transaction = client.transaction()?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
    let seen: Option<i64> =
        transaction.query_one("SELECT min(high_water) FROM routewright_checkpoints", &[])?.get(0);
    let gone = transaction.execute(
        "WITH old AS (
             SELECT decision_id FROM routewright_decisions d WHERE at_ms < $1 AND seq <= $2 AND NOT EXISTS
             (SELECT 1 FROM routewright_feedback f WHERE f.decision_id = d.decision_id AND f.seq > $2)),
         its AS (DELETE FROM routewright_feedback WHERE decision_id IN (SELECT decision_id FROM old))
         DELETE FROM routewright_decisions WHERE decision_id IN (SELECT decision_id FROM old)",
        &[&before_ms, &seen.unwrap_or(i64::MAX)],
    )?;
    transaction.commit()?;
    Ok(gone)
}

impl Store for PostgresStore {
    fn append(&mut self, entries: &[Entry]) -> Result<Vec<Receipt>, StoreError> {
        append_surely(self, entries)
    }

    fn find(&mut self, decision_id: &str) -> Result<Option<Found>, StoreError> {
        self.with("read", |client| find(client, decision_id))
    }

    fn read(&mut self, after: u64, max: usize) -> Result<Vec<Event>, StoreError> {
        let bound = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.with("read", |client| read(client, bound(after), bound(max as u64)))
    }

    fn changes(&mut self, policy: &str) -> Result<Vec<Event>, StoreError> {
        self.with("read", |client| changes(client, policy))
    }

    fn days(&mut self) -> Result<Vec<i64>, StoreError> {
        let select = "SELECT DISTINCT at_ms / $1 AS day FROM routewright_decisions ORDER BY day";
        let rows = self.with("read", |client| Ok(client.query(select, &[&DAY_MS])?))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn of_day(&mut self, day: i64, after: u64, max: usize) -> Result<Vec<Listed>, StoreError> {
        let bound = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.with("read", |client| of_day(client, day, bound(after), bound(max as u64)))
    }

    fn silent(
        &mut self,
        metric: &str,
        from_ms: i64,
        before_ms: i64,
        max: usize,
    ) -> Result<Vec<Silent>, StoreError> {
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        self.with("read", |client| silent(client, metric, [from_ms, before_ms], max))
    }

    fn last(&mut self) -> Result<u64, StoreError> {
        self.with("read", |client| Ok(last(&mut client.transaction()?)?.unsigned_abs()))
    }

    fn checkpoint(&mut self, name: &str) -> Result<Option<Checkpoint>, StoreError> {
        let select = "SELECT high_water, state FROM routewright_checkpoints WHERE name = $1";
        let found = self.with("read", |client| Ok(client.query_opt(select, &[&name])?))?;
        Ok(found.map(|row| Checkpoint { high_water: sequence(&row), state: row.get(1) }))
    }

    fn save_checkpoint(&mut self, name: &str, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let high_water = i64::try_from(checkpoint.high_water).unwrap_or(i64::MAX);
        // Of two servers with one consumer, the one that is behind does not undo what the other saved.
        let insert =
            "INSERT INTO routewright_checkpoints AS c VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE
                      SET high_water = excluded.high_water, state = excluded.state
                      WHERE excluded.high_water >= c.high_water";
        let values: [&(dyn postgres::types::ToSql + Sync); 3] = [&name, &high_water, &checkpoint.state];
        self.with("write to", |client| Ok(client.execute(insert, &values)?)).map(|_| ())
    }

    fn forget(&mut self, prefix: &str, live: &[String], before_ms: i64) -> Result<u64, StoreError> {
        let delete =
            "DELETE FROM routewright_checkpoints c WHERE starts_with(name, $1) AND NOT (name = ANY($2))
                      AND EXISTS (SELECT 1 FROM routewright_decisions d
                                  WHERE d.seq > c.high_water AND d.at_ms < $3)";
        self.with("write to", |client| Ok(client.execute(delete, &[&prefix, &live, &before_ms])?))
    }

    fn expire(&mut self, before_ms: i64) -> Result<u64, StoreError> {
        self.with("write to", |client| expire(client, before_ms))
    }

    fn account(&mut self, orders: &[Order], _: i64) -> Result<Vec<Done>, StoreError> {
        account_surely(self, orders)
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        // An append of nothing takes the lock and writes the counter, as any other does.
        self.with("write to", |client| append(client, &[])).map(|_| ())
    }

    fn rows(&mut self, table: Table, after: u64, max: usize) -> Result<Vec<RawRow>, StoreError> {
        self.with("read", |client| repair::rows(client, table, after, max))
    }

    fn set_aside(&mut self, damaged: &[(RawRow, String)]) -> Result<u64, StoreError> {
        self.with("write to", |client| repair::set_aside(client, damaged))
    }

    fn integrity(&mut self) -> Result<Vec<String>, StoreError> {
        // What a database is made of is its administrator's to check.
        Ok(Vec::new())
    }
}

#[cfg(test)]
pub(super) mod database;
#[cfg(test)]
mod tests;
