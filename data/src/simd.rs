//! Plain loops compiled for the widest registers of the processor at hand.

use pulp::{Arch, Simd, WithSimd};

/// Runs `work`, a closure marked `#[inline(always)]`, in a function compiled for the widest registers of this
/// processor: its loops are vectorised for them.
///
/// The bound is `FnMut` and not `FnOnce` for a reason: what is handed on as `FnOnce` is called through a shim of the
/// compiler, a function of its own that knows none of the wider registers, and the closure is inlined there. All
/// loops of a program then run on registers of 128 bits, several times slower, without any sign of it.
#[inline(always)]
pub fn widest<R>(work: impl FnMut() -> R) -> R {
    Arch::new().dispatch(Work(work))
}

struct Work<F>(F);

impl<R, F: FnMut() -> R> WithSimd for Work<F> {
    type Output = R;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) -> R {
        (self.0)()
    }
}
