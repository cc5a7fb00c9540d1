//! Methods that ask several models at once and choose among their answers.

pub(super) mod answer_stacker;
mod blocks;
mod candidates;
pub(super) mod dfpe;
mod folds;
mod fusing;
pub(super) mod llm_topla;
pub(super) mod log;
mod losses;
pub(super) mod more;
mod network;
pub(super) mod panel;
mod programs;
pub(super) mod smoothie;
pub(super) mod symbolic_moe;
mod trees;
