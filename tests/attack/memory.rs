//! The allocator of this program: it knows what the thread that attacks has taken, and what the most was.

#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use super::running;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// A single request above this is a fault wherever it comes from: the process reports its case and ends.
const REQUEST_MAX: usize = 1 << 30;

thread_local! {
    /// Bytes taken by this thread and not given back, and the most there were since [`reset`].
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

/// Counts for every thread on its own.
#[derive(Debug)]
pub(crate) struct Counting;

fn count(bytes: i64) {
    // A thread that is ending has none any more.
    let _ending = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        if bytes > 0 {
            let _ending = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
        }
    });
}

// SAFETY: every call goes to the system's allocator as it came; what is counted beside it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > REQUEST_MAX {
            running::die("asks for more than a GiB at once");
        }
        count(layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > REQUEST_MAX {
            running::die("asks for more than a GiB at once");
        }
        count(layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > REQUEST_MAX {
            running::die("asks for more than a GiB at once");
        }
        count(size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// From now on, [`peak`] is what this thread takes beyond what it has.
pub(crate) fn reset() {
    LIVE.set(0);
    PEAK.set(0);
}

/// The most bytes this thread had beyond what it had at [`reset`].
pub(crate) fn peak() -> usize {
    usize::try_from(PEAK.get()).unwrap_or(0)
}
