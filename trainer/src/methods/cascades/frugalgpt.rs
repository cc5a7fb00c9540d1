//! FrugalGPT (arXiv 2305.05176): call cheap models first, and a dearer one where a scorer doubts the answer.
//!
//! Three disjoint slices of train, cut by prompt hash: a scorer of (query, answer) for each arm is fitted on the first
//! (`logistic_scorer.rs`), orders and thresholds are searched on the second (`orders.rs`), and the strategies found are
//! judged on the third, which chose none of them. The artifact has all of them; the default is the best within
//! `budget_usd`, or else the cheapest that keeps `retain` of the best single model's score, or the one that keeps a
//! promise (`chain.rs`), and a request with an objective of its own is served by the one that the objective values
//! most.
//!
//! # Deviations from the paper and its code (commit 2b23e6a)
//! 1. The scorer is logistic regression on features of query and answer; the code fine-tunes DistilBERT for each arm.
//! 2. What arms share is learned from the answers of all, and each arm adds its own; the code learns each arm alone.
//! 3. The last threshold of an order is searched exactly by prefix sums; the code tries a grid of 40 quantiles and
//!    polishes it by Nelder-Mead. Earlier thresholds are tried at `quantiles` quantiles of the rows that arrive.
//! 4. Every depth up to `stages` is searched; the code searches the greatest alone.
//! 5. All budgets at once; the code searches again for each.
//! 6. Strategies are judged on queries that chose nothing; the code picks by the score on the rows searched.

use super::chain::{self, ChainParams};
use super::logistic_scorer::{self, Answered, Penalties};
use super::text_scorer;
use crate::evaluate::Tuning;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, Reads};
use crate::train::arms;
use routewright_policy::programs::Cascade;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<FrugalGpt>(
    "a cascade: cheap models first, a dearer one where a scorer doubts the answer",
    Some("2305.05176"),
    Family::After,
    &[Need::Features],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// Part of the first slice, one in so many, that the penalty is chosen on.
const PENALTY_FOLDS: usize = 5;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct FrugalGpt;

/// Parameters; a list is a grid of which a slice picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::methods) struct Params {
    /// Search, default and promise.
    #[serde(flatten)]
    chain: ChainParams,
    /// Penalty of the scorer that all arms share, above 0.
    shared_penalty: f64,
    /// Penalties of what each arm adds, each above 0.
    own_penalty: Vec<f64>,
}

impl Default for Params {
    fn default() -> Self {
        let own_penalty = vec![3.0, 30.0, 300.0];
        Self { chain: ChainParams::default(), shared_penalty: 3.0, own_penalty }
    }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let refuse = |reason: String| Err(FitError::Params { method: FrugalGpt::NAME, reason });
        // NaN is above nothing.
        let is_positive = |value: &f64| *value > 0.0 && value.is_finite();
        if !is_positive(&self.shared_penalty) || self.own_penalty.is_empty() {
            return refuse("`shared_penalty` and `own_penalty` need numbers above 0".to_owned());
        }
        if let Some(value) = self.own_penalty.iter().find(|value| !is_positive(value)) {
            return refuse(format!("`own_penalty` has `{value}`, expected numbers above 0"));
        }
        self.chain.check(FrugalGpt::NAME)
    }
}

impl Method for FrugalGpt {
    const NAME: &'static str = "frugalgpt";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let refuse = |reason: &str| FitError::Log { method: Self::NAME, reason: reason.to_owned() };
        let answers =
            context.answers.ok_or_else(|| refuse("it has no answers, expected a column `response`"))?;
        let rows =
            chain::complete_rows(context, |row, arm| text_scorer::text_of(answers, row, arm).is_some());
        let slices = params.chain.slices(Self::NAME, context, &rows, "score, price and answer")?;
        let [scored, searched, judged] = &slices;
        let featurizer = text_scorer::featurizer(Self::NAME, context, answers, scored)?;
        let learned = text_scorer::answered(Self::NAME, context, answers, &featurizer, scored)?;
        let (penalty, weights) = fit_scorer(params, &learned, context.train.n_arms())?;
        let table = |rows: &[usize]| -> Result<_, FitError> {
            let answered = text_scorer::answered(Self::NAME, context, answers, &featurizer, rows)?;
            Ok(chain::table(context, rows, logistic_scorer::predict(&weights, &answered)))
        };
        let tables = [&table(searched)?, &table(judged)?];
        let found = chain::search(Self::NAME, &params.chain, &context.train.models, tables)?;
        let scorer = text_scorer::router(featurizer, weights, context.train.n_arms());
        let all = arms(context.train);
        let program = Cascade::new(found.strategies, found.default, scorer, &all)
            .map_err(|error| FitError::Numeric { method: Self::NAME, reason: error.to_string() })?;
        let chosen = Params { own_penalty: vec![penalty], ..params.clone() };
        let mut fitted = Fitted::steps(Box::new(program), all.len(), &chosen);
        fitted.metrics = found.metrics;
        fitted.tuning = Some(Tuning { candidates: params.own_penalty.len(), slices: 1 });
        Ok(fitted)
    }
}

/// The penalty of the least log-loss on a part of the slice, and the scorer it gives on all of it.
fn fit_scorer(params: &Params, rows: &Answered, n_arms: usize) -> Result<(f64, Vec<f32>), FitError> {
    let fit = |rows: &Answered, own: f64| {
        let penalties = Penalties { shared: params.shared_penalty, own };
        logistic_scorer::fit(rows, n_arms, penalties, FrugalGpt::NAME)
    };
    let mut best = (f64::INFINITY, params.own_penalty[0]);
    if params.own_penalty.len() > 1 {
        // Answers to one query stay together.
        let is_held = |row: &usize| (row / n_arms.max(1)).is_multiple_of(PENALTY_FOLDS);
        let (held, kept): (Vec<usize>, Vec<usize>) = (0..rows.arms.len()).partition(is_held);
        let (held, kept) = (rows.select_rows(&held), rows.select_rows(&kept));
        for &own in &params.own_penalty {
            let predicted = logistic_scorer::predict(&fit(&kept, own)?, &held);
            let loss = logistic_scorer::log_loss(&predicted, &held.scores);
            if loss < best.0 {
                best = (loss, own);
            }
        }
    }
    Ok((best.1, fit(rows, best.1)?))
}

#[cfg(test)]
mod tests;
