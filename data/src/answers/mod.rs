//! Answers of a log and the numbers made of them: what methods that look at answers learn from.
//!
//! [`AnswerTable`] has the answers beside an [`OutcomeTable`](crate::OutcomeTable) of the same log, loaded only where a
//! method needs them. [`normalize`] makes equal answers equal texts, [`agreement`] compares the answers to one query,
//! [`confidence`] makes features of the log-probabilities of an answer, [`dawid_skene`] finds how good judges are from
//! their votes alone.

pub mod agreement;
pub mod confidence;
pub mod dawid_skene;
mod load;
pub mod normalize;
mod table;

pub use agreement::Agreement;
pub use table::{AnswerRow, AnswerTable, AnswerTableBuilder};

#[cfg(test)]
mod tests;
