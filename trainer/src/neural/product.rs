//! Matrix products of training: our own kernel where registers are wide, else the kernels of gemm.

use super::wide;
pub(super) use routewright_data::product::View;

/// `out = a b`, or `out += a b` where `add`; `out` is row-major `(a.n_rows, b.n_cols)`.
///
/// One thread: a step of these sizes spends more CPU time on handing out work than it saves, and the
/// result does not depend on the number of threads.
pub(super) fn product(a: View<'_>, b: View<'_>, out: &mut [f32], add: bool) {
    assert_eq!((a.n_cols(), out.len()), (b.n_rows(), a.n_rows() * b.n_cols()), "product: sizes");
    if out.is_empty() || a.n_cols() == 0 || !wide::product(a, b, out, add) {
        routewright_data::product::product(a, b, out, add);
    }
}
