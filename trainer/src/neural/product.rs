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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_a_matrix_and_a_transpose_checked_by_hand() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [1.0, 0.0, 2.0, -1.0, 1.0, 0.0];
        let mut out = vec![9.0; 4];
        // (2, 3) x (2, 3)^T
        product(View::new(&a, 2, 3), View::new(&b, 2, 3).transposed(), &mut out, false);
        assert_eq!(out, [7.0, 1.0, 16.0, 1.0]);
        product(View::new(&a, 3, 2).transposed(), View::new(&b, 3, 2), &mut out, true);
        // (2, 3) x (3, 2) = [[1+6+5, 0-3+0], [2+8+6, 0-4+0]]
        assert_eq!(out, [19.0, -2.0, 32.0, -3.0]);
    }
}
