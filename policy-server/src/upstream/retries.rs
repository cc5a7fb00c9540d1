//! How many calls of an arm may be repeated: a fifth of all, so that a failing server is not called twice as often.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// What a call adds, what a repetition takes, and the most that is saved up.
const EARNED: i64 = 1;
const PRICE: i64 = 5;
const SAVED_MAX: i64 = 50;

/// What is saved up.
#[derive(Debug)]
pub(super) struct RetryBudget(AtomicI64);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicI64::new(SAVED_MAX))
    }
}

impl RetryBudget {
    /// A call was made.
    pub(super) fn earn(&self) {
        let _most = self.0.fetch_update(Relaxed, Relaxed, |saved| Some((saved + EARNED).min(SAVED_MAX)));
    }

    /// Whether a call may be repeated.
    pub(super) fn take(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |saved| (saved >= PRICE).then_some(saved - PRICE)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_calls_may_be_repeated() {
        let budget = RetryBudget::default();
        let repeated = (0..1000)
            .filter(|_| {
                budget.earn();
                budget.take()
            })
            .count();
        assert!((200..=210).contains(&repeated), "{repeated}");
    }
}
