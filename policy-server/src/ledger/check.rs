//! Looks through a whole store for what cannot be trusted, and sets it aside.
//!
//! Consumers pass such records over one by one; here an operator learns of all of them, and may have them moved to a
//! table of their own, where they stay as they were. A server may run meanwhile.

use crate::ledger::codec;
use crate::ledger::codec::Record;
use crate::ledger::{
    ChangeRecord, DecisionRecord, FeedbackRecord, Fold, Row, Statistics, Store, StoreError, Table,
};
use std::collections::BTreeSet;

/// Rows read at a time.
const PAGE: usize = 512;

/// A row that consumers pass over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The row.
    pub row: Row,
    /// What is wrong with it.
    pub reason: String,
}

/// What a store is like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Decisions looked at.
    pub decisions: u64,
    /// Reports looked at.
    pub feedback: u64,
    /// Changes of arms looked at.
    pub changes: u64,
    /// Rows that consumers pass over, in the order of their tables.
    pub faults: Vec<Fault>,
    /// What else is wrong, in words: complaints of the database, a counter that is behind, a state that is none.
    pub complaints: Vec<String>,
}

impl Health {
    /// Whether nothing was found.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.complaints.is_empty()
    }

    fn count(&mut self, table: Table) {
        match table {
            Table::Decisions => self.decisions += 1,
            Table::Feedback => self.feedback += 1,
            Table::Changes => self.changes += 1,
        }
    }
}

/// Reads every record of a store.
///
/// # Errors
/// If the store cannot be read; a record that cannot be read is a finding.
pub fn check(store: &mut dyn Store) -> Result<Health, StoreError> {
    let mut health = Health { complaints: store.integrity()?, ..Health::default() };
    let last = store.last()?;
    // Ids of the decisions that consumers pass over: their feedback is passed over with them.
    let mut lost = BTreeSet::new();
    for table in Table::ALL {
        let mut after = 0;
        loop {
            let page = store.rows(table, after, PAGE)?;
            let Some(end) = page.last() else { break };
            after = end.seq;
            for row in page {
                health.count(table);
                if row.seq > last {
                    let (kind, seq) = (table.name(), row.seq);
                    health
                        .complaints
                        .push(format!("{kind} has event {seq}, the sequence counter is at {last}"));
                }
                let Err(reason) = readable(&row, &lost) else { continue };
                if table == Table::Decisions {
                    lost.insert(row.id.clone());
                }
                health.faults.push(Fault { row, reason });
            }
        }
    }
    if let Err(error) = Fold::new(super::statistics::CHECKPOINT, Statistics::default()).resume(store) {
        health.complaints.push(error.to_string());
    }
    Ok(health)
}

/// Whether a consumer can make sense of a row.
fn readable(row: &Row, lost: &BTreeSet<String>) -> Result<(), String> {
    let text = row.body.as_ref().map_err(String::clone)?;
    let told_apart = |found: &str| match row.id == found {
        true => Ok(()),
        false => Err(format!("its row has id `{}`, its record `{found}`", row.id)),
    };
    match row.table {
        Table::Decisions => told_apart(&decoded::<DecisionRecord>(text)?.decision_id),
        Table::Feedback if lost.contains(&row.decision_id) => {
            Err(format!("its decision `{}` cannot be read", row.decision_id))
        }
        Table::Feedback => {
            let found = decoded::<FeedbackRecord>(text)?.decision_id;
            match row.decision_id == found {
                true => Ok(()),
                false => {
                    Err(format!("its row belongs to decision `{}`, its record to `{found}`", row.decision_id))
                }
            }
        }
        Table::Changes => told_apart(&decoded::<ChangeRecord>(text)?.change_id),
    }
}

fn decoded<T: Record>(text: &str) -> Result<T, String> {
    codec::decode(text)
}

/// Moves every faulty row of [`check`] to the table `unreadable` of the store; returns how many.
///
/// # Errors
/// If the store refuses; then nothing was moved.
pub fn repair(store: &mut dyn Store, health: &Health) -> Result<u64, StoreError> {
    let damaged: Vec<(Row, String)> =
        health.faults.iter().map(|fault| (fault.row.clone(), fault.reason.clone())).collect();
    if damaged.is_empty() { Ok(0) } else { store.set_aside(&damaged) }
}
