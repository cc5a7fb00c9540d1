//! Which version of a policy stands in for what: a registry of candidates, shadows, a canary, the active one.
//!
//! A *slot* is a served name. Versions (artifacts, known by the digest of their manifest) stand in it, each in one
//! [`State`]: one is active and decides, any number shadow it, at most one canary decides a share of the requests,
//! the others are candidates or retired. The registry is a folder with two files that the server and the command
//! line share:
//!
//! ```text
//! registry.json   the slot as it is now, replaced whole
//! audit.jsonl     every change and every refusal, appended and synced before the change is made
//! ```
//!
//! [`Registry::apply`] is the only door: under a file lock it reads the slot, asks [`gate`] and the rules of
//! [`Slot`], writes the audit line, then the slot. So no change goes unaudited; one that the audit tells and the
//! disk then refused is followed by a line that says so.
//!
//! Of the server, `live::slot` loads the versions of a slot, `live::assignment` says which one decides a request,
//! `live::shadow` lets shadows decide, and `upkeep::canary` rolls a falling canary back.

mod audit;
mod gate;
mod rules;
pub(crate) mod sequence;
#[cfg(test)]
mod tests;

pub use audit::{AuditLine, Outcome};
pub use gate::Grounds;
pub use rules::{Entry, Slot, State, Target};
pub use sequence::Sequence;

use crate::clock::now_ms;
use routewright_data::files::{self, FileError};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The slot as it is.
pub(crate) const REGISTRY_FILE: &str = "registry.json";
const AUDIT_FILE: &str = "audit.jsonl";
const LOCK_FILE: &str = ".lock";
/// A registry is a page for each version.
const REGISTRY_BYTES_MAX: u64 = 16 << 20;

/// Why a registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// `registry.json` is not one.
    #[error("cannot read registry `{path}`: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The change is not allowed; the refusal is in the audit.
    #[error("refused: {0}")]
    Refused(String),
    /// A file of the registry could not be locked, appended to or synced.
    #[error("cannot {action} `{path}`: {source}")]
    Access {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What is asked of a registry.
#[derive(Debug, Clone, PartialEq)]
pub enum Verb {
    /// Gives a version another state.
    Promote {
        /// Digest of the version.
        digest: String,
        /// Where its artifact is, where it may be new to the registry.
        path: Option<PathBuf>,
        /// The state it shall have.
        to: Target,
    },
    /// Retires the canary where there is one, else brings the former active version back.
    Rollback,
}

/// A change somebody asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Who asks.
    pub who: String,
    /// For what.
    pub verb: Verb,
    /// Why, in words.
    pub reason: String,
    /// What it rests on.
    pub grounds: Grounds,
    /// Revision of the slot that the evidence was judged by; the change is refused where it has moved on.
    pub revision: Option<u64>,
}

/// A registry in its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    dir: PathBuf,
}

/// Begins the names of files that are being written.
const LEFT_BEHIND: &str = ".routewright-";
/// Age at which such a file is one that a process left behind.
const LEFT_AFTER: Duration = Duration::from_secs(3600);

impl Registry {
    /// The registry in a folder, which need not exist yet.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file that holds the slot.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.join(REGISTRY_FILE)
    }

    /// The slot as it is; an empty one where there is no file.
    ///
    /// # Errors
    /// If the file cannot be read or is not a registry.
    pub fn read(&self) -> Result<Slot, RegistryError> {
        let path = self.file();
        if !path.exists() {
            return Ok(Slot::default());
        }
        let bytes = files::read_up_to(&path, REGISTRY_BYTES_MAX)?;
        Slot::parse(&bytes)
            .map_err(|reason| RegistryError::Damaged { path: path.display().to_string(), reason })
    }

    /// Where the artifact of an entry is: relative paths are relative to the registry.
    pub fn artifact(&self, entry: &Entry) -> PathBuf {
        self.dir.join(&entry.path)
    }

    /// Makes a change, or refuses it; either way the audit has a line of it.
    ///
    /// # Errors
    /// If it is refused, or a file cannot be read or written.
    pub fn apply(&self, ask: &Ask) -> Result<Slot, RegistryError> {
        let _lock = self.lock()?;
        let before = self.read()?;
        // A rollback must not wait for an audit to be mended.
        let _best_effort = self.tidy(&before);
        let mut after = before.clone();
        let checked = gate::check(ask, &before).and_then(|()| after.change(&ask.verb, &ask.reason, now_ms()));
        if let Err(why) = checked {
            self.audit(&AuditLine::of(ask, &before, Outcome::Refused, &why))?;
            return Err(RegistryError::Refused(why));
        }
        after.revision = before.revision + 1;
        self.audit(&AuditLine::of(ask, &before, Outcome::Done, ""))?;
        // Plain structs of texts and numbers: writing them cannot fail.
        let text = serde_json::to_string_pretty(&after).unwrap_or_default() + "\n";
        if let Err(error) = files::write_file(&self.file(), text.as_bytes()) {
            self.audit(&AuditLine::of(ask, &before, Outcome::Failed, &error.to_string()))?;
            return Err(error.into());
        }
        Ok(after)
    }

    /// Notes in the audit what a process that ended in the middle of a change did not finish, and removes the file it
    /// left.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub(crate) fn reconcile(&self) -> Result<(), RegistryError> {
        if !self.file().exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        self.tidy(&self.read()?)
    }

    /// As [`Registry::reconcile`]; the caller holds the lock.
    fn tidy(&self, slot: &Slot) -> Result<(), RegistryError> {
        if let Some(line) = audit::unmade(&self.history()?, slot) {
            self.audit(&line)?;
        }
        for path in files::list_dir(&self.dir)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let age = || path.metadata().ok()?.modified().ok()?.elapsed().ok();
            // What is young may be being written by a process that holds no lock here.
            if name.starts_with(LEFT_BEHIND) && path.is_file() && age().is_some_and(|age| age > LEFT_AFTER) {
                files::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Notes that a change was refused before it came here, for want of evidence.
    ///
    /// # Errors
    /// If the audit cannot be written.
    pub fn refuse(&self, ask: &Ask, why: &str) -> Result<(), RegistryError> {
        let _lock = self.lock()?;
        self.audit(&AuditLine::of(ask, &self.read()?, Outcome::Refused, why))
    }

    /// Every change and refusal, the oldest first. A last line that was cut off by a crash is left out.
    ///
    /// # Errors
    /// If the audit cannot be read or holds a line that is none of ours.
    pub fn history(&self) -> Result<Vec<AuditLine>, RegistryError> {
        audit::read(&self.dir.join(AUDIT_FILE))
    }

    fn audit(&self, line: &AuditLine) -> Result<(), RegistryError> {
        audit::append(&self.dir.join(AUDIT_FILE), line)
    }

    /// Held by one change at a time, among all processes.
    fn lock(&self) -> Result<File, RegistryError> {
        let path = self.dir.join(LOCK_FILE);
        let fail =
            |source| RegistryError::Access { action: "lock", path: path.display().to_string(), source };
        std::fs::create_dir_all(&self.dir).map_err(fail)?;
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&path).map_err(fail)?;
        file.lock().map_err(fail)?;
        Ok(file)
    }
}

/// Evidence of an ask, as the audit keeps it.
pub(crate) fn evidence(grounds: &Grounds) -> Value {
    match grounds {
        Grounds::Evidence(value) | Grounds::Forced(Some(value)) => value.clone(),
        Grounds::Nothing | Grounds::Forced(None) => Value::Null,
    }
}
