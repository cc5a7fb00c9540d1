//! The slot: its entries, and which change of state is allowed.
//!
//! ```text
//! (new) -> candidate -> shadow -> canary(p) -> active -> retired
//! ```
//! A version may take any shorter way forward, and back to candidate; it is retired from every state but active.
//! The active one is replaced, never taken away: a slot that has served does not stop to.

use crate::registry::Verb;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Format of `registry.json`.
const FORMAT: u32 = 1;
/// Hex digits of a digest.
const DIGEST_DIGITS: usize = 64;
/// Fewest digits that name a version.
const VERSION_DIGITS: usize = 12;

/// What a version does in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is known, and does nothing.
    Candidate,
    /// It decides every request beside the version that is served, and nobody acts upon it.
    Shadow,
    /// It decides a share of the requests.
    Canary,
    /// It decides.
    Active,
    /// It did its time, or failed.
    Retired,
}

impl State {
    /// Its name in the registry, on the command line and in replies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Shadow => "shadow",
            Self::Canary => "canary",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A state to be reached; a canary comes with its share of the requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// See [`State::Candidate`].
    Candidate,
    /// See [`State::Shadow`].
    Shadow,
    /// See [`State::Canary`]; the share is within (0, 1).
    Canary(f64),
    /// See [`State::Active`].
    Active,
    /// See [`State::Retired`].
    Retired,
}

impl Target {
    fn state(self) -> State {
        match self {
            Self::Candidate => State::Candidate,
            Self::Shadow => State::Shadow,
            Self::Canary(_) => State::Canary,
            Self::Active => State::Active,
            Self::Retired => State::Retired,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Canary(share) => write!(f, "canary:{share}"),
            other => other.state().fmt(f),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = |share: &str| share.parse().ok().filter(|p| *p > 0.0 && *p < 1.0).map(Self::Canary);
        let found = match text {
            "candidate" => Some(Self::Candidate),
            "shadow" => Some(Self::Shadow),
            "active" => Some(Self::Active),
            "retired" => Some(Self::Retired),
            other => other.strip_prefix("canary:").and_then(share),
        };
        let expected = "`candidate`, `shadow`, `canary:P` with P between 0 and 1, `active` or `retired`";
        found.ok_or_else(|| format!("state is `{text}`, expected {expected}"))
    }
}

/// A version in a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Digest of its manifest.
    pub digest: String,
    /// Folder of its artifact, relative to the registry.
    pub path: PathBuf,
    /// What it does.
    pub state: State,
    /// Share of the requests, of a canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Since when, ms since 1970-01-01 UTC.
    pub since_ms: i64,
    /// Why.
    pub reason: String,
    /// When it ceased to be the active one, where it has been: where a rollback leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deposed_ms: Option<i64>,
}

impl Entry {
    /// First digits of the digest, as in replies.
    pub fn version(&self) -> &str {
        self.digest.get(..VERSION_DIGITS).unwrap_or(&self.digest)
    }

    fn enter(&mut self, to: Target, reason: &str, now_ms: i64) {
        if self.state == State::Active {
            self.deposed_ms = Some(now_ms);
        }
        self.state = to.state();
        self.share = if let Target::Canary(share) = to { Some(share) } else { None };
        (self.since_ms, self.reason) = (now_ms, reason.to_owned());
    }
}

/// What stands in a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// Format of the file.
    pub format: u32,
    /// Number of changes so far.
    pub revision: u64,
    /// Versions in the order they came.
    pub entries: Vec<Entry>,
}

impl Default for Slot {
    fn default() -> Self {
        Self { format: FORMAT, revision: 0, entries: Vec::new() }
    }
}

impl Slot {
    /// Reads the bytes of `registry.json`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let slot: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        slot.check()?;
        Ok(slot)
    }

    /// What no type can hold.
    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("`format` is `{}`, expected `{FORMAT}`", self.format));
        }
        for state in [State::Active, State::Canary] {
            let n = self.entries.iter().filter(|entry| entry.state == state).count();
            if n > 1 {
                return Err(format!("{n} entries are {state}, expected at most one"));
            }
        }
        for (at, entry) in self.entries.iter().enumerate() {
            let digest = &entry.digest;
            if digest.len() != DIGEST_DIGITS || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(format!(
                    "`digest` of entry {at} is `{digest}`, expected {DIGEST_DIGITS} hex digits"
                ));
            }
            if self.entries[..at].iter().any(|other| other.digest == *digest) {
                return Err(format!("digest `{digest}` stands in it twice"));
            }
            let fits = match entry.share {
                Some(share) => entry.state == State::Canary && share > 0.0 && share < 1.0,
                None => entry.state != State::Canary,
            };
            if !fits {
                let (state, share) = (entry.state, entry.share);
                return Err(format!(
                    "`share` of entry {at}, a {state}, is `{share:?}`, expected a number between 0 and 1 for a \
                     canary and none else"
                ));
            }
        }
        Ok(())
    }

    /// The entry that decides.
    pub fn active(&self) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.state == State::Active)
    }

    /// The entry that decides a share.
    pub fn canary(&self) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.state == State::Canary)
    }

    /// The entry of a version, named by at least 12 digits of its digest.
    ///
    /// # Errors
    /// If there is none, with those there are.
    pub fn find(&self, version: &str) -> Result<&Entry, String> {
        let named = |entry: &&Entry| version.len() >= VERSION_DIGITS && entry.digest.starts_with(version);
        self.entries.iter().find(named).ok_or_else(|| {
            let known: Vec<String> =
                self.entries.iter().map(|entry| format!("`{}` ({})", entry.version(), entry.state)).collect();
            let known = if known.is_empty() { "it holds none".to_owned() } else { known.join(", ") };
            format!("version `{version}` is not in the registry, expected the digest of one: {known}")
        })
    }

    /// The version a rollback turns against, and the one it leads back to, if another.
    pub fn rollback(&self) -> Result<(&Entry, Option<&Entry>), String> {
        if let Some(canary) = self.canary() {
            return Ok((canary, None));
        }
        let active =
            self.active().ok_or("the slot has no active policy, so there is nothing to roll back")?;
        let deposed = self.entries.iter().filter(|entry| entry.state != State::Active);
        let former = deposed.filter(|entry| entry.deposed_ms.is_some()).max_by_key(|entry| entry.deposed_ms);
        let former = former.ok_or("no version was active before this one, so there is none to go back to")?;
        Ok((active, Some(former)))
    }

    /// Makes a change.
    ///
    /// # Errors
    /// If it is not allowed, in words; then the slot is as it was.
    pub(super) fn change(&mut self, verb: &Verb, reason: &str, now_ms: i64) -> Result<(), String> {
        match verb {
            Verb::Promote { digest, path, to } => self.promote(digest, path.as_deref(), *to, reason, now_ms),
            Verb::Rollback => {
                let (fallen, former) = self.rollback()?;
                let (fallen, former) = (fallen.digest.clone(), former.map(|entry| entry.digest.clone()));
                self.entry_mut(&fallen)?.enter(Target::Retired, reason, now_ms);
                if let Some(former) = former {
                    // A later rollback must lead further back, not to what was just rolled back.
                    self.entry_mut(&fallen)?.deposed_ms = None;
                    self.entry_mut(&former)?.enter(Target::Active, reason, now_ms);
                }
                self.check()
            }
        }
    }

    fn promote(
        &mut self,
        digest: &str,
        path: Option<&Path>,
        to: Target,
        reason: &str,
        now_ms: i64,
    ) -> Result<(), String> {
        let from = match (self.find(digest), path) {
            (Ok(entry), _) => Some((entry.state, entry.share)),
            (Err(_), Some(_)) => None,
            (Err(error), None) => return Err(error),
        };
        self.allow(from, to, digest)?;
        if from.is_none() {
            let state = State::Candidate;
            let (path, digest) = (path.unwrap_or(Path::new("")).to_owned(), digest.to_owned());
            let reason = reason.to_owned();
            self.entries.push(Entry {
                digest,
                path,
                state,
                share: None,
                since_ms: now_ms,
                reason,
                deposed_ms: None,
            });
        } else if let Some(path) = path {
            self.entry_mut(digest)?.path = path.to_owned();
        }
        if to == Target::Active
            && let Some(active) = self.entries.iter_mut().find(|entry| entry.state == State::Active)
        {
            let by = digest.get(..VERSION_DIGITS).unwrap_or(digest);
            active.enter(Target::Retired, &format!("replaced by {by}"), now_ms);
        }
        self.entry_mut(digest)?.enter(to, reason, now_ms);
        self.check()
    }

    fn allow(&self, from: Option<(State, Option<f64>)>, to: Target, digest: &str) -> Result<(), String> {
        let version = digest.get(..VERSION_DIGITS).unwrap_or(digest);
        let share = if let Target::Canary(share) = to { Some(share) } else { None };
        match (from, to) {
            (Some((state, old)), _) if state == to.state() && old == share => {
                Err(format!("`{version}` is {to} already"))
            }
            (Some((State::Active, _)), _) => Err(format!(
                "`{version}` is active, and a slot is never left without: promote another one to active, or roll back"
            )),
            (Some((State::Retired, _)), Target::Shadow | Target::Canary(_) | Target::Active) => {
                Err(format!("`{version}` is retired; promote it to candidate first"))
            }
            (None, Target::Retired) => Err(format!("`{version}` is not in the registry")),
            (_, Target::Canary(_)) if self.active().is_none() => {
                Err("the slot has no active policy that a canary could be compared with".to_owned())
            }
            (_, Target::Canary(_)) => match self.canary().filter(|canary| canary.version() != version) {
                Some(other) => {
                    Err(format!("`{}` is canary already, and there is one at a time", other.version()))
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn entry_mut(&mut self, digest: &str) -> Result<&mut Entry, String> {
        let at = self.entries.iter().position(|entry| entry.digest.starts_with(digest));
        at.map(|at| &mut self.entries[at]).ok_or_else(|| format!("no version `{digest}`"))
    }
}
