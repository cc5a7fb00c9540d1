//! A logistic scorer of answers for each arm, drawn to one that all arms share.
//!
//! With `x` the features of query and answer (a 1 for the intercept among them), `y` the score in [0, 1], and
//! `p = 1 / (1 + exp(-z))`:
//!
//! ```text
//! shared   min_w  -sum_rows [y ln p + (1 - y) ln(1 - p)] + shared / 2 |w|^2,      z = w . x
//! arm m    min_d  -sum_rows of m [...]                    + own / 2    |d|^2,      z = (w + d) . x
//! ```
//! Both by Newton steps with the fixed bound `X^T X / 4` on the Hessian (Böhning and Lindsay 1988). An arm of few rows,
//! or a great `own`, keeps the shared scorer.

use crate::method::FitError;
use crate::methods::scorers::gram;
use rayon::prelude::*;
use routewright_data::FeatureMatrix;
use routewright_data::linalg::Cholesky;

/// Newton steps; the bound is loose, the problem smooth.
const STEPS: usize = 60;
/// Share of the penalty that the intercept has.
const INTERCEPT: f64 = 1e-3;

/// Answers to learn from, one row an answer.
#[derive(Debug)]
pub(super) struct Answered {
    /// Features of query and answer, `(n, dim)`.
    pub(super) features: FeatureMatrix,
    /// Arm that answered.
    pub(super) arms: Vec<usize>,
    /// What the answer is worth, in [0, 1].
    pub(super) scores: Vec<f64>,
}

impl Answered {
    pub(super) fn select_rows(&self, rows: &[usize]) -> Self {
        Self {
            features: self.features.select_rows(rows),
            arms: rows.iter().map(|row| self.arms[*row]).collect(),
            scores: rows.iter().map(|row| self.scores[*row]).collect(),
        }
    }
}

/// Penalties of the shared weights and of what each arm adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Penalties {
    pub(super) shared: f64,
    pub(super) own: f64,
}

/// Weights of shape `(n_arms, dim + 1)`, the intercept last.
///
/// # Errors
/// If the equations cannot be solved.
pub(super) fn fit(
    rows: &Answered,
    n_arms: usize,
    penalties: Penalties,
    method: &'static str,
) -> Result<Vec<f32>, FitError> {
    let all: Vec<usize> = (0..rows.arms.len()).collect();
    let width = rows.features.dim() + 1;
    let shared = solve(rows, &all, &vec![0.0; width], penalties.shared, method)?;
    let of_arm = |arm: usize| {
        let own: Vec<usize> = all.iter().copied().filter(|row| rows.arms[*row] == arm).collect();
        if own.is_empty() {
            return Ok(shared.clone());
        }
        solve(rows, &own, &shared, penalties.own, method)
    };
    let weights: Vec<Vec<f64>> = (0..n_arms).into_par_iter().map(of_arm).collect::<Result<_, _>>()?;
    Ok(weights.into_iter().flatten().map(|weight| weight as f32).collect())
}

/// `start` plus what is learned on `own`, drawn to `start`.
fn solve(
    rows: &Answered,
    own: &[usize],
    start: &[f64],
    penalty: f64,
    method: &'static str,
) -> Result<Vec<f64>, FitError> {
    let failed = |reason: String| FitError::Numeric { method, reason };
    let width = start.len();
    let penalty_of = |at: usize| if at + 1 == width { penalty * INTERCEPT } else { penalty };
    let mut bound: Vec<f64> = gram::gram(&rows.features, own).iter().map(|v| v / 4.0).collect();
    (0..width).for_each(|at| bound[at * width + at] += penalty_of(at));
    let bound = Cholesky::of(bound, width).map_err(|error| failed(error.to_string()))?;
    let mut weights = start.to_vec();
    for _ in 0..STEPS {
        let mut gradient: Vec<f64> =
            (0..width).map(|at| penalty_of(at) * (start[at] - weights[at])).collect();
        for &row in own {
            let x = rows.features.row(row);
            let residual = rows.scores[row] - sigmoid(linear(&weights, x));
            gradient.iter_mut().zip(x).for_each(|(g, x)| *g += residual * f64::from(*x));
            gradient[width - 1] += residual;
        }
        let step = bound.solve(gradient, 1).map_err(|error| failed(error.to_string()))?;
        weights.iter_mut().zip(&step).for_each(|(weight, step)| *weight += step);
        if step.iter().all(|step| step.abs() < 1e-7) {
            break;
        }
    }
    if weights.iter().any(|weight| !weight.is_finite()) {
        return Err(failed("a weight of the scorer is not finite".to_owned()));
    }
    Ok(weights)
}

fn linear(weights: &[f64], x: &[f32]) -> f64 {
    weights.iter().zip(x).map(|(w, x)| w * f64::from(*x)).sum::<f64>() + weights[x.len()]
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// Predicted score of each row by the scorer of its arm.
pub(super) fn predict(weights: &[f32], rows: &Answered) -> Vec<f32> {
    let width = rows.features.dim() + 1;
    let of = |row: usize| {
        let own = &weights[rows.arms[row] * width..(rows.arms[row] + 1) * width];
        let own: Vec<f64> = own.iter().map(|weight| f64::from(*weight)).collect();
        sigmoid(linear(&own, rows.features.row(row))) as f32
    };
    (0..rows.arms.len()).map(of).collect()
}

/// Mean log-loss of predictions, nats.
pub(super) fn log_loss(predicted: &[f32], scores: &[f64]) -> f64 {
    let loss = |(p, y): (&f32, &f64)| {
        let p = f64::from(*p).clamp(1e-6, 1.0 - 1e-6);
        -(y * p.ln() + (1.0 - y) * (1.0 - p).ln())
    };
    predicted.iter().zip(scores).map(loss).sum::<f64>() / scores.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arm 0 is right where the feature is 1, arm 1 where it is 0; both alike in the middle.
    fn rows() -> Answered {
        let (mut features, mut arms, mut scores) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..80 {
            let (arm, x) = (at % 2, if at % 4 < 2 { 1.0_f32 } else { 0.0 });
            features.push(x);
            arms.push(arm);
            scores.push(f64::from(u8::from((x > 0.5) == (arm == 0))));
        }
        Answered { features: FeatureMatrix::from_vec(80, 1, features), arms, scores }
    }

    #[test]
    fn an_arm_learns_its_own_scorer_and_shares_it_where_the_penalty_is_great() {
        let rows = rows();
        let own = fit(&rows, 3, Penalties { shared: 1.0, own: 0.01 }, "test").unwrap();
        let predicted = predict(&own, &rows);
        assert!(predicted.iter().zip(&rows.scores).all(|(p, y)| (f64::from(*p) - y).abs() < 0.1));
        let shared = fit(&rows, 3, Penalties { shared: 1.0, own: 1e9 }, "test").unwrap();
        // The two arms contradict each other: what they share knows nothing, and an arm without rows has it.
        assert!(predict(&shared, &rows).iter().all(|p| (p - 0.5).abs() < 0.01), "{shared:?}");
        assert!(shared[..2].iter().zip(&shared[4..]).all(|(a, b)| (a - b).abs() < 1e-3));
        assert!(log_loss(&predicted, &rows.scores) < 0.1 * log_loss(&[0.5; 80], &rows.scores));
    }

    /// At the optimum of `mean loss` without a penalty the mean prediction is the mean score.
    #[test]
    fn soft_labels_are_met_in_the_mean() {
        let features = FeatureMatrix::zeros(4, 1);
        let rows = Answered { features, arms: vec![0; 4], scores: vec![0.25, 0.5, 0.25, 0.5] };
        let weights = fit(&rows, 1, Penalties { shared: 1e-6, own: 1e-6 }, "test").unwrap();
        assert!((predict(&weights, &rows)[0] - 0.375).abs() < 1e-3, "{weights:?}");
    }
}
