//! The same sums with vector instructions. Values enter registers through `bytemuck::cast`, which
//! compiles to plain loads and needs no raw pointer.

use super::Line;
use super::{BLOCKS, Cut, Dots, Group, LANES, Passed, SUMS, add_up, inner_product, passing};
use std::arch::x86_64::*;

pub(super) fn has_vnni() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
}

pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Intrinsics, as the plain loop is vectorised for the narrowest registers. The sums of each lane are those of
/// [`inner_product`] (a fused product of two f32 in f64 is exact too), and so is the tree that adds them up.
#[target_feature(enable = "avx512f")]
pub(super) fn inner_product_vnni(left: &[f32], right: &[f32]) -> f64 {
    let mut sums = [_mm512_setzero_pd(); 2];
    let (left_body, left_rest) = left.as_chunks::<SUMS>();
    let (right_body, right_rest) = right.as_chunks::<SUMS>();
    for (a, b) in left_body.iter().zip(right_body) {
        let (a, b): ([__m256; 2], [__m256; 2]) = (bytemuck::cast(*a), bytemuck::cast(*b));
        for half in 0..2 {
            sums[half] = _mm512_fmadd_pd(_mm512_cvtps_pd(a[half]), _mm512_cvtps_pd(b[half]), sums[half]);
        }
    }
    let mut sums: [f64; SUMS] = bytemuck::cast(sums);
    for (sum, (a, b)) in sums.iter_mut().zip(left_rest.iter().zip(right_rest)) {
        *sum += f64::from(*a) * f64::from(*b);
    }
    add_up(sums)
}

#[target_feature(enable = "avx2")]
pub(super) fn inner_product_avx2(left: &[f32], right: &[f32]) -> f64 {
    inner_product(left, right)
}
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn dot_rows_vnni(lines: &[Line], rows: &[u32], probe: &[Line], start: i32, dots: &mut Vec<i32>) {
    for &row in rows {
        let codes = &lines[row as usize * probe.len()..][..probe.len()];
        // two sums, as an instruction waits for the one before it on the same sum
        let mut sums = [_mm512_setzero_si512(); 2];
        let (code_pairs, code_rest) = codes.as_chunks::<2>();
        let (weight_pairs, weight_rest) = probe.as_chunks::<2>();
        for (codes, weights) in code_pairs.iter().zip(weight_pairs) {
            for side in 0..2 {
                let (code, weight) = (bytemuck::cast(codes[side].0), bytemuck::cast(weights[side].0));
                sums[side] = _mm512_dpbusd_epi32(sums[side], code, weight);
            }
        }
        for (code, weight) in code_rest.iter().zip(weight_rest) {
            sums[0] = _mm512_dpbusd_epi32(sums[0], bytemuck::cast(code.0), bytemuck::cast(weight.0));
        }
        dots.push(start + _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1])));
    }
}
#[target_feature(enable = "avx2")]
pub(super) fn dot_rows_avx2(lines: &[Line], rows: &[u32], probe: &[Line], start: i32, dots: &mut Vec<i32>) {
    super::dot_rows(lines, rows, probe, start, dots);
}

#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn vnni<const Q: usize>(
    group: Group<'_>,
    codes: &[[i32; Q]],
    cuts: &[Cut; Q],
    dots: &mut [Dots; Q],
) -> [Passed; Q] {
    let mut sums = [[_mm512_setzero_si512(); BLOCKS]; Q];
    for (sums, cut) in sums.iter_mut().zip(cuts) {
        *sums = [_mm512_set1_epi32(cut.start); BLOCKS];
    }
    for (lines, code) in group.lines.as_chunks::<BLOCKS>().0.iter().zip(codes) {
        let rows: [__m512i; BLOCKS] = lines.map(|line| bytemuck::cast(line.0));
        for (sums, &weights) in sums.iter_mut().zip(code) {
            let weights = _mm512_set1_epi32(weights);
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum = _mm512_dpbusd_epi32(*sum, row, weights);
            }
        }
    }
    let mut passed = [[0; BLOCKS]; Q];
    for (at, cut) in cuts.iter().enumerate() {
        let floor = _mm512_set1_ps(cut.floor);
        let norm_weight = _mm512_set1_ps(cut.norm_weight);
        let error_weight = _mm512_set1_ps(cut.error_weight);
        let along_weight = _mm512_set1_ps(cut.along_weight);
        for block in 0..BLOCKS {
            let sum = sums[at][block];
            dots[at][block] = bytemuck::cast(sum);
            let estimate = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), bytemuck::cast(group.scales[block]));
            let estimate = _mm512_fmadd_ps(along_weight, bytemuck::cast(group.along[block]), estimate);
            let with_norm = _mm512_fmadd_ps(norm_weight, bytemuck::cast(group.norms[block]), estimate);
            let upper = _mm512_fmadd_ps(error_weight, bytemuck::cast(group.errors[block]), with_norm);
            passed[at][block] = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(upper, floor);
        }
    }
    passed
}

/// `vpmaddubsw` would saturate, so bytes are widened to 16 bits first. Lane pairs are summed at the end.
#[target_feature(enable = "avx2")]
pub(super) fn avx2<const Q: usize>(
    group: Group<'_>,
    codes: &[[i32; Q]],
    cuts: &[Cut; Q],
    dots: &mut [Dots; Q],
) -> [Passed; Q] {
    const QUARTERS: usize = 4;
    for (at, cut) in cuts.iter().enumerate() {
        for block in 0..BLOCKS {
            let mut sums = [_mm256_setzero_si256(); QUARTERS];
            for (lines, code) in group.lines.as_chunks::<BLOCKS>().0.iter().zip(codes) {
                let weights = _mm256_cvtepi8_epi16(_mm_set1_epi32(code[at]));
                let quarters: [__m128i; QUARTERS] = bytemuck::cast(lines[block].0);
                for (sum, quarter) in sums.iter_mut().zip(quarters) {
                    let products = _mm256_madd_epi16(_mm256_cvtepu8_epi16(quarter), weights);
                    *sum = _mm256_add_epi32(*sum, products);
                }
            }
            let pairs: [i32; 2 * LANES] = bytemuck::cast(sums);
            for (dot, pair) in dots[at][block].iter_mut().zip(pairs.as_chunks::<2>().0) {
                *dot = cut.start + pair[0] + pair[1];
            }
        }
    }
    passing(group, cuts, dots)
}
