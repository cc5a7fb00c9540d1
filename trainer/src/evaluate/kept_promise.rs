//! The promise of a calibrated policy, and what it became on other queries.

use routewright_policy::artifact::{Promise, Saving, Verdict};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The promise of a policy and what it became on other queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptPromise {
    /// Name of the policy.
    pub policy: String,
    /// What it promises.
    pub promise: Promise,
    /// Split it was held to.
    pub split: String,
    /// The same figures there, against the same model; `None` where fewer than half of the queries show both.
    pub found: Option<Saving>,
    /// Whether the promise is kept; `None` as [`Self::found`].
    pub verdict: Option<Verdict>,
}

impl fmt::Display for KeptPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, promise, split, found, verdict } = self;
        write!(f, "promise of `{policy}` (asked to {}): {promise}", promise.goal)?;
        match (found, verdict) {
            (Some(found), Some(verdict)) => write!(f, "\n  on split `{split}` it {found}: {verdict}"),
            _ => write!(f, "\n  split `{split}` has too few outcomes of what it chooses and of that model"),
        }
    }
}
