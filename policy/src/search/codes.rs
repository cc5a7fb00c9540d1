//! An 8-bit copy of the rows, laid out for the scan kernels, with the error of every row.
//!
//! Row `x` is stored as `x = center + scale * c + r`: `center` is the mean row (f32), `c` integers in
//! [-127, 127], `scale` a number a row, and `r` what rounding left. Only the norms of `scale * c` and of `r`
//! are kept for the bound of [`super::bound`]. Taking the mean away leaves shorter rows, so a smaller `r`:
//! sentence embeddings share a large mean.
//!
//! Layout: 64 rows form a [group](GROUP); inside a group, a [`Line`] holds 4 consecutive dimensions of 16
//! rows, and the 4 lines of a group with the same dimensions are adjacent. A kernel reads memory strictly
//! forward and every 32-bit lane belongs to one row, so nothing is summed across lanes.
//!
//! Memory: `dim` rounded up to 4, plus 12, bytes a row.

use super::kernel::{BLOCKS, GROUP, LANES, Line, PACK};

/// Largest dimension: sums of `dim` products of two bytes stay far from the limits of `i32`.
pub(super) const MAX_DIM: usize = 32_768;

/// Largest magnitude of a value: sums and scales stay far from the limits of f32.
pub(super) const MAX_MAGNITUDE: f32 = 1e12;

/// Codes are stored with this added, as the kernels want one unsigned side.
pub(super) const BIAS: i32 = 128;

/// Largest magnitude of a code.
const CODE_MAX: f64 = 127.0;

/// Per-row numbers of one block of rows.
pub(super) type Lanes = [f32; LANES];

/// The quantized copy of all rows.
#[derive(Debug)]
pub(super) struct Codes {
    /// `[groups][steps][BLOCKS]`, see the layout above.
    lines: Vec<Line>,
    /// Per-row `scale`, `[groups][BLOCKS]`.
    scales: Vec<[Lanes; BLOCKS]>,
    /// Per-row upper bound on the norm of `scale * c`.
    norms: Vec<[Lanes; BLOCKS]>,
    /// Per-row upper bound on the norm of `r`.
    errors: Vec<[Lanes; BLOCKS]>,
    /// Mean row.
    center: Vec<f32>,
    /// Lines of 4 dimensions a block has.
    steps: usize,
    /// Upper bound on `|x| + |center|` over all rows.
    span: f64,
}

/// 64 rows of the quantized copy, as a kernel reads them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group<'a> {
    pub(super) lines: &'a [Line],
    pub(super) scales: &'a [Lanes; BLOCKS],
    pub(super) norms: &'a [Lanes; BLOCKS],
    pub(super) errors: &'a [Lanes; BLOCKS],
}

impl Codes {
    /// Quantizes `rows`, shape `(n, dim)` row-major. The rows were checked by the caller.
    pub(super) fn new(rows: &[f32], dim: usize) -> Self {
        let center = mean_row(rows, dim);
        let steps = dim.div_ceil(PACK);
        let groups = (rows.len() / dim).div_ceil(GROUP);
        let mut codes = Self {
            lines: vec![Line([BIAS as u8; PACK * LANES]); groups * steps * BLOCKS],
            scales: vec![[[0.0; LANES]; BLOCKS]; groups],
            norms: vec![[[0.0; LANES]; BLOCKS]; groups],
            errors: vec![[[0.0; LANES]; BLOCKS]; groups],
            center,
            steps,
            span: 0.0,
        };
        let mut centered = vec![0.0f64; dim];
        let mut largest = 0.0f64;
        for (row, values) in rows.chunks_exact(dim).enumerate() {
            largest = largest.max(norm(values.iter().map(|&value| f64::from(value))));
            for ((out, &value), &mean) in centered.iter_mut().zip(values).zip(&codes.center) {
                *out = f64::from(value) - f64::from(mean);
            }
            codes.store(row, &centered);
        }
        codes.span = largest + norm(codes.center.iter().map(|&value| f64::from(value)));
        codes
    }

    fn store(&mut self, row: usize, centered: &[f64]) {
        let (group, block, lane) = (row / GROUP, row % GROUP / LANES, row % LANES);
        let scale = step_size(centered.iter().copied());
        let inverse = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
        let (mut code_square, mut error_square) = (0.0f64, 0.0f64);
        let lines = &mut self.lines[group * self.steps * BLOCKS..][..self.steps * BLOCKS];
        for (line, values) in lines.iter_mut().skip(block).step_by(BLOCKS).zip(centered.chunks(PACK)) {
            for (byte, &value) in line.0[lane * PACK..].iter_mut().zip(values) {
                let code = round_code(value * inverse);
                let left = value - f64::from(scale) * f64::from(code);
                code_square += f64::from(code) * f64::from(code);
                error_square += left * left;
                *byte = (code + BIAS) as u8;
            }
        }
        self.scales[group][block][lane] = scale;
        self.norms[group][block][lane] = round_up(f64::from(scale) * code_square.sqrt());
        self.errors[group][block][lane] = round_up(error_square.sqrt());
    }

    /// Groups of rows in order; the last one is padded with rows of zero scale.
    pub(super) fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let lines = self.lines.chunks_exact(self.steps * BLOCKS);
        lines
            .zip(&self.scales)
            .zip(self.norms.iter().zip(&self.errors))
            .map(|((lines, scales), (norms, errors))| Group { lines, scales, norms, errors })
    }

    pub(super) fn center(&self) -> &[f32] {
        &self.center
    }

    /// Upper bound on `|x| + |center|` over all rows.
    pub(super) fn span(&self) -> f64 {
        self.span
    }
}

/// Rounds to the nearest code. The magic number 1.5 * 2^52 leaves no fraction bits (ties to even), without
/// the library call that `f64::round` is on a plain x86-64 target.
pub(super) fn round_code(value: f64) -> i32 {
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    ((value.clamp(-CODE_MAX, CODE_MAX) + MAGIC) - MAGIC) as i32
}

/// Distance between two code values that fits `values`; zero when they are all (nearly) zero.
pub(super) fn step_size(values: impl Iterator<Item = f64>) -> f32 {
    let largest = values.fold(0.0f64, |so_far, value| so_far.max(value.abs()));
    let step = (largest / CODE_MAX) as f32;
    // a subnormal step is too coarse to divide by; the whole row then counts as error
    if step < f32::MIN_POSITIVE { 0.0 } else { step }
}

/// Smallest convenient f32 above `value` (non-negative), with room for the rounding of the f64 sums.
pub(super) fn round_up(value: f64) -> f32 {
    ((value * (1.0 + 1e-6)) as f32).next_up()
}

/// Euclidean norm.
pub(super) fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// Mean of the rows, shape `(dim,)`.
pub(super) fn mean_row(rows: &[f32], dim: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; dim];
    for row in rows.chunks_exact(dim) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
    let count = (rows.len() / dim).max(1) as f64;
    sums.iter().map(|sum| (sum / count) as f32).collect()
}
