//! What scorers learn from: which labels of a log, and distributions over arms made of them.

use crate::method::FitContext;
use routewright_data::Cells;
use serde::{Deserialize, Serialize};

/// Which labels are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::methods) enum Labels {
    /// What an evaluation counts.
    #[default]
    Score,
    /// The graded signal, where the log has one.
    Soft,
}

impl Labels {
    /// The matrix of labels `(n_queries, n_arms)`.
    pub(in crate::methods) fn of<'a>(self, context: &FitContext<'a>) -> &'a Cells {
        let soft = context.train.soft_score.as_ref().filter(|_| self == Self::Soft);
        soft.unwrap_or(&context.train.score)
    }
}

/// `softmax(sharpness * label)` of each query over the arms that have a label. A query with fewer than two has no
/// distribution: there is nothing to choose.
pub(in crate::methods) fn distributions(labels: &Cells, sharpness: f32) -> Cells {
    let of_row = |row: usize| {
        let labels = labels.row(row);
        let greatest = labels.iter().copied().fold(f32::NAN, f32::max);
        let weights: Vec<f32> = labels.iter().map(|label| (sharpness * (label - greatest)).exp()).collect();
        normalized(&weights)
    };
    let (n_rows, n_cols) = (labels.n_rows(), labels.n_cols());
    Cells::from_vec(n_rows, n_cols, (0..n_rows).flat_map(of_row).collect())
}

/// Weights over their sum, holes kept; all holes where fewer than two are known or the sum is 0.
pub(in crate::methods) fn normalized(weights: &[f32]) -> Vec<f32> {
    let known = || weights.iter().filter(|weight| !weight.is_nan());
    let total: f32 = known().sum();
    let is_choice = known().count() >= 2 && total > 0.0;
    weights.iter().map(|weight| if is_choice { weight / total } else { f32::NAN }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_the_softmax_over_known_labels() {
        let nan = f32::NAN;
        let labels = Cells::from_vec(3, 3, vec![1.0, 0.0, nan, 0.5, nan, nan, 0.2, 0.2, 0.2]);
        let found = distributions(&labels, 2.0);
        // e^2 / (e^2 + 1)
        assert!((found.row(0)[0] - 0.880_797).abs() < 1e-6 && found.row(0)[2].is_nan(), "{found:?}");
        assert!(found.row(1).iter().all(|q| q.is_nan()), "one arm is no choice");
        assert!(found.row(2).iter().all(|q| (q - 1.0 / 3.0).abs() < 1e-6));
    }
}
