//! BaRP (arXiv 2510.07429): one policy for every preference, learned by REINFORCE from the reward of the arm
//! it called.
//!
//! Features `x` and a preference `(w_q, w_c)` on the simplex go through `hidden` layers to one output an arm; the
//! policy is their softmax. In training a preference is drawn for every query, an arm from the policy, and
//! `r = w_q score - w_c min(cost / tau, 1)` is its reward. The step is REINFORCE with a baseline (the mean
//! reward of the batch for a preference like this one, by least squares on `w_c`) and an entropy bonus.
//!
//! Written from digests of the paper. Deviations:
//! 1. the featurizer of the context stands for the frozen MiniLM encoder;
//! 2. the preference is appended to the features instead of passing through a network of its own;
//! 3. sizes and rates are ours; the weight of the entropy and the number of steps are chosen on folds of train;
//! 4. arms without an outcome on a query are not drawn on it;
//! 5. `w_c` is drawn as the square of a uniform number: a preference near pure quality is the usual one, and
//!    at the edge of the simplex it would hardly ever be practised.

use super::gradient::{Actions, sample, softmax, surrogate};
use super::paid;
use crate::evaluate::Tuning;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::costs;
use crate::neural::{AdamW, Stack};
use crate::validation::{self, Folds};
use rand::RngExt as _;
use routewright_data::rng::{self, Rng};
use routewright_data::{FeatureMatrix, OutcomeTable};
use routewright_policy::forms::{CostModel, PreferenceNetwork};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Barp>(
    "preference-conditioned policy learned by REINFORCE from bandit feedback",
    Some("2510.07429"),
    Family::Before,
    &[Need::Features],
);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Barp;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Widths of the hidden layers.
    hidden: Vec<usize>,
    /// Steps, at most.
    steps: u64,
    /// Steps between judgements on the folds; 0 takes every step without asking.
    every: u64,
    /// Folds of train on which the number of steps is chosen.
    folds: usize,
    /// Queries a step.
    batch: usize,
    /// Learning rate.
    rate: f32,
    /// Decoupled weight decay.
    weight_decay: f32,
    /// Weights of the entropy in the loss to try; the folds choose one.
    entropy: Vec<f32>,
    /// Price that counts as 1, in prices of the dearest arm.
    tau: f64,
    /// Weight of the cost where a request says nothing, `[0, 1]`.
    cost: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            hidden: vec![64],
            steps: 3000,
            every: 500,
            folds: 3,
            batch: 128,
            rate: 2e-3,
            weight_decay: 0.01,
            entropy: vec![0.01, 0.03, 0.1],
            tau: 1.0,
            cost: 0.0,
        }
    }
}

/// Rows to learn from, with the prices that count.
struct Lessons<'a> {
    table: &'a OutcomeTable,
    features: &'a FeatureMatrix,
    /// Expected price of each arm where a call has none.
    mean_usd: &'a [f32],
    cost_unit_usd: f64,
}

/// The network with the draws it learns by.
struct Training<'a> {
    params: &'a Params,
    entropy: f32,
    stack: Stack,
    rng: Rng,
}

impl Lessons<'_> {
    fn n_arms(&self) -> usize {
        self.table.n_arms()
    }

    /// `min(cost / tau, 1)` of a call; 0 where no price is known.
    fn price(&self, row: usize, arm: usize) -> f32 {
        let known = self.table.cost_usd.get(row, arm).unwrap_or(self.mean_usd[arm]);
        if known.is_nan() { 0.0 } else { ((f64::from(known) / self.cost_unit_usd) as f32).min(1.0) }
    }

    /// Inputs `(rows, dim + 2)` for the weights of cost given.
    fn inputs(&self, rows: &[usize], weights: &[f32]) -> Vec<f32> {
        let row = |(row, weight): (&usize, &f32)| {
            let x = self.features.row(*row).iter().copied();
            x.chain([1.0 - weight, *weight]).collect::<Vec<f32>>()
        };
        rows.iter().zip(weights).flat_map(row).collect()
    }
}

impl<'a> Training<'a> {
    fn new(params: &'a Params, entropy: f32, lessons: &Lessons<'_>, seed: u64) -> Self {
        let optimizer = AdamW { rate: params.rate, weight_decay: params.weight_decay, ..AdamW::default() };
        let dim = lessons.features.dim() + 2;
        let stack = Stack::new(dim, &params.hidden, lessons.n_arms(), optimizer, seed);
        Self { params, entropy, stack, rng: rng::stream(seed, "barp") }
    }

    /// One step of REINFORCE on a random batch of `rows`.
    fn step(&mut self, lessons: &Lessons<'_>, rows: &[usize]) {
        let (m, rng) = (lessons.n_arms(), &mut self.rng);
        let chosen: Vec<usize> =
            (0..self.params.batch).map(|_| rows[rng.random_range(0..rows.len())]).collect();
        let weights: Vec<f32> = chosen.iter().map(|_| rng.random::<f32>().powi(2)).collect();
        let input = lessons.inputs(&chosen, &weights);
        let allowed: Vec<bool> = chosen
            .iter()
            .flat_map(|row| lessons.table.score.row(*row).iter().map(|score| !score.is_nan()))
            .collect();
        let probabilities = softmax(&self.stack.outputs(&input), &allowed, m);
        let arms = sample(&probabilities, m, &mut self.rng);
        let reward = |(i, arm): (usize, &usize)| {
            let score = lessons.table.score.get(chosen[i], *arm).unwrap_or(0.0);
            (1.0 - weights[i]) * score - weights[i] * lessons.price(chosen[i], *arm)
        };
        let rewards: Vec<f32> = arms.iter().enumerate().map(reward).collect();
        let advantages = over_baseline(&rewards, &weights);
        let drawn_with: Vec<f32> =
            arms.iter().enumerate().map(|(i, arm)| probabilities[i * m + arm]).collect();
        let actions = Actions { arms: &arms, advantages: &advantages, drawn_with: &drawn_with };
        let gradient = surrogate(&probabilities, m, actions, f32::INFINITY, self.entropy);
        self.stack.learn(&input, gradient);
    }

    /// Mean utility of the likeliest arms of `rows` over three preferences.
    fn worth(&mut self, lessons: &Lessons<'_>, rows: &[usize]) -> f64 {
        let m = lessons.n_arms();
        let mut total = 0.0;
        for weight in [0.0, 0.25, 0.5] {
            let input = lessons.inputs(rows, &vec![weight; rows.len()]);
            let outputs = self.stack.outputs(&input);
            for (row, z) in rows.iter().zip(outputs.chunks_exact(m)) {
                let known = (0..m).filter(|arm| lessons.table.score.get(*row, *arm).is_some());
                let Some(arm) = known.max_by(|a, b| z[*a].total_cmp(&z[*b])) else { continue };
                let score = lessons.table.score.get(*row, arm).unwrap_or(0.0);
                total += f64::from((1.0 - weight) * score - weight * lessons.price(*row, arm));
            }
        }
        total / (3 * rows.len().max(1)) as f64
    }
}

/// Rewards less the line through them over the weights.
fn over_baseline(rewards: &[f32], weights: &[f32]) -> Vec<f32> {
    let n = rewards.len().max(1) as f32;
    let mean = |values: &[f32]| values.iter().sum::<f32>() / n;
    let (r, w) = (mean(rewards), mean(weights));
    let joint: f32 = rewards.iter().zip(weights).map(|(a, b)| (a - r) * (b - w)).sum();
    let own: f32 = weights.iter().map(|b| (b - w) * (b - w)).sum();
    let slope = if own > 0.0 { joint / own } else { 0.0 };
    rewards.iter().zip(weights).map(|(a, b)| a - r - slope * (b - w)).collect()
}

impl Method for Barp {
    const NAME: &'static str = "barp";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        check(params)?;
        let cost = costs::fit(Self::NAME, context)?;
        let dearest = cost.mean_usd().iter().copied().filter(|usd| !usd.is_nan()).fold(0.0_f32, f32::max);
        let cost_unit_usd = if dearest > 0.0 { f64::from(dearest) * params.tau } else { 1.0 };
        let mean_usd = cost.mean_usd().to_vec();
        let lessons =
            Lessons { table: context.train, features: context.features, mean_usd: &mean_usd, cost_unit_usd };
        let chosen = choose(params, &lessons, context);
        let steps = chosen.steps;
        let all: Vec<usize> = scored_rows(context.train);
        let mut training = Training::new(params, chosen.entropy, &lessons, context.seed);
        context.progress.start("refit", steps);
        for step in 0..steps {
            training.step(&lessons, &all);
            if step % 100 == 0 {
                context.progress.step(step, "");
            }
        }
        let form = form(params, &training.stack, context.features.dim(), cost_unit_usd, cost);
        let resolved = Params { entropy: vec![chosen.entropy], ..params.clone() };
        let mut fitted = Fitted::new(Box::new(form), &resolved);
        fitted.metrics.insert("steps".to_owned(), steps as f64);
        if let Some(criterion) = chosen.worth {
            fitted.metrics.insert("cross_validated_utility".to_owned(), criterion);
            fitted.tuning = Some(Tuning { candidates: chosen.n_tried, slices: params.folds });
        }
        Ok(fitted)
    }
}

fn form(params: &Params, stack: &Stack, dim: usize, unit: f64, cost: CostModel) -> PreferenceNetwork {
    PreferenceNetwork::new(dim, stack.layers(), unit, params.cost, cost)
}

fn scored_rows(table: &OutcomeTable) -> Vec<usize> {
    (0..table.n_queries()).filter(|row| table.score.row_mean(*row).is_some()).collect()
}

/// What the folds chose, and what it is worth there.
#[derive(Debug, Clone, Copy)]
struct Chosen {
    entropy: f32,
    steps: u64,
    worth: Option<f64>,
    n_tried: usize,
}

/// The entropy and the number of steps that are worth most on the folds.
fn choose(params: &Params, lessons: &Lessons<'_>, context: &FitContext<'_>) -> Chosen {
    let n_judgements = params.steps.checked_div(params.every).unwrap_or(0);
    let plain = Chosen { entropy: params.entropy[0], steps: params.steps, worth: None, n_tried: 1 };
    if params.folds < 2 || n_judgements < 2 && params.entropy.len() < 2 {
        return plain;
    }
    let folds = Folds::new(lessons.table, context.seed, params.folds);
    context.progress.start("folds", (params.folds * params.entropy.len()) as u64);
    let mut candidates = Vec::new();
    for (at, &entropy) in params.entropy.iter().enumerate() {
        let worth = worth_on(&folds, entropy, params, lessons, context);
        let steps = |judgement: usize| (judgement as u64 + 1) * params.every.clamp(1, params.steps);
        candidates.extend(worth.iter().enumerate().map(|(j, worth)| ((entropy, steps(j)), *worth)));
        context.progress.step(((at + 1) * params.folds) as u64, &format!("entropy {entropy}"));
    }
    validation::best(&candidates).map_or(plain, |((entropy, steps), worth)| Chosen {
        entropy,
        steps,
        worth: Some(worth),
        n_tried: candidates.len(),
    })
}

/// Mean utility on the rows left out, after every judgement.
fn worth_on(
    folds: &Folds,
    entropy: f32,
    params: &Params,
    lessons: &Lessons<'_>,
    context: &FitContext<'_>,
) -> Vec<f64> {
    let every = if params.every == 0 { params.steps } else { params.every.min(params.steps) };
    let mut worth = vec![0.0; (params.steps / every) as usize];
    for held in 0..params.folds {
        let Some(slice) = folds.slice(held) else { continue };
        let fit: Vec<usize> = slice.fit.into_iter().filter(|row| has_score(lessons.table, *row)).collect();
        if fit.is_empty() {
            continue;
        }
        let mut training = Training::new(params, entropy, lessons, context.seed);
        for worth in &mut worth {
            (0..every).for_each(|_| training.step(lessons, &fit));
            *worth += training.worth(lessons, &slice.valid) * slice.valid.len() as f64;
        }
    }
    let n = lessons.table.n_queries().max(1) as f64;
    worth.into_iter().map(|sum| sum / n).collect()
}

fn has_score(table: &OutcomeTable, row: usize) -> bool {
    table.score.row(row).iter().any(|score| !score.is_nan())
}

fn check(params: &Params) -> Result<(), FitError> {
    let error = |reason: &str| FitError::Params { method: Barp::NAME, reason: reason.to_owned() };
    if params.steps == 0 || params.batch == 0 || params.hidden.contains(&0) {
        return Err(error("`steps`, `batch` and every width of `hidden` must be at least 1"));
    }
    paid::within(Barp::NAME, "rate", f64::from(params.rate), 1e-7..=1.0)?;
    if params.entropy.is_empty() {
        return Err(error("`entropy` needs at least one weight"));
    }
    for entropy in &params.entropy {
        paid::within(Barp::NAME, "entropy", f64::from(*entropy), 0.0..=10.0)?;
    }
    paid::within(Barp::NAME, "tau", params.tau, 1e-6..=1e6)?;
    paid::within(Barp::NAME, "cost", params.cost, 0.0..=1.0)
}
