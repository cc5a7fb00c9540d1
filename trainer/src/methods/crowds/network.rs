//! A scorer of candidates with one hidden layer: `z_c = v . sigmoid(W x_c + b)`, and the softmax over the candidates
//! of a query.
//!
//! Minimises `mean over queries of -ln( sum_c y_c e^{z_c} / sum_c e^{z_c} ) + lambda / 2 (|W|^2 + |v|^2)` by L-BFGS,
//! over the queries whose candidates differ in score.

use super::losses::{Rows, sigmoid};
use crate::lbfgs::{Stop, minimize};
use rand::RngExt as _;
use routewright_data::dense::{Activation, Dense};
use routewright_data::rng;
use routewright_policy::forms::{CostModel, Head, Neural};

/// A learned network.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Network {
    dim: usize,
    hidden: usize,
    /// `W` (dim, hidden), `b` (hidden), `v` (hidden).
    weights: Vec<f64>,
}

impl Network {
    pub(super) fn fit(rows: &Rows, hidden: usize, lambda: f64, seed: u64) -> Self {
        let dim = rows.dim;
        let mut rng = rng::stream(seed, "candidate network");
        let scale = 1.0 / (dim.max(1) as f64).sqrt();
        let start: Vec<f64> =
            (0..hidden * (dim + 2)).map(|_| scale * rng.random_range(-1.0..1.0_f64)).collect();
        let mut network = Self { dim, hidden, weights: Vec::new() };
        let stop = Stop { steps: 150, gradient: 1e-5 };
        network.weights = minimize(start, stop, |w, gradient| value(rows, hidden, lambda, w, gradient));
        network
    }

    /// Score of one candidate.
    pub(super) fn score(&self, x: &[f64]) -> f64 {
        let (h, v) =
            (activations(&self.weights, self.hidden, x), &self.weights[self.hidden * (self.dim + 1)..]);
        h.iter().zip(v).map(|(h, v)| h * v).sum()
    }

    /// The same function for every arm.
    pub(super) fn form(&self, n_arms: usize) -> Neural {
        let floats = |from: usize, to: usize| -> Vec<f32> {
            self.weights[from..to].iter().map(|weight| *weight as f32).collect()
        };
        let (w, b) = (self.hidden * self.dim, self.hidden * (self.dim + 1));
        let layer = Dense::new(floats(0, w), floats(w, b), Activation::Sigmoid);
        let out = floats(b, b + self.hidden).into_iter().flat_map(|v| std::iter::repeat_n(v, n_arms));
        let head = Dense::new(out.collect(), vec![0.0; n_arms], Activation::Identity);
        let cost = CostModel::constant(vec![f32::NAN; n_arms]);
        Neural::new(self.dim, vec![layer], Head::Linear(head), cost)
    }
}

fn activations(w: &[f64], hidden: usize, x: &[f64]) -> Vec<f64> {
    let mut sums = w[hidden * x.len()..hidden * (x.len() + 1)].to_vec();
    for (x, row) in x.iter().zip(w.chunks_exact(hidden)) {
        sums.iter_mut().zip(row).for_each(|(sum, w)| *sum += x * w);
    }
    sums.into_iter().map(sigmoid).collect()
}

fn value(rows: &Rows, hidden: usize, lambda: f64, w: &[f64], gradient: &mut [f64]) -> f64 {
    let (dim, b, v) = (rows.dim, hidden * rows.dim, hidden * (rows.dim + 1));
    let is_free = |at: usize| (b..v).contains(&at);
    let mut value = 0.0;
    for (at, (g, w)) in gradient.iter_mut().zip(w).enumerate() {
        *g = if is_free(at) { 0.0 } else { lambda * w };
        value += *g * w / 2.0;
    }
    let read: Vec<std::ops::Range<usize>> = rows.told().collect();
    let n = read.len().max(1) as f64;
    for query in read {
        let hs: Vec<Vec<f64>> = query.clone().map(|at| activations(w, hidden, rows.row(at))).collect();
        let z: Vec<f64> = hs.iter().map(|h| h.iter().zip(&w[v..]).map(|(h, v)| h * v).sum()).collect();
        let most = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let raised: Vec<f64> = z.iter().map(|z| (z - most).exp()).collect();
        let all: f64 = raised.iter().sum();
        let right: f64 = raised.iter().zip(&rows.targets[query.clone()]).map(|(e, y)| e * y).sum();
        let right = right.max(f64::MIN_POSITIVE);
        value -= (right / all).ln() / n;
        for ((at, e), h) in query.zip(raised).zip(&hs) {
            let pull = (e / all - e * rows.targets[at] / right) / n;
            for unit in 0..hidden {
                gradient[v + unit] += pull * h[unit];
                let back = pull * w[v + unit] * h[unit] * (1.0 - h[unit]);
                gradient[b + unit] += back;
                for (side, x) in rows.row(at).iter().enumerate().take(dim) {
                    gradient[side * hidden + unit] += back * x;
                }
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::FeatureMatrix;
    use routewright_policy::{Batch, Predictor as _};

    /// A candidate is right where one of its two numbers is great, not both: no linear function says so.
    fn rows() -> Rows {
        let one = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0], [1.0, 1.0]];
        let features = one.iter().flatten().copied().collect::<Vec<f64>>().repeat(2);
        let targets = [0.0, 1.0, 0.0].repeat(4);
        Rows { features, dim: 2, targets, starts: vec![0, 3, 6, 9, 12] }
    }

    #[test]
    fn its_gradient_is_that_of_differences_and_it_learns_what_is_not_linear() {
        let rows = rows();
        let w: Vec<f64> = (0..12).map(|at| f64::from(at) / 7.0 - 0.8).collect();
        let mut gradient = vec![0.0; 12];
        value(&rows, 3, 0.1, &w, &mut gradient);
        for side in 0..12 {
            let at = |step: f64| {
                let mut w = w.clone();
                w[side] += step;
                value(&rows, 3, 0.1, &w, &mut [0.0; 12])
            };
            let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!((slope - gradient[side]).abs() < 1e-7, "{side}: {slope} {gradient:?}");
        }
        let found = Network::fit(&rows, 6, 1e-4, 1);
        let scores: Vec<f64> = (0..6).map(|at| found.score(rows.row(at))).collect();
        assert!(scores[1].min(scores[4]) > scores[0].max(scores[2]) + 1.0, "{scores:?}");
        let form = found.form(2);
        let x = FeatureMatrix::from_vec(1, 2, vec![1.0, 0.0]);
        let predicted = form.predict(&Batch::of(&x)).unwrap().score;
        assert!(predicted.iter().all(|score| (f64::from(*score) - scores[1]).abs() < 1e-4), "{predicted:?}");
    }
}
