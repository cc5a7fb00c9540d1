//! The accounts of keys in the database, by its clock.

use crate::ledger::account::{Books, Done, HoldRow, Order, Sums, Window, carry_out};
use crate::ledger::postgres::{Client, Fault, Row, Transaction};

/// "RWBU": one transaction on accounts at a time, so that what one reads no other changes meanwhile.
const LOCK: i64 = 0x5257_4255;
/// Holds of one sweep.
const OVERDUE_MAX: i64 = 1000;

/// `is_charged`: nobody settled it in time.
pub(super) const ACCOUNTS: &str = "
    CREATE TABLE IF NOT EXISTS routewright_budgets (
        key_id TEXT NOT NULL, span TEXT NOT NULL, starts_ms BIGINT NOT NULL, spent_nano BIGINT NOT NULL,
        held_nano BIGINT NOT NULL, PRIMARY KEY (key_id, span, starts_ms));
    CREATE TABLE IF NOT EXISTS routewright_holds (
        id TEXT PRIMARY KEY, key_id TEXT NOT NULL, day_ms BIGINT NOT NULL, month_ms BIGINT NOT NULL,
        amount_nano BIGINT NOT NULL, until_ms BIGINT NOT NULL, is_charged BOOLEAN NOT NULL);
    CREATE INDEX IF NOT EXISTS routewright_holds_by_end ON routewright_holds (is_charged, until_ms);";

const SELECT: &str =
    "SELECT id, key_id, day_ms, month_ms, amount_nano, until_ms, is_charged FROM routewright_holds";

/// Carries out orders in one transaction. The lock is taken by a statement of its own: those that follow see all that
/// was committed before.
pub(super) fn account(client: &mut Client, orders: &[Order]) -> Result<Vec<Done>, Fault> {
    let mut transaction = client.transaction()?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
    let done = carry_out(&mut InDatabase { transaction: &mut transaction }, orders)?;
    transaction.commit()?;
    Ok(done)
}

struct InDatabase<'a, 'b> {
    transaction: &'a mut Transaction<'b>,
}

fn read_hold(row: &Row) -> HoldRow {
    HoldRow {
        id: row.get(0),
        key: row.get(1),
        starts_ms: [row.get(2), row.get(3)],
        amount: row.get(4),
        until_ms: row.get(5),
        is_charged: row.get(6),
    }
}

impl Books for InDatabase<'_, '_> {
    type Error = Fault;

    fn now_ms(&mut self) -> Result<i64, Fault> {
        let clock = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::BIGINT";
        Ok(self.transaction.query_one(clock, &[])?.get(0))
    }

    fn sums(&mut self, key: &str, window: Window, starts_ms: i64) -> Result<Sums, Fault> {
        let select = "SELECT spent_nano, held_nano FROM routewright_budgets
                      WHERE key_id = $1 AND span = $2 AND starts_ms = $3";
        let found = self.transaction.query_opt(select, &[&key, &window.name(), &starts_ms])?;
        Ok(found.map_or_else(Sums::default, |row| Sums { spent: row.get(0), held: row.get(1) }))
    }

    fn set_sums(&mut self, key: &str, window: Window, starts_ms: i64, sums: Sums) -> Result<(), Fault> {
        let insert = "INSERT INTO routewright_budgets (key_id, span, starts_ms, spent_nano, held_nano)
                      VALUES ($1, $2, $3, $4, $5) ON CONFLICT (key_id, span, starts_ms) DO UPDATE
                      SET spent_nano = excluded.spent_nano, held_nano = excluded.held_nano";
        let (spent, held) = (sums.spent, sums.held);
        self.transaction.execute(insert, &[&key, &window.name(), &starts_ms, &spent, &held])?;
        Ok(())
    }

    fn hold(&mut self, id: &str) -> Result<Option<HoldRow>, Fault> {
        let found = self.transaction.query_opt(&format!("{SELECT} WHERE id = $1"), &[&id])?;
        Ok(found.as_ref().map(read_hold))
    }

    fn set_hold(&mut self, hold: &HoldRow) -> Result<(), Fault> {
        let insert = "INSERT INTO routewright_holds
                      (id, key_id, day_ms, month_ms, amount_nano, until_ms, is_charged)
                      VALUES ($1, $2, $3, $4, $5, $6, $7)
                      ON CONFLICT (id) DO UPDATE SET is_charged = excluded.is_charged";
        let HoldRow { id, key, starts_ms: [day, month], amount, until_ms, is_charged } = hold;
        self.transaction.execute(insert, &[id, key, day, month, amount, until_ms, is_charged])?;
        Ok(())
    }

    fn delete_hold(&mut self, id: &str) -> Result<(), Fault> {
        self.transaction.execute("DELETE FROM routewright_holds WHERE id = $1", &[&id])?;
        Ok(())
    }

    fn overdue(&mut self, before_ms: i64) -> Result<Vec<HoldRow>, Fault> {
        let select = format!("{SELECT} WHERE NOT is_charged AND until_ms < $1 LIMIT $2");
        Ok(self.transaction.query(&select, &[&before_ms, &OVERDUE_MAX])?.iter().map(read_hold).collect())
    }

    fn forget(&mut self, due_ms: i64, began_ms: i64) -> Result<(), Fault> {
        let holds = "DELETE FROM routewright_holds WHERE is_charged AND until_ms < $1";
        self.transaction.execute(holds, &[&due_ms])?;
        self.transaction.execute("DELETE FROM routewright_budgets WHERE starts_ms < $1", &[&began_ms])?;
        Ok(())
    }
}
