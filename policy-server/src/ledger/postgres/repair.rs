//! Rows as they are stored, and rows set aside.

use crate::ledger::postgres::{Client, Fault, LOCK, RawRow, Row, Table, sequence};

/// Rows of a table after a sequence number.
pub(super) fn rows(client: &mut Client, table: Table, after: u64, max: usize) -> Result<Vec<RawRow>, Fault> {
    let select = match table {
        Table::Decisions => {
            "SELECT seq, decision_id, body, '' FROM routewright_decisions WHERE seq > $1 ORDER BY seq LIMIT $2"
        }
        Table::Feedback => {
            "SELECT seq, outcome_id, body, decision_id FROM routewright_feedback
             WHERE seq > $1 ORDER BY seq LIMIT $2"
        }
        Table::Changes => {
            "SELECT seq, change_id, body, '' FROM routewright_changes WHERE seq > $1 ORDER BY seq LIMIT $2"
        }
    };
    let bound = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let read = |row: &Row| RawRow {
        table,
        seq: sequence(row),
        id: row.get(1),
        body: Ok(row.get(2)),
        decision_id: row.get(3),
    };
    Ok(client.query(select, &[&bound(after), &bound(max as u64)])?.iter().map(read).collect())
}

/// Moves rows to table `routewright_unreadable`.
pub(super) fn set_aside(client: &mut Client, damaged: &[(RawRow, String)]) -> Result<u64, Fault> {
    let mut transaction = client.transaction()?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
    let mut moved = 0;
    for (row, reason) in damaged {
        let (kind, seq) = (row.table.name(), i64::try_from(row.seq).unwrap_or(i64::MAX));
        let copy = format!(
            "INSERT INTO routewright_unreadable (seq, kind, id, reason, body)
             SELECT seq, $2, $3, $4, body FROM routewright_{kind} WHERE seq = $1 ON CONFLICT DO NOTHING"
        );
        // A reason may quote what the database cannot hold.
        let reason = reason.replace('\u{0}', "\\u{0}");
        moved += transaction.execute(&copy, &[&seq, &kind, &row.id, &reason])?;
        transaction.execute(&format!("DELETE FROM routewright_{kind} WHERE seq = $1"), &[&seq])?;
    }
    transaction.commit()?;
    Ok(moved)
}
