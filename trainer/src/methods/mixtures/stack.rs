//! A stack: the convex combination of other methods' predictions that fits best on rows they have not seen.
//!
//! Every member is fitted without each fold of train and predicts it. With `p_k` those predictions, `mu` the means of
//! arms on the other folds, and every vector less its mean over the observed arms of the query:
//!
//! ```text
//! min_a  sum_i v_i | y_i - mu - sum_k a_k (p_ik - mu) |^2      a_k >= 0,  sum_k a_k <= 1
//! score = sum_k a_k p_k + (1 - sum_k a_k) mu
//! ```
//!
//! `v_i` are the weights of the average. Members of weight 0 are left out; the others are fitted on all rows.
//!
//! Stacked generalisation is Wolpert's (1992), with weights held to be convex as Breiman's (1996).
//!
//! # Deviations from the papers
//! 1. Weights may sum to less than 1; the rest is on the means of arms.
//! 2. Errors are centred by query: how hard it is does not change which arm is best.

use crate::evaluate::Sources;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::baselines::means;
use crate::methods::{self, costs};
use crate::validation::Folds;
use routewright_data::OutcomeTable;
use routewright_policy::Batch;
use routewright_policy::forms::Mixture;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Stack>(
    "the convex combination of other methods that fits best on rows they have not seen",
    None,
    Family::Before,
    &[Need::Features],
);

/// Members, at most.
const MEMBERS_MAX: usize = 16;
/// Sweeps over pairs of weights, at most.
const SWEEPS: usize = 2000;
/// Weight below which a member is left out.
const WEIGHT_MIN: f64 = 1e-3;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Stack;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Methods to combine, with their default parameters; 1 to 16 that predict from the features of the policy.
    members: Vec<String>,
    /// Folds that members are left out of, at least 2.
    folds: usize,
}

impl Default for Params {
    fn default() -> Self {
        let members = ["source-best", "ridge", "knn", "logistic"].map(str::to_owned).to_vec();
        Self { members, folds: 5 }
    }
}

impl Method for Stack {
    const NAME: &'static str = "stack";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let members = members(params)?;
        if params.folds < 2 {
            return Err(refuse(format!("`folds` is `{}`, expected at least 2", params.folds)));
        }
        let problem = Problem::gather(&members, params.folds, context)?;
        let weights = problem.solve();
        let mut parts = Vec::new();
        let mut kept = Vec::new();
        for (member, weight) in members.iter().zip(&weights) {
            if *weight >= WEIGHT_MIN {
                parts.push(fit_member(member, context)?.predictor);
                kept.push(*weight as f32);
            }
        }
        let rest = 1.0 - kept.iter().sum::<f32>();
        let constant = means::mean_scores(context.train).into_iter().map(|mean| rest * mean).collect();
        let cost = costs::fit(Self::NAME, context)?;
        let form = Mixture::new(context.features.dim(), parts, kept, constant, cost);
        let mut fitted = Fitted::new(Box::new(form), params);
        for (member, weight) in members.iter().zip(&weights) {
            fitted.metrics.insert(format!("weight_{}", member.name), *weight);
        }
        Ok(fitted)
    }
}

fn refuse(reason: String) -> FitError {
    FitError::Params { method: Stack::NAME, reason }
}

/// The rows of the members, each once.
fn members(params: &Params) -> Result<Vec<&'static MethodRow>, FitError> {
    let n = params.members.len();
    if !(1..=MEMBERS_MAX).contains(&n) {
        return Err(refuse(format!("`members` names {n} methods, expected 1 to {MEMBERS_MAX}")));
    }
    let mut rows: Vec<&'static MethodRow> = Vec::with_capacity(n);
    for name in &params.members {
        let row = methods::find(name).map_err(|error| refuse(format!("`members`: {error}")))?;
        if rows.iter().any(|other| other.name == row.name) {
            return Err(refuse(format!("`members` names `{name}` twice")));
        }
        if row.name == Stack::NAME || row.looks_at_answers() || row.needs.contains(&Need::Outcomes) {
            let expected =
                "expected methods that predict scores of a query, such as `ridge`, `knn`, `kmeans`";
            return Err(refuse(format!("`members` names `{name}`, which cannot be combined; {expected}")));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Fits a member, which must predict on the features of the context.
fn fit_member(member: &MethodRow, context: &FitContext<'_>) -> Result<Fitted, FitError> {
    let fitted = (member.fit)(&serde_json::Value::Null, context)?;
    let own = fitted.featurizer.is_some() || fitted.predictor.is_conditioned();
    if own || fitted.selector.name != "argmax" {
        let reason = format!(
            "`members` names `{}`, which brings its own features or selector; expected methods that predict scores of \
             a query from the features of the policy",
            member.name
        );
        return Err(refuse(reason));
    }
    Ok(fitted)
}

/// Sums of products of what members predict and of what was observed, both less the means of arms and centred.
struct Problem {
    n: usize,
    /// `(n, n)`.
    products: Vec<f64>,
    /// `(n)`.
    targets: Vec<f64>,
}

impl Problem {
    fn gather(
        members: &[&'static MethodRow],
        n_folds: usize,
        context: &FitContext<'_>,
    ) -> Result<Self, FitError> {
        let folds = Folds::new(context.train, context.seed, n_folds);
        let sources = Sources::of(context.train);
        let weights = sources.weights(&vec![true; context.train.n_queries()], context.average);
        let n = members.len();
        let mut problem = Self { n, products: vec![0.0; n * n], targets: vec![0.0; n] };
        context.progress.start("cross-fitting", (n_folds * n) as u64);
        for held in 0..n_folds {
            let Some(slice) = folds.slice(held) else { continue };
            let (kept, rest) =
                (context.train.select_rows(&slice.fit), context.train.select_rows(&slice.valid));
            if kept.score.n_present() == 0 {
                continue;
            }
            let features = context.features.select_rows(&slice.fit);
            let own =
                FitContext { train: &kept, features: &features, pairs: None, answers: None, ..*context };
            let (left_out, named) = (context.features.select_rows(&slice.valid), rest.sources());
            let batch = Batch { sources: &named, ..Batch::of(&left_out) };
            let mut predicted = Vec::with_capacity(n);
            for (at, member) in members.iter().enumerate() {
                let fitted = fit_member(member, &own)?;
                let failed = |reason: String| FitError::Numeric { method: Stack::NAME, reason };
                predicted.push(fitted.predictor.predict(&batch).map_err(|e| failed(e.to_string()))?.score);
                context.progress.step((held * n + at + 1) as u64, member.name);
            }
            let means = means::mean_scores(&kept);
            for (row, query) in slice.valid.iter().enumerate() {
                problem.add(&rest, row, weights[*query], &predicted, &means);
            }
        }
        Ok(problem)
    }

    /// Takes in a query of a fold.
    fn add(&mut self, table: &OutcomeTable, row: usize, weight: f64, predicted: &[Vec<f32>], means: &[f32]) {
        let n_arms = table.n_arms();
        let observed: Vec<usize> = (0..n_arms).filter(|arm| table.score.get(row, *arm).is_some()).collect();
        let centred = |value: &dyn Fn(usize) -> f32| {
            let values: Vec<f64> =
                observed.iter().map(|arm| f64::from(value(*arm)) - f64::from(means[*arm])).collect();
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            values.into_iter().map(|value| value - mean).collect::<Vec<f64>>()
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let y = centred(&|arm| table.score.row(row)[arm]);
        let p: Vec<Vec<f64>> =
            predicted.iter().map(|scores| centred(&|arm| scores[row * n_arms + arm])).collect();
        for (i, own) in p.iter().enumerate() {
            self.targets[i] += weight * dot(own, &y);
            for (j, other) in p.iter().enumerate() {
                self.products[i * self.n + j] += weight * dot(own, other);
            }
        }
    }

    /// The weights, by exact steps that move weight between two members, or a member and the means of arms.
    fn solve(&self) -> Vec<f64> {
        // The last is the means of arms: less themselves they are 0.
        let n = self.n + 1;
        let product =
            |i: usize, j: usize| if i.max(j) < self.n { self.products[i * self.n + j] } else { 0.0 };
        let target = |i: usize| if i < self.n { self.targets[i] } else { 0.0 };
        let mut weights = vec![1.0 / n as f64; n];
        for _ in 0..SWEEPS {
            let mut moved = 0.0_f64;
            for i in 0..n {
                for j in 0..i {
                    let slope =
                        |k: usize| (0..n).map(|l| product(k, l) * weights[l]).sum::<f64>() - target(k);
                    let curvature = product(i, i) + product(j, j) - 2.0 * product(i, j);
                    if curvature <= 1e-15 {
                        continue;
                    }
                    let step = (slope(j) - slope(i)) / curvature;
                    let step = step.clamp(-weights[i], weights[j]);
                    weights[i] += step;
                    weights[j] -= step;
                    moved = moved.max(step.abs());
                }
            }
            if moved < 1e-12 {
                break;
            }
        }
        weights.truncate(self.n);
        weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: of orthogonal members the optimum is at `target / product`, less what holds the sum to 1.
    #[test]
    fn weights_are_the_least_squares_held_to_the_simplex() {
        let solve = |products: &[f64], targets: &[f64]| {
            Problem { n: targets.len(), products: products.to_vec(), targets: targets.to_vec() }.solve()
        };
        let close = |found: Vec<f64>, expected: &[f64]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?} {expected:?}");
        };
        close(solve(&[1.0, 0.0, 0.0, 1.0], &[0.3, 0.5]), &[0.3, 0.5]);
        // The sum is held to 1: (0.9, 0.7) less 0.3 each.
        close(solve(&[1.0, 0.0, 0.0, 1.0], &[0.9, 0.7]), &[0.6, 0.4]);
        // A member that points the other way has no weight.
        close(solve(&[1.0, 0.0, 0.0, 1.0], &[0.6, -0.5]), &[0.6, 0.0]);
        // Members that do nothing but repeat each other share what is theirs.
        let twins = solve(&[1.0, 1.0, 1.0, 1.0], &[0.8, 0.8]);
        assert!((twins.iter().sum::<f64>() - 0.8).abs() < 1e-9, "{twins:?}");
        close(solve(&[0.0], &[0.0]), &[0.5]);
    }

    #[test]
    fn members_that_cannot_be_combined_are_refused_in_words() {
        let refused = |names: &[&str]| {
            let members = names.iter().map(|name| (*name).to_owned()).collect();
            members_error(&Params { members, folds: 5 })
        };
        assert!(refused(&[]).contains("names 0 methods"));
        assert!(refused(&["ridge", "ridge"]).contains("twice"));
        assert!(refused(&["stack"]).contains("cannot be combined"));
        assert!(refused(&["vote"]).contains("cannot be combined"));
        assert!(refused(&["oracle"]).contains("cannot be combined"));
        assert!(refused(&["rigde"]).contains("`ridge`"));
    }

    fn members_error(params: &Params) -> String {
        members(params).unwrap_err().to_string()
    }
}
