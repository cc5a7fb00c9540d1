//! FORC (*Fly-swat or cannon*, arXiv 2308.06077): one meta-model for all arms, which reads the query and the arm, and
//! a batch assigned within a budget.
//!
//! The meta-model is a network with one hidden layer over the features and a one-hot code of the arm,
//! `P(right) = sigmoid(w . relu(A x + b_m) + c)`, trained by the cross-entropy of every scored cell: all arms share
//! what is learned of queries, and an arm with few rows borrows from the others. `routewright assign` chooses the
//! arms of a whole batch from its scores, see [`routewright_policy::assignment`].
//!
//! Deviations from the paper: (1) the network reads the features of the policy, the paper fine-tunes DistilBERT on the
//! text with the model's name in front; (2) the number of epochs is chosen on slices of train, and the best mean logged
//! score of the argmax arm decides; (3) graded scores are soft labels; (4) the price is predicted per arm from the
//! query, the paper takes prompt tokens and the mean output length at list prices; (5) the assignment is the linear
//! relaxation by bisection on its one multiplier, within one query of the optimum, in place of a solver.

use super::adam::{self, Moments};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::costs;
use crate::validation::{self, Choice, Folds, Slice};
use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rand_distr::StandardNormal;
use routewright_data::dense::sigmoid;
use routewright_data::{Cells, FeatureMatrix, rng};
use routewright_policy::forms::{Meta, MetaWeights};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Forc>(
    "one network that reads query and arm; batches within a budget",
    Some("2308.06077"),
    Family::Before,
    &[Need::Features],
);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Forc;

/// Parameters; a list is a grid of which held-out slices pick one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Width of the hidden layer, at least 1.
    hidden: usize,
    /// Numbers of epochs to try, ascending, each at least 1.
    epochs: Vec<usize>,
    /// Queries a step, at least 1.
    batch: usize,
    /// Learning rate of Adam, in (0, 1).
    rate: f32,
    /// Decay of the weights a step, times the rate; at least 0.
    weight_decay: f32,
    /// Folds on which the number of epochs is chosen, at least 2.
    folds: usize,
}

impl Default for Params {
    fn default() -> Self {
        let epochs = vec![5, 10, 20, 30];
        Self { hidden: 64, epochs, batch: 32, rate: 3e-3, weight_decay: 0.01, folds: 3 }
    }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let error = |reason: String| Err(FitError::Params { method: Forc::NAME, reason });
        let rises = self.epochs.windows(2).all(|pair| pair[0] < pair[1]);
        if self.epochs.is_empty() || self.epochs[0] == 0 || !rises {
            return error(format!(
                "`epochs` is `{:?}`, expected ascending numbers of at least 1",
                self.epochs
            ));
        }
        if self.hidden == 0 || self.hidden > 4096 || self.batch == 0 || self.folds < 2 {
            let expected = "expected `hidden` from 1 to 4096, `batch` of at least 1, `folds` of at least 2";
            return error(format!(
                "`hidden` {}, `batch` {}, `folds` {}: {expected}",
                self.hidden, self.batch, self.folds
            ));
        }
        let is_rate = self.rate > 0.0 && self.rate < 1.0;
        if !is_rate
            || self.weight_decay.is_nan()
            || self.weight_decay.is_infinite()
            || self.weight_decay < 0.0
        {
            let expected = "expected a rate in (0, 1) and a decay of at least 0";
            return error(format!("`rate` {}, `weight_decay` {}: {expected}", self.rate, self.weight_decay));
        }
        Ok(())
    }
}

impl Method for Forc {
    const NAME: &'static str = "forc";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let choice = choose(params, context)?;
        let all: Vec<usize> = (0..context.train.n_queries()).collect();
        let weights = train(params, &[choice.value], &all, context).pop();
        let reason = "no epoch was trained".to_owned();
        let weights = weights.ok_or(FitError::Numeric { method: Self::NAME, reason })?;
        let form = Meta::new(weights, costs::fit(Self::NAME, context)?);
        let mut fitted =
            Fitted::new(Box::new(form), &Params { epochs: vec![choice.value], ..params.clone() });
        choice.record(&mut fitted, "cross_validated_score", params.folds);
        Ok(fitted)
    }
}

/// The number of epochs that held-out slices like best.
fn choose(params: &Params, context: &FitContext<'_>) -> Result<Choice<usize>, FitError> {
    let (folds, n_arms) = (Folds::new(context.train, context.seed, params.folds), context.train.n_arms());
    if let [epochs] = params.epochs[..] {
        return Ok(Choice::given(epochs));
    }
    let trained = |held| {
        let Slice { fit, .. } = folds.slice(held)?;
        Some(train(params, &params.epochs, &fit, context))
    };
    let parts: Vec<Option<Vec<MetaWeights>>> = (0..folds.n_folds()).map(trained).collect();
    let name = |epochs| format!("{epochs} epochs");
    validation::choose(Forc::NAME, &params.epochs, context.train, context, name, |epochs| {
        let at = params.epochs.iter().position(|own| *own == epochs).unwrap_or(0);
        folds.out_of_fold(n_arms, 0.0, |held, slice| {
            let Some(part) = &parts[held] else { return Ok(vec![0.0; slice.valid.len() * n_arms]) };
            let logits = |row: &usize| {
                let trunk = part[at].trunk(context.features.row(*row));
                (0..n_arms).map(|arm| part[at].logit(&trunk, arm)).collect::<Vec<f32>>()
            };
            Ok(slice.valid.iter().flat_map(logits).collect())
        })
    })
}

/// The weights after each number of epochs over `rows`.
fn train(params: &Params, epochs: &[usize], rows: &[usize], context: &FitContext<'_>) -> Vec<MetaWeights> {
    let mut rng = rng::stream(context.seed, "forc");
    let (dim, n_arms, hidden) = (context.features.dim(), context.train.n_arms(), params.hidden);
    let mut normal = |n: usize, deviation: f32| -> Vec<f32> {
        (0..n).map(|_| deviation * rng.sample::<f32, _>(StandardNormal)).collect()
    };
    // Features have about unit norm, so that a unit of the trunk starts with a deviation of one.
    let weights = MetaWeights {
        dim,
        hidden,
        query: normal(hidden * dim, 1.0),
        arms: normal(n_arms * hidden, 0.1),
        out: normal(hidden, (2.0 / hidden as f32).sqrt()),
        bias: 0.0,
    };
    let mut learner = Learner::new(weights, params);
    let mut order = rows.to_vec();
    let (mut kept, last) = (Vec::new(), epochs.last().copied().unwrap_or(0));
    for epoch in 1..=last {
        order.shuffle(&mut rng);
        for batch in order.chunks(params.batch) {
            learner.step(batch, context.features, &context.train.score);
        }
        if epochs.contains(&epoch) {
            kept.push(learner.weights.clone());
        }
    }
    kept
}

/// Weights in training.
#[derive(Debug)]
struct Learner {
    weights: MetaWeights,
    rate: f32,
    decay: f32,
    /// Of `query`, `arms`, `out`, `bias`.
    moments: [Moments; 4],
    steps: i32,
}

/// Gradients of the weights, in the same shapes.
#[derive(Debug)]
struct Gradients {
    query: Vec<f32>,
    arms: Vec<f32>,
    out: Vec<f32>,
    bias: f32,
}

impl Learner {
    fn new(weights: MetaWeights, params: &Params) -> Self {
        let moments = [weights.query.len(), weights.arms.len(), weights.out.len(), 1].map(Moments::new);
        Self { weights, rate: params.rate, decay: params.weight_decay, moments, steps: 0 }
    }

    /// One step on the mean cross-entropy of the scored cells of some rows.
    fn step(&mut self, rows: &[usize], features: &FeatureMatrix, scores: &Cells) {
        let Some(gradients) = gradients(&self.weights, rows, features, scores) else { return };
        self.steps += 1;
        let corrections = adam::corrections(self.steps);
        let [query, arms, out, bias] = &mut self.moments;
        let weights = &mut self.weights;
        query.step(&mut weights.query, &gradients.query, self.rate, self.decay, corrections);
        arms.step(&mut weights.arms, &gradients.arms, self.rate, self.decay, corrections);
        out.step(&mut weights.out, &gradients.out, self.rate, self.decay, corrections);
        let mut free = [weights.bias];
        bias.step(&mut free, &[gradients.bias], self.rate, 0.0, corrections);
        weights.bias = free[0];
    }
}

/// Gradients of the mean cross-entropy of the scored cells of some rows; `None` where there is none.
fn gradients(
    weights: &MetaWeights,
    rows: &[usize],
    features: &FeatureMatrix,
    scores: &Cells,
) -> Option<Gradients> {
    let n_cells =
        rows.iter().map(|row| scores.row(*row).iter().filter(|s| !s.is_nan()).count()).sum::<usize>();
    if n_cells == 0 {
        return None;
    }
    let (dim, hidden) = (weights.dim, weights.hidden);
    let mut sums = Gradients {
        query: vec![0.0; weights.query.len()],
        arms: vec![0.0; weights.arms.len()],
        out: vec![0.0; hidden],
        bias: 0.0,
    };
    let share = 1.0 / n_cells as f32;
    for row in rows {
        let x = features.row(*row);
        let trunk = weights.trunk(x);
        let mut below = vec![0.0_f32; hidden];
        for (arm, score) in scores.row(*row).iter().enumerate().filter(|(_, score)| !score.is_nan()) {
            let error = share * (sigmoid(weights.logit(&trunk, arm)) - score);
            sums.bias += error;
            for unit in 0..hidden {
                let active = trunk[unit] + weights.arms[arm * hidden + unit];
                if active > 0.0 {
                    sums.out[unit] += error * active;
                    sums.arms[arm * hidden + unit] += error * weights.out[unit];
                    below[unit] += error * weights.out[unit];
                }
            }
        }
        for (below, sums) in below.iter().zip(sums.query.chunks_exact_mut(dim.max(1))) {
            sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += below * x);
        }
    }
    Some(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean cross-entropy of the scored cells.
    fn loss(weights: &MetaWeights, features: &FeatureMatrix, scores: &Cells) -> f64 {
        let (mut sum, mut n) = (0.0, 0.0);
        for row in 0..features.n_rows() {
            let trunk = weights.trunk(features.row(row));
            for arm in 0..scores.n_cols() {
                let Some(y) = scores.get(row, arm) else { continue };
                let p = f64::from(sigmoid(weights.logit(&trunk, arm)));
                sum -= f64::from(y) * p.ln() + (1.0 - f64::from(y)) * (1.0 - p).ln();
                n += 1.0;
            }
        }
        sum / n
    }

    #[test]
    fn gradients_are_those_of_the_loss() {
        let mut rng = rng::stream(1, "test");
        let mut draw = |n: usize| (0..n).map(|_| rng.random::<f32>() - 0.5).collect::<Vec<f32>>();
        let weights =
            MetaWeights { dim: 3, hidden: 4, query: draw(12), arms: draw(8), out: draw(4), bias: 0.1 };
        let features = FeatureMatrix::from_vec(2, 3, draw(6));
        let scores = Cells::from_vec(2, 2, vec![1.0, 0.25, f32::NAN, 0.0]);
        let found = gradients(&weights, &[0, 1], &features, &scores).unwrap();
        let numeric = |change: &dyn Fn(&mut MetaWeights, f32)| {
            let at = |step: f32| {
                let mut moved = weights.clone();
                change(&mut moved, step);
                loss(&moved, &features, &scores)
            };
            ((at(1e-3) - at(-1e-3)) / 2e-3) as f32
        };
        for i in 0..12 {
            let expected = numeric(&|weights, step| weights.query[i] += step);
            assert!((found.query[i] - expected).abs() < 2e-3, "query {i}: {} {expected}", found.query[i]);
        }
        for i in 0..8 {
            let expected = numeric(&|weights, step| weights.arms[i] += step);
            assert!((found.arms[i] - expected).abs() < 2e-3, "arms {i}: {} {expected}", found.arms[i]);
        }
        for i in 0..4 {
            let expected = numeric(&|weights, step| weights.out[i] += step);
            assert!((found.out[i] - expected).abs() < 2e-3, "out {i}: {} {expected}", found.out[i]);
        }
        assert!((found.bias - numeric(&|weights, step| weights.bias += step)).abs() < 2e-3);
        let none = Cells::missing(2, 2);
        assert!(gradients(&weights, &[0, 1], &features, &none).is_none());
    }
}
