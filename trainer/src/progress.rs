//! How a long fit reports its progress; drawing is the caller's business.

use std::fmt::Debug;

/// Receives the progress of a fit.
pub trait Progress: Send + Sync + Debug {
    /// A phase begins; `total` is the number of steps, 0 when it is not known.
    fn start(&self, phase: &str, total: u64);

    /// Steps done so far, with a short note such as the loss.
    fn step(&self, done: u64, note: &str);
}

/// Says nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: &str, _: u64) {}
    fn step(&self, _: u64, _: &str) {}
}
