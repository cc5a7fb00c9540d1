//! Requests and tokens a minute of each key: the generic cell rate algorithm in whole numbers.
//!
//! GCRA in its form as a leaky bucket (ITU-T I.371, annex A): a cell holds what was taken and has not leaked yet, in
//! 60e9ths of a unit, so that `limit` of them leak in each nanosecond and nothing is rounded. A minute's worth may be
//! taken at once. Times are of the monotonic clock, which does not jump. Each server counts for itself.
//!
//! Tokens are charged by estimate before a call, and corrected once the model has counted them: what was taken too much
//! is given back, what was taken too little is waited for by the requests that follow.

use crate::caller::Allowance;
use crate::error::{ApiError, Code};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Parts of a unit, and nanoseconds in a minute.
const MINUTE: u128 = 60_000_000_000;
/// Keys whose cells are remembered; beyond them, those at rest are forgotten.
const KEYS_MAX: usize = 65_536;

/// What was taken and has not leaked yet.
#[derive(Debug, Clone, Copy)]
struct Cell {
    /// In 60e9ths.
    level: u128,
    at: Instant,
}

impl Cell {
    fn empty(now: Instant) -> Self {
        Self { level: 0, at: now }
    }

    /// Brings the cell to a time; one that lies behind it changes nothing.
    fn leak(&mut self, limit: u64, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_nanos();
        self.level = self.level.saturating_sub(elapsed.saturating_mul(u128::from(limit)));
        self.at = self.at.max(now);
    }

    /// Takes units, or says how long they have to wait.
    fn take(&mut self, units: u64, limit: u64, now: Instant) -> Result<(), Duration> {
        self.leak(limit, now);
        let after = self.level.saturating_add(u128::from(units) * MINUTE);
        let over = after.saturating_sub(u128::from(limit) * MINUTE);
        if over > 0 {
            return Err(nanoseconds(over.div_ceil(u128::from(limit.max(1)))));
        }
        self.level = after;
        Ok(())
    }

    /// Corrects what was charged by what was used.
    fn correct(&mut self, charged: u64, used: u64, limit: u64, now: Instant) {
        self.leak(limit, now);
        let level = self.level.saturating_add(u128::from(used) * MINUTE);
        self.level = level.saturating_sub(u128::from(charged) * MINUTE);
    }

    fn state(mut self, limit: u64, now: Instant) -> State {
        self.leak(limit, now);
        let free = (u128::from(limit) * MINUTE).saturating_sub(self.level) / MINUTE;
        let remaining = u64::try_from(free).unwrap_or(limit);
        State { limit, remaining, reset: nanoseconds(self.level.div_ceil(u128::from(limit.max(1)))) }
    }
}

fn nanoseconds(n: u128) -> Duration {
    Duration::from_nanos(u64::try_from(n).unwrap_or(u64::MAX))
}

/// How a limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// Units a minute.
    pub(crate) limit: u64,
    /// Units that may be taken at once.
    pub(crate) remaining: u64,
    /// Time until all of them may be.
    pub(crate) reset: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Cells {
    requests: Cell,
    tokens: Cell,
}

/// The cells of every key with a limit.
#[derive(Debug, Default)]
pub(crate) struct Quotas(Mutex<HashMap<Arc<str>, Cells>>);

impl Quotas {
    /// Counts a request.
    ///
    /// # Errors
    /// If its key has made as many as it may.
    pub(crate) fn admit(&self, key: &Allowance, now: Instant) -> Result<(), ApiError> {
        let Some(limit) = key.requests_per_minute else { return Ok(()) };
        let taken = self.with(key, now, |cells| cells.requests.take(1, limit, now));
        taken.map_err(|wait| limited(format!("more than {limit} requests a minute of this key"), wait))
    }

    /// Charges tokens.
    ///
    /// # Errors
    /// If they are more than its key may use now, or at all.
    pub(crate) fn charge(&self, key: &Allowance, tokens: u64, now: Instant) -> Result<(), ApiError> {
        let Some(limit) = key.tokens_per_minute else { return Ok(()) };
        if tokens > limit {
            let message = format!(
                "the request may take about {tokens} tokens, its answer included, expected at most {limit}: its key \
                 has no more in a minute"
            );
            return Err(ApiError::new(Code::InvalidRequest, message));
        }
        let taken = self.with(key, now, |cells| cells.tokens.take(tokens, limit, now));
        taken.map_err(|wait| {
            limited(format!("more than {limit} tokens a minute of this key (about {tokens} here)"), wait)
        })
    }

    /// Corrects what was charged by what was used.
    pub(crate) fn correct(&self, key: &Allowance, charged: u64, used: u64, now: Instant) {
        if let Some(limit) = key.tokens_per_minute {
            self.with(key, now, |cells| cells.tokens.correct(charged, used, limit, now));
        }
    }

    /// How the limits of a key stand: requests, and tokens.
    pub(crate) fn states(&self, key: &Allowance, now: Instant) -> [Option<State>; 2] {
        let (requests, tokens) = (key.requests_per_minute, key.tokens_per_minute);
        if requests.is_none() && tokens.is_none() {
            return [None, None];
        }
        let cells = self.with(key, now, |cells| *cells);
        [
            requests.map(|limit| cells.requests.state(limit, now)),
            tokens.map(|limit| cells.tokens.state(limit, now)),
        ]
    }

    fn with<T>(&self, key: &Allowance, now: Instant, take: impl FnOnce(&mut Cells) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEYS_MAX && !all.contains_key(&key.id) {
            // A cell is empty a minute after it was last taken from, unless it was corrected upwards.
            let is_used = |cell: &Cell| cell.at + Duration::from_secs(3600) > now;
            all.retain(|_, cells| is_used(&cells.requests) || is_used(&cells.tokens));
        }
        let empty = Cells { requests: Cell::empty(now), tokens: Cell::empty(now) };
        take(all.entry(Arc::clone(&key.id)).or_insert(empty))
    }
}

fn limited(what: String, wait: Duration) -> ApiError {
    let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
    let message = format!("{what}; try again in {seconds} s");
    ApiError { retry_after: Some(seconds), ..ApiError::new(Code::RateLimited, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(requests: Option<u64>, tokens: Option<u64>) -> Allowance {
        Allowance {
            id: "k".into(),
            requests_per_minute: requests,
            tokens_per_minute: tokens,
            ..Allowance::default()
        }
    }

    /// GCRA by virtual scheduling in rational numbers of 1/limit ns, as the recommendation writes it.
    #[derive(Default)]
    struct Reference {
        /// Theoretical arrival time in ns times limit.
        tat: u128,
    }

    impl Reference {
        fn take(&mut self, units: u64, limit: u64, now_ns: u64) -> Result<(), u128> {
            let now = u128::from(now_ns) * u128::from(limit);
            let after = self.tat.max(now) + u128::from(units) * MINUTE;
            let tolerance = u128::from(limit) * MINUTE;
            if after - now > tolerance {
                return Err((after - now - tolerance).div_ceil(u128::from(limit)));
            }
            self.tat = after;
            Ok(())
        }
    }

    #[test]
    fn both_forms_of_the_algorithm_agree_on_every_request() {
        let mut state = 11_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for limit in [1, 7, 60, 997, 1_000_000_007] {
            let start = Instant::now();
            let (mut cell, mut reference, mut now_ns) = (Cell::empty(start), Reference::default(), 0);
            let (mut passed, mut refused) = (0, 0);
            for _ in 0..5000 {
                now_ns += next(3 * 60_000_000_000 / limit.min(1000));
                let units = 1 + next((limit / 4).max(1));
                let taken = cell.take(units, limit, start + Duration::from_nanos(now_ns));
                let expected = reference.take(units, limit, now_ns);
                assert_eq!(taken.map_err(|wait| wait.as_nanos()), expected, "{limit} at {now_ns}");
                if taken.is_ok() { passed += 1 } else { refused += 1 }
            }
            assert!(passed > 50, "{limit}: {passed} passed, {refused} refused");
        }
    }

    #[test]
    fn a_key_has_a_minutes_worth_and_then_its_rate() {
        let (quotas, key, start) = (Quotas::default(), key(Some(6), None), Instant::now());
        assert!((0..6).all(|_| quotas.admit(&key, start).is_ok()));
        let refused = quotas.admit(&key, start).unwrap_err();
        assert_eq!((refused.code, refused.retry_after), (Code::RateLimited, Some(10)));
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(quotas.admit(&key, at(9)).is_err());
        assert!(quotas.admit(&key, at(10)).is_ok() && quotas.admit(&key, at(10)).is_err());
        // A request that was timed earlier and came later takes nothing twice.
        assert!(quotas.admit(&key, start).is_err());
        let [Some(state), None] = quotas.states(&key, at(25)) else { panic!("no state") };
        assert_eq!((state.limit, state.remaining, state.reset), (6, 1, Duration::from_secs(45)));
        let other = Allowance { id: "other".into(), ..key };
        assert!(quotas.admit(&other, at(10)).is_ok());
    }

    #[test]
    fn tokens_are_charged_by_estimate_and_corrected() {
        let (quotas, key, now) = (Quotas::default(), key(None, Some(1000)), Instant::now());
        let remaining = |at: Instant| quotas.states(&key, at)[1].unwrap().remaining;
        assert_eq!(quotas.charge(&key, 1001, now).unwrap_err().code, Code::InvalidRequest);
        assert!(quotas.charge(&key, 600, now).is_ok());
        assert_eq!(quotas.charge(&key, 600, now).unwrap_err().retry_after, Some(12));
        quotas.correct(&key, 600, 100, now);
        assert_eq!(remaining(now), 900);
        assert!(quotas.charge(&key, 900, now).is_ok());
        // It used five times as many: the next one waits for them.
        quotas.correct(&key, 900, 4900, now);
        assert_eq!(remaining(now), 0);
        assert_eq!(quotas.charge(&key, 1, now).unwrap_err().retry_after, Some(241));
        quotas.correct(&key, u64::MAX, 0, now);
        assert_eq!(remaining(now), 1000);
        quotas.correct(&key, 0, u64::MAX, now);
        assert!(quotas.charge(&key, 1, now + Duration::from_secs(86_400)).is_err());
    }

    #[test]
    fn many_at_once_get_exactly_what_there_is() {
        let (quotas, key) = (Quotas::default(), key(Some(100), None));
        let now = Instant::now();
        let passed = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..250 {
                        let ok = quotas.admit(&key, now).is_ok();
                        passed.fetch_add(usize::from(ok), std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 100);
    }
}
