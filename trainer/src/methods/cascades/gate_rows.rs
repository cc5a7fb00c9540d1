//! What the gates of `gain-gate` are learned from: answers, votes, predictions out of fold, and the gain of each gate.

use super::gain_gate::{GainGate, Params};
use crate::method::{FitContext, FitError, Method};
use crate::methods::neighbors::knn;
use crate::methods::scorers::{gram, ridge};
use crate::methods::votes::weights::{Accuracies, Scheme, Votes, Weights, reading};
use crate::validation::Folds;
use routewright_data::answers::normalize::Normalizer;
use routewright_data::linalg::{self, LinalgError};
use routewright_data::{FeatureMatrix, OutcomeTable};
use routewright_policy::programs::{Gate, GateConfig, Gates, Hand, ProgramError, Reading, Voters, read_hand};
use routewright_policy::selectors::Argmax;
use routewright_policy::{Arm, Batch, Predictor, Router};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Different answers up to which a log is taken to be of closed ones.
const CLOSED_MAX: usize = 12;
/// Standard deviations below this are those of a constant.
const DEVIATION_MIN: f64 = 1e-9;

/// First answers, scores and prices of a log.
pub(super) struct Cells {
    votes: Votes,
    reads: Reading,
    n_arms: usize,
    scores: Vec<f64>,
    costs: Vec<f64>,
    lengths: Vec<f64>,
}

impl Cells {
    /// The first answer of each cell; score and price are those of the outcome where the answer has none.
    pub(super) fn read(context: &FitContext<'_>, rule: &Normalizer) -> Self {
        let (train, n_arms) = (context.train, context.train.n_arms());
        let arms: Vec<usize> = (0..n_arms).collect();
        let none = routewright_data::answers::AnswerTableBuilder::new(train.n_queries(), n_arms).finish();
        let answers = context.answers.unwrap_or(&none);
        let mut votes = Votes::of(&train.queries, answers, &arms, rule);
        let (mut scores, mut costs, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for (row, arm) in (0..train.n_queries()).flat_map(|row| arms.iter().map(move |arm| (row, *arm))) {
            let answer = answers.samples(row, arm).next();
            let score = answer.and_then(|answer| answer.score).or(train.score.get(row, arm));
            votes.scores.set(row, arm, score.unwrap_or(f32::NAN));
            scores.push(score.map_or(f64::NAN, f64::from));
            let logged = train.cost_usd.get(row, arm).map(f64::from);
            costs.push(answer.and_then(|answer| answer.cost_usd).or(logged).unwrap_or(f64::NAN));
            let text = answer.and_then(|answer| answer.text.or(answer.answer)).unwrap_or_default();
            lengths.push((text.trim().chars().count() as f64).ln_1p());
        }
        Self { votes, reads: reading(answers), n_arms, scores, costs, lengths }
    }

    /// Whether every arm has a score and a price.
    pub(super) fn is_whole(&self, row: usize) -> bool {
        let cells = row * self.n_arms..(row + 1) * self.n_arms;
        self.scores[cells.clone()].iter().chain(&self.costs[cells]).all(|value| value.is_finite())
    }

    fn score(&self, row: usize, arm: usize) -> f64 {
        self.scores[row * self.n_arms + arm]
    }

    fn cost(&self, row: usize, arm: usize) -> f64 {
        self.costs[row * self.n_arms + arm]
    }
}

/// The models of a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) bundle: Vec<usize>,
    pub(super) fallback: usize,
    pub(super) is_blind: bool,
}

/// A gate with what it gains on every row, out of fold.
#[derive(Debug)]
pub(super) struct Gated {
    pub(super) plan: Plan,
    /// Weights of the hand, the intercept last, from all rows.
    weights: Vec<f64>,
    /// Predicted gains.
    pub(super) gains: Vec<f64>,
    /// Gains predicted from all rows, falling: where a threshold lies that keeps as many as one out of fold does.
    finals: Vec<f64>,
    /// Score of the best answer of the bundle.
    tops: Vec<f64>,
}

impl Gated {
    /// The threshold that keeps so many rows by the gains predicted from all rows. Those of folds differ in level.
    pub(super) fn threshold(&self, kept: usize) -> f64 {
        let at = |place: usize| self.finals.get(place).copied();
        match (kept.checked_sub(1).and_then(at), at(kept)) {
            (Some(last), Some(next)) => f64::midpoint(last, next),
            (None, Some(most)) => most + 1.0,
            (Some(least), None) => least - 1.0,
            (None, None) => 0.0,
        }
    }

    /// The threshold that keeps so many rows out of fold, at least one.
    pub(super) fn out_of_fold(&self, kept: usize) -> f64 {
        let mut sorted = self.gains.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        sorted.get(kept.saturating_sub(1)).copied().unwrap_or(f64::INFINITY)
    }
}

/// A gate at a threshold, and what it does out of fold.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Point {
    pub(super) gate: usize,
    /// Rows whose bundle is kept.
    kept: usize,
    pub(super) score: f64,
    pub(super) cost_usd: f64,
    /// Standard error of the mean of `score - retain * strongest`.
    pub(super) gap_se: f64,
}

/// How good the arms are, and what they are predicted to score.
struct Knowledge {
    accuracies: Accuracies,
    before: Box<dyn Predictor>,
}

/// Everything that gates are learned from.
pub(super) struct Rows<'a> {
    context: &'a FitContext<'a>,
    cells: &'a Cells,
    rows: Vec<usize>,
    fold: Vec<usize>,
    n_folds: usize,
    scheme: Scheme,
    marked: Vec<String>,
    /// From the rows of every fold but one; the last from all rows.
    known: Vec<Knowledge>,
    /// Predicted scores of every row, out of fold, `(rows, n_arms)`.
    predicted: Vec<f64>,
    /// The strongest arm.
    pub(super) reference: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn learn(
        params: &Params,
        context: &'a FitContext<'a>,
        cells: &'a Cells,
        rows: Vec<usize>,
    ) -> Result<Self, FitError> {
        let folds = Folds::new(context.train, context.seed, params.folds);
        let fold: Vec<usize> = rows.iter().map(|row| folds.of(*row)).collect();
        let learn = |held: Option<usize>| -> Result<Knowledge, FitError> {
            let kept: Vec<usize> = rows
                .iter()
                .zip(&fold)
                .filter(|(_, fold)| Some(**fold) != held)
                .map(|(row, _)| *row)
                .collect();
            let kept = if kept.is_empty() { rows.clone() } else { kept };
            let before = before(params, context, &kept)?;
            Ok(Knowledge { accuracies: Accuracies::fit(&cells.votes, &kept), before })
        };
        let known: Vec<Knowledge> =
            (0..params.folds).map(Some).chain([None]).map(learn).collect::<Result<_, _>>()?;
        let mut counts = BTreeMap::<&str, usize>::new();
        rows.iter().filter_map(|row| cells.votes.tasks[*row].as_deref()).for_each(|task| {
            *counts.entry(task).or_default() += 1;
        });
        let mut tasks: Vec<(&str, usize)> = counts.into_iter().collect();
        tasks.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let forms: HashSet<&String> = cells.votes.forms.iter().flatten().collect();
        let twins = vec![None; cells.n_arms];
        let mut found = Self {
            context,
            cells,
            fold,
            n_folds: params.folds,
            scheme: Scheme { weights: Weights::LogOdds, is_open: forms.len() > CLOSED_MAX, twins },
            marked: tasks.into_iter().take(params.tasks).map(|(task, _)| task.to_owned()).collect(),
            known,
            predicted: Vec::new(),
            reference: 0,
            rows,
        };
        found.predicted = found.out_of_fold()?;
        let better = |a: &usize, b: &usize| {
            let (a, b) = (found.mean_of(*a), found.mean_of(*b));
            a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1))
        };
        found.reference = (0..cells.n_arms).max_by(better).unwrap_or(0);
        Ok(found)
    }

    fn out_of_fold(&self) -> Result<Vec<f64>, FitError> {
        let n_arms = self.n_arms();
        let mut predicted = vec![0.0; self.rows.len() * n_arms];
        for held in 0..self.n_folds {
            let places: Vec<usize> = (0..self.rows.len()).filter(|at| self.fold[*at] == held).collect();
            let rows: Vec<usize> = places.iter().map(|at| self.rows[*at]).collect();
            let found = self.predict(&*self.known[held].before, &rows)?;
            for (place, scores) in places.iter().zip(found.chunks_exact(n_arms)) {
                predicted[place * n_arms..(place + 1) * n_arms].copy_from_slice(scores);
            }
        }
        Ok(predicted)
    }

    fn predict(&self, before: &dyn Predictor, rows: &[usize]) -> Result<Vec<f64>, FitError> {
        let features = self.context.features.select_rows(rows);
        let sources: Vec<Option<&str>> =
            rows.iter().map(|row| self.context.train.queries[*row].source.as_deref()).collect();
        let batch = Batch { sources: &sources, ..Batch::of(&features) };
        let found = before.predict(&batch).map_err(|error| failed(&error))?;
        Ok(found.score.into_iter().map(f64::from).collect())
    }

    pub(super) fn n_arms(&self) -> usize {
        self.cells.n_arms
    }

    /// Mean score and price of an arm.
    pub(super) fn mean_of(&self, arm: usize) -> (f64, f64) {
        let n = self.rows.len().max(1) as f64;
        let mean = |value: &dyn Fn(usize) -> f64| self.rows.iter().map(|row| value(*row)).sum::<f64>() / n;
        (mean(&|row| self.cells.score(row, arm)), mean(&|row| self.cells.cost(row, arm)))
    }

    /// Bundles of the strongest cheap arms before the reference, where the log has answers to compare; and every pair
    /// of arms, blind, the cheaper one kept.
    pub(super) fn gates(&self, params: &Params) -> Vec<Plan> {
        let means: Vec<(f64, f64)> = (0..self.n_arms()).map(|arm| self.mean_of(arm)).collect();
        let most = params.cheap * means[self.reference].1;
        let mut cheap: Vec<usize> =
            (0..self.n_arms()).filter(|arm| *arm != self.reference && means[*arm].1 <= most).collect();
        cheap.sort_by(|a, b| means[*b].0.total_cmp(&means[*a].0).then(a.cmp(b)));
        cheap.truncate(params.candidates);
        let has_forms = self.cells.votes.forms.iter().any(Option::is_some);
        let bundles = (1_usize..1 << cheap.len())
            .filter(|mask| has_forms && mask.count_ones() as usize <= params.bundle)
            .map(|mask| (0..cheap.len()).filter(|at| mask >> at & 1 == 1).map(|at| cheap[at]).collect());
        let bundles = bundles.map(|bundle| Plan { bundle, fallback: self.reference, is_blind: false });
        let all = 0..self.n_arms();
        let pairs = all.clone().flat_map(|a| all.clone().map(move |b| (a, b)));
        let pairs = pairs.filter(|(a, b)| (means[*a].1, *a) < (means[*b].1, *b));
        let blind = pairs.map(|(a, b)| Plan { bundle: vec![a], fallback: b, is_blind: true });
        bundles.chain(blind).collect()
    }

    /// Score of the best answer of a bundle and the numbers in hand, for one row.
    fn hand(&self, plan: &Plan, row: usize, known: &Knowledge, predicted: &[f64]) -> (f64, Vec<f64>) {
        let task = self.cells.votes.tasks[row].as_deref();
        let (weights, strengths) =
            (known.accuracies.weights(task, &self.scheme), known.accuracies.strengths(task));
        let of = |values: &[f64]| plan.bundle.iter().map(|arm| values[*arm]).collect::<Vec<f64>>();
        let forms = self.cells.votes.row(row);
        let n = plan.bundle.len();
        let lengths = &self.cells.lengths[row * self.n_arms()..(row + 1) * self.n_arms()];
        let (top, numbers) = read_hand(&Hand {
            forms: plan.bundle.iter().map(|arm| forms[*arm].as_deref().filter(|_| !plan.is_blind)).collect(),
            answered: vec![true; n],
            lengths: if plan.is_blind { vec![0.0; n] } else { of(lengths) },
            weights: of(&weights),
            strengths: of(strengths),
            predicted: of(predicted),
            fallback: (strengths[plan.fallback], predicted[plan.fallback]),
            task: (
                task.and_then(|task| self.marked.iter().position(|known| known == task)),
                self.marked.len(),
            ),
        });
        (self.cells.score(row, plan.bundle[top.unwrap_or(0)]), numbers)
    }

    /// Learns the gain of a gate, out of fold and from all rows.
    pub(super) fn fit(&self, plan: Plan, params: &Params) -> Result<Gated, FitError> {
        let (n, n_arms) = (self.rows.len(), self.n_arms());
        let width = Hand::width(plan.bundle.len(), self.marked.len());
        let (mut values, mut tops, mut ys) = (Vec::with_capacity(n * width), Vec::new(), Vec::new());
        for (at, row) in self.rows.iter().enumerate() {
            let predicted = &self.predicted[at * n_arms..(at + 1) * n_arms];
            let (top, numbers) = self.hand(&plan, *row, &self.known[self.fold[at]], predicted);
            values.extend(numbers);
            tops.push(top);
            ys.push(top - self.cells.score(*row, plan.fallback));
        }
        let scaled = Scaled::of(&values, width);
        let mut gains = vec![0.0; n];
        for held in 0..self.n_folds {
            let kept: Vec<usize> = (0..n).filter(|at| self.fold[*at] != held).collect();
            let weights = scaled.solve(&kept, &ys, params.penalty).map_err(|error| failed(&error))?;
            for at in (0..n).filter(|at| self.fold[*at] == held) {
                gains[at] = scaled.value(&weights, at);
            }
        }
        let all: Vec<usize> = (0..n).collect();
        let weights = scaled.solve(&all, &ys, params.penalty).map_err(|error| failed(&error))?;
        let mut finals: Vec<f64> = all.iter().map(|at| scaled.value(&weights, *at)).collect();
        finals.sort_by(|a, b| b.total_cmp(a));
        Ok(Gated { plan, weights: scaled.plain(&weights), gains, finals, tops })
    }

    /// Calls `visit` with every threshold of a gate, as a point and the mean of `score - retain * strongest`: first
    /// where nothing is kept, then one row more each time.
    pub(super) fn sweep(&self, gate: usize, gated: &Gated, retain: f64, mut visit: impl FnMut(Point, f64)) {
        let plan = &gated.plan;
        let n = self.rows.len() as f64;
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by(|a, b| gated.gains[*b].total_cmp(&gated.gains[*a]).then(a.cmp(b)));
        let gap = |at: usize, score: f64| score - retain * self.cells.score(self.rows[at], self.reference);
        let last = |at: usize| self.cells.score(self.rows[at], plan.fallback);
        let (mut score, mut cost, mut sum, mut squares) = (0.0, 0.0, 0.0, 0.0);
        for at in 0..self.rows.len() {
            let one = gap(at, last(at));
            (score, sum, squares) = (score + last(at), sum + one, squares + one * one);
            cost += self.cost_of(plan, at, false);
        }
        let mut give = |kept: usize, score: f64, cost: f64, sum: f64, squares: f64| {
            let variance = (squares / n - (sum / n).powi(2)).max(0.0);
            let gap_se = (variance / (n - 1.0).max(1.0)).sqrt();
            visit(Point { gate, kept, score: score / n, cost_usd: cost / n, gap_se }, sum / n);
        };
        give(0, score, cost, sum, squares);
        for (place, &at) in order.iter().enumerate() {
            let (old, new) = (gap(at, last(at)), gap(at, gated.tops[at]));
            score += gated.tops[at] - last(at);
            (sum, squares) = (sum + new - old, squares + new * new - old * old);
            cost += self.cost_of(plan, at, true) - self.cost_of(plan, at, false);
            let next = order.get(place + 1).map(|next| gated.gains[*next]);
            if next != Some(gated.gains[at]) {
                give(place + 1, score, cost, sum, squares);
            }
        }
    }

    /// Price of a row where the bundle is kept, or not.
    fn cost_of(&self, plan: &Plan, at: usize, is_kept: bool) -> f64 {
        let row = self.rows[at];
        let bundle: f64 = plan.bundle.iter().map(|arm| self.cells.cost(row, *arm)).sum();
        let last = self.cells.cost(row, plan.fallback);
        match (plan.is_blind, is_kept) {
            (_, true) => bundle,
            (true, false) => last,
            (false, false) => bundle + last,
        }
    }

    /// The point of a gate that keeps at most so many rows.
    pub(super) fn point(&self, gate: usize, gated: &Gated, kept: usize) -> Point {
        let mut best = None;
        self.sweep(gate, gated, 1.0, |point, _| {
            if point.kept <= kept {
                best = Some(point);
            }
        });
        Point { kept, ..best.unwrap_or_default() }
    }

    /// Loss against the reference of every row, out of fold.
    pub(super) fn losses(&self, gated: &Gated, threshold: f64) -> Vec<f64> {
        let of = |at: usize| {
            let lost = self.cells.score(self.rows[at], self.reference) - gated.tops[at];
            if gated.gains[at] >= threshold { lost.max(0.0) } else { 0.0 }
        };
        (0..self.rows.len()).map(of).collect()
    }

    /// Mean price at a threshold.
    pub(super) fn cost(&self, gated: &Gated, threshold: f64) -> f64 {
        let of = |at: usize| self.cost_of(&gated.plan, at, gated.gains[at] >= threshold);
        (0..self.rows.len()).map(of).sum::<f64>() / self.rows.len().max(1) as f64
    }

    /// Gain, score of the bundle and of the fallback on rows that taught nothing, as the program will see them.
    pub(super) fn played(&self, gated: &Gated, rows: &[usize]) -> Vec<(f64, f64, f64)> {
        let Some(known) = self.known.last() else { return Vec::new() };
        let predicted = self.predict(&*known.before, rows).unwrap_or_default();
        let of = |(row, predicted): (&usize, &[f64])| {
            let (top, numbers) = self.hand(&gated.plan, *row, known, predicted);
            let gain: f64 = numbers.iter().zip(&gated.weights).map(|(x, w)| x * w).sum();
            let intercept = gated.weights.last().copied().unwrap_or(0.0);
            (gain + intercept, top, self.cells.score(*row, gated.plan.fallback))
        };
        rows.iter().zip(predicted.chunks_exact(self.n_arms())).map(of).collect()
    }

    /// A gate at a threshold as the program has it.
    pub(super) fn gate(&self, gated: &Gated, point: &Point) -> Gate {
        let name = |arm: &usize| self.context.train.models[*arm].clone();
        Gate {
            bundle: gated.plan.bundle.iter().map(name).collect(),
            fallback: name(&gated.plan.fallback),
            is_blind: gated.plan.is_blind,
            weights: gated.weights.clone(),
            threshold: gated.threshold(point.kept),
            score: point.score,
            cost_usd: point.cost_usd,
        }
    }

    /// The program of these gates, with what was learned from all rows.
    pub(super) fn program(
        mut self,
        gates: Vec<Gate>,
        default: usize,
        rule: &Normalizer,
        arms: &[Arm],
    ) -> Result<Gates, ProgramError> {
        let nothing =
            || ProgramError::Config { program: "gate", reason: "it has learned nothing".to_owned() };
        let Knowledge { accuracies, before } = self.known.pop().ok_or_else(nothing)?;
        let voters = |task: Option<&str>| Voters {
            weights: accuracies.weights(task, &self.scheme),
            strengths: accuracies.strengths(task).to_vec(),
        };
        let tasks = accuracies.tasks.keys().map(|task| (task.clone(), voters(Some(task)))).collect();
        let featurizer = Arc::clone(self.context.featurizer);
        let before = Router { featurizer, predictor: before, selector: Box::new(Argmax) };
        let (answers, reads, overall) = (rule.name.to_owned(), self.cells.reads, voters(None));
        let config = GateConfig { gates, default, answers, reads, overall, tasks, marked: self.marked };
        Gates::new(config, before, arms)
    }
}

fn failed(error: &impl ToString) -> FitError {
    FitError::Numeric { method: GainGate::NAME, reason: error.to_string() }
}

/// Predicts scores from the query, learned on some rows.
fn before(params: &Params, context: &FitContext<'_>, rows: &[usize]) -> Result<Box<dyn Predictor>, FitError> {
    let settings = match params.before.as_str() {
        "knn" => json!({ "k": [40], "power": [5.0] }),
        _ => json!({ "alpha": [30.0] }),
    };
    let train: OutcomeTable = context.train.select_rows(rows);
    let features = context.features.select_rows(rows);
    let own = FitContext { train: &train, features: &features, answers: None, pairs: None, ..*context };
    let row = if params.before == "knn" { knn::ROW } else { ridge::ROW };
    Ok((row.fit)(&settings, &own)?.predictor)
}

/// Features in standard deviations from their mean.
struct Scaled {
    features: FeatureMatrix,
    means: Vec<f64>,
    deviations: Vec<f64>,
}

impl Scaled {
    fn of(values: &[f64], width: usize) -> Self {
        let n = values.len() / width.max(1);
        let column = |at: usize| values.iter().skip(at).step_by(width);
        let means: Vec<f64> = (0..width).map(|at| column(at).sum::<f64>() / n.max(1) as f64).collect();
        let deviation = |at: usize| {
            let variance = column(at).map(|x| (x - means[at]).powi(2)).sum::<f64>() / n.max(1) as f64;
            // A constant becomes 0 everywhere.
            if variance.sqrt() > DEVIATION_MIN { variance.sqrt() } else { f64::INFINITY }
        };
        let deviations: Vec<f64> = (0..width).map(deviation).collect();
        let scaled = values.iter().enumerate();
        let scaled =
            scaled.map(|(at, x)| ((x - means[at % width]) / deviations[at % width]) as f32).collect();
        Self { features: FeatureMatrix::from_vec(n, width, scaled), means, deviations }
    }

    /// Ridge on some rows, the intercept last.
    fn solve(&self, rows: &[usize], ys: &[f64], penalty: f64) -> Result<Vec<f64>, LinalgError> {
        let width = self.means.len() + 1;
        let mut matrix = gram::gram(&self.features, rows);
        gram::penalize(&mut matrix, width, penalty);
        linalg::solve_spd(matrix, gram::moments(&self.features, rows, 1, |row, _| ys[row]), width, 1)
    }

    fn value(&self, weights: &[f64], row: usize) -> f64 {
        let x = self.features.row(row);
        x.iter().zip(weights).map(|(x, w)| f64::from(*x) * w).sum::<f64>() + weights[x.len()]
    }

    /// The same weights for features as they are.
    fn plain(&self, weights: &[f64]) -> Vec<f64> {
        let n = self.means.len();
        let mut plain: Vec<f64> = (0..n).map(|at| weights[at] / self.deviations[at]).collect();
        let shift: f64 = (0..n).map(|at| plain[at] * self.means[at]).sum();
        plain.push(weights[n] - shift);
        plain
    }
}
