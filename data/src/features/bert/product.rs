//! The matrix product of the forward pass.

use crate::product::View;

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
    let b = if transposed { View::new(b, n, k).transposed() } else { View::new(b, k, n) };
    crate::product::product(View::new(a, m, k), b, out, false);
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
