//! When an arm is left alone: after failures, and where its server asks for it.
//!
//! The breaker opens where at least [`FAILURES_MIN`] calls of the last [`WINDOW_S`] seconds failed, and these are at
//! least half of them; for 10 s, and twice as long each time it opens again without having closed. Then one call at a
//! time is let through; [`CLOSING`] good ones in a row close it. What the caller is to blame for, or gave up, counts as
//! neither.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Seconds whose calls count.
const WINDOW_S: usize = 30;
/// Fewest failures that open it.
const FAILURES_MIN: u32 = 5;
/// How long it is open the first time, and at most.
const OPEN_FOR: Duration = Duration::from_secs(10);
const OPEN_FOR_MAX: Duration = Duration::from_secs(300);
/// Good calls in a row that close it.
const CLOSING: u32 = 3;
/// Longest rest that a server may ask for.
const REST_MAX: Duration = Duration::from_secs(3600);

/// How a call went, as far as its server is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    Failed,
    /// Says nothing of the server.
    Neutral,
}

#[derive(Debug, Default, Clone, Copy)]
struct Second {
    at: u64,
    good: u32,
    failed: u32,
}

#[derive(Debug)]
struct State {
    began: Instant,
    seconds: [Second; WINDOW_S],
    open_until: Option<Instant>,
    /// Times it opened since it was closed.
    opened: u32,
    /// Whether a call is on trial.
    on_trial: bool,
    good_in_a_row: u32,
    rest_until: Option<Instant>,
}

/// The breaker of one arm.
#[derive(Debug, Clone)]
pub(super) struct Breaker(Arc<Mutex<State>>);

impl Default for Breaker {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            began: Instant::now(),
            seconds: [Second::default(); WINDOW_S],
            open_until: None,
            opened: 0,
            on_trial: false,
            good_in_a_row: 0,
            rest_until: None,
        })))
    }
}

/// Leave to call; dropped without a verdict it is [`Verdict::Neutral`].
#[derive(Debug)]
pub(super) struct Leave {
    breaker: Breaker,
    is_trial: bool,
    settled: bool,
}

impl Breaker {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing foreign runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leave to call, or until when there is none.
    pub(super) fn admit(&self, now: Instant) -> Result<Leave, Instant> {
        let mut state = self.lock();
        if let Some(until) = state.rests_until(now) {
            return Err(until);
        }
        let is_trial = state.open_until.is_some();
        state.on_trial = is_trial;
        Ok(Leave { breaker: self.clone(), is_trial, settled: false })
    }

    /// Until when there is no leave; `None` where there is.
    pub(super) fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.lock().rests_until(now)
    }

    /// Gives no leave until then, an hour at most.
    pub(super) fn rest(&self, until: Instant) {
        let most = Instant::now() + REST_MAX;
        let mut state = self.lock();
        state.rest_until = Some(state.rest_until.map_or(until, |known| known.max(until)).min(most));
    }

    /// Whether it is open, or on trial.
    pub(super) fn is_open(&self) -> bool {
        self.lock().open_until.is_some()
    }
}

impl State {
    fn rests_until(&self, now: Instant) -> Option<Instant> {
        let rest = self.rest_until.filter(|until| *until > now);
        let open = self.open_until.and_then(|until| match until > now {
            true => Some(until),
            // Another call is on trial: its end is near.
            false => self.on_trial.then(|| now + Duration::from_secs(1)),
        });
        rest.max(open)
    }

    fn settle(&mut self, verdict: Verdict, is_trial: bool, now: Instant) {
        if is_trial {
            self.on_trial = false;
        }
        match verdict {
            Verdict::Neutral => {}
            Verdict::Good if is_trial => {
                self.good_in_a_row += 1;
                if self.good_in_a_row >= CLOSING {
                    (self.open_until, self.opened, self.good_in_a_row) = (None, 0, 0);
                    self.seconds = [Second::default(); WINDOW_S];
                }
            }
            Verdict::Failed if is_trial => self.open(now),
            Verdict::Good => self.second(now).good += 1,
            Verdict::Failed => {
                self.second(now).failed += 1;
                let (good, failed) = self.counts(now);
                if self.open_until.is_none() && failed >= FAILURES_MIN && failed >= good {
                    self.open(now);
                }
            }
        }
    }

    fn open(&mut self, now: Instant) {
        let length = OPEN_FOR.saturating_mul(1 << self.opened.min(8)).min(OPEN_FOR_MAX);
        self.open_until = Some(now + length);
        self.opened += 1;
        self.good_in_a_row = 0;
    }

    fn age(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs()
    }

    fn second(&mut self, now: Instant) -> &mut Second {
        let at = self.age(now);
        let second = &mut self.seconds[(at % WINDOW_S as u64) as usize];
        if second.at != at {
            *second = Second { at, ..Second::default() };
        }
        second
    }

    fn counts(&self, now: Instant) -> (u32, u32) {
        let at = self.age(now);
        let recent = self.seconds.iter().filter(|second| at - second.at.min(at) < WINDOW_S as u64);
        recent.fold((0, 0), |(good, failed), second| (good + second.good, failed + second.failed))
    }
}

impl Leave {
    /// Counts how the call went; only the first verdict counts.
    pub(super) fn settle(&mut self, verdict: Verdict) {
        if !std::mem::replace(&mut self.settled, true) {
            self.breaker.lock().settle(verdict, self.is_trial, Instant::now());
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.settle(Verdict::Neutral);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(breaker: &Breaker, verdict: Verdict, now: Instant) {
        let mut leave = breaker.admit(now).unwrap();
        leave.settled = true;
        breaker.lock().settle(verdict, leave.is_trial, now);
    }

    #[test]
    fn it_opens_on_failures_lets_one_through_and_closes_on_three_good_ones() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..4 {
            settle(&breaker, Verdict::Failed, start);
        }
        assert_eq!(breaker.rests_until(start), None, "four are too few");
        settle(&breaker, Verdict::Neutral, start);
        settle(&breaker, Verdict::Failed, start);
        assert_eq!(breaker.rests_until(start), Some(start + OPEN_FOR));
        let later = start + OPEN_FOR;
        let trial = breaker.admit(later).unwrap();
        assert!(breaker.admit(later).is_err(), "one at a time");
        drop(trial);
        settle(&breaker, Verdict::Failed, later);
        assert_eq!(breaker.rests_until(later), Some(later + 2 * OPEN_FOR), "twice as long");
        let later = later + 2 * OPEN_FOR;
        for _ in 0..CLOSING {
            assert!(breaker.is_open());
            settle(&breaker, Verdict::Good, later);
        }
        assert!(!breaker.is_open());
        settle(&breaker, Verdict::Failed, later);
        assert_eq!(breaker.rests_until(later), None, "what was before does not count any more");
    }

    #[test]
    fn failures_among_more_good_calls_or_long_ago_do_not_open_it() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        (0..6).for_each(|_| settle(&breaker, Verdict::Good, start));
        (0..5).for_each(|_| settle(&breaker, Verdict::Failed, start));
        assert_eq!(breaker.rests_until(start), None);
        let breaker = Breaker::default();
        for second in 0..10 {
            settle(&breaker, Verdict::Failed, start + Duration::from_secs(10 * second));
        }
        assert!(!breaker.is_open(), "never five within the window");
    }

    #[test]
    fn a_rest_is_kept_and_is_an_hour_at_most() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        breaker.rest(now + Duration::from_secs(5));
        breaker.rest(now + Duration::from_secs(2));
        assert_eq!(breaker.rests_until(now), Some(now + Duration::from_secs(5)));
        assert!(breaker.admit(now).is_err() && breaker.admit(now + Duration::from_secs(5)).is_ok());
        breaker.rest(now + Duration::from_secs(1 << 20));
        assert!(breaker.rests_until(now).unwrap() <= Instant::now() + REST_MAX);
    }
}
