//! AutoMix (Madaan et al., NeurIPS 2024, arXiv 2310.12963): a small model checks its own answer, and a table of how
//! often it found it right says whether a large one is asked.
//!
//! The rate `v` of checks that found the answer right falls into one of `bins + 1` bins. Tables of which bins are
//! passed on are tried, all of them on one slice of train (`bin_tables.rs`): thresholds, double thresholds, the actions
//! of the single-step decision process (`pomdp`) and the bins of the greatest gain one after the other (`greedy`). The
//! best by score for their price are judged on the other slice.
//!
//! With `P` the mean score and `C` the mean price, of the table `M` and of the models `S` and `L` alone:
//!
//! ```text
//! IBC(M) = (P_M - P_S) / (C_M - C_S)     lift = IBC(M) / IBC(L) - 1       (section 4.3)
//! ```
//! The lift is in the metrics beside score and price; `objective = "lift"` chooses by it as the paper does. It is a
//! ratio that explodes at small prices, so that the default is the cheapest table that keeps `retain` of the better
//! model's score.
//!
//! # Deviations from the paper and its code (automix-llm/automix)
//! 1. The default objective is a score to keep, a budget or a promise; the paper maximises the lift.
//! 2. Checks are charged sample by sample at the price of the small model's answer; the code counts one unit for all.
//! 3. The prompt has no examples; it is a file of the artifact, which may be replaced.
//! 4. The decision process is solved for every ratio of rewards at which its actions change, not for 5,000 of them; the
//!    gains of `greedy` are smoothed by a normal kernel over bins, as the code does.
//! 5. Two models. Triple thresholds and answers that are always passed on are left out.

use super::bin_tables::{self, Binned, Judged};
use super::chain;
use crate::evaluate::Tuning;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Reads};
use crate::promise::{Losses, Promise};
use crate::train::arms;
use crate::validation;
use routewright_data::answers::AnswerTable;
use routewright_data::suggest::near_names;
use routewright_policy::programs::{BinTable, VERIFY_PROMPT, Verify, VerifyConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<AutoMix>(
    "a model checks its own answer several times; a table of the rate says whether another is asked",
    Some("2310.12963"),
    Family::After,
    &[],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct AutoMix;

/// What the default table is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Objective {
    /// The least price that keeps `retain` of the better model's score.
    Retain,
    /// The best score within `budget_usd`.
    Budget,
    /// The greatest lift.
    Lift,
}

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Model that answers first; the cheapest that has checks where empty.
    small: String,
    /// Model that is asked where the check fails; the one of the greatest mean score where empty.
    large: String,
    /// Bins of the rate less one, in [1, 64].
    bins: usize,
    /// Checks of an answer when serving, in [1, 64].
    samples: u32,
    /// Temperature of the checks; the host's where null.
    temperature: Option<f32>,
    /// Longest check, tokens; the host's where null.
    max_tokens: Option<u32>,
    /// Prompt of a check with the slots `{query}` and `{answer}`; the one of the documentation where empty.
    prompt: String,
    /// Kinds of tables tried: `threshold`, `double`, `pomdp`, `greedy`.
    tables: Vec<String>,
    /// What the default is chosen by.
    objective: Objective,
    /// Share of the better model's score that the default keeps, in [0, 1].
    retain: f64,
    /// Standard errors by which it is kept, at least 0.
    margin: f64,
    /// Mean price of a query that the default keeps to, US dollars.
    budget_usd: f64,
    /// Part of train that tables are judged on, in (0, 1).
    judged: f64,
    /// Greatest loss against the large model that is promised, below 1; 0 for no promise.
    max_drop: f64,
    /// Probability that the promise holds, in (0, 1).
    confidence: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            small: String::new(),
            large: String::new(),
            bins: 8,
            samples: 5,
            temperature: Some(1.0),
            max_tokens: Some(250),
            prompt: String::new(),
            tables: bin_tables::KINDS.map(str::to_owned).to_vec(),
            objective: Objective::Retain,
            retain: 1.0,
            margin: 0.0,
            budget_usd: 0.0,
            judged: 0.4,
            max_drop: 0.0,
            confidence: 0.95,
        }
    }
}

fn refused(reason: String) -> FitError {
    FitError::Params { method: AutoMix::NAME, reason }
}

fn fault(reason: String) -> FitError {
    FitError::Log { method: AutoMix::NAME, reason }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        for (key, value) in [("bins", self.bins), ("samples", self.samples as usize)] {
            if !(1..=64).contains(&value) {
                return Err(refused(format!("`{key}` is `{value}`, expected 1 to 64")));
            }
        }
        let numbers = [
            ("retain", self.retain, 1.0),
            ("margin", self.margin, 1e6),
            ("budget_usd", self.budget_usd, f64::MAX),
            ("judged", self.judged, 0.99),
        ];
        // NaN is in no range.
        if let Some((key, value, most)) =
            numbers.into_iter().find(|(_, value, most)| !(0.0..=*most).contains(value))
        {
            return Err(refused(format!("`{key}` is `{value}`, expected a number in [0, {most}]")));
        }
        if let Some(kind) = self.tables.iter().find(|kind| !bin_tables::KINDS.contains(&kind.as_str())) {
            let hint = near_names(kind, bin_tables::KINDS);
            return Err(refused(format!("`tables` has `{kind}`; {hint}")));
        }
        if self.tables.is_empty() {
            return Err(refused(format!(
                "`tables` is empty, expected some of {}",
                bin_tables::KINDS.join(", ")
            )));
        }
        self.promise().map_or(Ok(()), |promise| promise.check()).map_err(refused)
    }

    fn promise(&self) -> Option<Promise> {
        (self.max_drop != 0.0).then_some(Promise { max_drop: self.max_drop, confidence: self.confidence })
    }
}

/// The two models, by index.
fn models(
    params: &Params,
    context: &FitContext<'_>,
    answers: &AnswerTable,
) -> Result<(usize, usize), FitError> {
    let train = context.train;
    let named = |key: &str, model: &String| {
        let hint = || near_names(model, train.models.iter().map(String::as_str));
        let at = train.models.iter().position(|known| known == model);
        at.ok_or_else(|| refused(format!("`{key}` is `{model}`, which is no model of the log; {}", hint())))
    };
    let mean = |arm: usize| train.score.column_mean(arm).unwrap_or(0.0);
    let all = 0..train.n_arms();
    let large = match params.large.is_empty() {
        false => named("large", &params.large)?,
        true => all.clone().max_by(|a, b| mean(*a).total_cmp(&mean(*b)).then(b.cmp(a))).unwrap_or(0),
    };
    let is_checked = |arm: &usize| {
        (0..answers.n_queries())
            .any(|row| answers.get(row, *arm, 0).is_some_and(|one| one.verifier_rate.is_some()))
    };
    let usd = |arm: usize| train.cost_usd.column_mean(arm).unwrap_or(f64::INFINITY);
    let small = match params.small.is_empty() {
        false => named("small", &params.small)?,
        true => all
            .filter(|arm| *arm != large && is_checked(arm))
            .min_by(|a, b| usd(*a).total_cmp(&usd(*b)).then(a.cmp(b)))
            .ok_or_else(|| {
                fault(
                    "no model beside the best has checks of its answers, expected the column `verifier_rate`"
                        .to_owned(),
                )
            })?,
    };
    if small == large {
        return Err(refused(format!(
            "`small` and `large` are both `{}`, expected two models",
            train.models[large]
        )));
    }
    if !is_checked(&small) {
        let model = &train.models[small];
        return Err(fault(format!("no answer of `{model}` has checks, expected the column `verifier_rate`")));
    }
    Ok((small, large))
}

/// Rows with scores, prices and a rate.
fn binned(
    params: &Params,
    context: &FitContext<'_>,
    answers: &AnswerTable,
    (small, large): (usize, usize),
) -> Vec<(usize, Binned)> {
    let train = context.train;
    let row = |row: usize| {
        let answer = answers.get(row, small, 0)?;
        let other = answers.get(row, large, 0);
        let score = |own: Option<f32>, arm: usize| own.or(train.score.get(row, arm)).map(f64::from);
        let cost = |own: Option<f64>, arm: usize| own.or(train.cost_usd.get(row, arm).map(f64::from));
        let usd = cost(answer.cost_usd, small)?;
        // So many checks name a rate in whole parts.
        let samples = f64::from(params.samples);
        let rate = (f64::from(answer.verifier_rate?) * samples).round() / samples;
        Some((
            row,
            Binned {
                bin: (rate.clamp(0.0, 1.0) * params.bins as f64).round() as usize,
                small: score(answer.score, small)?,
                large: score(other.and_then(|other| other.score), large)?,
                small_usd: usd,
                checked_usd: usd * (1.0 + f64::from(params.samples)),
                large_usd: cost(other.and_then(|other| other.cost_usd), large)?,
            },
        ))
    };
    (0..train.n_queries()).filter_map(row).collect()
}

impl Method for AutoMix {
    const NAME: &'static str = "automix";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let answers = context.answers.ok_or_else(|| {
            fault("it has no answers, expected the columns `response` and `verifier_rate`".to_owned())
        })?;
        let chosen = models(params, context, answers)?;
        let rows = binned(params, context, answers, chosen);
        let slice = validation::slice(context.train, context.seed, params.judged);
        let (held, tried): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(row, _)| slice.valid.binary_search(row).is_ok());
        let [tried, held] =
            [tried, held].map(|rows| rows.into_iter().map(|(_, row)| row).collect::<Vec<Binned>>());
        if tried.len().min(held.len()) < 10 {
            let n = tried.len() + held.len();
            return Err(fault(format!(
                "{n} queries have scores, prices and checks of both models, too few to choose by"
            )));
        }
        let tables = bin_tables::candidates(&tried, params.bins, &params.tables);
        let n_tables = tables.len();
        let mut kept = bin_tables::frontier(tables, &tried);
        let mut metrics = BTreeMap::new();
        let default = match params.promise() {
            None => default_table(params, &kept, &tried, &held),
            Some(promise) => {
                let path = bin_tables::nested(&tried, params.bins);
                let losses = |table: &Vec<bool>| {
                    let lost = |row: &Binned| if table[row.bin] { 0.0 } else { row.large - row.small };
                    Losses::of(held.iter().map(lost))
                };
                let found =
                    promise.keep(path.iter().map(losses)).map_err(|refusal| fault(refusal.to_string()))?;
                metrics.extend(chain::told(promise, &found));
                kept.push(path[found.at].clone());
                kept.len() - 1
            }
        };
        let judged: Vec<Judged> = kept.iter().map(|table| bin_tables::judge(table, &held)).collect();
        metrics.extend(figures(&judged[default], &held));
        let tables = kept.iter().zip(&judged).map(|(escalate, judged)| BinTable {
            escalate: escalate.clone(),
            score: judged.score,
            cost_usd: judged.cost_usd,
        });
        let name = |arm: usize| context.train.models[arm].clone();
        let config = VerifyConfig {
            small: name(chosen.0),
            large: name(chosen.1),
            samples: params.samples,
            temperature: params.temperature,
            max_tokens: params.max_tokens,
            tables: tables.collect(),
            default,
        };
        let prompt = if params.prompt.is_empty() { VERIFY_PROMPT.to_owned() } else { params.prompt.clone() };
        let all = arms(context.train);
        let program = Verify::new(config, prompt, &all).map_err(|error| refused(error.to_string()))?;
        let used = Params { small: name(chosen.0), large: name(chosen.1), ..params.clone() };
        let mut fitted = Fitted::steps(Box::new(program), all.len(), &used);
        fitted.metrics = metrics;
        fitted.tuning = Some(Tuning { candidates: n_tables, slices: 1 });
        Ok(fitted)
    }
}

/// Score, price, lift and what they are measured against.
fn figures(judged: &Judged, held: &[Binned]) -> Vec<(String, f64)> {
    let [small, large] = bin_tables::alone(held);
    let numbers = [
        ("slice_score", judged.score),
        ("slice_cost_usd", judged.cost_usd),
        ("escalated", judged.escalated),
        ("ibc_lift", bin_tables::lift(judged, small, large)),
        ("small_score", small.0),
        ("small_cost_usd", small.1),
        ("large_score", large.0),
        ("large_cost_usd", large.1),
    ];
    // A lift of models that cost or score the same is no number.
    numbers
        .into_iter()
        .filter(|(_, value)| value.is_finite())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The table of the objective: by the lift and by a budget on the rows tried, by the score kept on the others.
fn default_table(params: &Params, tables: &[Vec<bool>], tried: &[Binned], held: &[Binned]) -> usize {
    let judged: Vec<Judged> = tables.iter().map(|table| bin_tables::judge(table, tried)).collect();
    let all = || 0..tables.len();
    let by_score = |a: &usize, b: &usize| judged[*a].score.total_cmp(&judged[*b].score);
    let by_cost = |a: &usize, b: &usize| judged[*a].cost_usd.total_cmp(&judged[*b].cost_usd);
    let [small, large] = bin_tables::alone(tried);
    let chosen = match params.objective {
        Objective::Lift => {
            let lift = |at: &usize| bin_tables::lift(&judged[*at], small, large);
            let finite = all().filter(|at| lift(at).is_finite());
            finite.max_by(|a, b| lift(a).total_cmp(&lift(b)))
        }
        Objective::Budget => {
            let within = all().filter(|at| judged[*at].cost_usd <= params.budget_usd);
            within.max_by(by_score).or_else(|| all().min_by(by_cost))
        }
        Objective::Retain => {
            let best = if small.0 > large.0 { |row: &Binned| row.small } else { |row: &Binned| row.large };
            let keeps = |at: &usize| {
                let gap = |row: &Binned| row.score(&tables[*at]) - params.retain * best(row);
                chain::lower_mean(held.iter().map(gap), params.margin) >= -1e-12
            };
            all().filter(keeps).min_by(by_cost)
        }
    };
    chosen.or_else(|| all().max_by(by_score)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
