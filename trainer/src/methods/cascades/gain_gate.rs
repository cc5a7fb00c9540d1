//! A gain gate: ask a bundle of cheap models at the same time and keep their best answer, unless the strongest model is
//! predicted to do better.
//!
//! With `x` what a bundle has in hand of a query (`policy::programs::read_hand`: agreement, votes, predicted scores,
//! task, length), the gain of its best answer over the fallback is a ridge regression on `x`, one a gate. A gate is a
//! bundle of 1 to `bundle` of the `candidates` strongest cheap models before the strongest model; and, *blind*, each
//! pair of models between which the query alone decides. Everything in `x` that is learned is out of fold, the gains
//! too.
//!
//! Rows sorted by gain, prefix sums of `score - retain * strongest` and of its square give mean and standard error of
//! every threshold of a gate in O(n log n). The default is the cheapest threshold of any gate whose mean is at least
//! `margin` standard errors above 0; the best of each class of price is kept for requests with an objective. No paper;
//! it is what was measured to work on public logs, where thresholds without a margin kept what they say in 19 to 54 of
//! 100 redraws.
//!
//! With `max_drop` the gate is chosen on the part of train that everything is learned on, and its threshold on the rest
//! ([`crate::promise`]).

use super::chain::told;
use super::gate_rows::{Cells, Gated, Point, Rows};
use crate::evaluate::Tuning;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, Reads};
use crate::promise::{Kept, Losses, Promise};
use crate::train::arms;
use crate::validation;
use routewright_data::answers::normalize::Normalizer;
use routewright_policy::programs::{Gate, Gates};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<GainGate>(
    "cheap models asked at the same time, and the strongest where it is predicted to gain",
    None,
    Family::After,
    &[Need::Features, Need::Source],
)
.reading(&[Reads::Outcomes, Reads::Calls]);

/// Thresholds that a promise tries.
const SETTINGS: usize = 40;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct GainGate;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Most models of a bundle, in [1, 4].
    pub(super) bundle: usize,
    /// Cheap models that bundles are made of, in [1, 8].
    pub(super) candidates: usize,
    /// Greatest mean price of one of them, as a share of the strongest model's, in (0, 1].
    pub(super) cheap: f64,
    /// Share of the strongest model's score that the default keeps, in [0, 1].
    pub(super) retain: f64,
    /// Standard errors by which it is kept, at least 0.
    pub(super) margin: f64,
    /// Penalty of the gain, on features in standard deviations, above 0.
    pub(super) penalty: f64,
    /// What predicts scores from the query: `knn`, `ridge`.
    pub(super) before: String,
    /// Rule that makes equal answers equal texts, see `data::answers::normalize`.
    pub(super) normalize: String,
    /// Tasks that have numbers of their own, the most frequent ones.
    pub(super) tasks: usize,
    /// Folds that everything is learned out of, at least 2.
    pub(super) folds: usize,
    /// Gates kept between the cheapest and the best, in [2, 256].
    pub(super) strategies: usize,
    /// Mean price of a query that the default keeps to, US dollars; 0 for no budget.
    pub(super) budget_usd: f64,
    /// Greatest loss against the strongest model that is promised, below 1; 0 for no promise.
    pub(super) max_drop: f64,
    /// Probability that the promise holds, in (0, 1).
    pub(super) confidence: f64,
    /// Part of train that a promise is made on, in (0, 1).
    pub(super) calibration: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            bundle: 4,
            candidates: 6,
            cheap: 0.5,
            retain: 0.99,
            margin: 1.0,
            penalty: 25.0,
            before: "knn".to_owned(),
            normalize: "exact".to_owned(),
            tasks: 24,
            folds: 5,
            strategies: 48,
            budget_usd: 0.0,
            max_drop: 0.0,
            confidence: 0.95,
            calibration: 0.3,
        }
    }
}

fn refused(reason: String) -> FitError {
    FitError::Params { method: GainGate::NAME, reason }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let sizes = [
            ("bundle", self.bundle, 1, 4),
            ("candidates", self.candidates, 1, 8),
            ("tasks", self.tasks, 0, 256),
            ("folds", self.folds, 2, 20),
            ("strategies", self.strategies, 2, 256),
        ];
        for (key, value, least, most) in sizes {
            if !(least..=most).contains(&value) {
                return Err(refused(format!("`{key}` is `{value}`, expected {least} to {most}")));
            }
        }
        let numbers = [
            ("cheap", self.cheap, f64::MIN_POSITIVE, 1.0),
            ("retain", self.retain, 0.0, 1.0),
            ("margin", self.margin, 0.0, 1e6),
            ("penalty", self.penalty, f64::MIN_POSITIVE, 1e12),
            ("budget_usd", self.budget_usd, 0.0, f64::MAX),
            ("calibration", self.calibration, 0.01, 0.99),
        ];
        // NaN is in no range.
        for (key, value, least, most) in numbers {
            if !(least..=most).contains(&value) {
                return Err(refused(format!(
                    "`{key}` is `{value}`, expected a number in [{least:.0}, {most:.0}]"
                )));
            }
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

impl Method for GainGate {
    const NAME: &'static str = "gain-gate";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let fault = |reason: String| FitError::Log { method: Self::NAME, reason };
        let rule = Normalizer::named(&params.normalize).map_err(refused)?;
        if context.train.n_arms() < 2 {
            return Err(fault("it has one model, expected at least two".to_owned()));
        }
        let cells = Cells::read(context, rule);
        let whole: Vec<usize> = (0..context.train.n_queries()).filter(|row| cells.is_whole(*row)).collect();
        let (learned, held) = match params.promise() {
            None => (whole, Vec::new()),
            Some(_) => {
                let slice = validation::slice(context.train, context.seed, params.calibration);
                whole.into_iter().partition(|row| slice.valid.binary_search(row).is_err())
            }
        };
        if learned.len() < 4 * params.folds {
            let n = learned.len();
            return Err(fault(format!(
                "{n} queries have a score and a price of every model, too few to learn from"
            )));
        }
        let rows = Rows::learn(params, context, &cells, learned)?;
        let gated: Vec<Gated> =
            rows.gates(params).into_iter().map(|gate| rows.fit(gate, params)).collect::<Result<_, _>>()?;
        let points = frontier(params, &rows, &gated);
        let (chosen, kept) = match params.promise() {
            None => (default_point(params, &rows, &gated), None),
            Some(promise) => {
                let (point, kept) = promised(promise, &rows, &gated, &held).map_err(fault)?;
                (point, Some((promise, kept)))
            }
        };
        let mut all = points;
        all.push(chosen);
        let gates: Vec<Gate> = all.iter().map(|point| rows.gate(&gated[point.gate], point)).collect();
        let default = gates.len() - 1;
        let single = rows.mean_of(rows.reference);
        let n_gates = gated.len();
        let mut metrics = std::collections::BTreeMap::from([
            ("folds_score".to_owned(), chosen.score),
            ("folds_cost_usd".to_owned(), chosen.cost_usd),
            ("folds_strongest_score".to_owned(), single.0),
            ("folds_strongest_cost_usd".to_owned(), single.1),
            ("folds_gap_se".to_owned(), chosen.gap_se),
        ]);
        if let Some((promise, kept)) = kept {
            metrics.extend(told(promise, &kept));
        }
        let arms = arms(context.train);
        let program = rows
            .program(gates, default, rule, &arms)
            .map_err(|error| FitError::Numeric { method: Self::NAME, reason: error.to_string() })?;
        let program: Gates = program;
        let mut fitted = Fitted::steps(Box::new(program), arms.len(), params);
        fitted.metrics = metrics;
        fitted.tuning = Some(Tuning { candidates: n_gates, slices: params.folds });
        Ok(fitted)
    }
}

/// The best point of each class of price that no cheaper one equals.
fn frontier(params: &Params, rows: &Rows<'_>, gated: &[Gated]) -> Vec<Point> {
    let means: Vec<f64> =
        (0..rows.n_arms()).map(|arm| rows.mean_of(arm).1).filter(|usd| *usd > 0.0).collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().sum::<f64>().max(low * 1.001);
    let class = |usd: f64| {
        let at = (usd.max(low).ln() - low.ln()) / (high.ln() - low.ln()) * params.strategies as f64;
        (at as usize).min(params.strategies - 1)
    };
    let mut best: Vec<Option<Point>> = vec![None; params.strategies];
    for (gate, one) in gated.iter().enumerate() {
        rows.sweep(gate, one, params.retain, |point, _| {
            let place = &mut best[if low.is_finite() { class(point.cost_usd) } else { 0 }];
            let is_better = |old: &Point| {
                point.score > old.score || (point.score == old.score && point.cost_usd < old.cost_usd)
            };
            if place.as_ref().is_none_or(is_better) {
                *place = Some(point);
            }
        });
    }
    let mut all: Vec<Point> = best.into_iter().flatten().collect();
    all.sort_by(|a, b| a.cost_usd.total_cmp(&b.cost_usd).then(b.score.total_cmp(&a.score)));
    let mut most = f64::NEG_INFINITY;
    all.retain(|point| {
        let is_kept = point.score > most;
        most = most.max(point.score);
        is_kept
    });
    all
}

/// The best within the budget; without one the cheapest that keeps its share with the margin in hand. There always is
/// one: a blind gate that keeps the strongest model.
fn default_point(params: &Params, rows: &Rows<'_>, gated: &[Gated]) -> Point {
    let (mut cheapest, mut best, mut within): (Option<Point>, Option<Point>, Option<Point>) =
        (None, None, None);
    for (gate, one) in gated.iter().enumerate() {
        rows.sweep(gate, one, params.retain, |point, gap| {
            let is_cheaper = |old: &Option<Point>| {
                old.is_none_or(|old| (point.cost_usd, -point.score) < (old.cost_usd, -old.score))
            };
            let is_better = |old: &Option<Point>| {
                old.is_none_or(|old| (-point.score, point.cost_usd) < (-old.score, old.cost_usd))
            };
            if gap - params.margin * point.gap_se >= -1e-12 && is_cheaper(&cheapest) {
                cheapest = Some(point);
            }
            if point.cost_usd <= params.budget_usd && is_better(&within) {
                within = Some(point);
            }
            if is_better(&best) {
                best = Some(point);
            }
        });
    }
    let chosen = if params.budget_usd > 0.0 { within } else { cheapest };
    chosen.or(best).unwrap_or_default()
}

/// The gate that costs least where the promise is kept out of fold, and the threshold that rows apart allow.
fn promised(
    promise: Promise,
    rows: &Rows<'_>,
    gated: &[Gated],
    held: &[usize],
) -> Result<(Point, Kept), String> {
    let mut best: Option<(f64, usize, Vec<usize>)> = None;
    for (gate, one) in gated.iter().enumerate().filter(|(_, one)| one.plan.fallback == rows.reference) {
        // Rows kept, strict to loose.
        let path: Vec<usize> =
            (1..=SETTINGS).map(|setting| 1 + (one.gains.len() - 1) * setting / (SETTINGS + 1)).collect();
        let losses = |kept: &usize| Losses::of(rows.losses(one, one.out_of_fold(*kept)));
        let found = promise.keep(path.iter().map(losses));
        let cost = rows.cost(one, one.out_of_fold(path[found.map_or(0, |found| found.at)]));
        let cost = if found.is_ok() { cost } else { 1e12 + cost };
        if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
            best = Some((cost, gate, path));
        }
    }
    let (_, gate, path) = best.ok_or("no gate ends in the strongest model")?;
    let hands = rows.played(&gated[gate], held);
    let losses = |kept: &usize| {
        let threshold = gated[gate].threshold(*kept);
        let of = |(gain, top, last): &(f64, f64, f64)| {
            if *gain >= threshold { (last - top).max(0.0) } else { 0.0 }
        };
        Losses::of(hands.iter().map(of))
    };
    let kept = promise.keep(path.iter().map(losses)).map_err(|refusal| refusal.to_string())?;
    Ok((rows.point(gate, &gated[gate], path[kept.at]), kept))
}

#[cfg(test)]
mod tests;
