//! Normal equations by fold and by mask of missing cells: what ridge and logistic share.

use routewright_data::{Cells, FeatureMatrix};

/// Arms whose cells are missing in the same rows, and those rows' complement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MaskGroup {
    /// Columns of the score matrix.
    pub(super) arms: Vec<usize>,
    /// Rows where their cells are present, ascending.
    pub(super) rows: Vec<usize>,
}

/// Groups arms by mask; a dense log has one group. Arms never observed are in no group.
pub(super) fn mask_groups(score: &Cells) -> Vec<MaskGroup> {
    let mut groups: Vec<MaskGroup> = Vec::new();
    for arm in 0..score.n_cols() {
        let rows: Vec<usize> = (0..score.n_rows()).filter(|row| score.get(*row, arm).is_some()).collect();
        if rows.is_empty() {
            continue;
        }
        match groups.iter_mut().find(|group| group.rows == rows) {
            Some(group) => group.arms.push(arm),
            None => groups.push(MaskGroup { arms: vec![arm], rows }),
        }
    }
    groups
}

/// `sum_row x x^T` over the rows, with `x` extended by a 1 for the intercept: `(dim + 1, dim + 1)`, f64.
pub(in crate::methods) fn gram(features: &FeatureMatrix, rows: &[usize]) -> Vec<f64> {
    let width = features.dim() + 1;
    let mut sum = vec![0.0_f64; width * width];
    let mut x = vec![1.0_f64; width];
    for &row in rows {
        x.iter_mut().zip(features.row(row)).for_each(|(x, f)| *x = f64::from(*f));
        for i in 0..width {
            let xi = x[i];
            for (s, xj) in sum[i * width..i * width + i + 1].iter_mut().zip(&x) {
                *s += xi * xj;
            }
        }
    }
    for i in 0..width {
        for j in 0..i {
            sum[j * width + i] = sum[i * width + j];
        }
    }
    sum
}

/// `sum_row x y^T` over the rows: `(dim + 1, targets of a row)`, f64. `target(row, k)` is the k-th target.
pub(in crate::methods) fn moments(
    features: &FeatureMatrix,
    rows: &[usize],
    n_targets: usize,
    target: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let width = features.dim() + 1;
    let mut sum = vec![0.0_f64; width * n_targets];
    let mut y = vec![0.0_f64; n_targets];
    for &row in rows {
        y.iter_mut().enumerate().for_each(|(k, y)| *y = target(row, k));
        let x = features.row(row).iter().map(|f| f64::from(*f)).chain(std::iter::once(1.0));
        for (sums, x) in sum.chunks_exact_mut(n_targets).zip(x) {
            sums.iter_mut().zip(&y).for_each(|(s, y)| *s += x * y);
        }
    }
    sum
}

/// Adds `penalty` to the diagonal but the intercept's, which gets just enough to stay solvable.
pub(in crate::methods) fn penalize(gram: &mut [f64], width: usize, penalty: f64) {
    for i in 0..width {
        gram[i * width + i] += if i + 1 < width { penalty } else { 1e-9 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arms_of_one_mask_share_a_group() {
        let nan = f32::NAN;
        let score = Cells::from_vec(2, 4, vec![1.0, nan, 0.0, nan, 0.5, 1.0, 0.5, nan]);
        let groups = mask_groups(&score);
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0], MaskGroup { arms: vec![0, 2], rows: vec![0, 1] });
        assert_eq!(groups[1], MaskGroup { arms: vec![1], rows: vec![1] });
    }

    #[test]
    fn sums_checked_by_hand() {
        let features = FeatureMatrix::from_vec(2, 1, vec![2.0, 3.0]);
        assert_eq!(gram(&features, &[0, 1]), [13.0, 5.0, 5.0, 2.0]);
        let y = [10.0, 20.0];
        assert_eq!(moments(&features, &[0, 1], 1, |row, _| y[row]), [80.0, 30.0]);
    }
}
