//! Cascade routing (Dekoninck et al., ICML 2025, arXiv 2410.10347): routing and cascades as one rule.
//!
//! After every answer the policy weighs all sets of further calls by `E[max q] - lambda cost` (`policy::lookahead`) and
//! calls the cheapest arm of the best set, or returns the best answer in hand. Its estimates are of two kinds: before
//! an answer, from the query (`before`), and after it, from the text and from who agrees
//! (`policy::lookahead::Beliefs`). Three disjoint slices of train, cut by prompt hash: the estimators are fitted on the
//! first; how answers that agree are believed, and how far estimates move, on the second; `lambda` is chosen on the
//! third.
//!
//! # Deviations from the paper and its code (eth-sri/cascade-routing)
//! 1. One estimator serves all sets of arms that answered; the code fits one for each of the 2^N.
//! 2. Estimates of arms that did not answer move with those that did, by conditioning normal numbers; their covariance
//!    is that of the same normal numbers. The code measures a covariance for each set on train rows.
//! 3. One `lambda` serves all steps; the code searches one a step by TPE, with a range that is 0 in two of its three
//!    passes.
//! 4. `options = "greedy"` by default: one arm ahead, which the paper's table 7 finds 1.3 points below the full search
//!    at a tenth of its time.
//! 5. Tied sets: `P(dearest) = (B - C_cheap) / (C_dear - C_cheap)`; the router of the code has it the other way round.
//! 6. Expectations are over 128 fixed points, Halton and Latin hypercube; the code draws 100 of a Sobol sequence.

use super::chain::told;
use super::routing_rows::{self, Setting};
use crate::evaluate::Tuning;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, Reads};
use crate::promise::{Losses, Promise};
use crate::train::arms;
use routewright_policy::lookahead::Options;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<CascadeRouting>(
    "routing and cascades as one: all sets of further calls are weighed after every answer",
    Some("2410.10347"),
    Family::After,
    &[Need::Features],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// Steps of the bisection for `lambda`.
const BISECTIONS: usize = 30;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct CascadeRouting;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Sets that are weighed: `greedy`, `full`, `prefixes` (a cascade), `single` (routing).
    pub(super) options: Options,
    /// Most calls of an episode, in [1, 16].
    pub(super) depth: usize,
    /// What predicts scores from the query: `knn`, `ridge`.
    pub(super) before: String,
    /// Penalty of the scorer of texts that all arms share, above 0.
    pub(super) shared_penalty: f64,
    /// Penalty of what each arm adds, above 0.
    pub(super) own_penalty: f64,
    /// Rule that makes equal answers equal texts, see `data::answers::normalize`.
    pub(super) normalize: String,
    /// Shares of train that estimators, beliefs and `lambda` take; in proportion.
    pub(super) slices: [f64; 3],
    /// Prices of money that the curve shows, in [2, 128].
    pub(super) points: usize,
    /// Mean price of a query that the default keeps to, US dollars; 0 for no budget.
    pub(super) budget_usd: f64,
    /// Share of the best single model's score that the default keeps, in [0, 1]; read without a budget.
    pub(super) retain: f64,
    /// Standard errors by which it is kept, at least 0.
    pub(super) margin: f64,
    /// Greatest loss against the best single model that is promised, below 1; 0 for no promise.
    pub(super) max_drop: f64,
    /// Probability that the promise holds, in (0, 1).
    pub(super) confidence: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            options: Options::Greedy,
            depth: 3,
            before: "ridge".to_owned(),
            shared_penalty: 3.0,
            own_penalty: 30.0,
            normalize: "exact".to_owned(),
            slices: [0.5, 0.25, 0.25],
            points: 24,
            budget_usd: 0.0,
            retain: 1.0,
            margin: 0.0,
            max_drop: 0.0,
            confidence: 0.95,
        }
    }
}

fn refused(reason: String) -> FitError {
    FitError::Params { method: CascadeRouting::NAME, reason }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        for (key, value, least, most) in [("depth", self.depth, 1, 16), ("points", self.points, 2, 128)] {
            if !(least..=most).contains(&value) {
                return Err(refused(format!("`{key}` is `{value}`, expected {least} to {most}")));
            }
        }
        let above_zero = [("shared_penalty", self.shared_penalty), ("own_penalty", self.own_penalty)];
        let slices = self.slices.map(|slice| ("slices", slice));
        // NaN is above nothing.
        let is_positive = |value: f64| value > 0.0 && value.is_finite();
        if let Some((key, value)) =
            above_zero.into_iter().chain(slices).find(|(_, value)| !is_positive(*value))
        {
            return Err(refused(format!("`{key}` has `{value}`, expected a number above 0")));
        }
        let numbers = [
            ("budget_usd", self.budget_usd, f64::MAX),
            ("retain", self.retain, 1.0),
            ("margin", self.margin, 1e6),
        ];
        if let Some((key, value, most)) =
            numbers.into_iter().find(|(_, value, most)| !(0.0..=*most).contains(value))
        {
            return Err(refused(format!("`{key}` is `{value}`, expected a number in [0, {most}]")));
        }
        if !["knn", "ridge"].contains(&self.before.as_str()) {
            return Err(refused(format!("`before` is `{}`, expected `knn` or `ridge`", self.before)));
        }
        self.promise().map_or(Ok(()), |promise| promise.check()).map_err(refused)
    }

    fn promise(&self) -> Option<Promise> {
        (self.max_drop != 0.0).then_some(Promise { max_drop: self.max_drop, confidence: self.confidence })
    }
}

impl Method for CascadeRouting {
    const NAME: &'static str = "cascade-routing";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let learned = routing_rows::learn(params, context)?;
        let judged = &learned.judged;
        let play = |setting: Setting| judged.play(&learned.beliefs, setting, params);
        // The dearest price of money first: from the cheapest arm alone to the best that can be had.
        let lambdas = judged.lambdas(params.points);
        let curve: Vec<(f64, Vec<(f64, f64)>)> = lambdas
            .iter()
            .map(|lambda| (*lambda, play(Setting { lambda: *lambda, is_dear: false })))
            .collect();
        let (reference, single) = judged.best_single();
        let mut metrics = std::collections::BTreeMap::from([
            ("slice_best_single".to_owned(), single.0),
            ("slice_best_single_cost_usd".to_owned(), single.1),
        ]);
        let (mut lambda, mut gamma) = (0.0, 0.0);
        if let Some(promise) = params.promise() {
            let losses = |(_, played): &(f64, Vec<(f64, f64)>)| {
                let lost =
                    |(row, (score, _)): (usize, &(f64, f64))| judged.score(row, learned.reference) - score;
                Losses::of(played.iter().enumerate().map(lost))
            };
            let strict: Vec<_> = curve.iter().rev().collect();
            let kept = promise
                .keep(strict.iter().map(|one| losses(one)))
                .map_err(|refusal| FitError::Log { method: Self::NAME, reason: refusal.to_string() })?;
            metrics.extend(told(promise, &kept));
            lambda = strict[kept.at].0;
        } else if params.budget_usd > 0.0 {
            (lambda, gamma) = within(params.budget_usd, &lambdas, |setting| mean_cost(&play(setting)));
        } else {
            let keeps = |(_, played): &&(f64, Vec<(f64, f64)>)| {
                let gap = |(row, (score, _)): (usize, &(f64, f64))| {
                    score - params.retain * judged.score(row, reference)
                };
                super::chain::lower_mean(played.iter().enumerate().map(gap), params.margin) >= -1e-12
            };
            let by_cost = |a: &&(f64, Vec<(f64, f64)>), b: &&(f64, Vec<(f64, f64)>)| {
                mean_cost(&a.1).total_cmp(&mean_cost(&b.1))
            };
            let by_score = |a: &&(f64, Vec<(f64, f64)>), b: &&(f64, Vec<(f64, f64)>)| {
                mean_score(&a.1).total_cmp(&mean_score(&b.1))
            };
            let chosen = curve.iter().filter(keeps).min_by(by_cost).or_else(|| curve.iter().max_by(by_score));
            lambda = chosen.map_or(lambda, |chosen| chosen.0);
        }
        let played = play(Setting { lambda, is_dear: false });
        metrics.insert("slice_score".to_owned(), mean_score(&played));
        metrics.insert("slice_cost_usd".to_owned(), mean_cost(&played));
        metrics.insert("lambda".to_owned(), lambda);
        let points = curve.iter().map(|(lambda, played)| (*lambda, mean_score(played), mean_cost(played)));
        let all = arms(context.train);
        let program = learned
            .program(params, context, (lambda, gamma), points.collect(), &all)
            .map_err(|error| FitError::Numeric { method: Self::NAME, reason: error.to_string() })?;
        let mut fitted = Fitted::steps(Box::new(program), all.len(), params);
        fitted.metrics = metrics;
        fitted.tuning = Some(Tuning { candidates: lambdas.len(), slices: 1 });
        Ok(fitted)
    }
}

fn mean_score(played: &[(f64, f64)]) -> f64 {
    played.iter().map(|(score, _)| score).sum::<f64>() / played.len().max(1) as f64
}

fn mean_cost(played: &[(f64, f64)]) -> f64 {
    played.iter().map(|(_, cost)| cost).sum::<f64>() / played.len().max(1) as f64
}

/// The least `lambda` whose cost is within the budget, by bisection, and the probability of the dearest of tied sets
/// that spends the rest.
fn within(budget: f64, lambdas: &[f64], cost: impl Fn(Setting) -> f64) -> (f64, f64) {
    let cheap = |lambda: f64| cost(Setting { lambda, is_dear: false });
    let (mut low, mut high) = (0.0, lambdas.first().copied().unwrap_or(1.0));
    if cheap(low) <= budget {
        return (low, 0.0);
    }
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(low, high);
        if cheap(middle) <= budget { high = middle } else { low = middle }
    }
    let (least, most) = (cheap(high), cost(Setting { lambda: high, is_dear: true }));
    let gamma = if most > least { ((budget - least) / (most - least)).clamp(0.0, 1.0) } else { 0.0 };
    (high, gamma)
}

#[cfg(test)]
mod tests;
