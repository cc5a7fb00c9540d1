//! `audit.jsonl`: who changed what, when, from and to what, why and on which evidence. Appended, synced, never cut.

use crate::clock::now_ms;
use crate::registry::{Ask, Grounds, RegistryError, Slot, State, Target, Verb, evidence};
use routewright_data::files;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was made.
    Done,
    /// It was not allowed.
    Refused,
    /// It was allowed, told above as done, and the disk refused it.
    Failed,
}

/// One change, or an attempt at one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditLine {
    /// When, ms since 1970-01-01 UTC.
    pub at_ms: i64,
    /// Who asked.
    pub who: String,
    /// `promote` or `rollback`.
    pub action: String,
    /// Digest of the version it is about, where one was named or found.
    pub digest: Option<String>,
    /// Its state before; `None` where it was not in the registry.
    pub from: Option<State>,
    /// The state asked for.
    pub to: String,
    /// Digest of the version that became active by a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether it was forced.
    pub forced: bool,
    /// Why it was asked for.
    pub reason: String,
    /// Why it was refused or failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub refusal: String,
    /// What it rests on.
    pub evidence: Value,
    /// Revision of the slot before it.
    pub revision: u64,
}

impl AuditLine {
    pub(super) fn of(ask: &Ask, before: &Slot, outcome: Outcome, refusal: &str) -> Self {
        let (action, digest, to, restored) = match &ask.verb {
            Verb::Promote { digest, to, .. } => {
                let action = if *to == Target::Retired { "retire" } else { "promote" };
                (action, Some(digest.clone()), to.to_string(), None)
            }
            Verb::Rollback => {
                let found = before.rollback().ok();
                let fallen = found.map(|(fallen, _)| fallen.digest.clone());
                let former = found.and_then(|(_, former)| former).map(|entry| entry.digest.clone());
                ("rollback", fallen, State::Retired.to_string(), former)
            }
        };
        let from = digest.as_deref().and_then(|digest| before.find(digest).ok()).map(|entry| entry.state);
        Self {
            at_ms: now_ms(),
            who: ask.who.clone(),
            action: action.to_owned(),
            digest,
            from,
            to,
            restored,
            outcome,
            forced: matches!(ask.grounds, Grounds::Forced(_)),
            reason: ask.reason.clone(),
            refusal: refusal.to_owned(),
            evidence: evidence(&ask.grounds),
            revision: before.revision,
        }
    }
}

/// The line that takes back the last change noted as done; `None` where it was made.
///
/// The line is written before the change, so a process that ends in between leaves a line without its change.
pub(super) fn unmade(lines: &[AuditLine], slot: &Slot) -> Option<AuditLine> {
    let last = lines.iter().rev().find(|line| line.outcome != Outcome::Refused)?;
    // A change that is made raises the revision.
    (last.outcome == Outcome::Done && last.revision >= slot.revision).then(|| AuditLine {
        at_ms: now_ms(),
        outcome: Outcome::Failed,
        refusal: "the process ended before the registry was written".to_owned(),
        ..last.clone()
    })
}

fn fail(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RegistryError {
    let path = path.display().to_string();
    move |source| RegistryError::Access { action, path, source }
}

/// Appends a line; it is on disk when this returns.
pub(super) fn append(path: &Path, line: &AuditLine) -> Result<(), RegistryError> {
    let mut options = OpenOptions::new();
    let mut file = options.create(true).append(true).read(true).open(path).map_err(fail("open", path))?;
    let mut text = String::new();
    if !ends_with_break(&mut file).map_err(fail("read", path))? {
        // A crash cut the last line off: it stays as it is, on a line of its own.
        text.push('\n');
    }
    // Plain structs of texts and numbers: writing them cannot fail.
    text.push_str(&serde_json::to_string(line).unwrap_or_default());
    text.push('\n');
    file.write_all(text.as_bytes()).map_err(fail("append to", path))?;
    file.sync_all().map_err(fail("sync", path))
}

fn ends_with_break(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Reads every line. Lines that a crash cut off are left out: they were never acknowledged.
pub(super) fn read(path: &Path) -> Result<Vec<AuditLine>, RegistryError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = files::read_up_to(path, u64::MAX - 1)?;
    let mut lines = Vec::new();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(line) => lines.push(line),
            Err(error) if error.is_eof() => {}
            Err(error) => {
                let reason = format!("line {}: {error}", at + 1);
                return Err(RegistryError::Damaged { path: path.display().to_string(), reason });
            }
        }
    }
    Ok(lines)
}
