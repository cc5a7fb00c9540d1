//! Integer dot products of a few queries with 64 rows, and which rows pass the queries' cuts.
//!
//! Three kernels, chosen once per index by what the processor reports: AVX-512 VNNI (64 multiply-adds an
//! instruction), AVX2, and portable code. The dot products are exact integers, so all three see the same
//! numbers; the cut has slack for their different f32 roundings, so all three lead to the same answer.

#[cfg(target_arch = "x86_64")]
mod x86;

use super::codes::Group;
use super::neighbor::inner_product;
#[cfg(target_arch = "x86_64")]
use super::neighbor::{SUMS, add_up};

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
/// `scale * dot + along_weight * along + norm_weight * norm + error_weight * error >= floor` with the row's
/// own four numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// What a dot product starts at: takes the bias of the row codes out.
    pub(super) start: i32,
    pub(super) norm_weight: f32,
    pub(super) error_weight: f32,
    pub(super) along_weight: f32,
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

    /// Scores one group for `Q` queries: fills `dots` and returns which rows pass.
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
            for (lane, &dot) in dots[block].iter().enumerate() {
                let reach =
                    cut.norm_weight * group.norms[block][lane] + cut.error_weight * group.errors[block][lane];
                let estimate =
                    group.scales[block][lane] * dot as f32 + cut.along_weight * group.along[block][lane];
                *mask |= u16::from(estimate + reach >= cut.floor) << lane;
            }
        }
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::oracle::unit_rows;

    #[test]
    fn every_kernel_gives_the_same_bits_at_every_length() {
        for len in [1, 15, 16, 33, 136, 384] {
            let values = unit_rows(len as u64, 2, len);
            let (left, right) = values.split_at(len);
            let want = inner_product(left, right).to_bits();
            for kernel in Kernel::available() {
                assert_eq!(kernel.inner_product(left, right).to_bits(), want, "{len} values, {kernel:?}");
            }
        }
    }
}
