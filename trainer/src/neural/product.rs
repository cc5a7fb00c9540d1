//! Matrix products of training: our own kernel where registers are wide, else a checked door to the gemm
//! crate.

use super::wide;
use gemm::Parallelism;

/// A matrix laid over a slice, row-major, or its transpose.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    values: &'a [f32],
    n_rows: usize,
    n_cols: usize,
    strides: (isize, isize),
}

impl<'a> View<'a> {
    /// `values` as `(n_rows, n_cols)`.
    pub(super) fn new(values: &'a [f32], n_rows: usize, n_cols: usize) -> Self {
        assert_eq!(values.len(), n_rows * n_cols, "view: length must be n_rows * n_cols");
        Self { values, n_rows, n_cols, strides: (n_cols as isize, 1) }
    }

    /// Rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        let (rows, cols) = self.strides;
        Self { n_rows: self.n_cols, n_cols: self.n_rows, strides: (cols, rows), ..self }
    }

    pub(super) fn n_rows(self) -> usize {
        self.n_rows
    }

    pub(super) fn n_cols(self) -> usize {
        self.n_cols
    }

    /// The values of a row.
    pub(super) fn row(self, row: usize) -> impl Iterator<Item = f32> + use<'a> {
        let (rows, cols) = (self.strides.0 as usize, self.strides.1 as usize);
        self.values[row * rows..].iter().copied().step_by(cols).take(self.n_cols)
    }

    /// For every column the values of rows `row..row + n`, where these lie side by side: in a transpose.
    pub(super) fn contiguous_cols(self, row: usize, n: usize) -> Option<impl Iterator<Item = &'a [f32]>> {
        let lines = self.values.chunks_exact(self.n_rows.max(1));
        (self.strides.0 == 1).then(|| lines.map(move |line| &line[row..row + n]))
    }
}

/// `out = a b`, or `out += a b` where `add`; `out` is row-major `(a.n_rows, b.n_cols)`.
///
/// One thread: a step of these sizes spends more CPU time on handing out work than it saves, and the
/// result does not depend on the number of threads.
pub(super) fn product(a: View<'_>, b: View<'_>, out: &mut [f32], add: bool) {
    let (m, k, n) = (a.n_rows, a.n_cols, b.n_cols);
    assert_eq!(k, b.n_rows, "product: inner sizes");
    assert_eq!(out.len(), m * n, "product: length of the result");
    if k == 0 && !add {
        out.fill(0.0);
    }
    if m == 0 || n == 0 || k == 0 || wide::product(a, b, out, add) {
        return;
    }
    with_gemm(a, b, out, add);
}

/// The same by the gemm crate; lengths have been checked.
pub(super) fn with_gemm(a: View<'_>, b: View<'_>, out: &mut [f32], add: bool) {
    let (m, k, n) = (a.n_rows, a.n_cols, b.n_cols);
    assert_eq!((k, out.len()), (b.n_rows, m * n), "product: sizes");
    #[expect(unsafe_code, reason = "gemm takes pointers; every length is checked by View::new and here")]
    // SAFETY: `a` and `b` cover m*k and k*n values with strides inside them, `out` holds m*n values and is
    // borrowed mutably, so it overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            add,
            a.values.as_ptr(),
            a.strides.1,
            a.strides.0,
            b.values.as_ptr(),
            b.strides.1,
            b.strides.0,
            1.0,
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
