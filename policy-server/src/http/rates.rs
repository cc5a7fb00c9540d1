//! How often one caller may call.

use crate::caller::Share;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Callers whose rate is remembered; beyond them, those who are at rest are forgotten.
const CALLERS_MAX: usize = 65_536;

/// A token bucket of each caller.
#[derive(Debug)]
pub(crate) struct Rates {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<Share, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Requests that may be made at once; below 0 after a batch that was larger.
    tokens: f64,
    at: Instant,
}

impl Rates {
    /// At most so many requests a second, and so many at once; no limit where the rate is 0.
    pub(crate) fn new(per_second: u64, burst: u64) -> Self {
        let burst = if burst == 0 { per_second } else { burst };
        Self { per_second: per_second as f64, burst: burst.max(1) as f64, buckets: Mutex::default() }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// If the caller has to wait, and for how long.
    pub(crate) fn admit(&self, share: &Share, now: Instant) -> Result<(), Duration> {
        self.with(share, now, |bucket, per_second| {
            if bucket.tokens < 1.0 {
                return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / per_second));
            }
            bucket.tokens -= 1.0;
            Ok(())
        })
    }

    /// Counts what an admitted request turned out to ask for besides; the next one waits for it.
    pub(crate) fn charge(&self, share: &Share, more: usize) {
        let charged = self.with(share, Instant::now(), |bucket, _| {
            bucket.tokens -= more as f64;
            Ok(())
        });
        debug_assert!(charged.is_ok(), "a charge is never refused");
    }

    fn with(
        &self,
        share: &Share,
        now: Instant,
        take: impl FnOnce(&mut Bucket, f64) -> Result<(), Duration>,
    ) -> Result<(), Duration> {
        if self.per_second <= 0.0 {
            return Ok(());
        }
        let refilled = |bucket: &Bucket| {
            let earned = now.saturating_duration_since(bucket.at).as_secs_f64() * self.per_second;
            (bucket.tokens + earned).min(self.burst)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= CALLERS_MAX && !buckets.contains_key(share) {
            buckets.retain(|_, bucket| refilled(bucket) < self.burst);
        }
        let full = Bucket { tokens: self.burst, at: now };
        if buckets.len() >= CALLERS_MAX && !buckets.contains_key(share) {
            // All of them are busy: a newcomer is not limited, and not remembered.
            return take(&mut { full }, self.per_second);
        }
        let bucket = buckets.entry(share.clone()).or_insert(full);
        *bucket = Bucket { tokens: refilled(bucket), at: now };
        take(bucket, self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Share {
        Share::of_address(text.parse().unwrap())
    }

    #[test]
    fn a_caller_has_a_burst_then_a_rate_and_others_are_not_concerned() {
        let rates = Rates::new(10, 3);
        let (me, other, start) = (address("10.0.0.1"), address("10.0.0.2"), Instant::now());
        for _ in 0..3 {
            assert_eq!(rates.admit(&me, start), Ok(()));
        }
        let wait = rates.admit(&me, start).unwrap_err();
        assert!((wait.as_secs_f64() - 0.1).abs() < 1e-9, "{wait:?}");
        assert_eq!(rates.admit(&other, start), Ok(()));
        assert!(rates.admit(&me, start + Duration::from_millis(99)).is_err());
        assert_eq!(rates.admit(&me, start + Duration::from_millis(101)), Ok(()));
    }

    #[test]
    fn a_batch_is_paid_for_by_what_follows() {
        let rates = Rates::new(1, 10);
        let me = Share::Key("me".into());
        assert_eq!(rates.admit(&me, Instant::now()), Ok(()));
        rates.charge(&me, 99);
        let wait = rates.admit(&me, Instant::now()).unwrap_err();
        assert!(wait > Duration::from_secs(85) && wait < Duration::from_secs(92), "{wait:?}");
    }

    #[test]
    fn no_rate_is_no_limit_and_one_network_is_one_caller() {
        let rates = Rates::new(0, 0);
        assert!((0..1000).all(|_| rates.admit(&Share::Key("me".into()), Instant::now()).is_ok()));
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
    }
}
