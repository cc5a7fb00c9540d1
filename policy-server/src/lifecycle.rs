//! Whether the server is about to stop, or stopping.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Set once and never taken back.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    draining: AtomicBool,
    stopping: AtomicBool,
}

impl Lifecycle {
    /// From now on `/ready` says that the server is about to stop; requests are still answered.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// From now on threads end after one more turn.
    pub(crate) fn stop(&self) {
        self.draining.store(true, Relaxed);
        self.stopping.store(true, Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }
}
