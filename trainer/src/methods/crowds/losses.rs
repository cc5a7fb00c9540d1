//! Linear scorers of candidates, by the softmax over the candidates of a query or one by one.
//!
//! With `x` the numbers of a candidate and `y` its score in [0, 1]:
//!
//! ```text
//! softmax   mean over queries of -ln( sum_c y_c e^{w x_c} / sum_c e^{w x_c} ) + lambda / 2 |w|^2
//! logistic  mean over candidates of -[y ln p + (1 - y) ln(1 - p)] + lambda / 2 |w|^2,  p = 1 / (1 + e^{-w x - b})
//! ```
//!
//! The softmax reads queries whose candidates differ in score; it has no intercept, and is not the probability of being
//! right but that of being the right one where there is one. Both by L-BFGS.

use crate::lbfgs::{Stop, minimize};
use serde::{Deserialize, Serialize};

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::methods) enum Loss {
    /// Which candidate of a query is right.
    Softmax,
    /// Whether a candidate is right.
    Logistic,
}

/// Candidates of several queries.
#[derive(Debug, Clone, Default)]
pub(in crate::methods) struct Rows {
    /// Numbers of the candidates, row-major.
    pub(in crate::methods) features: Vec<f64>,
    /// Numbers of one.
    pub(in crate::methods) dim: usize,
    /// Score of each, in [0, 1].
    pub(in crate::methods) targets: Vec<f64>,
    /// First candidate of each query, and their number at the end.
    pub(in crate::methods) starts: Vec<usize>,
}

impl Rows {
    /// Numbers of one candidate.
    pub(super) fn row(&self, at: usize) -> &[f64] {
        &self.features[at * self.dim..(at + 1) * self.dim]
    }

    /// Candidates of each query.
    fn queries(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.starts.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// Candidates of the queries that have a right one and others of another score.
    pub(super) fn told(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.queries().filter(|query| {
            let targets = &self.targets[query.clone()];
            targets.iter().any(|y| *y > 0.0) && targets.iter().any(|y| *y != targets[0])
        })
    }

    /// Mean and standard deviation of each column, the latter at least 1e-9.
    fn moments(&self) -> Vec<(f64, f64)> {
        let n = self.targets.len().max(1) as f64;
        let column = |at: usize| {
            let values = || self.features.iter().skip(at).step_by(self.dim);
            let mean = values().sum::<f64>() / n;
            let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
            (mean, variance.sqrt().max(1e-9))
        };
        (0..self.dim).map(column).collect()
    }
}

/// Weights for the numbers as they are, the intercept last (0 for the softmax). A column is centred, and scaled by
/// `scales` while it is learned; where that is `None` to a standard deviation of 0.5.
pub(in crate::methods) fn fit(rows: &Rows, loss: Loss, lambda: f64, scales: &[Option<f64>]) -> Vec<f64> {
    let moments = rows.moments();
    let scale = |at: usize| match scales[at] {
        Some(scale) => scale,
        // A column that does not vary says nothing.
        None if moments[at].1 <= 1e-6 => 0.0,
        None => 0.5 / moments[at].1,
    };
    let scales: Vec<f64> = (0..rows.dim).map(scale).collect();
    let scaled = |row: &[f64]| -> Vec<f64> {
        row.iter().zip(&moments).zip(&scales).map(|((x, (mean, _)), scale)| (x - mean) * scale).collect()
    };
    let features = (0..rows.targets.len()).flat_map(|at| scaled(rows.row(at))).collect();
    let within = Rows { features, ..rows.clone() };
    let stop = Stop::default();
    let start = vec![0.0; rows.dim + 1];
    let found = match loss {
        Loss::Softmax => minimize(start, stop, |w, gradient| softmax(&within, lambda, w, gradient)),
        Loss::Logistic => minimize(start, stop, |w, gradient| logistic(&within, lambda, w, gradient)),
    };
    let mut weights: Vec<f64> = found.iter().zip(&scales).map(|(w, scale)| w * scale).collect();
    let shift: f64 = weights.iter().zip(&moments).map(|(w, (mean, _))| w * mean).sum();
    weights.push(match loss {
        Loss::Softmax => 0.0,
        Loss::Logistic => found[rows.dim] - shift,
    });
    weights
}

/// `w x + b`.
pub(in crate::methods) fn linear(weights: &[f64], x: &[f64]) -> f64 {
    weights.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + weights[x.len()]
}

/// `1 / (1 + e^-z)`.
pub(in crate::methods) fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

fn penalty(lambda: f64, w: &[f64], gradient: &mut [f64]) -> f64 {
    gradient.iter_mut().zip(w).for_each(|(g, w)| *g = lambda * w);
    lambda / 2.0 * w.iter().map(|w| w * w).sum::<f64>()
}

fn softmax(rows: &Rows, lambda: f64, w: &[f64], gradient: &mut [f64]) -> f64 {
    let (w, _) = w.split_at(rows.dim);
    let (gradient, intercept) = gradient.split_at_mut(rows.dim);
    intercept[0] = 0.0;
    let mut value = penalty(lambda, w, gradient);
    let n = rows.told().count().max(1) as f64;
    for query in rows.told() {
        let z: Vec<f64> =
            query.clone().map(|at| w.iter().zip(rows.row(at)).map(|(w, x)| w * x).sum()).collect();
        let most = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let raised: Vec<f64> = z.iter().map(|z| (z - most).exp()).collect();
        let all: f64 = raised.iter().sum();
        let right: f64 = raised.iter().zip(&rows.targets[query.clone()]).map(|(e, y)| e * y).sum();
        // A right candidate that is out of all proportion worse than another.
        let right = right.max(f64::MIN_POSITIVE);
        value -= (right / all).ln() / n;
        for (at, e) in query.zip(raised) {
            let share = e / all - e * rows.targets[at] / right;
            gradient.iter_mut().zip(rows.row(at)).for_each(|(g, x)| *g += share * x / n);
        }
    }
    value
}

fn logistic(rows: &Rows, lambda: f64, w: &[f64], gradient: &mut [f64]) -> f64 {
    let (weights, b) = w.split_at(rows.dim);
    let (gradient, intercept) = gradient.split_at_mut(rows.dim);
    intercept[0] = 0.0;
    let mut value = penalty(lambda, weights, gradient);
    let n = rows.targets.len().max(1) as f64;
    for (at, y) in rows.targets.iter().enumerate() {
        let x = rows.row(at);
        let z = weights.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b[0];
        // ln(1 + e^z) - y z
        value += (z.max(0.0) + (-z.abs()).exp().ln_1p() - y * z) / n;
        let residual = (sigmoid(z) - y) / n;
        gradient.iter_mut().zip(x).for_each(|(g, x)| *g += residual * x);
        intercept[0] += residual;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(features: &[[f64; 2]], targets: &[f64], starts: &[usize]) -> Rows {
        Rows {
            features: features.iter().flatten().copied().collect(),
            dim: 2,
            targets: targets.to_vec(),
            starts: starts.to_vec(),
        }
    }

    fn sample() -> Rows {
        let features = [[1.0, 0.2], [0.0, 0.5], [0.3, -1.0], [0.4, 1.0], [2.0, 0.0], [1.0, 1.0]];
        rows(&features, &[1.0, 0.0, 0.25, 0.75, 0.0, 0.0], &[0, 2, 4, 6])
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let rows = sample();
        for loss in [softmax, logistic] {
            let at = |w: &[f64]| loss(&rows, 0.3, w, &mut [0.0; 3]);
            let w = [0.4, -0.7, 0.2];
            let mut gradient = [0.0; 3];
            loss(&rows, 0.3, &w, &mut gradient);
            for side in 0..3 {
                let (mut up, mut down) = (w, w);
                (up[side], down[side]) = (w[side] + 1e-6, w[side] - 1e-6);
                let slope = (at(&up) - at(&down)) / 2e-6;
                assert!((slope - gradient[side]).abs() < 1e-8, "{side}: {slope} {gradient:?}");
            }
        }
        // By hand at 0: ln 2 for the first query, -ln((.25 + .75) / 2) for the second; the third is not read.
        assert!((softmax(&rows, 1.0, &[0.0; 3], &mut [0.0; 3]) - 2_f64.ln()).abs() < 1e-12);
        assert!((logistic(&rows, 1.0, &[0.0; 3], &mut [0.0; 3]) - 2_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn weights_are_for_the_numbers_as_they_are() {
        let rows = sample();
        // Scaled by 1 or by the standard deviation: the optimum without a penalty is the same function.
        for loss in [Loss::Softmax, Loss::Logistic] {
            let plain = fit(&rows, loss, 1e-3, &[Some(1.0); 2]);
            let shifted: Vec<f64> = rows.features.iter().map(|x| x + 5.0).collect();
            let moved = fit(&Rows { features: shifted, ..rows.clone() }, loss, 1e-3, &[Some(1.0); 2]);
            assert!((plain[0] - moved[0]).abs() < 1e-3 && (plain[1] - moved[1]).abs() < 1e-3, "{plain:?}");
            let (a, b) = (linear(&plain, &[1.0, 0.2]), linear(&moved, &[6.0, 5.2]));
            assert!(loss == Loss::Softmax || (a - b).abs() < 1e-2, "{a} {b}");
        }
        // A column that does not vary has no weight.
        let flat = Rows { features: vec![1.0, 0.0, 1.0, 1.0], targets: vec![0.0, 1.0], ..rows };
        let found = fit(&Rows { starts: vec![0, 2], ..flat }, Loss::Softmax, 0.1, &[None; 2]);
        assert!(found[0] == 0.0 && found[1] > 0.0, "{found:?}");
    }

    #[test]
    fn the_logistic_is_where_its_gradient_is_0_by_hand() {
        let one = Rows {
            features: vec![0.0, 1.0, 2.0, 3.0],
            dim: 1,
            targets: vec![0.0, 0.0, 1.0, 1.0],
            starts: vec![0, 4],
        };
        let found = fit(&one, Loss::Logistic, 0.25, &[Some(1.0)]);
        assert!((found[1] / found[0] + 1.5).abs() < 1e-4, "symmetric about 1.5: {found:?}");
        // The optimum: w = sum of (y - p)(x - 1.5) with p = sigmoid(w (x - 1.5)).
        let p = |x: f64| sigmoid(found[0] * (x - 1.5));
        let pull = 2.0 * (1.5 * (1.0 - p(3.0)) + 0.5 * (1.0 - p(2.0)));
        assert!((pull - found[0]).abs() < 1e-4, "{found:?} {pull}");
    }
}
