//! Integer dot products of a few queries with 64 rows, and which rows pass the queries' cuts.
//!
//! Three kernels, chosen once per index by what the processor reports: AVX-512 VNNI (64 multiply-adds an
//! instruction), AVX2, and portable code. The dot products are exact integers, so all three see the same
//! numbers; the cut has slack for their different f32 roundings, so all three lead to the same answer.

use super::codes::Group;
use super::neighbor::inner_product;

/// Rows a block: one 32-bit lane each.
pub(super) const LANES: usize = 16;
/// Blocks a group.
pub(super) const BLOCKS: usize = 4;
/// Rows a group.
pub(super) const GROUP: usize = LANES * BLOCKS;
/// Dimensions in one 32-bit lane.
pub(super) const PACK: usize = 4;

/// Four dimensions of 16 rows, a byte each: one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u8; PACK * LANES]);

/// What decides whether a row passes for one query, in units of the query's code step: it does when
/// `scale * dot + norm_weight * norm + error_weight * error >= floor` with the row's own three numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// What a dot product starts at: takes the bias of the row codes out.
    pub(super) start: i32,
    pub(super) norm_weight: f32,
    pub(super) error_weight: f32,
    pub(super) floor: f32,
}

/// Dot products of one query with a group.
pub(super) type Dots = [[i32; LANES]; BLOCKS];
/// Bit `l` of entry `b`: row `16 b + l` of the group passed the cut.
pub(super) type Passed = [u16; BLOCKS];

/// Which kernel runs. The field is private to this module: a value is only made after the processor was
/// asked, which is what makes the calls below sound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Vnni,
}

impl Kernel {
    /// Every kernel this processor can run, best first.
    pub(super) fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let special = [(Kind::Vnni, x86::has_vnni()), (Kind::Avx2, x86::has_avx2())];
        #[cfg(not(target_arch = "x86_64"))]
        let special: [(Kind, bool); 0] = [];
        special.into_iter().filter(|(_, can)| *can).map(|(kind, _)| Self(kind)).chain([Self(Kind::Portable)])
    }

    /// The best kernel of this processor.
    pub(super) fn detect() -> Self {
        Self::available().next().unwrap_or(Self(Kind::Portable))
    }

    /// Scores one group for `Q` queries: fills `dots` and tells which rows pass.
    ///
    /// `codes` holds the query codes: entry `s` has dimensions `4 s .. 4 s + 4` of every query, as packed
    /// signed bytes.
    #[cfg_attr(
        target_arch = "x86_64",
        expect(
            unsafe_code,
            reason = "calls compiled for processor features; `Kernel` proves their detection"
        )
    )]
    pub(super) fn tile<const Q: usize>(
        self,
        group: Group<'_>,
        codes: &[[i32; Q]],
        cuts: &[Cut; Q],
        dots: &mut [Dots; Q],
    ) -> [Passed; Q] {
        match self.0 {
            Kind::Portable => portable(group, codes, cuts, dots),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this kind is only constructed after the features of the function were detected
            Kind::Avx2 => unsafe { x86::avx2(group, codes, cuts, dots) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above
            Kind::Vnni => unsafe { x86::vnni(group, codes, cuts, dots) },
        }
    }

    /// Dot products of one probe with `rows` of a row-major code array: unsigned codes in `lines` (as many
    /// lines a row as the probe has), signed ones in `probe`; `start` is added to each. Replaces `dots`.
    #[cfg(feature = "ann")]
    #[cfg_attr(
        target_arch = "x86_64",
        expect(
            unsafe_code,
            reason = "calls compiled for processor features; `Kernel` proves their detection"
        )
    )]
    pub(super) fn dot_rows(
        self,
        lines: &[Line],
        rows: &[u32],
        probe: &[Line],
        start: i32,
        dots: &mut Vec<i32>,
    ) {
        dots.clear();
        match self.0 {
            Kind::Portable => dot_rows(lines, rows, probe, start, dots),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `tile`
            Kind::Avx2 => unsafe { x86::dot_rows_avx2(lines, rows, probe, start, dots) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `tile`
            Kind::Vnni => unsafe { x86::dot_rows_vnni(lines, rows, probe, start, dots) },
        }
    }

    /// [`inner_product`], with the same bits, in the widest registers.
    #[cfg_attr(
        target_arch = "x86_64",
        expect(
            unsafe_code,
            reason = "calls compiled for processor features; `Kernel` proves their detection"
        )
    )]
    pub(super) fn inner_product(self, left: &[f32], right: &[f32]) -> f64 {
        match self.0 {
            Kind::Portable => inner_product(left, right),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `tile`
            Kind::Avx2 => unsafe { x86::inner_product_avx2(left, right) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `tile`
            Kind::Vnni => unsafe { x86::inner_product_vnni(left, right) },
        }
    }
}

fn portable<const Q: usize>(
    group: Group<'_>,
    codes: &[[i32; Q]],
    cuts: &[Cut; Q],
    dots: &mut [Dots; Q],
) -> [Passed; Q] {
    for (at, (cut, dots)) in cuts.iter().zip(dots.iter_mut()).enumerate() {
        *dots = [[cut.start; LANES]; BLOCKS];
        for (lines, code) in group.lines.as_chunks::<BLOCKS>().0.iter().zip(codes) {
            let weights = code[at].to_le_bytes().map(|byte| i32::from(byte as i8));
            for (line, sums) in lines.iter().zip(dots.iter_mut()) {
                for (sum, bytes) in sums.iter_mut().zip(line.0.as_chunks::<PACK>().0) {
                    *sum += bytes
                        .iter()
                        .zip(weights)
                        .map(|(&byte, weight)| i32::from(byte) * weight)
                        .sum::<i32>();
                }
            }
        }
    }
    passing(group, cuts, dots)
}

#[cfg(feature = "ann")]
#[inline(always)]
fn dot_rows(lines: &[Line], rows: &[u32], probe: &[Line], start: i32, dots: &mut Vec<i32>) {
    let row_at = |row: u32| &lines[row as usize * probe.len()..][..probe.len()];
    dots.extend(rows.iter().map(|&row| {
        let pairs = row_at(row).iter().zip(probe).flat_map(|(codes, weights)| codes.0.iter().zip(&weights.0));
        start + pairs.map(|(&code, &weight)| i32::from(code) * i32::from(weight as i8)).sum::<i32>()
    }));
}

/// Rows whose upper bound reaches the floor.
#[inline(always)]
fn passing<const Q: usize>(group: Group<'_>, cuts: &[Cut; Q], dots: &[Dots; Q]) -> [Passed; Q] {
    let mut passed = [[0; BLOCKS]; Q];
    for ((cut, dots), passed) in cuts.iter().zip(dots).zip(&mut passed) {
        for (block, mask) in passed.iter_mut().enumerate() {
            for lane in 0..LANES {
                let reach =
                    cut.norm_weight * group.norms[block][lane] + cut.error_weight * group.errors[block][lane];
                let upper = group.scales[block][lane] * dots[block][lane] as f32 + reach;
                *mask |= u16::from(upper >= cut.floor) << lane;
            }
        }
    }
    passed
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The same sums with vector instructions. Values enter registers through `bytemuck::cast`, which
    //! compiles to plain loads and needs no raw pointer.

    use std::arch::x86_64::*;

    #[cfg(feature = "ann")]
    use super::Line;
    use super::{BLOCKS, Cut, Dots, Group, LANES, Passed, inner_product, passing};

    pub(super) fn has_vnni() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
    }

    pub(super) fn has_avx2() -> bool {
        is_x86_feature_detected!("avx2")
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn inner_product_vnni(left: &[f32], right: &[f32]) -> f64 {
        inner_product(left, right)
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn inner_product_avx2(left: &[f32], right: &[f32]) -> f64 {
        inner_product(left, right)
    }

    #[cfg(feature = "ann")]
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn dot_rows_vnni(
        lines: &[Line],
        rows: &[u32],
        probe: &[Line],
        start: i32,
        dots: &mut Vec<i32>,
    ) {
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

    #[cfg(feature = "ann")]
    #[target_feature(enable = "avx2")]
    pub(super) fn dot_rows_avx2(
        lines: &[Line],
        rows: &[u32],
        probe: &[Line],
        start: i32,
        dots: &mut Vec<i32>,
    ) {
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
            for block in 0..BLOCKS {
                let sum = sums[at][block];
                dots[at][block] = bytemuck::cast(sum);
                let estimate = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), bytemuck::cast(group.scales[block]));
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
}
