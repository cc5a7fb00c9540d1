//! The transaction that appends to the file.

use crate::ledger::codec::{self, Record};
use crate::ledger::event::Judgement;
use crate::ledger::sqlite::read::{decoded, of_body, sequence};
use crate::ledger::{ChangeRecord, DecisionRecord, Entry, FeedbackRecord, Measure, Receipt, Replaced};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

/// Writes a record into a column.
fn text(record: &impl Record) -> rusqlite::Result<String> {
    codec::encode(record).map_err(|reason| rusqlite::Error::ToSqlConversionFailure(reason.into()))
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
            let mut known =
                self.transaction.prepare_cached("SELECT body FROM decisions WHERE decision_id = ?1")?;
            let body: String = known.query_row([&decision.decision_id], |row| row.get(0))?;
            return Ok(codec::again(decision, &body));
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
        record.repeats = self.repeats(feedback)?;
        if record.activates || bill.is_some() {
            let mut update = self.transaction.prepare_cached(
                "UPDATE decisions SET active = active OR ?2, bill_nano = coalesce(?3, bill_nano),
                 bill_at_ms = CASE WHEN ?3 IS NULL THEN bill_at_ms ELSE ?4 END,
                 bill_id = CASE WHEN ?3 IS NULL THEN bill_id ELSE ?5 END,
                 active_ms = coalesce(?6, active_ms) WHERE decision_id = ?1",
            )?;
            let active_ms = record.activates.then_some(record.received_at_ms);
            let (id, own) = (&id, &feedback.decision_id);
            update.execute(params![own, record.activates, bill, feedback.at_ms(), id, active_ms])?;
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
        let mut count = self.transaction.prepare_cached(concat!(
            "SELECT count(*) FROM feedback f WHERE decision_id = ?1 AND ",
            of_body!("metric"),
            " = ?2",
        ))?;
        count.query_row(params![feedback.decision_id, feedback.metric], |row| row.get(0))
    }

    /// Whether the same reporter reported the same metric of the same decision before.
    fn repeats(&self, feedback: &FeedbackRecord) -> rusqlite::Result<bool> {
        if feedback.measure.is_none() || feedback.is_default {
            return Ok(false);
        }
        // It ends with the first row that is found: a thousand reports of one decision cost no more than two.
        let mut first = self.transaction.prepare_cached(concat!(
            "SELECT EXISTS (SELECT 1 FROM feedback f WHERE decision_id = ?1 AND ",
            of_body!("metric"),
            " = ?2 AND ",
            of_body!("measure"),
            " IS NOT NULL AND ",
            of_body!("is_default"),
            " IS NOT 1 AND (?3 IS NULL OR ",
            of_body!("source"),
            " = ?3))",
        ))?;
        let source = feedback.declared_source();
        first.query_row(params![feedback.decision_id, feedback.metric, source], |row| row.get(0))
    }

    /// The default value that the report takes the place of, if it is the first to come after it.
    fn replaced(&self, feedback: &FeedbackRecord) -> rusqlite::Result<Option<Replaced>> {
        let Some(id) = feedback.silence_id().filter(|_| !feedback.is_default) else { return Ok(None) };
        let mut select =
            self.transaction.prepare_cached("SELECT seq, body FROM feedback WHERE outcome_id = ?1")?;
        let read = |row: &Row<'_>| {
            let default = decoded::<FeedbackRecord>(row, 1)?;
            Ok((sequence(row)?, default.ok().and_then(|default| default.measure)))
        };
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

pub(super) fn append(connection: &mut Connection, entries: &[Entry]) -> rusqlite::Result<Vec<Receipt>> {
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

pub(super) fn last(connection: &Connection) -> rusqlite::Result<i64> {
    let mut select = connection.prepare_cached("SELECT value FROM meta WHERE name = 'sequence'")?;
    select.query_row([], |row| row.get(0))
}
