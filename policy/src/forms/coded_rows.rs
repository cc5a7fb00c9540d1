//! Cosines of a query with every one of many rows: 8-bit codes, a quarter of the bytes of the rows.
//!
//! A value is `code * scale` with the scale of its row, the greatest magnitude over 127. Of unit vectors of width 128
//! the cosine is off by a few thousandths. Sums are of integers, so that they have the same bits on every processor.

use crate::LoadError;
use routewright_data::{FeatureMatrix, TensorError, Tensors};

/// Rows of features as codes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CodedRows {
    dim: usize,
    codes: Vec<i8>,
    scales: Vec<f32>,
}

/// Appends the codes of a vector and returns their scale; that of a zero vector is 0.
fn encode(x: &[f32], codes: &mut Vec<i8>) -> f32 {
    let greatest = x.iter().fold(0.0_f32, |greatest, v| greatest.max(v.abs()));
    let scale = greatest / 127.0;
    let per_unit = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    codes.extend(x.iter().map(|v| (v * per_unit).round() as i8));
    scale
}

impl CodedRows {
    pub(super) fn new(features: &FeatureMatrix) -> Self {
        let mut codes = Vec::with_capacity(features.values().len());
        let scales = (0..features.n_rows()).map(|row| encode(features.row(row), &mut codes)).collect();
        Self { dim: features.dim(), codes, scales }
    }

    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    pub(super) fn len(&self) -> usize {
        self.scales.len()
    }

    /// Writes the inner product of `x` with every row to `out`.
    pub(super) fn cosines(&self, x: &[f32], out: &mut Vec<f32>) {
        let mut query = Vec::with_capacity(self.dim);
        let scale = encode(x, &mut query);
        let query: Vec<i16> = query.into_iter().map(i16::from).collect();
        out.clear();
        out.resize(self.len(), 0.0);
        if self.dim == 0 {
            return;
        }
        routewright_data::simd::widest(
            #[inline(always)]
            || {
                let rows = self.codes.chunks_exact(self.dim).zip(&self.scales);
                for (out, (codes, row_scale)) in out.iter_mut().zip(rows) {
                    let products = codes.iter().zip(&query).map(|(a, b)| i32::from(*a) * i32::from(*b));
                    *out = products.sum::<i32>() as f32 * (scale * row_scale);
                }
            },
        );
    }

    pub(super) fn store(&self, tensors: &mut Tensors) {
        let codes = self.codes.iter().map(|code| *code as u8).collect();
        tensors.insert_u8("rows.codes", &[self.len(), self.dim], codes);
        tensors.insert_f32("rows.scales", &[self.len()], self.scales.clone());
    }

    pub(super) fn restore(tensors: &mut Tensors, dim: usize) -> Result<Self, TensorError> {
        let n = tensors.shape("rows.scales")?.first().copied().unwrap_or(0);
        let codes = tensors.take_u8("rows.codes", &[n, dim])?;
        let scales = tensors.take_f32("rows.scales", &[n])?;
        Ok(Self { dim, codes: codes.into_iter().map(|code| code as i8).collect(), scales })
    }
}

/// Splits a list by ascending starts of `n` parts, whose last entry is the length of the list.
pub(super) fn check_starts(form: &'static str, starts: &[u32], len: usize) -> Result<(), LoadError> {
    let rises = starts.windows(2).all(|pair| pair[0] <= pair[1]);
    match starts.first() == Some(&0) && rises && starts.last().copied() == u32::try_from(len).ok() {
        true => Ok(()),
        false => {
            let reason = format!("`starts` does not rise from 0 to the number of entries, {len}");
            Err(LoadError::Config { form, reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_those_of_the_rows_within_a_half_percent_and_survive_the_state() {
        let unit = |i: usize| {
            let raw: Vec<f32> = (0..96).map(|j| ((i * 37 + j * 61) % 101) as f32 / 50.0 - 1.0).collect();
            let norm = raw.iter().map(|v| v * v).sum::<f32>().sqrt();
            raw.into_iter().map(move |v| v / norm)
        };
        let features = FeatureMatrix::from_vec(40, 96, (0..40).flat_map(unit).collect());
        let rows = CodedRows::new(&features);
        let mut found = Vec::new();
        rows.cosines(features.row(3), &mut found);
        for (row, found) in found.iter().enumerate() {
            let exact: f32 = features.row(row).iter().zip(features.row(3)).map(|(a, b)| a * b).sum();
            assert!((found - exact).abs() < 0.005, "row {row}: {found} for {exact}");
        }
        let mut tensors = Tensors::new();
        rows.store(&mut tensors);
        assert_eq!(CodedRows::restore(&mut tensors, 96).unwrap(), rows);
        rows.cosines(&[0.0; 96], &mut found);
        assert!(found.iter().all(|cosine| *cosine == 0.0));
    }
}
