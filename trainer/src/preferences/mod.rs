//! Learning from and judging by a pair log: which of two answers to a query was preferred.
//!
//! [`Comparisons`] are the judgements as methods read them, [`judge`] says how well a ranking of arms foretells
//! held-out ones, beside the [`yardsticks`] that know no query.

mod comparisons;
pub mod judge;
mod logistic;
mod table;
mod text;
mod versus;
pub mod yardsticks;

pub use comparisons::{Comparison, Comparisons};
pub use judge::{Forecast, PairScore};
pub use table::{Joined, of_pairs, with_log};
pub use versus::{FittedOnPairs, PairsCompared, PairsOptions, compare_pairs, judge_prediction};

#[cfg(test)]
mod real_logs;
#[cfg(test)]
mod tests;
