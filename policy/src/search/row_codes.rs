//! An 8-bit copy of unit-norm rows, one row after the other, for engines that visit rows in any order.
//!
//! As in [`super::codes`], the mean row is taken away and each row has its own step. Closeness is measured as
//! `y.p - |y|^2 / 2` for row `y` and probe `p` (both without the mean): the order of Euclidean distance,
//! which for unit rows is the order of the inner product.
//!
//! Memory: `dim` rounded up to 64, plus 8, bytes a row.

use super::codes::{BIAS, mean_row, round_code, step_size};
use super::kernel::{Kernel, Line};

const WIDTH: usize = size_of::<Line>();

/// The quantized rows.
#[derive(Debug)]
pub(super) struct RowCodes {
    pub(super) dim: usize,
    /// Lines a row takes.
    width: usize,
    pub(super) lines: Vec<Line>,
    pub(super) scales: Vec<f32>,
    /// `|y|^2 / 2` of every row.
    pub(super) half_squares: Vec<f32>,
    pub(super) center: Vec<f32>,
    kernel: Kernel,
}

/// A point to measure rows against: signed codes, where rows have biased unsigned ones.
#[derive(Debug, Default, Clone)]
pub(super) struct Probe {
    lines: Vec<Line>,
    scale: f32,
    sum: i32,
    /// Integer dot products, kept to reuse the memory.
    dots: Vec<i32>,
}

impl RowCodes {
    /// Quantizes checked rows of unit norm.
    pub(super) fn new(rows: &[f32], dim: usize) -> Self {
        let mut codes = Self::empty(dim, mean_row(rows, dim));
        let mut centered = vec![0.0f64; dim];
        for row in rows.chunks_exact(dim) {
            codes.center_into(row, &mut centered);
            let scale = step_size(centered.iter().copied());
            let inverse = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
            let row_codes: Vec<u8> =
                centered.iter().map(|value| (round_code(value * inverse) + BIAS) as u8).collect();
            let half_square = centered.iter().map(|value| value * value).sum::<f64>() / 2.0;
            codes.push(&row_codes, scale, half_square as f32);
        }
        codes
    }

    pub(super) fn empty(dim: usize, center: Vec<f32>) -> Self {
        Self {
            dim,
            width: dim.div_ceil(WIDTH),
            lines: Vec::new(),
            scales: Vec::new(),
            half_squares: Vec::new(),
            center,
            kernel: Kernel::detect(),
        }
    }

    /// Appends a row of `dim` biased codes.
    pub(super) fn push(&mut self, codes: &[u8], scale: f32, half_square: f32) {
        for chunk in codes.chunks(WIDTH) {
            let mut line = Line([BIAS as u8; WIDTH]);
            line.0[..chunk.len()].copy_from_slice(chunk);
            self.lines.push(line);
        }
        self.scales.push(scale);
        self.half_squares.push(half_square);
    }

    pub(super) fn len(&self) -> usize {
        self.scales.len()
    }

    /// The biased codes of one row, with the padding.
    pub(super) fn row(&self, row: u32) -> &[Line] {
        &self.lines[row as usize * self.width..][..self.width]
    }

    /// Aims `probe` at a stored row.
    pub(super) fn aim_at_row(&self, row: u32, probe: &mut Probe) {
        probe.lines.clear();
        probe.lines.extend(self.row(row).iter().map(|line| Line(line.0.map(|code| code ^ BIAS as u8))));
        probe.scale = self.scales[row as usize];
        probe.add_up();
    }

    /// Aims `probe` at a query, shape `(dim,)`.
    pub(super) fn aim_at_query(&self, query: &[f32], probe: &mut Probe) {
        let mut centered = vec![0.0f64; self.dim];
        self.center_into(query, &mut centered);
        let step = step_size(centered.iter().copied());
        probe.scale = if step > 0.0 { step } else { 1.0 };
        let inverse = 1.0 / f64::from(probe.scale);
        probe.lines.clear();
        for chunk in centered.chunks(WIDTH) {
            let mut line = Line([0; WIDTH]);
            for (byte, value) in line.0.iter_mut().zip(chunk) {
                *byte = (round_code(value * inverse) as i8) as u8;
            }
            probe.lines.push(line);
        }
        probe.add_up();
    }

    /// Closeness of the probe to each of `rows`, into `closeness` (replaced).
    pub(super) fn measure(&self, probe: &mut Probe, rows: &[u32], closeness: &mut Vec<f32>) {
        let start = -BIAS * probe.sum;
        self.kernel.dot_rows(&self.lines, rows, &probe.lines, start, &mut probe.dots);
        closeness.clear();
        closeness.extend(rows.iter().zip(&probe.dots).map(|(&row, &dot)| {
            dot as f32 * (probe.scale * self.scales[row as usize]) - self.half_squares[row as usize]
        }));
    }

    fn center_into(&self, values: &[f32], out: &mut [f64]) {
        for ((out, &value), &mean) in out.iter_mut().zip(values).zip(&self.center) {
            *out = f64::from(value) - f64::from(mean);
        }
    }
}

impl Probe {
    fn add_up(&mut self) {
        self.sum = self.lines.iter().flat_map(|line| line.0).map(|byte| i32::from(byte as i8)).sum();
    }
}
