//! A cascade around a scorer of answers: orders and thresholds, their judgement, and what is promised of them. What the
//! methods of program `cascade` share.
//!
//! Three disjoint slices of train, cut by prompt hash. The scorer is fitted on the first by the method; orders and
//! thresholds are searched on the second (`orders.rs`); the strategies found are judged on the third, which chose none
//! of them. The default is, in this order: the one that keeps the promise `max_drop`, the best within `budget_usd`, or
//! the cheapest that keeps `retain` of the best single model's score with `margin` standard errors in hand.
//!
//! A promise is made for one order, chosen on the second slice, that ends in the reference model: its thresholds move
//! together over [`SETTINGS`] quantiles of what is believed there, strict to loose, and the third slice says how far
//! they may go ([`crate::promise`]).

use super::orders::{self, SearchBounds, Table};
use crate::method::{FitContext, FitError};
use crate::promise::{Kept, Losses, Promise};
use crate::validation::Folds;
use routewright_policy::programs::Strategy;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Parts that the queries are dealt into before the slices are put together.
const PARTS: usize = 20;
/// Thresholds that a promise tries.
const SETTINGS: usize = 40;

/// Parameters of the search and of the choice of the default; part of those of a method.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ChainParams {
    /// Most models that an order calls, in [1, 4].
    pub(super) stages: usize,
    /// Quantiles at which thresholds before the last are tried, in [1, 200].
    pub(super) quantiles: usize,
    /// Strategies kept between the cheapest and the best, in [2, 256].
    pub(super) strategies: usize,
    /// Shares of train that the scorer, the thresholds and the judgement take; in proportion.
    pub(super) slices: [f64; 3],
    /// Mean price of a query that the default keeps to, US dollars; 0 for no budget.
    pub(super) budget_usd: f64,
    /// Share of the best single model's score that the default keeps, in [0, 1]; read without a budget.
    pub(super) retain: f64,
    /// Standard errors by which it is kept, at least 0.
    pub(super) margin: f64,
    /// Greatest loss against the reference model that is promised, below 1; 0 for no promise.
    pub(super) max_drop: f64,
    /// Probability that the promise holds, in (0, 1).
    pub(super) confidence: f64,
}

impl Default for ChainParams {
    fn default() -> Self {
        Self {
            stages: 3,
            quantiles: 20,
            strategies: 48,
            slices: [0.5, 0.3, 0.2],
            budget_usd: 0.0,
            retain: 1.0,
            margin: 0.0,
            max_drop: 0.0,
            confidence: 0.95,
        }
    }
}

impl ChainParams {
    pub(super) fn check(&self, method: &'static str) -> Result<(), FitError> {
        let refuse = |reason: String| Err(FitError::Params { method, reason });
        let sizes = [
            ("stages", self.stages, 1, 4),
            ("quantiles", self.quantiles, 1, 200),
            ("strategies", self.strategies, 2, 256),
        ];
        for (key, value, least, most) in sizes {
            if !(least..=most).contains(&value) {
                return refuse(format!("`{key}` is `{value}`, expected {least} to {most}"));
            }
        }
        // NaN is above nothing.
        if let Some(value) = self.slices.iter().find(|value| !(**value > 0.0 && value.is_finite())) {
            return refuse(format!("`slices` has `{value}`, expected numbers above 0"));
        }
        if !(self.budget_usd >= 0.0 && self.budget_usd.is_finite() && (0.0..=1.0).contains(&self.retain)) {
            return refuse("`budget_usd` needs a number of at least 0, `retain` one in [0, 1]".to_owned());
        }
        if !(self.margin >= 0.0 && self.margin.is_finite()) {
            return refuse(format!("`margin` is `{}`, expected a number of at least 0", self.margin));
        }
        self.promise().map_or(Ok(()), |promise| promise.check()).or_else(refuse)
    }

    /// What is promised of the default, if anything.
    pub(super) fn promise(&self) -> Option<Promise> {
        (self.max_drop != 0.0).then_some(Promise { max_drop: self.max_drop, confidence: self.confidence })
    }

    /// Rows of each slice: for the scorer, for the thresholds, for the judgement.
    ///
    /// # Errors
    /// If a slice has fewer than two rows; `what` says what a row needs.
    pub(super) fn slices(
        &self,
        method: &'static str,
        context: &FitContext<'_>,
        rows: &[usize],
        what: &str,
    ) -> Result<[Vec<usize>; 3], FitError> {
        let folds = Folds::new(context.train, context.seed, PARTS);
        let total: f64 = self.slices.iter().sum();
        let ends = [self.slices[0] / total, (self.slices[0] + self.slices[1]) / total];
        let slice_of = |row: &usize| {
            let at = (folds.of(*row) as f64 + 0.5) / PARTS as f64;
            ends.iter().filter(|end| at >= **end).count()
        };
        let slices: [Vec<usize>; 3] =
            std::array::from_fn(|slice| rows.iter().copied().filter(|row| slice_of(row) == slice).collect());
        if slices.iter().any(|slice| slice.len() < 2) {
            let reason =
                format!("{} queries have {what} of every model, too few for three slices", rows.len());
            return Err(FitError::Log { method, reason });
        }
        Ok(slices)
    }
}

/// Queries with a score and a price of every arm, and of every arm what `has` asks for.
pub(super) fn complete_rows(context: &FitContext<'_>, has: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let train = context.train;
    let is_whole = |row: usize, arm: usize| {
        train.score.get(row, arm).is_some() && train.cost_usd.get(row, arm).is_some() && has(row, arm)
    };
    (0..train.n_queries()).filter(|row| (0..train.n_arms()).all(|arm| is_whole(*row, arm))).collect()
}

/// What every arm did on some rows, with what the scorer believes of its answers, `(rows, n_arms)`.
pub(super) fn table(context: &FitContext<'_>, rows: &[usize], believed: Vec<f32>) -> Table {
    let train = context.train;
    let n_arms = train.n_arms();
    let cells = || rows.iter().flat_map(|row| (0..n_arms).map(move |arm| (*row, arm)));
    Table {
        n_arms,
        believed,
        scores: cells().map(|(row, arm)| f64::from(train.score.get(row, arm).unwrap_or_default())).collect(),
        costs: cells()
            .map(|(row, arm)| f64::from(train.cost_usd.get(row, arm).unwrap_or_default()))
            .collect(),
    }
}

/// The strategies of a cascade, and what is known of them.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) strategies: Vec<Strategy>,
    pub(super) default: usize,
    pub(super) metrics: BTreeMap<String, f64>,
}

/// Searches orders and thresholds on one table, judges them on the other, and chooses the default.
///
/// # Errors
/// If a promise is asked for that the judged rows cannot carry.
pub(super) fn search(
    method: &'static str,
    params: &ChainParams,
    models: &[String],
    [searched, judged]: [&Table; 2],
) -> Result<Chain, FitError> {
    let limits =
        SearchBounds { stages: params.stages, quantiles: params.quantiles, classes: params.strategies };
    let found = orders::search(searched, limits);
    let strategy = |order: &[usize], thresholds: &[f32]| {
        let (score, cost_usd) = judged.play(order, thresholds);
        let order = order.iter().map(|arm| models[*arm].clone()).collect();
        Strategy { order, thresholds: thresholds.to_vec(), score, cost_usd }
    };
    let mut strategies: Vec<Strategy> =
        found.iter().map(|one| strategy(&one.order, &one.thresholds)).collect();
    let mut metrics = BTreeMap::new();
    let default = match params.promise() {
        Some(promise) => {
            let long = found.iter().filter(|one| one.order.len() > 2).map(|one| one.order.clone());
            let (order, thresholds, kept) = promised(promise, [searched, judged], long.collect())
                .map_err(|reason| FitError::Log { method, reason })?;
            metrics.extend(told(promise, &kept));
            strategies.push(strategy(&order, &thresholds));
            strategies.len() - 1
        }
        None => {
            let played: Vec<Played<'_>> =
                found.iter().map(|one| Played { order: &one.order, thresholds: &one.thresholds }).collect();
            default_strategy(params, &strategies, &played, judged)
        }
    };
    let (score, cost) = (strategies[default].score, strategies[default].cost_usd);
    let numbers = [("slice_score", score), ("slice_cost_usd", cost), ("strategies", strategies.len() as f64)];
    metrics.extend(numbers.map(|(name, value)| (name.to_owned(), value)));
    Ok(Chain { strategies, default, metrics })
}

/// The figures of a promise, by name.
pub(super) fn told(promise: Promise, kept: &Kept) -> [(String, f64); 5] {
    [
        ("promise_max_drop", promise.max_drop),
        ("promise_confidence", promise.confidence),
        ("promise_bound", kept.bound),
        ("promise_loss", kept.loss),
        ("promise_rows", kept.n_rows as f64),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

struct Played<'a> {
    order: &'a [usize],
    thresholds: &'a [f32],
}

/// The best within the budget; without one the cheapest that keeps the share of the best single model's score; the best
/// of all where none does.
fn default_strategy(
    params: &ChainParams,
    strategies: &[Strategy],
    played: &[Played<'_>],
    judged: &Table,
) -> usize {
    let reference = judged.best_arm();
    let all = || 0..strategies.len();
    let by_score = |a: &usize, b: &usize| {
        let (a, b) = (&strategies[*a], &strategies[*b]);
        a.score.total_cmp(&b.score).then(b.cost_usd.total_cmp(&a.cost_usd))
    };
    let by_cost = |a: &usize, b: &usize| strategies[*a].cost_usd.total_cmp(&strategies[*b].cost_usd);
    let chosen = if params.budget_usd > 0.0 {
        let within = all().filter(|at| strategies[*at].cost_usd <= params.budget_usd);
        within.max_by(by_score).or_else(|| all().min_by(by_cost))
    } else {
        let keeps = |at: &usize| {
            let Played { order, thresholds } = played[*at];
            let over = |row: usize| {
                judged.play_row(row, order, thresholds).0 - params.retain * judged.score(row, reference)
            };
            // Differences of means that are equal round.
            lower_mean((0..judged.n()).map(over), params.margin) >= -1e-12
        };
        all().filter(keeps).min_by(by_cost)
    };
    chosen.or_else(|| all().max_by(by_score)).unwrap_or(0)
}

/// Mean less `margin` standard errors.
pub(super) fn lower_mean(values: impl Iterator<Item = f64>, margin: f64) -> f64 {
    let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        (n, sum, squares) = (n + 1.0, sum + value, squares + value * value);
    }
    let mean = sum / f64::max(n, 1.0);
    let variance = (squares / f64::max(n, 1.0) - mean * mean).max(0.0);
    mean - margin * (variance / f64::max(n - 1.0, 1.0)).sqrt()
}

/// Order and thresholds that keep the promise against the best arm of the rows searched, and how far they keep it.
fn promised(
    promise: Promise,
    [searched, judged]: [&Table; 2],
    long: Vec<Vec<usize>>,
) -> Result<(Vec<usize>, Vec<f32>, Kept), String> {
    let reference = searched.best_arm();
    let pairs = (0..searched.n_arms).filter(|arm| *arm != reference).map(|arm| vec![arm, reference]);
    let mut orders: Vec<Vec<usize>> =
        pairs.chain(long).filter(|order| order.last() == Some(&reference)).collect();
    orders.sort();
    orders.dedup();
    let losses = |table: &Table, order: &[usize], thresholds: &[f32]| {
        let loss = |row| table.score(row, reference) - table.play_row(row, order, thresholds).0;
        Losses::of((0..table.n()).map(loss))
    };
    let mut best: Option<(f64, Vec<usize>, Vec<Vec<f32>>)> = None;
    for order in orders {
        let path = path(searched, &order);
        // On the rows searched the promise only ranks the orders.
        let kept = promise.keep(path.iter().map(|thresholds| losses(searched, &order, thresholds)));
        let thresholds = kept.map(|kept| kept.at).ok().or(Some(0)).and_then(|at| path.get(at));
        let Some(thresholds) = thresholds else { continue };
        let (_, cost) = searched.play(&order, thresholds);
        let cost = if kept.is_ok() { cost } else { f64::MAX.min(1e12 + cost) };
        if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
            best = Some((cost, order, path));
        }
    }
    let none = "it has one model, expected at least two for a cascade with a promise";
    let (_, order, path) = best.ok_or(none)?;
    let kept = promise.keep(path.iter().map(|thresholds| losses(judged, &order, thresholds)));
    let kept = kept.map_err(|refusal| refusal.to_string())?;
    Ok((order, path[kept.at].clone(), kept))
}

/// Thresholds of an order, strict to loose: each stage at the same quantile of what is believed of its answers.
fn path(searched: &Table, order: &[usize]) -> Vec<Vec<f32>> {
    let sorted = |arm: usize| {
        let believed = (0..searched.n()).map(|row| searched.believed(row, arm));
        let mut believed: Vec<f32> = believed.filter(|value| value.is_finite()).collect();
        believed.sort_by(f32::total_cmp);
        believed
    };
    let stages: Vec<Vec<f32>> = order[..order.len() - 1].iter().map(|arm| sorted(*arm)).collect();
    if stages.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let at = |sorted: &Vec<f32>, setting: usize| {
        let level = 1.0 - setting as f64 / (SETTINGS + 1) as f64;
        sorted[((sorted.len() - 1) as f64 * level).floor() as usize]
    };
    (1..=SETTINGS).map(|setting| stages.iter().map(|stage| at(stage, setting)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;
    use routewright_data::rng;

    /// The first arm is right where it is sure; the second always costs ten times as much and is right 9 of 10 times.
    fn drawn(n: usize, seed: u64) -> Table {
        let mut rng = rng::stream(seed, "chain test");
        let mut table = Table { n_arms: 2, believed: Vec::new(), scores: Vec::new(), costs: Vec::new() };
        for _ in 0..n {
            let sure: f64 = rng.random();
            let right = [rng.random::<f64>() < 0.4 + 0.6 * sure, rng.random::<f64>() < 0.9];
            table.believed.extend([sure as f32, 0.5]);
            table.scores.extend(right.map(|right| f64::from(u8::from(right))));
            table.costs.extend([1.0, 10.0]);
        }
        table
    }

    fn models() -> Vec<String> {
        ["cheap", "dear"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_promise_is_kept_on_other_rows_and_saves() {
        let params = ChainParams { max_drop: 0.03, confidence: 0.9, ..ChainParams::default() };
        let (mut held, mut saved) = (0, 0.0);
        for seed in 0..200 {
            let (searched, judged) = (drawn(300, 2 * seed), drawn(800, 2 * seed + 1));
            let chain = search("test", &params, &models(), [&searched, &judged]).unwrap();
            let strategy = &chain.strategies[chain.default];
            assert_eq!(strategy.order, ["cheap", "dear"]);
            assert!(chain.metrics["promise_bound"] <= 0.03 + 1e-9, "{:?}", chain.metrics);
            // Kept and wrong while the other is right: int_t^1 0.6 (1 - u) 0.9 du = 0.27 (1 - t)^2.
            let kept = 1.0 - f64::from(strategy.thresholds[0]);
            held += usize::from(0.27 * kept * kept <= 0.03);
            saved += kept / 200.0;
        }
        assert!(held >= 180, "{held} of 200");
        // The most that may be kept is 1/3.
        assert!(saved > 0.2 && saved < 1.0 / 3.0, "{saved}");
        let few = search("test", &params, &models(), [&drawn(300, 1), &drawn(40, 2)]).unwrap_err();
        assert!(few.to_string().contains("needs at least 76 rows"), "{few}");
    }

    #[test]
    fn a_margin_makes_the_default_dearer_and_nothing_is_unreadable() {
        let (searched, judged) = (drawn(500, 3), drawn(500, 4));
        let cost = |margin: f64| {
            let params = ChainParams { retain: 0.97, margin, ..ChainParams::default() };
            let chain = search("test", &params, &models(), [&searched, &judged]).unwrap();
            chain.strategies[chain.default].cost_usd
        };
        assert!(cost(0.0) < cost(1.645), "{} {}", cost(0.0), cost(1.645));
        // Answers that cannot be read are never kept.
        let mut dumb = drawn(500, 5);
        dumb.believed.iter_mut().step_by(4).for_each(|believed| *believed = f32::NEG_INFINITY);
        let chain = search("test", &ChainParams::default(), &models(), [&dumb, &judged]).unwrap();
        assert!(chain.strategies.iter().flat_map(|one| &one.thresholds).all(|t| t.is_finite()));
        let unreadable = Table { believed: vec![f32::NEG_INFINITY; 1000], ..drawn(500, 6) };
        let params = ChainParams { max_drop: 0.03, ..ChainParams::default() };
        let error = search("test", &params, &models(), [&unreadable, &judged]).unwrap_err();
        assert!(error.to_string().contains("test"), "{error}");
    }
}
