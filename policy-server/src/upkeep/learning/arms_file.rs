//! The arms a configuration declares: a TOML file that is followed while the server runs.
//!
//! ```toml
//! [arms."small"]
//! cost_usd = 0.0004
//! ```
//!
//! What it says is appended to the log as one change, once for each content: a server that starts again with the
//! file it had says nothing, so that a later change by the admin listener stands.

use crate::clock::now_ms;
use crate::fingerprint::Fingerprint;
use crate::ledger::{ArmChange, ChangeRecord};
use crate::live::arm_table::{ArmTable, FILE};
use routewright_data::files;
use routewright_policy::online::Learner;
use routewright_policy::{Arm, Policy};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A list of arms is a page.
const BYTES_MAX: u64 = 1 << 20;
/// Arms in one change, as on the admin listener: a learner may keep a matrix for each.
const ARMS_MAX: usize = 256;
/// Hex digits of the digest of a file.
const DIGITS: usize = 16;

/// The file, and what the last look saw.
#[derive(Debug)]
pub(super) struct ArmsFile {
    path: PathBuf,
    seen: Option<Fingerprint>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    arms: BTreeMap<String, ArmChange>,
}

impl ArmsFile {
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: None }
    }

    /// The change that the file asks for, if it has changed and was not applied before.
    ///
    /// # Errors
    /// If it cannot be read or a value is not accepted; it is looked at again when it changes.
    pub(super) fn news(
        &mut self,
        policy: &str,
        table: &ArmTable,
        learner: Box<dyn Learner>,
        range: [f64; 2],
    ) -> Result<Option<ChangeRecord>, String> {
        let now = Fingerprint::of(&self.path);
        if now.is_some() && now == self.seen {
            return Ok(None);
        }
        let first = self.seen.is_none();
        self.seen = now;
        if now.is_none() && !first {
            return Ok(None);
        }
        let bytes = files::read_up_to(&self.path, BYTES_MAX).map_err(|error| crate::log::chain(&error))?;
        let digest: String = blake3::hash(&bytes).to_hex().chars().take(DIGITS).collect();
        if table.file.as_ref() == Some(&digest) {
            return Ok(None);
        }
        change(&self.path, bytes, digest, (policy, table), learner, range).map(Some)
    }
}

/// The change that a file with these bytes asks for.
fn change(
    path: &Path,
    bytes: Vec<u8>,
    digest: String,
    (policy, table): (&str, &ArmTable),
    learner: Box<dyn Learner>,
    range: [f64; 2],
) -> Result<ChangeRecord, String> {
    let shown = path.display();
    let text = String::from_utf8(bytes).map_err(|error| format!("cannot read `{shown}`: {error}"))?;
    let content: Content =
        toml::from_str(&text).map_err(|error| format!("cannot read `{shown}`: {error}"))?;
    if content.arms.len() > ARMS_MAX {
        let n = content.arms.len();
        return Err(format!("`{shown}` names {n} arms, expected at most {ARMS_MAX}"));
    }
    table.check(&content.arms, learner, range, false).map_err(|why| format!("`{shown}`: {why}"))?;
    Ok(ChangeRecord {
        change_id: crate::ids::change(),
        policy: policy.to_owned(),
        at_ms: now_ms(),
        who: format!("{FILE}{digest}"),
        arms: content.arms,
    })
}

/// Reads the arms file at `path` and applies it to a copy of a policy that learns, as a server does; returns the arms
/// there are then. `range` is that of the metric.
///
/// # Errors
/// If the policy does not learn, the file cannot be read, or a value is not accepted; in words.
pub fn check_arms_file(path: &Path, policy: &Policy, range: [f64; 2]) -> Result<Vec<Arm>, String> {
    let learner = || {
        let router = policy.router().map_err(|error| error.to_string())?;
        router.predictor.learner().ok_or_else(|| "the policy does not learn while it serves".to_owned())
    };
    let bytes = files::read_up_to(path, BYTES_MAX).map_err(|error| crate::log::chain(&error))?;
    let mut table = ArmTable::new(&policy.arms);
    let change = change(path, bytes, String::new(), ("", &table), learner()?, range)?;
    match table.apply(&change, &mut *learner()?, &|value| value) {
        0 => Ok(table.arms),
        n => Err(format!("`{}`: {n} arms cannot be taken in", path.display())),
    }
}
