//! Methods that count answers.

pub(super) mod modelswitch;
pub(super) mod vote;
pub(super) mod weights;
