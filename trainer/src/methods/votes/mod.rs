//! Methods that count answers.

pub(super) mod modelswitch;
pub(super) mod vote;
mod weights;
