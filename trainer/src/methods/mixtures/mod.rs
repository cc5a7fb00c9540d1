//! Methods that combine the predictions of others.

pub(super) mod stack;
