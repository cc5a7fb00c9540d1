//! The accounts of keys in the file.

use crate::ledger::account::{Books, Done, HoldRow, Order, Sums, Window, carry_out};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

/// Holds of one sweep.
const OVERDUE_MAX: i64 = 1000;

/// `is_charged`: nobody settled it in time.
pub(super) const ACCOUNTS: &str = "
    CREATE TABLE IF NOT EXISTS budgets (
        key_id TEXT NOT NULL, span TEXT NOT NULL, starts_ms INTEGER NOT NULL, spent_nano INTEGER NOT NULL,
        held_nano INTEGER NOT NULL, PRIMARY KEY (key_id, span, starts_ms)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS holds (
        id TEXT PRIMARY KEY, key_id TEXT NOT NULL, day_ms INTEGER NOT NULL, month_ms INTEGER NOT NULL,
        amount_nano INTEGER NOT NULL, until_ms INTEGER NOT NULL, is_charged INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS holds_by_end ON holds (is_charged, until_ms);";

/// Carries out orders in one transaction.
pub(super) fn account(
    connection: &mut Connection,
    orders: &[Order],
    now_ms: i64,
) -> rusqlite::Result<Vec<Done>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = carry_out(&mut InFile { transaction: &transaction, now_ms }, orders)?;
    transaction.commit()?;
    Ok(done)
}

struct InFile<'a> {
    transaction: &'a Transaction<'a>,
    now_ms: i64,
}

fn read_hold(row: &Row<'_>) -> rusqlite::Result<HoldRow> {
    Ok(HoldRow {
        id: row.get(0)?,
        key: row.get(1)?,
        starts_ms: [row.get(2)?, row.get(3)?],
        amount: row.get(4)?,
        until_ms: row.get(5)?,
        is_charged: row.get(6)?,
    })
}

impl Books for InFile<'_> {
    type Error = rusqlite::Error;

    fn now_ms(&mut self) -> rusqlite::Result<i64> {
        Ok(self.now_ms)
    }

    fn sums(&mut self, key: &str, window: Window, starts_ms: i64) -> rusqlite::Result<Sums> {
        let mut select = self.transaction.prepare_cached(
            "SELECT spent_nano, held_nano FROM budgets WHERE key_id = ?1 AND span = ?2 AND starts_ms = ?3",
        )?;
        let read = |row: &Row<'_>| Ok(Sums { spent: row.get(0)?, held: row.get(1)? });
        let found = select.query_row(params![key, window.name(), starts_ms], read).optional()?;
        Ok(found.unwrap_or_default())
    }

    fn set_sums(&mut self, key: &str, window: Window, starts_ms: i64, sums: Sums) -> rusqlite::Result<()> {
        let mut insert = self.transaction.prepare_cached(
            "INSERT INTO budgets (key_id, span, starts_ms, spent_nano, held_nano) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET spent_nano = excluded.spent_nano, held_nano = excluded.held_nano",
        )?;
        insert.execute(params![key, window.name(), starts_ms, sums.spent, sums.held]).map(|_| ())
    }

    fn hold(&mut self, id: &str) -> rusqlite::Result<Option<HoldRow>> {
        let mut select = self.transaction.prepare_cached(
            "SELECT id, key_id, day_ms, month_ms, amount_nano, until_ms, is_charged FROM holds WHERE id = ?1",
        )?;
        select.query_row([id], read_hold).optional()
    }

    fn set_hold(&mut self, hold: &HoldRow) -> rusqlite::Result<()> {
        let mut insert = self.transaction.prepare_cached(
            "INSERT INTO holds (id, key_id, day_ms, month_ms, amount_nano, until_ms, is_charged)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET is_charged = excluded.is_charged",
        )?;
        let HoldRow { id, key, starts_ms: [day, month], amount, until_ms, is_charged } = hold;
        insert.execute(params![id, key, day, month, amount, until_ms, is_charged]).map(|_| ())
    }

    fn delete_hold(&mut self, id: &str) -> rusqlite::Result<()> {
        self.transaction.prepare_cached("DELETE FROM holds WHERE id = ?1")?.execute([id]).map(|_| ())
    }

    fn overdue(&mut self, before_ms: i64) -> rusqlite::Result<Vec<HoldRow>> {
        let mut select = self.transaction.prepare_cached(
            "SELECT id, key_id, day_ms, month_ms, amount_nano, until_ms, is_charged FROM holds
             WHERE NOT is_charged AND until_ms < ?1 LIMIT ?2",
        )?;
        select.query_map([before_ms, OVERDUE_MAX], read_hold)?.collect()
    }

    fn forget(&mut self, due_ms: i64, began_ms: i64) -> rusqlite::Result<()> {
        self.transaction.execute("DELETE FROM holds WHERE is_charged AND until_ms < ?1", [due_ms])?;
        self.transaction.execute("DELETE FROM budgets WHERE starts_ms < ?1", [began_ms]).map(|_| ())
    }
}
