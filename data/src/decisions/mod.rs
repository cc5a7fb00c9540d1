//! What policies decided and what became of it: the decision log, the feedback log, and their join.
//!
//! [`DecisionReader`] streams a decision log in batches of bounded memory and checks every row, because an
//! off-policy estimate is only as good as the propensities: lengths, sums and the chosen model must agree.
//! [`Outcomes`] holds the feedback of one kind, a few numbers an outcome. The join is a fold over a set:
//! feedback may be delivered twice or in any order, the result is the same to the bit.

mod feedback;
mod key;
mod obp;
mod outcomes;
mod query_text;
mod read;
mod rewards;

pub use feedback::FeedbackReader;
pub use obp::{ObpSummary, write_obp};
pub use outcomes::{Combine, OutcomeCounts, Outcomes};
pub use query_text::query_text_of_decisions;
pub use read::DecisionReader;
pub(crate) use read::check;
pub use rewards::{RewardRule, Rewarded};

#[cfg(test)]
mod tests;
