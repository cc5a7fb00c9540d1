//! `routewright store check|repair`: whether a store holds only records that can be read, and setting the others aside.

use super::output;
use anyhow::bail;
use clap::{Args, Subcommand};
use routewright_policy_server::ServerConfig;
use routewright_policy_server::ledger::{self, Health, SqliteStore, Store, check, repair};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `store`.
#[derive(Debug, Args)]
pub(crate) struct StoreCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read every record; exit 1 if one cannot be read. The server may run meanwhile.
    Check(Place),
    /// Move every record that cannot be read to a table of its own, `unreadable`; stop the server first.
    Repair(Place),
}

/// Which store.
#[derive(Debug, Args)]
struct Place {
    /// Store of a server in one file, its `store.path`.
    #[arg(long, value_name = "FILE", required_unless_present = "config", conflicts_with = "config")]
    store: Option<PathBuf>,
    /// Configuration of the server, which names the file or the database.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    fn open(&self) -> anyhow::Result<Box<dyn Store>> {
        if let Some(file) = &self.store {
            return Ok(Box::new(SqliteStore::open_existing(file)?));
        }
        let config = self.config.as_deref().map(ServerConfig::load).transpose()?;
        match config.and_then(|config| config.store) {
            Some(config) => Ok(ledger::open(&config)?),
            None => bail!("the configuration has no section [store]; expected one, or `--store FILE`"),
        }
    }
}

impl StoreCommand {
    /// Looks, and repairs where that is asked for.
    ///
    /// # Errors
    /// If the store cannot be opened, read or written.
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Check(place) => {
                let health = check(&mut *place.open()?)?;
                report(&health, None, json)?;
                Ok(if health.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(1) })
            }
            Action::Repair(place) => {
                let mut store = place.open()?;
                let health = check(&mut *store)?;
                let moved = repair(&mut *store, &health)?;
                report(&health, Some(moved), json)?;
                // What else is wrong was not mended.
                Ok(if health.complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
            }
        }
    }
}

fn report(health: &Health, moved: Option<u64>, json: bool) -> anyhow::Result<()> {
    if json {
        let fault = |fault: &ledger::Fault| {
            let (row, reason) = (&fault.row, &fault.reason);
            serde_json::json!({ "table": row.table.name(), "event": row.seq, "id": row.id, "reason": reason })
        };
        let faults: Vec<_> = health.faults.iter().map(fault).collect();
        let Health { decisions, feedback, changes, complaints, .. } = health;
        return output::say_json(&serde_json::json!({
            "ok": health.is_sound(), "decisions": decisions, "feedback": feedback, "changes": changes,
            "unreadable": faults, "complaints": complaints, "moved": moved,
        }));
    }
    for fault in &health.faults {
        let (row, reason) = (&fault.row, &fault.reason);
        output::say(&format!(
            "{} event {}, `{}`: {reason}",
            row.table.name(),
            row.seq,
            row.id.escape_debug()
        ));
    }
    for complaint in &health.complaints {
        output::say(complaint);
    }
    let Health { decisions, feedback, changes, faults, .. } = health;
    output::say(&format!("read {decisions} decisions, {feedback} reports and {changes} changes of arms"));
    match (faults.len(), moved) {
        (0, _) => output::say("every record can be read"),
        (n, None) => output::say(&format!("{n} cannot be read; `routewright store repair` sets them aside")),
        (_, Some(moved)) => output::say(&format!("moved {moved} to the table `unreadable`")),
    }
    Ok(())
}
