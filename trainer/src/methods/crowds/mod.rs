//! Methods that ask several models at once and choose among their answers.

pub(super) mod answer_stacker;
mod blocks;
mod candidates;
pub(super) mod log;
mod losses;
