//! Methods that leave a baseline only on evidence.

pub(super) mod guarded;
mod labels;
mod nearness;
