//! What is read of the file. A record that cannot be read is told apart, never the end of reading.

use crate::ledger::codec;
use crate::ledger::codec::Record;
use crate::ledger::event::DAY_MS;
use crate::ledger::{
    DecisionRecord, Event, EventBody, FeedbackRecord, Found, Listed, Row as RawRow, Silent, Table,
};
use rusqlite::types::{Type, ValueRef};
use rusqlite::{CachedStatement, Connection, Error, OptionalExtension as _, Result, Row, params};

/// The value of a key in the body of feedback `f`; NULL where that is no JSON.
macro_rules! of_body {
    ($key:literal) => {
        concat!("CASE WHEN json_valid(f.body) THEN json_extract(f.body, '$.", $key, "') END")
    };
}
pub(super) use of_body;

/// A failure to read a record, as the readers of rows hand it on.
fn unread(column: usize, reason: String) -> rusqlite::Error {
    Error::FromSqlConversionFailure(column, Type::Text, reason.into())
}

/// The record in a column, or why it cannot be read.
pub(super) fn decoded<T: Record>(row: &Row<'_>, column: usize) -> Result<std::result::Result<T, String>> {
    Ok(match row.get_ref(column)?.as_str() {
        Ok(text) => codec::decode(text),
        Err(error) => Err(error.to_string()),
    })
}

/// Reads a record that must be one out of a column.
fn record<T: Record>(row: &Row<'_>, column: usize) -> Result<T> {
    decoded(row, column)?.map_err(|reason| unread(column, reason))
}

/// The tables are read in one transaction: what one of them shows, the others have not yet passed.
pub(super) fn read(connection: &mut Connection, after: i64, max: usize) -> Result<Vec<Event>> {
    let transaction = connection.transaction()?;
    let mut events = Vec::new();
    {
        let bounds = params![after, max as i64];
        let mut decisions = transaction
            .prepare_cached("SELECT seq, body FROM decisions WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
        for event in decisions.query_map(bounds, |row| {
            let body = decoded(row, 1)?.map(|decision| EventBody::Decision(Box::new(decision)));
            event(row, body)
        })? {
            events.push(event?);
        }
        let mut feedback = transaction.prepare_cached(
            "SELECT f.seq, f.body, d.body FROM feedback f JOIN decisions d USING (decision_id)
             WHERE f.seq > ?1 ORDER BY f.seq LIMIT ?2",
        )?;
        for event in feedback.query_map(bounds, |row| {
            let decision = decoded(row, 2)?.map_err(|reason| format!("of its decision: {reason}"));
            let body = decoded(row, 1)?.and_then(|feedback| Ok((feedback, decision?)));
            event(
                row,
                body.map(|(feedback, decision)| EventBody::Feedback(Box::new(feedback), Box::new(decision))),
            )
        })? {
            events.push(event?);
        }
        let mut changes = transaction
            .prepare_cached("SELECT seq, body FROM changes WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
        for event in changes.query_map(bounds, change)? {
            events.push(event?);
        }
    }
    transaction.commit()?;
    events.sort_by_key(|event| event.seq);
    events.truncate(max);
    Ok(events)
}

/// The event of a row that begins with its number.
fn event(row: &Row<'_>, body: std::result::Result<EventBody, String>) -> Result<Event> {
    Ok(Event { seq: sequence(row)?, body: body.unwrap_or_else(EventBody::Unreadable) })
}

fn change(row: &Row<'_>) -> Result<Event> {
    let body = decoded(row, 1)?.map(|change| EventBody::Change(Box::new(change)));
    event(row, body)
}

pub(super) fn sequence(row: &Row<'_>) -> Result<u64> {
    Ok(row.get::<_, i64>(0)?.unsigned_abs())
}

pub(super) fn changes(connection: &Connection, policy: &str) -> Result<Vec<Event>> {
    let mut select =
        connection.prepare_cached("SELECT seq, body FROM changes WHERE policy = ?1 ORDER BY seq")?;
    select.query_map([policy], change)?.collect()
}

/// What can be read of the feedback on a decision, and how many records cannot.
fn feedback_of(select: &mut CachedStatement<'_>, decision_id: &str) -> Result<(Vec<FeedbackRecord>, u64)> {
    let mut unreadable = 0;
    let mut feedback = Vec::new();
    for read in select.query_map([decision_id], |row| decoded(row, 0))? {
        match read? {
            Ok(record) => feedback.push(record),
            Err(_) => unreadable += 1,
        }
    }
    Ok((feedback, unreadable))
}

const FEEDBACK_OF: &str = "SELECT body FROM feedback WHERE decision_id = ?1 ORDER BY seq";

pub(super) fn find(connection: &mut Connection, id: &str) -> Result<Option<Found>> {
    let transaction = connection.transaction()?;
    let mut select = transaction.prepare_cached("SELECT body FROM decisions WHERE decision_id = ?1")?;
    let Some(decision) = select.query_row([id], |row| record(row, 0)).optional()? else { return Ok(None) };
    let (feedback, unreadable) = feedback_of(&mut transaction.prepare_cached(FEEDBACK_OF)?, id)?;
    Ok(Some(Found { decision, feedback, unreadable }))
}

pub(super) fn of_day(connection: &mut Connection, day: i64, after: i64, max: usize) -> Result<Vec<Listed>> {
    let transaction = connection.transaction()?;
    let mut decisions = transaction.prepare_cached(
        "SELECT seq, body FROM decisions WHERE at_ms >= ?1 AND at_ms < ?2 AND seq > ?3 ORDER BY seq LIMIT ?4",
    )?;
    let mut of = transaction.prepare_cached(FEEDBACK_OF)?;
    let bounds = params![day * DAY_MS, (day + 1) * DAY_MS, after, max as i64];
    let rows = decisions.query_map(bounds, |row| Ok((sequence(row)?, decoded(row, 1)?)))?;
    rows.map(|row| {
        let (seq, decision): (u64, std::result::Result<DecisionRecord, String>) = row?;
        let Ok(decision) = decision else { return Ok((seq, None)) };
        let (feedback, unreadable) = feedback_of(&mut of, &decision.decision_id)?;
        Ok((seq, Some(Found { decision, feedback, unreadable })))
    })
    .collect()
}

pub(super) fn days(connection: &Connection) -> Result<Vec<i64>> {
    let sql = "SELECT DISTINCT at_ms / ?1 AS day FROM decisions ORDER BY day";
    connection.prepare(sql)?.query_map([DAY_MS], |row| row.get(0))?.collect()
}

pub(super) fn silent(
    connection: &Connection,
    metric: &str,
    [from_ms, before_ms]: [i64; 2],
    max: usize,
) -> Result<Vec<Silent>> {
    let mut select = connection.prepare_cached(concat!(
        "SELECT decision_id, coalesce(active_ms, at_ms), tenant FROM decisions d
         WHERE coalesce(active_ms, at_ms) >= ?1 AND coalesce(active_ms, at_ms) < ?2 AND active
         AND NOT EXISTS (SELECT 1 FROM feedback f WHERE f.decision_id = d.decision_id AND ",
        of_body!("metric"),
        " = ?3) ORDER BY coalesce(active_ms, at_ms), seq LIMIT ?4",
    ))?;
    let read =
        |row: &Row<'_>| Ok(Silent { decision_id: row.get(0)?, at_ms: row.get(1)?, tenant: row.get(2)? });
    select.query_map(params![from_ms, before_ms, metric, max as i64], read)?.collect()
}

/// Rows of a table as they are stored; a body that is no text is shown as the bytes it has.
pub(super) fn rows(connection: &Connection, table: Table, after: i64, max: usize) -> Result<Vec<RawRow>> {
    let select = match table {
        Table::Decisions => {
            "SELECT seq, decision_id, body, '' FROM decisions WHERE seq > ?1 ORDER BY seq LIMIT ?2"
        }
        Table::Feedback => {
            "SELECT seq, outcome_id, body, decision_id FROM feedback WHERE seq > ?1 ORDER BY seq LIMIT ?2"
        }
        Table::Changes => "SELECT seq, change_id, body, '' FROM changes WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    };
    let mut select = connection.prepare_cached(select)?;
    let read = |row: &Row<'_>| {
        let body = match row.get_ref(2)? {
            ValueRef::Text(text) => String::from_utf8(text.to_vec()).map_err(|error| error.to_string()),
            other => Err(format!("its body is {}, expected text", other.data_type())),
        };
        Ok(RawRow { table, seq: sequence(row)?, id: row.get(1)?, decision_id: row.get(3)?, body })
    };
    select.query_map(params![after, max as i64], read)?.collect()
}
