//! How many files and connections the process may have open.
//!
//! A server whose connections use up all descriptors can neither read a new artifact nor answer its operator, so some
//! are kept back for files and for the admin listener.

use crate::settings::Limits;

/// Descriptors kept back for artifacts, the store and what else is opened.
const RESERVE: usize = 128;
/// Most connections of the admin listener.
const ADMIN_MAX: usize = 64;

/// Most connections of each listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) data: usize,
    pub(crate) admin: usize,
}

impl Shares {
    /// What the limits ask for, within what the system allows.
    pub(crate) fn of(limits: &Limits) -> Self {
        raised().map_or(Self::within(limits, usize::MAX), |allowed| Self::within(limits, allowed))
    }

    fn within(limits: &Limits, allowed: usize) -> Self {
        let kept = RESERVE.min(allowed / 2);
        let admin = ADMIN_MAX.min(allowed / 8).max(1);
        let data = allowed.saturating_sub(kept + admin).max(1);
        Self { data: limits.connections_max.min(data), admin: limits.connections_max.min(admin) }
    }
}

/// The number of descriptors the process may have, after it was raised as far as the system lets it.
#[cfg(unix)]
fn raised() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where it stays as it is, it is respected.
    let current = setrlimit(Resource::Nofile, raised).map_or(limit.current, |()| limit.maximum);
    current.map(|current| usize::try_from(current).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
fn raised() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_the_operator_keep_descriptors() {
        let limits = Limits::default();
        let shares = |allowed| Shares::within(&limits, allowed);
        assert_eq!(shares(usize::MAX), Shares { data: 1024, admin: 64 });
        assert_eq!(shares(1024), Shares { data: 1024 - 128 - 64, admin: 64 });
        assert_eq!(shares(64), Shares { data: 24, admin: 8 });
        for allowed in 0..2000 {
            let Shares { data, admin } = shares(allowed);
            assert!(
                data >= 1 && admin >= 1 && data + admin + RESERVE.min(allowed / 2) <= allowed.max(4),
                "{allowed}"
            );
        }
    }
}
