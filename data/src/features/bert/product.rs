//! The matrix product of the forward pass: a checked door to the gemm crate, one thread.

use gemm::Parallelism;

/// `out = a b^T` where `transposed`, `b` being `(n, k)`; else `out = a b`, `b` being `(k, n)`. `a` is `(m, k)`
/// and `out` `(m, n)`, all row-major.
///
/// # Panics
/// If the lengths do not fit together (a bug of the caller).
pub(super) fn product(a: &[f32], b: &[f32], transposed: bool, n: usize, out: &mut [f32]) {
    if n == 0 || out.is_empty() {
        return;
    }
    let (m, k) = (out.len() / n, b.len() / n);
    assert_eq!((m * n, m * k, k * n), (out.len(), a.len(), b.len()), "product: lengths");
    let (b_cols, b_rows) = if transposed { (k as isize, 1) } else { (1, n as isize) };
    #[expect(unsafe_code, reason = "gemm takes pointers; every length is checked above")]
    // SAFETY: `a` and `b` hold m*k and k*n values and the strides stay inside them; `out` holds m*n values
    // and is borrowed mutably, so it overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.as_ptr(),
            1,
            k as isize,
            b.as_ptr(),
            b_cols,
            b_rows,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_with_a_matrix_and_a_transpose_checked_by_hand() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 2.0, -1.0, 1.0, 0.0]);
        let mut out = [9.0; 4];
        product(&a, &b, true, 2, &mut out); // (2, 3) x (2, 3)^T
        assert_eq!(out, [7.0, 1.0, 16.0, 1.0]);
        product(&a, &b, false, 2, &mut out); // (2, 3) x (3, 2) = [[1+4+3, 0-2+0], [4+10+6, 0-5+0]]
        assert_eq!(out, [8.0, -2.0, 20.0, -5.0]);
    }
}
