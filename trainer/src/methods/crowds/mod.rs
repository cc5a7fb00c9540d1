//! Methods that ask several models at once and choose among their answers.

pub(super) mod answer_stacker;
mod blocks;
mod candidates;
pub(super) mod dfpe;
mod folds;
pub(super) mod llm_topla;
pub(super) mod log;
mod losses;
pub(super) mod more;
mod network;
mod programs;
pub(super) mod smoothie;
mod trees;
