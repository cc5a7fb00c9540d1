//! Ridge regression of every column of a matrix on the features, for any penalty and with any fold left out.

use super::gram::{self, MaskGroup};
use crate::validation::Folds;
use routewright_data::linalg::{self, LinalgError};
use routewright_data::{Cells, FeatureMatrix};

/// Normal equations of every mask group and fold; leaving a fold out is a subtraction.
pub(in crate::methods) struct Systems {
    width: usize,
    groups: Vec<GroupSystem>,
}

struct GroupSystem {
    group: MaskGroup,
    /// One Gram matrix a fold.
    grams: Vec<Vec<f64>>,
    /// One matrix of moments `(dim + 1, arms)` a fold.
    moments: Vec<Vec<f64>>,
}

impl Systems {
    /// Sums up `targets` of shape `(features.n_rows(), n_arms)`; missing cells are left out.
    pub(in crate::methods) fn new(features: &FeatureMatrix, targets: &Cells, folds: &Folds) -> Self {
        let of_fold = |group: &MaskGroup, fold: usize| -> Vec<usize> {
            group.rows.iter().copied().filter(|row| folds.of(*row) == fold).collect()
        };
        let system = |group: MaskGroup| {
            let target = |row: usize, k: usize| f64::from(targets.get(row, group.arms[k]).unwrap_or(0.0));
            let rows: Vec<Vec<usize>> = (0..folds.n_folds()).map(|fold| of_fold(&group, fold)).collect();
            let grams = rows.iter().map(|rows| gram::gram(features, rows)).collect();
            let n_arms = group.arms.len();
            let moments = rows.iter().map(|rows| gram::moments(features, rows, n_arms, target)).collect();
            GroupSystem { grams, moments, group }
        };
        let groups = gram::mask_groups(targets).into_iter().map(system).collect();
        Self { width: features.dim() + 1, groups }
    }

    /// Weights `(n_arms, dim + 1)` from every fold but `left_out`; an arm without data gets its `constant`.
    pub(in crate::methods) fn solve(
        &self,
        alpha: f64,
        left_out: Option<usize>,
        constants: &[f32],
    ) -> Result<Vec<f32>, LinalgError> {
        let width = self.width;
        let mut weights = constant_weights(constants, width - 1);
        for system in &self.groups {
            let mut gram = sum(&system.grams, left_out);
            let moments = sum(&system.moments, left_out);
            // No row left in these folds: keep the constant.
            if gram[width * width - 1] < 0.5 {
                continue;
            }
            gram::penalize(&mut gram, width, alpha);
            let n_arms = system.group.arms.len();
            let solution = linalg::solve_spd(gram, moments, width, n_arms)?;
            for (k, &arm) in system.group.arms.iter().enumerate() {
                for i in 0..width {
                    weights[arm * width + i] = solution[i * n_arms + k] as f32;
                }
            }
        }
        Ok(weights)
    }
}

/// Weights of shape `(n_arms, dim + 1)` that predict a constant for each arm.
pub(in crate::methods) fn constant_weights(constants: &[f32], dim: usize) -> Vec<f32> {
    let width = dim + 1;
    let mut weights = vec![0.0; constants.len() * width];
    for (arm, constant) in constants.iter().enumerate() {
        weights[(arm + 1) * width - 1] = *constant;
    }
    weights
}

/// Value of an arm's linear function.
pub(in crate::methods) fn linear(weights: &[f32], arm: usize, x: &[f32]) -> f32 {
    let w = &weights[arm * (x.len() + 1)..(arm + 1) * (x.len() + 1)];
    w[x.len()] + w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>()
}

/// Value of every arm's linear function.
pub(in crate::methods) fn linear_all(weights: &[f32], x: &[f32]) -> Vec<f32> {
    (0..weights.len() / (x.len() + 1)).map(|arm| linear(weights, arm, x)).collect()
}

fn sum(parts: &[Vec<f64>], left_out: Option<usize>) -> Vec<f64> {
    let mut total = vec![0.0; parts.first().map_or(0, Vec::len)];
    for (_, part) in parts.iter().enumerate().filter(|(fold, _)| Some(*fold) != left_out) {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
    }
    total
}
