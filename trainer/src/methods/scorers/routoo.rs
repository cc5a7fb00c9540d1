//! Routoo (arXiv 2401.13979): a predictor of scores over a pool of models that complement each other.
//!
//! The predictor is a logistic regression of reduced rank, `P(m right | x) = sigmoid(u_m . V x + c_m)`: a query is
//! read once into `rank` numbers, `V x`, and a model is its vector `u_m` over them. It is trained by the
//! cross-entropy of every scored cell and stored as one linear function an arm. With `pool` the models that are not
//! among the first so many of the greedy cover of train ([`crate::pool`]) get a score of 0. The cost-aware selection
//! is that of every policy: a price of money, a budget, or `--save`.
//!
//! Deviations from the paper: (1) the predictor reads the features of the policy, the paper fine-tunes a language
//! model of 7 billion weights with an embedding of the model to be judged; (2) rank and number of epochs are chosen
//! on folds; (3) graded scores are soft labels; (4) the pool is made of logged scores, the paper makes it of
//! predicted ones, which are smoother where few answers were logged; (5) the paper's selector solves for the best
//! score at a mean cost, here the selector does.

use super::adam::{self, Moments};
use crate::evaluate::Average;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::costs;
use crate::pool;
use crate::validation::{self, Choice, Folds, source_balance};
use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use rand_distr::StandardNormal;
use routewright_data::dense::sigmoid;
use routewright_data::rng;
use routewright_policy::forms::{Linear, Link};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Routoo>(
    "scores by a logistic regression of reduced rank, over a pool that complements itself",
    Some("2401.13979"),
    Family::Before,
    &[Need::Features],
);

/// Intercept of a model that is not in the pool: a score of 1e-13.
const OUTSIDE: f32 = -30.0;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Routoo;

/// Parameters; a list is a grid of which held-out slices pick one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Numbers that a query is read into, to try; each at least 1.
    rank: Vec<usize>,
    /// Numbers of epochs to try, ascending, each at least 1.
    epochs: Vec<usize>,
    /// Models of the pool; null takes all.
    pool: Option<usize>,
    /// Queries a step, at least 1.
    batch: usize,
    /// Learning rate of Adam, in (0, 1).
    rate: f32,
    /// Decay of the weights a step, times the rate; at least 0.
    weight_decay: f32,
    /// Folds on which rank and number of epochs are chosen, at least 2.
    folds: usize,
}

impl Default for Params {
    fn default() -> Self {
        let (rank, epochs) = (vec![16, 4], vec![5, 10, 20, 40]);
        Self { rank, epochs, pool: None, batch: 32, rate: 5e-3, weight_decay: 0.01, folds: 3 }
    }
}

/// One value of the grid: rank and epochs.
type Setting = (usize, usize);

impl Params {
    fn check(&self, n_arms: usize) -> Result<(), FitError> {
        let error = |reason: String| Err(FitError::Params { method: Routoo::NAME, reason });
        let rises = self.epochs.windows(2).all(|pair| pair[0] < pair[1]);
        if self.epochs.is_empty() || self.epochs[0] == 0 || !rises {
            return error(format!(
                "`epochs` is `{:?}`, expected ascending numbers of at least 1",
                self.epochs
            ));
        }
        if self.rank.is_empty() || !self.rank.iter().all(|rank| (1..=4096).contains(rank)) {
            return error(format!("`rank` is `{:?}`, expected numbers from 1 to 4096", self.rank));
        }
        if let Some(pool) = self.pool.filter(|pool| !(1..=n_arms).contains(pool)) {
            return error(format!(
                "`pool` is `{pool}`, expected 1 to {n_arms}, the models of the log, or null"
            ));
        }
        if self.batch == 0 || self.folds < 2 {
            return error("`batch` must be at least 1 and `folds` at least 2".to_owned());
        }
        if !(self.rate > 0.0 && self.rate < 1.0 && self.weight_decay >= 0.0 && self.weight_decay.is_finite())
        {
            let expected = "expected a rate in (0, 1) and a decay of at least 0";
            return error(format!("`rate` {}, `weight_decay` {}: {expected}", self.rate, self.weight_decay));
        }
        Ok(())
    }
}

impl Method for Routoo {
    const NAME: &'static str = "routoo";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let (table, dim) = (context.train, context.features.dim());
        params.check(table.n_arms())?;
        let choice = choose(params, context)?;
        let (rank, epochs) = choice.value;
        let all: Vec<usize> = (0..table.n_queries()).collect();
        let trained = train(params, rank, &[epochs], &all, context).pop();
        let reason = "no epoch was trained".to_owned();
        let mut weights = trained.ok_or(FitError::Numeric { method: Self::NAME, reason })?.linear();
        if let Some(size) = params.pool {
            let pooled = pool::greedy(&table.score, &query_weights(context), size);
            for arm in (0..table.n_arms()).filter(|arm| pooled.iter().all(|pooled| pooled.arm != *arm)) {
                let own = &mut weights[arm * (dim + 1)..(arm + 1) * (dim + 1)];
                own.fill(0.0);
                own[dim] = OUTSIDE;
            }
        }
        let form = Linear::new(dim, Link::Logistic, weights, costs::fit(Self::NAME, context)?);
        let chosen = Params { rank: vec![rank], epochs: vec![epochs], ..params.clone() };
        let mut fitted = Fitted::new(Box::new(form), &chosen);
        choice.record(&mut fitted, "cross_validated_score", params.folds);
        Ok(fitted)
    }
}

/// What each query counts under the average asked for.
fn query_weights(context: &FitContext<'_>) -> Vec<f32> {
    match context.average {
        Average::Macro => source_balance(context.train),
        Average::Micro => vec![1.0; context.train.n_queries()],
    }
}

/// Rank and epochs that held-out slices like best.
fn choose(params: &Params, context: &FitContext<'_>) -> Result<Choice<Setting>, FitError> {
    let (folds, n_arms) = (Folds::new(context.train, context.seed, params.folds), context.train.n_arms());
    let epochs = &params.epochs;
    let grid: Vec<Setting> =
        params.rank.iter().flat_map(|rank| epochs.iter().map(move |epochs| (*rank, *epochs))).collect();
    if let [setting] = grid[..] {
        return Ok(Choice::given(setting));
    }
    let trained = |rank: usize, held: usize| {
        folds.slice(held).map(|slice| train(params, rank, epochs, &slice.fit, context))
    };
    let of_rank = |rank: &usize| (0..folds.n_folds()).map(|held| trained(*rank, held)).collect();
    let parts: Vec<Vec<Option<Vec<Factors>>>> = params.rank.iter().map(of_rank).collect();
    let name = |(rank, epochs): Setting| format!("rank {rank}, {epochs} epochs");
    validation::choose(Routoo::NAME, &grid, context.train, context, name, |(rank, wanted)| {
        let part = params.rank.iter().position(|own| *own == rank).unwrap_or(0);
        let at = epochs.iter().position(|own| *own == wanted).unwrap_or(0);
        folds.out_of_fold(n_arms, 0.0, |held, slice| {
            let Some(part) = &parts[part][held] else { return Ok(vec![0.0; slice.valid.len() * n_arms]) };
            Ok(slice.valid.iter().flat_map(|row| part[at].logits(context.features.row(*row))).collect())
        })
    })
}

/// Factors of the coefficients.
#[derive(Debug, Clone)]
struct Factors {
    dim: usize,
    rank: usize,
    /// `V`, `(rank, dim)`.
    query: Vec<f32>,
    /// `u`, `(n_arms, rank)`.
    arms: Vec<f32>,
    /// `c`, `(n_arms)`.
    bias: Vec<f32>,
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Factors {
    fn read(&self, x: &[f32]) -> Vec<f32> {
        self.query.chunks_exact(self.dim.max(1)).map(|row| dot(row, x)).collect()
    }

    fn logits(&self, x: &[f32]) -> Vec<f32> {
        let read = self.read(x);
        self.arms.chunks_exact(self.rank).zip(&self.bias).map(|(arm, bias)| bias + dot(arm, &read)).collect()
    }

    /// The coefficients `(n_arms, dim + 1)`, intercept last.
    fn linear(&self) -> Vec<f32> {
        let mut weights = Vec::with_capacity(self.bias.len() * (self.dim + 1));
        for (arm, bias) in self.arms.chunks_exact(self.rank).zip(&self.bias) {
            let column =
                |j: usize| arm.iter().enumerate().map(|(r, u)| u * self.query[r * self.dim + j]).sum::<f32>();
            weights.extend((0..self.dim).map(column));
            weights.push(*bias);
        }
        weights
    }
}

/// The factors after each number of epochs over `rows`.
fn train(
    params: &Params,
    rank: usize,
    epochs: &[usize],
    rows: &[usize],
    context: &FitContext<'_>,
) -> Vec<Factors> {
    let mut rng = rng::stream(context.seed, "routoo");
    let (dim, n_arms) = (context.features.dim(), context.train.n_arms());
    let mut normal = |n: usize, deviation: f32| -> Vec<f32> {
        (0..n).map(|_| deviation * rng.sample::<f32, _>(StandardNormal)).collect()
    };
    let mut factors = Factors {
        dim,
        rank,
        query: normal(rank * dim, 1.0),
        arms: normal(n_arms * rank, 0.1),
        bias: vec![0.0; n_arms],
    };
    let mut moments = [rank * dim, n_arms * rank, n_arms].map(Moments::new);
    let (mut order, mut step, mut kept) = (rows.to_vec(), 0, Vec::new());
    for epoch in 1..=epochs.last().copied().unwrap_or(0) {
        order.shuffle(&mut rng);
        for batch in order.chunks(params.batch) {
            let Some([query, arms, bias]) = gradients(&factors, batch, context) else { continue };
            step += 1;
            let (corrections, [of_query, of_arms, of_bias]) = (adam::corrections(step), &mut moments);
            let &Params { rate, weight_decay, .. } = params;
            of_query.step(&mut factors.query, &query, rate, weight_decay, corrections);
            of_arms.step(&mut factors.arms, &arms, rate, weight_decay, corrections);
            of_bias.step(&mut factors.bias, &bias, rate, 0.0, corrections);
        }
        if epochs.contains(&epoch) {
            kept.push(factors.clone());
        }
    }
    kept
}

/// Gradients of the mean cross-entropy of the scored cells of some rows; `None` where there is none.
fn gradients(factors: &Factors, rows: &[usize], context: &FitContext<'_>) -> Option<[Vec<f32>; 3]> {
    let score = &context.train.score;
    let n_cells =
        rows.iter().map(|row| score.row(*row).iter().filter(|s| !s.is_nan()).count()).sum::<usize>();
    if n_cells == 0 {
        return None;
    }
    let (rank, share) = (factors.rank, 1.0 / n_cells as f32);
    let mut sums = [factors.query.len(), factors.arms.len(), factors.bias.len()].map(|n| vec![0.0; n]);
    let [query, arms, bias] = &mut sums;
    for row in rows {
        let x = context.features.row(*row);
        let read = factors.read(x);
        let mut below = vec![0.0_f32; rank];
        for (arm, y) in score.row(*row).iter().enumerate().filter(|(_, y)| !y.is_nan()) {
            let own = arm * rank..(arm + 1) * rank;
            let u = &factors.arms[own.clone()];
            let error = share * (sigmoid(factors.bias[arm] + dot(u, &read)) - y);
            bias[arm] += error;
            arms[own].iter_mut().zip(&read).for_each(|(sum, read)| *sum += error * read);
            below.iter_mut().zip(u).for_each(|(below, u)| *below += error * u);
        }
        for (below, sums) in below.iter().zip(query.chunks_exact_mut(factors.dim.max(1))) {
            sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += below * x);
        }
    }
    Some(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_and_the_linear_functions_they_make_agree() {
        let factors = Factors {
            dim: 3,
            rank: 2,
            query: vec![1.0, 0.5, -1.0, 0.0, 2.0, 0.25],
            arms: vec![0.5, -1.0, 2.0, 0.0],
            bias: vec![0.1, -0.2],
        };
        let x = [0.3, -0.6, 0.9];
        let weights = factors.linear();
        for (arm, logit) in factors.logits(&x).into_iter().enumerate() {
            let own = &weights[arm * 4..arm * 4 + 4];
            assert!((own[3] + dot(&own[..3], &x) - logit).abs() < 1e-6);
        }
    }
}
