//! The two matrices everything else is made of: cells with holes, and features without.

/// Outcomes of shape `(n_rows, n_cols)`, row-major, rows = queries, columns = arms.
///
/// A missing cell is stored as `NaN`; [`Cells::get`] turns it into `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cells {
    n_rows: usize,
    n_cols: usize,
    values: Vec<f32>,
}

impl Cells {
    /// A matrix whose cells are all missing.
    pub fn missing(n_rows: usize, n_cols: usize) -> Self {
        Self { n_rows, n_cols, values: vec![f32::NAN; n_rows * n_cols] }
    }

    /// Takes `values` of length `n_rows * n_cols`, row-major.
    ///
    /// # Panics
    /// If the length does not match: that is a bug of the caller, never a property of user data.
    pub fn from_vec(n_rows: usize, n_cols: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), n_rows * n_cols, "cells: length must be n_rows * n_cols");
        Self { n_rows, n_cols, values }
    }

    /// Number of rows (queries).
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Number of columns (arms).
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// The cell, or `None` where the log has no value.
    pub fn get(&self, row: usize, col: usize) -> Option<f32> {
        let value = self.values[row * self.n_cols + col];
        (!value.is_nan()).then_some(value)
    }

    /// Writes a cell.
    pub fn set(&mut self, row: usize, col: usize, value: f32) {
        self.values[row * self.n_cols + col] = value;
    }

    /// One row, `NaN` where missing.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.n_cols..(row + 1) * self.n_cols]
    }

    /// All values, row-major, `NaN` where missing.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Number of cells that have a value.
    pub fn n_present(&self) -> usize {
        self.values.iter().filter(|v| !v.is_nan()).count()
    }

    /// Mean of the present cells of a column, `None` when the column is empty.
    pub fn column_mean(&self, col: usize) -> Option<f64> {
        let (sum, n) = (0..self.n_rows)
            .filter_map(|row| self.get(row, col))
            .fold((0.0_f64, 0_usize), |(sum, n), v| (sum + f64::from(v), n + 1));
        (n > 0).then(|| sum / n as f64)
    }

    /// Mean of the present cells of a row, `None` when the row is empty.
    pub fn row_mean(&self, row: usize) -> Option<f64> {
        let (sum, n) = self
            .row(row)
            .iter()
            .filter(|v| !v.is_nan())
            .fold((0.0_f64, 0_usize), |(sum, n), v| (sum + f64::from(*v), n + 1));
        (n > 0).then(|| sum / n as f64)
    }

    /// The rows named, in that order (a row may be named more than once).
    #[must_use]
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        let values = rows.iter().flat_map(|&row| self.row(row).iter().copied()).collect();
        Self { n_rows: rows.len(), n_cols: self.n_cols, values }
    }

    /// The columns named, in that order.
    #[must_use]
    pub fn select_cols(&self, cols: &[usize]) -> Self {
        let mut values = Vec::with_capacity(self.n_rows * cols.len());
        for row in 0..self.n_rows {
            let source = self.row(row);
            values.extend(cols.iter().map(|&col| source[col]));
        }
        Self { n_rows: self.n_rows, n_cols: cols.len(), values }
    }
}

/// Features of shape `(n_rows, dim)`, row-major, every value finite.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureMatrix {
    n_rows: usize,
    dim: usize,
    values: Vec<f32>,
}

impl FeatureMatrix {
    /// A matrix of zeros.
    pub fn zeros(n_rows: usize, dim: usize) -> Self {
        Self { n_rows, dim, values: vec![0.0; n_rows * dim] }
    }

    /// Takes `values` of length `n_rows * dim`, row-major.
    ///
    /// # Panics
    /// If the length does not match (a bug of the caller).
    pub fn from_vec(n_rows: usize, dim: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), n_rows * dim, "features: length must be n_rows * dim");
        Self { n_rows, dim, values }
    }

    /// Number of rows (queries).
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Width of a feature vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// One feature vector, shape `(dim,)`.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..(row + 1) * self.dim]
    }

    /// One feature vector, to be written.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.dim..(row + 1) * self.dim]
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, row-major, by move.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// The rows named, in that order.
    #[must_use]
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        let values = rows.iter().flat_map(|&row| self.row(row).iter().copied()).collect();
        Self { n_rows: rows.len(), dim: self.dim, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_skip_missing_cells() {
        let cells = Cells::from_vec(2, 3, vec![1.0, f32::NAN, 0.0, 0.5, f32::NAN, 1.0]);
        assert_eq!(cells.column_mean(0), Some(0.75));
        assert_eq!(cells.column_mean(1), None);
        assert_eq!(cells.row_mean(0), Some(0.5));
        assert_eq!(cells.n_present(), 4);
    }

    #[test]
    fn selections_keep_the_order_asked_for() {
        let cells = Cells::from_vec(2, 2, vec![1.0, 2.0, 3.0, 4.0]);
        assert_eq!(cells.select_rows(&[1, 1]).values(), &[3.0, 4.0, 3.0, 4.0]);
        assert_eq!(cells.select_cols(&[1, 0]).values(), &[2.0, 1.0, 4.0, 3.0]);
    }
}
