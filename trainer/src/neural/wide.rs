//! Matrix products on processors with 512-bit registers, for which gemm has no kernel in this build.
//!
//! The classic scheme: both sides are packed into strips, a block of [`ROWS`] x [`COLS`] sums stays in
//! registers while the strips stream by.

use super::product::View;

/// Rows and columns of the block of sums: 16 of the 32 registers.
const ROWS: usize = 8;
const COLS: usize = 32;

/// Computes `out = a b` (or `out += a b`) and returns true, or returns false on a processor without the
/// registers.
pub(super) fn product(a: View<'_>, b: View<'_>, out: &mut [f32], add: bool) -> bool {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        #[expect(unsafe_code, reason = "calls a safe function compiled for registers detected above")]
        // SAFETY: the processor has AVX-512F.
        unsafe {
            product_512(a, b, out, add);
        }
        return true;
    }
    let _ = (a, b, out, add);
    false
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn product_512(a: View<'_>, b: View<'_>, out: &mut [f32], add: bool) {
    let (m, k, n) = (a.n_rows(), a.n_cols(), b.n_cols());
    let blocks: Vec<Vec<[f32; ROWS]>> = (0..m).step_by(ROWS).map(|row| pack_rows(a, row, k)).collect();
    let mut strip = vec![[0.0_f32; COLS]; k];
    for col in (0..n).step_by(COLS) {
        let width = COLS.min(n - col);
        pack_cols(b, col, width, &mut strip);
        for (block, row) in blocks.iter().zip((0..m).step_by(ROWS)) {
            let sums = block_sums(block, &strip);
            for (i, sums) in sums.iter().take(m - row).enumerate() {
                let at = (row + i) * n + col;
                let out = &mut out[at..at + width];
                if add {
                    out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
                } else {
                    out.copy_from_slice(&sums[..width]);
                }
            }
        }
    }
}

/// Intrinsics, as plain loops over the block are unrolled before they are vectorised at opt-level 3 and then
/// run 60 times slower.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn block_sums(block: &[[f32; ROWS]], strip: &[[f32; COLS]]) -> [[f32; COLS]; ROWS] {
    use std::arch::x86_64::{__m512, _mm512_fmadd_ps, _mm512_set1_ps, _mm512_setzero_ps};
    let mut sums = [[_mm512_setzero_ps(); COLS / 16]; ROWS];
    for (a, b) in block.iter().zip(strip) {
        let b: [__m512; COLS / 16] = bytemuck::cast(*b);
        for (sums, a) in sums.iter_mut().zip(a) {
            let a = _mm512_set1_ps(*a);
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = _mm512_fmadd_ps(a, b, *sum);
            }
        }
    }
    bytemuck::cast(sums)
}

/// Rows `row..row + ROWS` of `a`, interleaved; rows beyond the last are zero.
#[cfg(target_arch = "x86_64")]
fn pack_rows(a: View<'_>, row: usize, k: usize) -> Vec<[f32; ROWS]> {
    let n = ROWS.min(a.n_rows() - row);
    let mut block = vec![[0.0; ROWS]; k];
    match a.contiguous_cols(row, n) {
        // The transpose of a row-major matrix: what is interleaved already lies side by side.
        Some(lines) => lines.zip(&mut block).for_each(|(line, packed)| packed[..n].copy_from_slice(line)),
        None => {
            for i in 0..n {
                a.row(row + i).zip(&mut block).for_each(|(x, packed)| packed[i] = x);
            }
        }
    }
    block
}

/// Columns `col..col + width` of `b`; columns beyond the last are zero.
#[cfg(target_arch = "x86_64")]
fn pack_cols(b: View<'_>, col: usize, width: usize, strip: &mut [[f32; COLS]]) {
    if width < COLS {
        strip.fill([0.0; COLS]);
    }
    let b = b.transposed();
    match b.contiguous_cols(col, width) {
        Some(lines) => lines.zip(strip).for_each(|(line, packed)| packed[..width].copy_from_slice(line)),
        None => {
            for i in 0..width {
                b.row(col + i).zip(&mut *strip).for_each(|(x, packed)| packed[i] = x);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_equal_those_of_gemm_at_every_remainder_and_layout() {
        let values = |n: usize| (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect::<Vec<_>>();
        for (m, k, n) in [(1, 1, 1), (8, 5, 32), (13, 64, 47), (64, 40, 70)] {
            let (a, b) = (values(m * k), values(k * n));
            for (a_view, b_view) in [
                (View::new(&a, m, k), View::new(&b, k, n)),
                (View::new(&a, k, m).transposed(), View::new(&b, n, k).transposed()),
            ] {
                for add in [false, true] {
                    let (mut found, mut want) = (vec![0.5; m * n], vec![0.5; m * n]);
                    if !product(a_view, b_view, &mut found, add) {
                        routewright_data::testing::skip("AVX-512", "this processor has none");
                        return;
                    }
                    routewright_data::product::product(a_view, b_view, &mut want, add);
                    for (found, want) in found.iter().zip(&want) {
                        assert!((found - want).abs() < 1e-4, "{m}x{k}x{n}: {found} {want}");
                    }
                }
            }
        }
    }
}
