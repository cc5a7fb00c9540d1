//! The money of a collection: what was spent, what calls under way may still cost, and the most there is.

use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Sums {
    spent: u64,
    held: u64,
}

/// Nano-USD, spent and held. What is held is the most that calls under way can cost, so that their sum with what was
/// spent never exceeds the limit, however they end.
#[derive(Debug)]
pub(super) struct Purse {
    limit: Option<u64>,
    sums: Mutex<Sums>,
    settled: Notify,
}

impl Purse {
    pub(super) fn new(limit: Option<u64>, spent: u64) -> Self {
        Self { limit, sums: Mutex::new(Sums { spent, held: 0 }), settled: Notify::new() }
    }

    /// Nano-USD spent so far, by earlier runs too.
    pub(super) fn spent(&self) -> u64 {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner).spent
    }

    /// Holds the most that a call can cost; waits for calls under way where only what they hold stands against it.
    /// Whether there is enough.
    pub(super) async fn hold(&self, most: u64) -> bool {
        loop {
            let settled = self.settled.notified();
            {
                let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
                let fits = |sum: u64| self.limit.is_none_or(|limit| sum.saturating_add(most) <= limit);
                if !fits(sums.spent) {
                    return false;
                }
                if fits(sums.spent.saturating_add(sums.held)) {
                    sums.held = sums.held.saturating_add(most);
                    return true;
                }
            }
            settled.await;
        }
    }

    /// A call that held `most` did cost `nano`.
    pub(super) fn settle(&self, most: u64, nano: u64) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.held = sums.held.saturating_sub(most);
        sums.spent = sums.spent.saturating_add(nano);
        drop(sums);
        self.settled.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn what_is_held_is_waited_for_and_never_spent_twice() {
        let purse = Arc::new(Purse::new(Some(100), 30));
        assert!(purse.hold(50).await);
        assert!(!purse.hold(71).await, "more than is left however the others end");
        let waiting = tokio::spawn({
            let purse = Arc::clone(&purse);
            async move { purse.hold(60).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        purse.settle(50, 10);
        assert!(waiting.await.unwrap());
        purse.settle(60, 60);
        assert_eq!(purse.spent(), 100);
        assert!(!purse.hold(1).await && purse.hold(0).await);
        assert!(Purse::new(None, u64::MAX).hold(u64::MAX).await);
    }
}
