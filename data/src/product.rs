//! Dense matrix products: a checked door to the kernels of gemm, one thread.
//!
//! One thread, because the callers share work over threads themselves and the result must not depend on their
//! number. The order in which a sum is taken belongs to the kernel: it depends on the processor (fused
//! multiply-adds, sizes of its caches), never on the run.

use gemm_common::Parallelism;

/// What a matrix holds: `f32` or `f64`.
pub trait Real: sealed::Kernel {}
impl Real for f32 {}
impl Real for f64 {}

mod sealed {
    use gemm_common::Parallelism;

    /// `out = alpha * out + beta * lhs * rhs` over pointers and strides, as gemm's kernels take them: sizes
    /// `(m, n, k)`, then a pointer, a column and a row stride for each matrix.
    pub(super) type Gemm<T> = unsafe fn(
        usize,
        usize,
        usize,
        *mut T,
        isize,
        isize,
        bool,
        *const T,
        isize,
        isize,
        *const T,
        isize,
        isize,
        T,
        T,
        bool,
        bool,
        bool,
        Parallelism,
    );

    pub trait Kernel: Copy + Default {
        const ONE: Self;
        fn gemm() -> Gemm<Self>;
    }

    impl Kernel for f32 {
        const ONE: Self = 1.0;
        fn gemm() -> Gemm<Self> {
            gemm_f32::gemm::f32::get_gemm_fn()
        }
    }

    impl Kernel for f64 {
        const ONE: Self = 1.0;
        fn gemm() -> Gemm<Self> {
            gemm_f64::gemm::f64::get_gemm_fn()
        }
    }
}

/// A matrix laid over a slice, row-major, or its transpose.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, T = f32> {
    values: &'a [T],
    n_rows: usize,
    n_cols: usize,
    strides: (isize, isize),
}

impl<'a, T: Copy> View<'a, T> {
    /// `values` as `(n_rows, n_cols)`.
    ///
    /// # Panics
    /// If the length is another (a bug of the caller).
    pub fn new(values: &'a [T], n_rows: usize, n_cols: usize) -> Self {
        assert_eq!(values.len(), n_rows * n_cols, "view: length must be n_rows * n_cols");
        Self { values, n_rows, n_cols, strides: (n_cols as isize, 1) }
    }

    /// Rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        let (rows, cols) = self.strides;
        Self { n_rows: self.n_cols, n_cols: self.n_rows, strides: (cols, rows), ..self }
    }

    /// Number of rows.
    pub fn n_rows(self) -> usize {
        self.n_rows
    }

    /// Number of columns.
    pub fn n_cols(self) -> usize {
        self.n_cols
    }

    /// The values of a row.
    pub fn row(self, row: usize) -> impl Iterator<Item = T> + use<'a, T> {
        let (rows, cols) = (self.strides.0 as usize, self.strides.1 as usize);
        self.values[row * rows..].iter().copied().step_by(cols).take(self.n_cols)
    }

    /// For every column the values of rows `row..row + n`, where these lie side by side: in a transpose.
    pub fn contiguous_cols(self, row: usize, n: usize) -> Option<impl Iterator<Item = &'a [T]>> {
        let lines = self.values.chunks_exact(self.n_rows.max(1));
        (self.strides.0 == 1).then(|| lines.map(move |line| &line[row..row + n]))
    }
}

/// `out = a b`, or `out += a b` where `add`; `out` is row-major `(a.n_rows, b.n_cols)`.
///
/// # Panics
/// If the sizes do not fit together (a bug of the caller).
pub fn product<T: Real>(a: View<'_, T>, b: View<'_, T>, out: &mut [T], add: bool) {
    let (m, k, n) = (a.n_rows, a.n_cols, b.n_cols);
    assert_eq!((k, out.len()), (b.n_rows, m * n), "product: sizes");
    if out.is_empty() || k == 0 {
        if !add {
            out.fill(T::default());
        }
        return;
    }
    // The kernels prefer columns of `out` that lie side by side: its transpose is `b^T a^T`.
    let (lhs, rhs) = (b.transposed(), a.transposed());
    let alpha = if add { T::ONE } else { T::default() };
    #[expect(unsafe_code, reason = "gemm takes pointers; every length is checked by View::new and here")]
    // SAFETY: `a` and `b` cover m*k and k*n values with strides inside them, `out` holds m*n values and is
    // borrowed mutably, so it overlaps neither.
    unsafe {
        T::gemm()(
            n,
            m,
            k,
            out.as_mut_ptr(),
            n as isize,
            1,
            add,
            lhs.values.as_ptr(),
            lhs.strides.1,
            lhs.strides.0,
            rhs.values.as_ptr(),
            rhs.strides.1,
            rhs.strides.0,
            alpha,
            T::ONE,
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
        let mut out = vec![9.0_f32; 4];
        // (2, 3) x (2, 3)^T
        product(View::new(&a, 2, 3), View::new(&b, 2, 3).transposed(), &mut out, false);
        assert_eq!(out, [7.0, 1.0, 16.0, 1.0]);
        product(View::new(&a, 3, 2).transposed(), View::new(&b, 3, 2), &mut out, true);
        // (2, 3) x (3, 2) = [[1+6+5, 0-3+0], [2+8+6, 0-4+0]]
        assert_eq!(out, [19.0, -2.0, 32.0, -3.0]);
    }

    #[test]
    fn sizes_without_a_register_block_equal_the_sums_taken_one_by_one() {
        let values =
            |n: usize, shift: usize| (0..n).map(|i| ((i * 37 + shift) % 101) as f64 - 50.0).collect();
        for (m, k, n) in [(1, 1, 1), (7, 5, 13), (33, 64, 47), (2, 0, 3), (0, 2, 3)] {
            let (a, b): (Vec<f64>, Vec<f64>) = (values(m * k, 0), values(k * n, 11));
            let mut out = vec![0.5; m * n];
            product(View::new(&a, m, k), View::new(&b, k, n), &mut out, false);
            for (at, found) in out.iter().enumerate() {
                let (row, col) = (at / n, at % n);
                let want: f64 = (0..k).map(|i| a[row * k + i] * b[i * n + col]).sum();
                assert_eq!(*found, want, "{m}x{k}x{n} at ({row}, {col})");
            }
        }
    }
}
