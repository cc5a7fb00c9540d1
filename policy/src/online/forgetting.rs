//! What is remembered of rewards long past.

use serde::{Deserialize, Serialize};

/// Which rewards count, and how much. Age is the distance between decisions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgetting {
    /// Weight of a reward one decision older than another, from 0.5 to 1; 1 forgets nothing.
    Discount(f64),
    /// Rewards of the last so many decisions count whole, older ones not at all. The window moves by an
    /// eighth of its width at a time.
    Window(u64),
    /// What an arm showed before its rewards changed is dropped: ADWIN (Bifet and Gavaldà 2007) with this
    /// probability of a false alarm.
    Adwin(f64),
}

/// Parts of a window; it moves by one at a time.
pub(super) const PARTS: u64 = 8;

impl Default for Forgetting {
    fn default() -> Self {
        Self::Discount(1.0)
    }
}

impl Forgetting {
    /// Says what is wrong with the number, if anything is.
    ///
    /// # Errors
    /// The value and what would be accepted.
    pub fn check(self) -> Result<(), String> {
        match self {
            Self::Discount(discount) if !(0.5..=1.0).contains(&discount) => {
                Err(format!("`discount` is `{discount}`, expected a number from 0.5 to 1"))
            }
            Self::Window(window) if window < PARTS => {
                Err(format!("`window` is `{window}`, expected at least {PARTS} decisions"))
            }
            Self::Adwin(delta) if !(delta > 0.0 && delta < 1.0) => {
                Err(format!("`adwin` is `{delta}`, expected a probability above 0 and below 1"))
            }
            _ => Ok(()),
        }
    }

    /// Decisions of one part of the window.
    pub(super) fn part(window: u64) -> u64 {
        window.div_ceil(PARTS).max(1)
    }
}
