//! Assignment: which version decides a request, the active one or by chance the canary.
//!
//! The chance is a number in [0, 1) hashed from the canary's digest and the session, or from the seed of the request
//! where it has none: a session stays on one side, and one that is with the canary stays so when the share grows.
//!
//! The recorded propensity is that of the version that decided, not of the mixture of both. It is right whatever the
//! session did before: given who decides, the arm is a draw from that version's distribution, so weighing by it is
//! unbiased. The mixture would be so only if the query did not depend on the side, which the later queries of a
//! session do; and it would cost a second prediction for every request.

use crate::error::ApiError;
use crate::ledger::TrialRecord;
use crate::live::query::Query;
use crate::live::shadow::Shadow;
use crate::live::slot::Canary;
use crate::live::{Live, Served};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The version that decides a request, and who looks on.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) served: Arc<Served>,
    /// The trial this decision is part of.
    pub(crate) trial: Option<TrialRecord>,
    pub(crate) shadows: Vec<Shadow>,
    /// Decisions of the canary, where it is the one that decides.
    pub(crate) canary_decisions: Option<Arc<AtomicU64>>,
    /// `active` or `canary`, where a registry says so.
    pub(crate) state: Option<&'static str>,
}

impl Assignment {
    /// The assignment of a request; one that cannot be read (`None`) goes to the active version.
    ///
    /// # Errors
    /// If there is no policy of that name or version.
    pub(crate) fn of(live: &Live, wanted: Option<&str>, query: Option<&Query>) -> Result<Self, ApiError> {
        if let Some(canary) = wanted.and_then(|wanted| pinned(live, wanted)) {
            return Ok(Self::of_canary(canary, None, Vec::new()));
        }
        let served = Arc::clone(live.find(wanted)?);
        let Some(challengers) = live.challengers.get(&served.name) else {
            return Ok(Self {
                served,
                trial: None,
                shadows: Vec::new(),
                canary_decisions: None,
                state: None,
            });
        };
        let shadows = challengers.shadows.clone();
        // Where the caller picks the version, nothing is left to chance.
        let drawn = query.filter(|_| !wanted.is_some_and(|wanted| wanted.contains('@')));
        let (trial, canary) = match drawn.zip(challengers.canary.as_ref()) {
            Some((query, canary)) => {
                let is_canary = chance(&canary.trial.canary, query) < canary.trial.share;
                (Some(canary.trial.clone()), Some(canary).filter(|_| is_canary))
            }
            None => (None, None),
        };
        Ok(match canary {
            Some(canary) => Self::of_canary(canary, trial, shadows),
            None => Self { served, trial, shadows, canary_decisions: None, state: Some("active") },
        })
    }

    fn of_canary(canary: &Canary, trial: Option<TrialRecord>, shadows: Vec<Shadow>) -> Self {
        let canary_decisions = Some(Arc::clone(&canary.decisions));
        let served = Arc::clone(&canary.served);
        Self { served, trial, shadows, canary_decisions, state: Some("canary") }
    }
}

/// The canary, where `name@version` names it.
fn pinned<'a>(live: &'a Live, wanted: &str) -> Option<&'a Canary> {
    let (name, version) = wanted.split_once('@')?;
    let canary = live.challengers.get(name)?.canary.as_ref()?;
    let is_it = version.len() >= canary.served.version.len() && canary.trial.canary.starts_with(version);
    is_it.then_some(canary)
}

/// A number in [0, 1).
fn chance(canary: &str, query: &Query) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(canary.as_bytes());
    match &query.session_id {
        Some(session) => hasher.update(b"session").update(session.as_bytes()),
        None => hasher.update(b"seed").update(&query.seed.to_le_bytes()),
    };
    let hash = hasher.finalize();
    let bits = hash.as_bytes().iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::query;

    #[test]
    fn the_share_is_kept_and_a_session_stays_when_it_grows() {
        let by_seed = |seed| {
            let mut query = Arc::into_inner(query("x")).unwrap();
            query.seed = seed;
            chance("digest", &query)
        };
        let n = (0..10_000).filter(|seed| by_seed(*seed) < 0.2).count();
        assert!((1850..2150).contains(&n), "{n}");
        let mut query = Arc::into_inner(query("x")).unwrap();
        query.session_id = Some("s".to_owned());
        let first = chance("digest", &query);
        query.seed = 7;
        assert!(
            (chance("digest", &query) - first).abs() < f64::EPSILON,
            "the seed does not matter in a session"
        );
        assert!((chance("other", &query) - first).abs() > f64::EPSILON);
    }
}
