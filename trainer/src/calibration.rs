//! Fits the line from raw outputs to scores.

use routewright_data::Cells;
use routewright_policy::forms::Calibration;

/// Slope where the raw outputs are unrelated to the scores: small, so that money decides, yet positive, so
/// that the ranking stays.
const SLOPE_MIN: f32 = 1e-3;

/// The line that predicts best how the scores of a query differ between arms.
///
/// `raw` and `labels` are `(n_rows, n_arms)`. The slope is the least-squares slope of labels on raw outputs,
/// both centered within each query: what a query's arms have in common does not bear on the choice, so
/// it must not bear on the slope. The intercept makes the mean prediction the mean label. Missing cells are
/// left out.
pub(crate) fn within_queries(raw: &[f32], labels: &Cells) -> Calibration {
    let (mut cross, mut square) = (0.0_f64, 0.0_f64);
    let (mut raw_sum, mut label_sum, mut n_cells) = (0.0_f64, 0.0_f64, 0_usize);
    for (row, raw) in raw.chunks_exact(labels.n_cols().max(1)).enumerate() {
        let cells: Vec<(f64, f64)> = (0..labels.n_cols())
            .filter_map(|arm| Some((f64::from(raw[arm]), f64::from(labels.get(row, arm)?))))
            .collect();
        let n = cells.len().max(1) as f64;
        let (x, y) = cells.iter().fold((0.0, 0.0), |(x, y), c| (x + c.0, y + c.1));
        cross += cells.iter().map(|c| (c.0 - x / n) * (c.1 - y / n)).sum::<f64>();
        square += cells.iter().map(|c| (c.0 - x / n).powi(2)).sum::<f64>();
        raw_sum += x;
        label_sum += y;
        n_cells += cells.len();
    }
    let slope = ((cross / square) as f32).max(SLOPE_MIN); // max drops NaN
    let n = n_cells.max(1) as f64;
    let intercept = (label_sum / n - f64::from(slope) * raw_sum / n) as f32;
    Calibration::new(slope, intercept).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_within_queries_and_never_negative() {
        // Within each query the label rises by 0.2 a unit; between queries it falls.
        let raw = [0.0, 1.0, 10.0, 11.0, 5.0, 5.0];
        let labels = Cells::from_vec(3, 2, vec![0.7, 0.9, 0.1, 0.3, 0.5, f32::NAN]);
        let line = within_queries(&raw, &labels);
        assert!((line.slope() - 0.2).abs() < 1e-6);
        // mean label 0.5, mean raw (0 + 1 + 10 + 11 + 5) / 5 = 5.4
        assert!((line.intercept() - (0.5 - 0.2 * 5.4)).abs() < 1e-6);
        let falling = Cells::from_vec(1, 2, vec![1.0, 0.0]);
        assert!(within_queries(&[0.0, 1.0], &falling).slope() > 0.0);
        let alike = Cells::from_vec(1, 2, vec![0.5, 0.5]);
        assert!(within_queries(&[0.3, 0.3], &alike).slope() > 0.0);
    }
}
