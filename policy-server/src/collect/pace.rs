//! How fast a model is asked: calls a minute, pauses its server asks for, and when it is given up.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Times {
    /// When the next call may begin by the rate.
    next: Instant,
    /// Until when the server wants to be left alone.
    rest: Instant,
}

/// The pace of one model.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    times: Mutex<Times>,
    failed_in_a_row: AtomicU32,
    give_up: u32,
}

impl Pace {
    /// At most `per_minute` calls begin in a minute; after `give_up` failed calls in a row there are no more.
    pub(super) fn new(per_minute: Option<f64>, give_up: u32) -> Self {
        let interval = per_minute.map_or(Duration::ZERO, |n| Duration::from_secs_f64(60.0 / n));
        let now = Instant::now();
        let times = Mutex::new(Times { next: now, rest: now });
        Self { interval, times, failed_in_a_row: AtomicU32::new(0), give_up }
    }

    /// Waits for the turn of a call.
    pub(super) async fn turn(&self) {
        let at = {
            let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
            let at = times.next.max(times.rest).max(Instant::now());
            times.next = at + self.interval;
            at
        };
        tokio::time::sleep_until(at.into()).await;
        // The server may have asked for a rest meanwhile.
        loop {
            let rest = self.times.lock().unwrap_or_else(PoisonError::into_inner).rest;
            if rest <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(rest.into()).await;
        }
    }

    /// Leaves the model alone for so long.
    pub(super) fn rest(&self, wait: Duration) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.rest = times.rest.max(Instant::now() + wait);
    }

    /// Counts how a call ended.
    pub(super) fn count(&self, is_answered: bool) {
        match is_answered {
            true => self.failed_in_a_row.store(0, Ordering::Relaxed),
            false => {
                self.failed_in_a_row.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Whether the model is asked no more.
    pub(super) fn is_given_up(&self) -> bool {
        self.failed_in_a_row.load(Ordering::Relaxed) >= self.give_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_begin_at_the_rate_and_rest_when_told() {
        let pace = Pace::new(Some(60_000.0 / 20.0), 2);
        let began = Instant::now();
        for _ in 0..4 {
            pace.turn().await;
        }
        assert!(began.elapsed() >= Duration::from_millis(60), "{:?}", began.elapsed());
        pace.rest(Duration::from_millis(100));
        let rested = Instant::now();
        pace.turn().await;
        assert!(rested.elapsed() >= Duration::from_millis(99));
        pace.count(false);
        assert!(!pace.is_given_up());
        pace.count(true);
        pace.count(false);
        pace.count(false);
        assert!(pace.is_given_up());
    }
}
