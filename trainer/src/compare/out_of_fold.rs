//! Decisions on train rows by policies that have not seen them: what the pick goes by.

use super::CompareError;
use super::sides::{Held, Sides};
use crate::evaluate::{
    Average, Decisions, JudgeOptions, QueryOutcomes, Sources, Validation, paired_difference, standard_error,
};
use crate::method::{Fitted, MethodRow};
use crate::methods::baselines::means;
use crate::rollout::{ReplayWorld, rollout};
use crate::train::{RunOptions, TrainError, arms};
use crate::validation::Folds;
use rayon::prelude::*;
use routewright_data::OutcomeTable;
use routewright_policy::{Prediction, selectors};

/// Selectors that never look at a score: how well it is predicted says nothing of them.
const SCORELESS_SELECTORS: [&str; 2] = ["cheapest", "uniform"];

/// The folds of a cross-validation, shared by every method.
pub(super) struct LeftOut {
    /// The folds with both sides, and the rows left out in each.
    held: Vec<(Held, Vec<usize>)>,
    sources: Sources,
    average: Average,
    /// What the best single model of the other folds scored and cost on each row.
    best_single: QueryOutcomes,
}

/// The decisions of one method on every row.
pub(super) struct OutOfFold {
    pub(super) run: QueryOutcomes,
    pub(super) validation: Validation,
}

/// What one method did on one fold.
struct Fold {
    outcomes: QueryOutcomes,
    /// Of each row: sums over arms of `y y`, `y p` and `p p`, centred; `None` for a selector without scores.
    products: Option<Vec<[f64; 3]>>,
}

impl LeftOut {
    /// `None` if no cross-validation was asked for, or the rows are too few for two sides.
    pub(super) fn each(
        sides: &Sides<'_>,
        seed: u64,
        n_folds: usize,
        average: Average,
    ) -> Result<Option<Self>, CompareError> {
        if n_folds < 2 {
            return Ok(None);
        }
        let train = sides.train();
        let folds = Folds::new(train, seed, n_folds);
        let hold = |at: usize| folds.slice(at).map(|slice| Ok((sides.fold(&slice, seed)?, slice.valid)));
        let held: Vec<Option<Result<_, CompareError>>> = (0..n_folds).into_par_iter().map(hold).collect();
        let held = held.into_iter().flatten().collect::<Result<Vec<_>, _>>()?;
        if held.is_empty() {
            return Ok(None);
        }
        let mut best_single = QueryOutcomes::unknown(train.n_queries());
        for (held, rows) in &held {
            // The best on the kept rows, judged on the rest; both have the same arms.
            let Some(arm) = means::best_single(&held.kept.train, average) else { continue };
            let decisions = Decisions::deterministic(&vec![arm; rows.len()], held.rest.n_arms());
            scatter(&mut best_single, rows, &QueryOutcomes::of(&decisions, &held.rest));
        }
        Ok(Some(Self { held, sources: Sources::of(train), average, best_single }))
    }

    /// The best single model of the other folds on each row.
    pub(super) fn best_single(&self) -> &QueryOutcomes {
        &self.best_single
    }

    /// The sources of the rows.
    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Every method on every fold, on all cores; `None` for a method that fails on one.
    pub(super) fn validate(
        &self,
        methods: &[(&MethodRow, serde_json::Value)],
        run: &RunOptions<'_>,
    ) -> Vec<Option<OutOfFold>> {
        let n_held = self.held.len();
        let jobs = (0..methods.len() * n_held).into_par_iter();
        let fit = |job: usize| {
            let (method, params) = &methods[job / n_held];
            judge_fold(method, params, &self.held[job % n_held].0, run).ok()
        };
        let folds: Vec<Option<Fold>> = jobs.map(fit).collect();
        folds.chunks(n_held).map(|folds| self.gather(folds)).collect()
    }

    fn gather(&self, folds: &[Option<Fold>]) -> Option<OutOfFold> {
        let n = self.sources.n_queries();
        let mut run = QueryOutcomes::unknown(n);
        let mut products = vec![[0.0; 3]; n];
        let mut scored = true;
        for (fold, (_, rows)) in folds.iter().zip(&self.held) {
            let fold = fold.as_ref()?;
            scatter(&mut run, rows, &fold.outcomes);
            match &fold.products {
                Some(found) => rows.iter().zip(found).for_each(|(row, sums)| products[*row] = *sums),
                None => scored = false,
            }
        }
        let options = JudgeOptions { average: self.average, ..JudgeOptions::default() };
        let validation = Validation {
            score: self.sources.mean(&run.scores, self.average)?,
            score_se: standard_error(&run.scores, &self.sources, &options),
            cost_usd: self.sources.mean(&run.costs, self.average),
            vs_best_single: paired_difference(&run.scores, &self.best_single.scores, &self.sources, &options),
            centred_error: scored.then(|| self.centred_error(&products)).flatten(),
        };
        Some(OutOfFold { run, validation })
    }

    /// The weighted mean of `(y - a p)^2` over rows with the factor `a` that makes it least, at least 0.
    fn centred_error(&self, products: &[[f64; 3]]) -> Option<f64> {
        let mut kept = vec![false; products.len()];
        self.held.iter().flat_map(|(_, rows)| rows).for_each(|row| kept[*row] = true);
        let weights = self.sources.weights(&kept, self.average);
        let sum = |at: usize| products.iter().zip(&weights).map(|(p, w)| p[at] * w).sum::<f64>();
        let (yy, yp, pp) = (sum(0), sum(1), sum(2));
        let factor = if pp > 0.0 { (yp / pp).max(0.0) } else { 0.0 };
        let error = yy - 2.0 * factor * yp + factor * factor * pp;
        error.is_finite().then_some(error)
    }
}

fn scatter(run: &mut QueryOutcomes, rows: &[usize], outcomes: &QueryOutcomes) {
    rows.iter().enumerate().for_each(|(at, row)| run.set(*row, outcomes, at));
}

/// The decisions on one fold by what was fitted on the others.
fn judge_fold(
    method: &MethodRow,
    params: &serde_json::Value,
    held: &Held,
    run: &RunOptions<'_>,
) -> Result<Fold, CompareError> {
    let rest = &held.rest;
    let fitted = held.kept.fit(method, params, run).map_err(TrainError::from)?;
    if fitted.program.is_some() {
        return play_fold(method, fitted, held, run);
    }
    let prediction = held.kept.predict(&fitted, rest, &held.features)?;
    let selector = selectors::build(&fitted.selector, &arms(&held.kept.train))?;
    let decisions = Decisions::of(&prediction, &*selector);
    let scoreless = SCORELESS_SELECTORS.contains(&fitted.selector.name.as_str());
    let products = || (0..rest.n_queries()).map(|row| centred_products(&prediction, rest, row)).collect();
    Ok(Fold { outcomes: QueryOutcomes::of(&decisions, rest), products: (!scoreless).then(products) })
}

/// The episodes of one fold by a policy of several steps that was fitted on the others.
fn play_fold(
    method: &MethodRow,
    fitted: Fitted,
    held: &Held,
    run: &RunOptions<'_>,
) -> Result<Fold, CompareError> {
    let (answers, models) = held.answers.as_ref().ok_or(CompareError::NoAnswers { method: method.name })?;
    let policy = held.kept.policy(method, fitted, run.seed)?;
    let world = ReplayWorld::new(&held.rest.queries, models, answers, &policy.arms);
    let (outcomes, _) = rollout(&policy, &held.rest, &world, None, &[run.seed]).map_err(Box::new)?;
    Ok(Fold { outcomes, products: None })
}

/// Sums over the observed arms of a row of `y y`, `y p` and `p p`, where both are less their mean over those arms.
fn centred_products(prediction: &Prediction, table: &OutcomeTable, row: usize) -> [f64; 3] {
    let both = table.score.row(row).iter().zip(prediction.row(row).score);
    let known: Vec<(f64, f64)> =
        both.filter(|(y, _)| !y.is_nan()).map(|(y, p)| (f64::from(*y), f64::from(*p))).collect();
    let n = known.len().max(1) as f64;
    let mean = known.iter().fold((0.0, 0.0), |mean, (y, p)| (mean.0 + y / n, mean.1 + p / n));
    known.iter().fold([0.0; 3], |[yy, yp, pp], (y, p)| {
        let (y, p) = (y - mean.0, p - mean.1);
        [yy + y * y, yp + y * p, pp + p * p]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{prediction, table};

    #[test]
    fn the_level_of_a_query_does_not_count() {
        let log = table(&["a"], &[0.2, 0.6, 1.0], &[f32::NAN; 3]);
        let close = |found: [f64; 3], expected: [f64; 3]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        };
        // y - mean: -0.4, 0, 0.4; p - mean: -0.1, 0, 0.1 at any level.
        for level in [0.0, 5.0] {
            let guess = prediction(3, &[level, level + 0.1, level + 0.2], &[f32::NAN; 3]);
            close(centred_products(&guess, &log, 0), [0.32, 0.08, 0.02]);
        }
        let holed = table(&["a"], &[0.2, f32::NAN, 1.0], &[f32::NAN; 3]);
        let guess = prediction(3, &[0.0, 9.0, 0.2], &[f32::NAN; 3]);
        close(centred_products(&guess, &holed, 0), [0.32, 0.08, 0.02]);
    }
}
