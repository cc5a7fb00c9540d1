//! FrugalGPT (arXiv 2305.05176): call cheap models first, and a dearer one where a scorer doubts the answer.
//!
//! Three disjoint slices of train, cut by prompt hash: a scorer of (query, answer) for each arm is fitted on the first
//! (`logistic_scorer.rs`), orders and thresholds are searched on the second (`orders.rs`), and the strategies found are
//! judged on the third, which chose none of them. The artifact has all of them; the default is the best within
//! `budget_usd`, or else the cheapest that keeps `retain` of the best single model's score, and a request with an
//! objective of its own is served by the one that the objective values most.
//!
//! # Deviations from the paper and its code (commit 2b23e6a)
//! 1. The scorer is logistic regression on features of query and answer; the code fine-tunes DistilBERT for each arm.
//! 2. What arms share is learned from the answers of all, and each arm adds its own; the code learns each arm alone.
//! 3. The last threshold of an order is searched exactly by prefix sums; the code tries a grid of 40 quantiles and
//!    polishes it by Nelder-Mead. Earlier thresholds are tried at `quantiles` quantiles of the rows that arrive.
//! 4. Every depth up to `stages` is searched; the code searches the greatest alone.
//! 5. All budgets at once; the code searches again for each.
//! 6. Strategies are judged on queries that chose nothing; the code picks by the score on the rows searched.

use super::logistic_scorer::{self, Answered, Penalties};
use super::orders::{self, Found, Limits, Table};
use crate::evaluate::Tuning;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, Reads};
use crate::train::arms;
use crate::validation::Folds;
use routewright_data::answers::AnswerTable;
use routewright_data::features::{FeatureInput, Featurizer, Lexical, LexicalSettings, QueryAnswer};
use routewright_policy::Router;
use routewright_policy::forms::{CostModel, Linear, Link};
use routewright_policy::programs::{Cascade, Strategy};
use routewright_policy::selectors::Argmax;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<FrugalGpt>(
    "a cascade: cheap models first, a dearer one where a scorer doubts the answer",
    Some("2305.05176"),
    Family::After,
    &[Need::Features],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// Parts that the queries are dealt into before the slices are put together.
const PARTS: usize = 20;
/// Width of the features of answers, and answers that they are fitted on, at most.
const ANSWER_DIM: usize = 64;
const ANSWERS_MAX: usize = 4_000;
/// Part of the first slice, one in so many, that the penalty is chosen on.
const PENALTY_FOLDS: usize = 5;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct FrugalGpt;

/// Parameters; a list is a grid of which a slice picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Most models that an order calls, in [1, 4].
    stages: usize,
    /// Quantiles at which thresholds before the last are tried, in [1, 200].
    quantiles: usize,
    /// Strategies kept between the cheapest and the best, in [2, 256].
    strategies: usize,
    /// Penalty of the scorer that all arms share, above 0.
    shared_penalty: f64,
    /// Penalties of what each arm adds, each above 0.
    own_penalty: Vec<f64>,
    /// Shares of train that the scorer, the thresholds and the judgement take; in proportion.
    slices: [f64; 3],
    /// Mean price of a query that the default keeps to, US dollars; 0 for no budget.
    budget_usd: f64,
    /// Share of the best single model's score that the default keeps, in [0, 1]; read without a budget.
    retain: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            stages: 3,
            quantiles: 20,
            strategies: 48,
            shared_penalty: 3.0,
            own_penalty: vec![3.0, 30.0, 300.0],
            slices: [0.5, 0.3, 0.2],
            budget_usd: 0.0,
            retain: 1.0,
        }
    }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let refuse = |reason: String| Err(FitError::Params { method: FrugalGpt::NAME, reason });
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
        let is_positive = |value: &f64| *value > 0.0 && value.is_finite();
        if !is_positive(&self.shared_penalty) || self.own_penalty.is_empty() {
            return refuse("`shared_penalty` and `own_penalty` need numbers above 0".to_owned());
        }
        let numbers = self.own_penalty.iter().chain(&self.slices);
        if let Some(value) = numbers.into_iter().find(|value| !is_positive(value)) {
            return refuse(format!("a penalty or slice is `{value}`, expected a number above 0"));
        }
        if !(self.budget_usd >= 0.0 && self.budget_usd.is_finite() && (0.0..=1.0).contains(&self.retain)) {
            return refuse("`budget_usd` needs a number of at least 0, `retain` one in [0, 1]".to_owned());
        }
        Ok(())
    }

    /// Rows of each slice.
    fn slices(&self, context: &FitContext<'_>, rows: &[usize]) -> [Vec<usize>; 3] {
        let folds = Folds::new(context.train, context.seed, PARTS);
        let total: f64 = self.slices.iter().sum();
        let ends = [self.slices[0] / total, (self.slices[0] + self.slices[1]) / total];
        let slice_of = |row: &usize| {
            let at = (folds.of(*row) as f64 + 0.5) / PARTS as f64;
            ends.iter().filter(|end| at >= **end).count()
        };
        std::array::from_fn(|slice| rows.iter().copied().filter(|row| slice_of(row) == slice).collect())
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
        let rows = complete_rows(context, answers);
        let [scored, searched, judged] = params.slices(context, &rows);
        let least = scored.len().min(searched.len()).min(judged.len());
        if least < 2 {
            let n = rows.len();
            return Err(refuse(&format!(
                "{n} queries have score, price and answer of every model, too few for three slices"
            )));
        }
        let featurizer = featurizer(context, answers, &scored)?;
        let learned = answered(context, answers, &featurizer, &scored)?;
        let (penalty, weights) = fit_scorer(params, &learned, context.train.n_arms())?;
        let table = |rows: &[usize]| -> Result<Table, FitError> {
            let answered = answered(context, answers, &featurizer, rows)?;
            Ok(table(context, &answered, &weights, rows))
        };
        let limits =
            Limits { stages: params.stages, quantiles: params.quantiles, classes: params.strategies };
        let found = orders::search(&table(&searched)?, limits);
        let judged = table(&judged)?;
        let strategies = strategies(context, &found, &judged);
        let default = default_strategy(params, &strategies, &judged);
        let scorer = scorer(featurizer, weights, context.train.n_arms());
        let all = arms(context.train);
        let (score, cost) = (strategies[default].score, strategies[default].cost_usd);
        let n_strategies = strategies.len() as f64;
        let program = Cascade::new(strategies, default, scorer, &all)
            .map_err(|error| FitError::Numeric { method: Self::NAME, reason: error.to_string() })?;
        let chosen = Params { own_penalty: vec![penalty], ..params.clone() };
        let mut fitted = Fitted::steps(Box::new(program), all.len(), &chosen);
        let metrics = [("slice_score", score), ("slice_cost_usd", cost), ("strategies", n_strategies)];
        fitted.metrics = metrics.map(|(name, value)| (name.to_owned(), value)).into();
        fitted.tuning = Some(Tuning { candidates: params.own_penalty.len(), slices: 1 });
        Ok(fitted)
    }
}

/// Queries with a score, a price and an answer of every arm.
fn complete_rows(context: &FitContext<'_>, answers: &AnswerTable) -> Vec<usize> {
    let train = context.train;
    let has = |row: usize, arm: usize| {
        train.score.get(row, arm).is_some()
            && train.cost_usd.get(row, arm).is_some()
            && text_of(answers, row, arm).is_some()
    };
    (0..train.n_queries()).filter(|row| (0..train.n_arms()).all(|arm| has(*row, arm))).collect()
}

/// The first answer of an arm to a query.
fn text_of(answers: &AnswerTable, row: usize, arm: usize) -> Option<&str> {
    answers.samples(row, arm).next().and_then(|answer| answer.text.or(answer.answer))
}

/// Reads queries as the context does, and answers by n-grams of their own.
fn featurizer(
    context: &FitContext<'_>,
    answers: &AnswerTable,
    rows: &[usize],
) -> Result<Arc<dyn Featurizer>, FitError> {
    let n_arms = context.train.n_arms();
    let cells = rows.iter().flat_map(|row| (0..n_arms).map(move |arm| (*row, arm)));
    let every = (rows.len() * n_arms).div_ceil(ANSWERS_MAX).max(1);
    let texts: Vec<&str> = cells.step_by(every).filter_map(|(row, arm)| text_of(answers, row, arm)).collect();
    let settings = LexicalSettings { dim: ANSWER_DIM, ..LexicalSettings::default() };
    let lexical = Lexical::fit(&texts, settings, context.seed).map_err(failed)?;
    Ok(Arc::new(QueryAnswer::new(Arc::clone(context.featurizer), Arc::new(lexical))))
}

fn failed(error: impl ToString) -> FitError {
    FitError::Numeric { method: FrugalGpt::NAME, reason: error.to_string() }
}

/// The answers of every arm to some queries, arm by arm within a query.
fn answered(
    context: &FitContext<'_>,
    answers: &AnswerTable,
    featurizer: &Arc<dyn Featurizer>,
    rows: &[usize],
) -> Result<Answered, FitError> {
    let train = context.train;
    let cells: Vec<(usize, usize)> =
        rows.iter().flat_map(|row| (0..train.n_arms()).map(move |arm| (*row, arm))).collect();
    let text = |(row, arm): &(usize, usize)| {
        QueryAnswer::join(&train.queries[*row].prompt, text_of(answers, *row, *arm).unwrap_or_default())
    };
    let texts: Vec<String> = cells.iter().map(text).collect();
    let vector = |row: usize| train.vectors.as_ref().map(|vectors| vectors.row(row));
    let inputs: Vec<FeatureInput<'_>> = texts
        .iter()
        .zip(&cells)
        .map(|(text, (row, _))| FeatureInput { text, vector: vector(*row) })
        .collect();
    Ok(Answered {
        features: featurizer.featurize(&inputs).map_err(failed)?,
        arms: cells.iter().map(|(_, arm)| *arm).collect(),
        scores: cells
            .iter()
            .map(|(row, arm)| f64::from(train.score.get(*row, *arm).unwrap_or_default()))
            .collect(),
    })
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
        let is_held = |row: &usize| (row / n_arms.max(1)) % PENALTY_FOLDS == 0;
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

fn table(context: &FitContext<'_>, answered: &Answered, weights: &[f32], rows: &[usize]) -> Table {
    let n_arms = context.train.n_arms();
    let cost =
        |(row, arm): (usize, usize)| f64::from(context.train.cost_usd.get(row, arm).unwrap_or_default());
    let cells = rows.iter().flat_map(|row| (0..n_arms).map(move |arm| (*row, arm)));
    Table {
        n_arms,
        believed: logistic_scorer::predict(weights, answered),
        scores: answered.scores.clone(),
        costs: cells.map(cost).collect(),
    }
}

/// The strategies found, with what they score and cost on rows that found none of them.
fn strategies(context: &FitContext<'_>, found: &[Found], judged: &Table) -> Vec<Strategy> {
    let strategy = |one: &Found| {
        let (score, cost_usd) = judged.play(&one.order, &one.thresholds);
        let order = one.order.iter().map(|arm| context.train.models[*arm].clone()).collect();
        Strategy { order, thresholds: one.thresholds.clone(), score, cost_usd }
    };
    found.iter().map(strategy).collect()
}

/// The best within the budget; without one the cheapest that keeps the share of the best single model's score; the best
/// of all where none does.
fn default_strategy(params: &Params, strategies: &[Strategy], judged: &Table) -> usize {
    let best_single =
        (0..judged.n_arms).map(|arm| judged.play(&[arm], &[]).0).fold(f64::NEG_INFINITY, f64::max);
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
        let keeps = all().filter(|at| strategies[*at].score >= params.retain * best_single);
        keeps.min_by(by_cost)
    };
    chosen.or_else(|| all().max_by(by_score)).unwrap_or(0)
}

/// The scorer as a part of a program: predicts, for each arm, the score of a text as an answer of that arm.
fn scorer(featurizer: Arc<dyn Featurizer>, weights: Vec<f32>, n_arms: usize) -> Router {
    let cost = CostModel::constant(vec![f32::NAN; n_arms]);
    let form = Linear::new(featurizer.dim(), Link::Logistic, weights, cost);
    Router { featurizer, predictor: Box::new(form), selector: Box::new(Argmax) }
}

#[cfg(test)]
mod tests;
