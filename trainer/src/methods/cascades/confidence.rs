//! Cascades that keep an answer by what its model said of its certainty. What `confidence-deferral`, `token-cascade`
//! and `model-cascading` share.
//!
//! A rule maps features of an answer's confidence (`data::answers::confidence`) to how much it should be kept: one
//! feature as it is, or a linear function learned on the first slice against the reference, the arm of the greatest
//! mean score there. Of several rules the one of the greatest area under the deferral curve on the second slice is
//! taken: the mean score over all shares of queries that are passed on to the reference, averaged over the other arms.
//! An answer that lacks a feature of the rule cannot be read and is passed on.

use super::chain::{self, ChainParams};
use super::logistic_scorer::{self, Answered, Penalties};
use super::orders::Table;
use crate::evaluate::Tuning;
use crate::method::{FitContext, FitError, Fitted};
use crate::train::arms;
use routewright_data::FeatureMatrix;
use routewright_data::answers::confidence::{feature_names, features};
use routewright_data::answers::{AnswerRow, AnswerTable};
use routewright_data::features::Column;
use routewright_data::linalg::{self, LinalgError};
use routewright_policy::Router;
use routewright_policy::forms::{CostModel, Linear, Link};
use routewright_policy::programs::Cascade;
use routewright_policy::selectors::Argmax;
use serde::Serialize;
use std::sync::Arc;

/// Standard deviations below this are those of a constant.
const DEVIATION_MIN: f64 = 1e-9;

/// How the value of keeping an answer is read off its features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// The one feature as it is.
    Single,
    /// Least squares on `s1 - s2`, the scores of the arm and of the reference.
    Diff01,
    /// Least squares on `p1(y) - p2(y)`, what both gave the right option.
    DiffProb,
    /// Least squares on `max p1 - max p2`.
    MaxProb2,
    /// Logistic regression of "the reference is right, the answer is not".
    PostHoc,
}

/// A deferral rule.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) name: String,
    /// Names of the features it reads.
    pub(super) columns: Vec<String>,
    pub(super) reading: Reading,
}

impl Rule {
    pub(super) fn new(name: &str, columns: &[&str], reading: Reading) -> Self {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Self { name: name.to_owned(), columns, reading }
    }
}

/// The rules of a grid, by name.
///
/// # Errors
/// If the grid is empty or names a rule that `all` does not have.
pub(super) fn named(
    method: &'static str,
    key: &str,
    grid: &[String],
    all: &[Rule],
) -> Result<Vec<Rule>, FitError> {
    let known = || all.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>().join(", ");
    let refuse = |reason: String| FitError::Params { method, reason };
    if grid.is_empty() {
        return Err(refuse(format!("`{key}` is empty, expected some of {}", known())));
    }
    let rule = |name: &String| {
        let found = all.iter().find(|rule| rule.name == *name).cloned();
        found.ok_or_else(|| refuse(format!("`{key}` has `{name}`, expected some of {}", known())))
    };
    grid.iter().map(rule).collect()
}

/// Fits a cascade that keeps answers by the best of `rules`; `params` are what is recorded, given the rule's name.
///
/// # Errors
/// If the log has no answer that a rule can read, or too few queries.
pub(super) fn fit<P: Serialize>(
    method: &'static str,
    chain: &ChainParams,
    rules: &[Rule],
    penalty: f64,
    context: &FitContext<'_>,
    params: impl Fn(&str) -> P,
) -> Result<Fitted, FitError> {
    chain.check(method)?;
    if !(penalty > 0.0 && penalty.is_finite()) {
        let reason = format!("`penalty` is `{penalty}`, expected a number above 0");
        return Err(FitError::Params { method, reason });
    }
    let log = Log::read(method, context, rules)?;
    let rows = chain::complete_rows(context, |row, arm| log.answers.get(row, arm, 0).is_some());
    let [scored, searched, judged] = chain.slices(method, context, &rows, "score, price and answer")?;
    let reference = chain::table(context, &scored, Vec::new()).best_arm();
    let mut best: Option<(f64, &Rule, Vec<f32>)> = None;
    for rule in rules {
        let weights = log
            .weights(rule, &scored, reference, penalty)
            .map_err(|error| FitError::Numeric { method, reason: error.to_string() })?;
        let table = chain::table(context, &searched, log.believed(rule, &weights, &searched));
        let area = area(&table, reference);
        if best.as_ref().is_none_or(|(most, ..)| area > *most) {
            best = Some((area, rule, weights));
        }
    }
    let none = || FitError::Params { method, reason: "it has no deferral rule".to_owned() };
    let (area, rule, weights) = best.ok_or_else(none)?;
    let tables =
        [&searched, &judged].map(|rows| chain::table(context, rows, log.believed(rule, &weights, rows)));
    let found = chain::search(method, chain, &context.train.models, [&tables[0], &tables[1]])?;
    let all = arms(context.train);
    let cost = CostModel::constant(vec![f32::NAN; all.len()]);
    let form = Linear::new(rule.columns.len(), Link::Identity, weights, cost);
    let featurizer = Arc::new(Column::new("confidence", rule.columns.len()));
    let scorer = Router { featurizer, predictor: Box::new(form), selector: Box::new(Argmax) };
    let program = Cascade::new(found.strategies, found.default, scorer, &all)
        .and_then(|program| program.reading_confidence(rule.columns.clone(), &all))
        .map_err(|error| FitError::Numeric { method, reason: error.to_string() })?;
    let mut fitted = Fitted::steps(Box::new(program), all.len(), &params(&rule.name));
    fitted.metrics = found.metrics;
    fitted.metrics.insert("deferral_area".to_owned(), area);
    fitted.tuning = Some(Tuning { candidates: rules.len(), slices: 1 });
    Ok(fitted)
}

/// Mean score over all shares of rows that are passed on to the reference, the least sure first, averaged over the
/// other arms; that of the reference where there is no other.
fn area(table: &Table, reference: usize) -> f64 {
    let n = table.n();
    let of = |arm: usize| {
        let mut rows: Vec<usize> = (0..n).collect();
        rows.sort_by(|a, b| table.believed(*b, arm).total_cmp(&table.believed(*a, arm)));
        let mut score: f64 = (0..n).map(|row| table.score(row, reference)).sum();
        let mut total = score;
        for row in rows {
            score += table.score(row, arm) - table.score(row, reference);
            total += score;
        }
        total / ((n + 1) * n.max(1)) as f64
    };
    let others: Vec<f64> = (0..table.n_arms).filter(|arm| *arm != reference).map(of).collect();
    if others.is_empty() { of(reference) } else { others.iter().sum::<f64>() / others.len() as f64 }
}

/// What a log says of the confidence of its answers.
struct Log<'a> {
    context: &'a FitContext<'a>,
    answers: &'a AnswerTable,
    names: Vec<String>,
}

impl<'a> Log<'a> {
    fn read(method: &'static str, context: &'a FitContext<'a>, rules: &[Rule]) -> Result<Self, FitError> {
        let refuse = |reason: String| FitError::Log { method, reason };
        let answers = context
            .answers
            .ok_or_else(|| refuse("it has no answers, expected a column `response`".to_owned()))?;
        let log = Self { context, answers, names: feature_names() };
        let is_read = |rule: &Rule| answers.iter().any(|(.., row)| log.vector(rule, &row).is_some());
        if let Some(rule) = rules.iter().find(|rule| !is_read(rule)) {
            let columns = if rule.columns.iter().any(|name| name.starts_with("option")) {
                "`option_probs`"
            } else {
                "`logprob_mean`, `logprob_quantiles` and, for sums, `output_tokens`"
            };
            return Err(refuse(format!(
                "no answer has what the rule `{}` reads, expected the columns {columns}; public logs lack them, \
                 `routewright data simulate --answers` writes them",
                rule.name
            )));
        }
        Ok(log)
    }

    /// The features that a rule reads of an answer; `None` where one is missing.
    fn vector(&self, rule: &Rule, row: &AnswerRow<'_>) -> Option<Vec<f32>> {
        let all = features(row);
        let of = |name: &String| self.names.iter().position(|known| known == name).map(|at| all[at]);
        let found: Option<Vec<f32>> = rule.columns.iter().map(of).collect();
        found.filter(|vector| vector.iter().all(|value| value.is_finite()))
    }

    /// What a rule says of the answers of every arm to some queries; -inf where it cannot read one.
    fn believed(&self, rule: &Rule, weights: &[f32], rows: &[usize]) -> Vec<f32> {
        let (n_arms, width) = (self.context.train.n_arms(), rule.columns.len() + 1);
        let of = |(row, arm): (usize, usize)| {
            let answer = self.answers.get(row, arm, 0)?;
            let x = self.vector(rule, &answer)?;
            let own = &weights[arm * width..(arm + 1) * width];
            // In the order that the form sums in.
            Some(own[x.len()] + own.iter().zip(&x).map(|(w, x)| w * x).sum::<f32>())
        };
        let cells = rows.iter().flat_map(|row| (0..n_arms).map(move |arm| (*row, arm)));
        cells.map(|cell| of(cell).unwrap_or(f32::NEG_INFINITY)).collect()
    }

    /// Weights of a rule, `(n_arms, features + 1)`.
    fn weights(
        &self,
        rule: &Rule,
        rows: &[usize],
        reference: usize,
        penalty: f64,
    ) -> Result<Vec<f32>, LinalgError> {
        let (n_arms, width) = (self.context.train.n_arms(), rule.columns.len() + 1);
        let mut weights = vec![0.0; n_arms * width];
        for (arm, own) in weights.chunks_exact_mut(width).enumerate() {
            if arm == reference || rule.reading == Reading::Single {
                own[0] = 1.0;
                continue;
            }
            let (mut xs, mut ys) = (Vec::new(), Vec::new());
            for &row in rows {
                let cells = [arm, reference].map(|arm| self.answers.get(row, arm, 0));
                let [Some(answer), Some(other)] = cells else { continue };
                let scores = [arm, reference].map(|arm| self.context.train.score.get(row, arm));
                let [Some(score), Some(best)] = scores else { continue };
                let target = target(rule.reading, (&answer, score), (&other, best));
                if let (Some(x), Some(y)) = (self.vector(rule, &answer), target) {
                    xs.push(x);
                    ys.push(y);
                }
            }
            if !xs.is_empty() {
                own.copy_from_slice(&regress(&xs, &ys, penalty, rule.reading == Reading::PostHoc)?);
            }
        }
        Ok(weights)
    }
}

/// What a learned rule predicts of an answer beside the reference's, each with its score.
fn target(reading: Reading, own: (&AnswerRow<'_>, f32), best: (&AnswerRow<'_>, f32)) -> Option<f64> {
    let most = |row: &AnswerRow<'_>| Some(row.option_probs?.iter().copied().fold(0.0_f32, f32::max));
    // The right option is the model's own where it is right; else it shares what is left with the other wrong ones.
    let right = |(row, score): (&AnswerRow<'_>, f32)| {
        let (p, k) = (most(row)?, row.option_probs?.len());
        Some(if score >= 0.5 { p } else { (1.0 - p) / k.saturating_sub(1).max(1) as f32 })
    };
    let value = match reading {
        Reading::Single => return None,
        Reading::Diff01 => own.1 - best.1,
        Reading::DiffProb => right(own)? - right(best)?,
        Reading::MaxProb2 => most(own.0)? - most(best.0)?,
        Reading::PostHoc => (best.1 - own.1).max(0.0),
    };
    Some(f64::from(value))
}

/// Weights and intercept of a regression on standardised features, given back for the features as they are. A logistic
/// one predicts what is lost, so that its sign is turned.
fn regress(xs: &[Vec<f32>], ys: &[f64], penalty: f64, is_logistic: bool) -> Result<Vec<f32>, LinalgError> {
    let (n, dim) = (xs.len(), xs[0].len());
    let column = |at: usize| xs.iter().map(move |x| f64::from(x[at]));
    let means: Vec<f64> = (0..dim).map(|at| column(at).sum::<f64>() / n as f64).collect();
    let deviation = |at: usize| {
        let variance = column(at).map(|x| (x - means[at]).powi(2)).sum::<f64>() / n as f64;
        if variance.sqrt() > DEVIATION_MIN { variance.sqrt() } else { f64::INFINITY }
    };
    let deviations: Vec<f64> = (0..dim).map(deviation).collect();
    let scaled =
        xs.iter().flat_map(|x| (0..dim).map(|at| ((f64::from(x[at]) - means[at]) / deviations[at]) as f32));
    let scaled = FeatureMatrix::from_vec(n, dim, scaled.collect());
    let (weights, sign) = if is_logistic {
        let rows = Answered { features: scaled, arms: vec![0; n], scores: ys.to_vec() };
        let penalties = Penalties { shared: penalty, own: f64::MAX.sqrt() };
        let weights = logistic_scorer::fit(&rows, 1, penalties, "logistic");
        let failed = |error: FitError| LinalgError { dim, reason: error.to_string() };
        (weights.map_err(failed)?.into_iter().map(f64::from).collect(), -1.0)
    } else {
        (ridge(&scaled, ys, penalty)?, 1.0)
    };
    let mut out: Vec<f32> = (0..dim).map(|at| (sign * weights[at] / deviations[at]) as f32).collect();
    let shift: f64 = (0..dim).map(|at| weights[at] * means[at] / deviations[at]).sum();
    out.push((sign * (weights[dim] - shift)) as f32);
    Ok(out)
}

/// `min sum (y - w . x - b)^2 + penalty |w|^2`, the intercept last.
fn ridge(features: &FeatureMatrix, ys: &[f64], penalty: f64) -> Result<Vec<f64>, LinalgError> {
    use crate::methods::scorers::gram;
    let rows: Vec<usize> = (0..ys.len()).collect();
    let width = features.dim() + 1;
    let mut matrix = gram::gram(features, &rows);
    gram::penalize(&mut matrix, width, penalty);
    linalg::solve_spd(matrix, gram::moments(features, &rows, 1, |row, _| ys[row]), width, 1)
}

#[cfg(test)]
mod tests;
