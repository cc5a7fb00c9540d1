//! A promise on the score of a policy beside a reference model, kept with a stated confidence (Learn then Test,
//! arXiv 2110.01052).
//!
//! The loss of a setting on a query is `max(0, reference - score)`, in [0, 1]: the reference was right and the setting
//! is not. Its mean is at least the drop of the mean score, so that a bound on it bounds the drop. Settings are put in
//! an order from strict to loose on other rows than these, and tested one after the other (fixed sequence): the first
//! whose loss cannot be bounded by `max_drop` at the confidence asked for ends it, and the one before it is taken. With
//! probability `confidence` over the draw of the rows its expected loss is at most `max_drop`.

mod bound;

pub use bound::{Losses, upper_bound};

use serde::{Deserialize, Serialize};

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// Greatest expected loss of score against the reference model, in (0, 1).
    pub max_drop: f64,
    /// Probability that the promise holds, over the draw of the rows it was made on, in (0, 1).
    pub confidence: f64,
}

/// A promise that the rows carry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    /// Place of the setting in the sequence.
    pub at: usize,
    /// Mean loss on the rows.
    pub loss: f64,
    /// Least `max_drop` that the rows carry for this setting at the confidence.
    pub bound: f64,
    /// Rows it was made on.
    pub n_rows: usize,
}

/// Why a promise cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Even without a single loss the rows would be too few.
    #[error(
        "`max_drop = {max_drop}` at `confidence = {confidence}` needs at least {needed} rows that chose nothing else, \
         found {found}; they could carry `max_drop = {nearest:.3}` at best"
    )]
    TooFew {
        /// As asked for.
        max_drop: f64,
        /// As asked for.
        confidence: f64,
        /// Rows needed.
        needed: usize,
        /// Rows found.
        found: usize,
        /// Least `max_drop` that the rows found carry where none has a loss.
        nearest: f64,
    },
    /// The strictest setting loses too much.
    #[error(
        "`max_drop = {max_drop}` at `confidence = {confidence}` is kept by no setting: the strictest one tried loses \
         {loss:.4} on {n_rows} rows, from which no less than {bound:.4} can be promised"
    )]
    TooLossy {
        /// As asked for.
        max_drop: f64,
        /// As asked for.
        confidence: f64,
        /// Mean loss of the strictest setting.
        loss: f64,
        /// What could be promised of it.
        bound: f64,
        /// Rows.
        n_rows: usize,
    },
}

impl Promise {
    /// Checks the numbers.
    ///
    /// # Errors
    /// What is wrong and what would be accepted.
    pub fn check(&self) -> Result<(), String> {
        let numbers = [("max_drop", self.max_drop), ("confidence", self.confidence)];
        // NaN is in no range.
        match numbers.into_iter().find(|(_, value)| !(*value > 0.0 && *value < 1.0)) {
            Some((key, value)) => Err(format!("`{key}` is `{value}`, expected a number above 0 and below 1")),
            None => Ok(()),
        }
    }

    /// Rows without which not even a setting that loses nothing is accepted: `(1 - max_drop)^n <= 1 - confidence`.
    pub fn rows_needed(&self) -> usize {
        ((1.0 - self.confidence).ln() / (1.0 - self.max_drop).ln()).ceil().max(1.0) as usize
    }

    /// The loosest setting of a sequence, strict to loose, that keeps the promise on rows that chose neither the
    /// settings nor their order. An item is the losses of one setting on the rows, each in [0, 1].
    ///
    /// # Errors
    /// If the rows are too few, or the first setting loses too much.
    pub fn keep(&self, sequence: impl IntoIterator<Item = Losses>) -> Result<Kept, Refusal> {
        let Self { max_drop, confidence } = *self;
        let delta = 1.0 - confidence;
        let mut kept = None;
        for (at, losses) in sequence.into_iter().enumerate() {
            let (n_rows, needed) = (losses.n_rows(), self.rows_needed());
            if n_rows < needed {
                let nearest = upper_bound(&Losses::none(n_rows), delta);
                return Err(Refusal::TooFew { max_drop, confidence, needed, found: n_rows, nearest });
            }
            let loss = losses.mean();
            if losses.p_value(max_drop) > delta {
                let bound = upper_bound(&losses, delta);
                return kept.ok_or(Refusal::TooLossy { max_drop, confidence, loss, bound, n_rows });
            }
            kept = Some(Kept { at, loss, bound: upper_bound(&losses, delta), n_rows });
        }
        let nearest = 1.0;
        kept.ok_or(Refusal::TooFew { max_drop, confidence, needed: self.rows_needed(), found: 0, nearest })
    }
}

#[cfg(test)]
mod tests;
