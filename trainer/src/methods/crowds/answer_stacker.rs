//! A stacker of answers: a linear scorer of candidate answers by who gave them, how good those are, and how far the
//! answers agree.
//!
//! Program `select`. Answers of equal form are one candidate; a candidate's numbers come from blocks (`blocks.rs`), its
//! score from a linear function of them, learned by the softmax over the candidates of a query or by logistic
//! regression over all candidates (`losses.rs`). Which blocks, which loss and which penalty are chosen by
//! cross-validation on train. Stacking: Wolpert, *Stacked generalization*, Neural Networks 5 (1992).
//!
//! A row that is learned on sees the accuracies of the members without its own score; they would tell the label.
//!
//! Where the score on the folds is not above that of the best single model by `margin` standard errors of the paired
//! difference, the policy is that model, called alone: asking many is dear where one is far ahead.
//!
//! A softmax is the probability of being right where some candidate is: a gate, logistic regression on the folds, makes
//! of it the probability of being right, which `abstain` is held against.

use super::blocks::{self, Kind};
use super::candidates::{self, Query, Reader};
use super::folds;
use super::log::{Asked, Log};
use super::losses::{self, Loss, Rows, linear, sigmoid};
use super::programs;
use crate::evaluate::{Sources, Tuning};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, Reads};
use crate::methods::votes::weights::Accuracies;
use crate::validation::{Folds, Slice};
use rayon::prelude::*;
use routewright_policy::Router;
use routewright_policy::forms::Link;
use routewright_policy::programs::select::{
    Block, GATE_DIM, Grouping, Judges, Selection, best_candidates, gate_features, softmax,
};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<AnswerStacker>(
    "a learned scorer of candidate answers: who gave them, how good those are, how many agree",
    None,
    Family::After,
    &[Need::Source],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// Penalty of the gate, on numbers of standard deviation 0.5.
const GATE_LAMBDA: f64 = 7.5e-4;
/// Standard errors of the difference to the best setting within which a plainer one is taken.
const TOLERANCE: f64 = 0.3;
/// Bins of equal numbers that the calibration error is taken over.
const BINS: usize = 10;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct AnswerStacker;

/// Parameters; a list is a grid of which cross-validation picks one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Models that are asked; all where empty.
    members: Vec<String>,
    /// Rule that makes equal answers equal texts, see `data::answers::normalize`.
    normalize: String,
    /// Lists of blocks.
    blocks: Vec<Vec<Kind>>,
    /// Losses.
    losses: Vec<Loss>,
    /// Penalties, each above 0.
    lambda: Vec<f64>,
    /// Between the words of the names of members that families share; no families where empty.
    separator: String,
    /// Folds of train, in [2, 20].
    folds: usize,
    /// How often train is dealt into folds anew, in [1, 20].
    repeats: usize,
    /// Standard errors by which it must be above the best single model on the folds; below, it is that model.
    margin: f64,
    /// Least probability of being right, in [0, 1): below, it abstains. 0 never abstains.
    abstain: f64,
}

impl Default for Params {
    fn default() -> Self {
        use Kind::{Accuracy, Agreement, Correlation, Families, Length, Top, Who, WhoByTask};
        Self {
            members: Vec::new(),
            normalize: "exact".to_owned(),
            blocks: vec![
                vec![Accuracy, Agreement],
                vec![Who, WhoByTask, Accuracy, Agreement],
                vec![Who, Accuracy, Agreement, Correlation],
                vec![Who, WhoByTask, Accuracy, Agreement, Correlation, Length],
                vec![Who, WhoByTask, Accuracy, Agreement, Top, Families],
            ],
            losses: vec![Loss::Logistic, Loss::Softmax],
            lambda: vec![0.1, 0.01, 0.001],
            separator: "/".to_owned(),
            folds: 5,
            repeats: 3,
            margin: 1.0,
            abstain: 0.0,
        }
    }
}

fn refused(reason: String) -> FitError {
    FitError::Params { method: AnswerStacker::NAME, reason }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        if self.blocks.is_empty() || self.losses.is_empty() || self.lambda.is_empty() {
            return Err(refused("`blocks`, `losses` and `lambda` need a value each".to_owned()));
        }
        if self.blocks.iter().any(Vec::is_empty) {
            return Err(refused(
                "`blocks` has an empty list, expected at least one block in each".to_owned(),
            ));
        }
        if let Some(lambda) = self.lambda.iter().find(|lambda| !(**lambda > 0.0 && lambda.is_finite())) {
            return Err(refused(format!("`lambda` has `{lambda}`, expected numbers above 0")));
        }
        if !(2..=20).contains(&self.folds) {
            return Err(refused(format!("`folds` is `{}`, expected 2 to 20", self.folds)));
        }
        if !(1..=20).contains(&self.repeats) {
            return Err(refused(format!("`repeats` is `{}`, expected 1 to 20", self.repeats)));
        }
        if !(self.margin.is_finite() && (0.0..1.0).contains(&self.abstain)) {
            return Err(refused("`margin` needs a number, `abstain` one in [0, 1)".to_owned()));
        }
        Ok(())
    }

    fn settings(&self) -> Vec<Setting> {
        let ways = self.losses.iter().flat_map(|loss| self.lambda.iter().map(|lambda| (*loss, *lambda)));
        let ways: Vec<(Loss, f64)> = ways.collect();
        let of = |set| ways.iter().map(move |(loss, lambda)| Setting { set, loss: *loss, lambda: *lambda });
        (0..self.blocks.len()).flat_map(of).collect()
    }
}

/// What cross-validation chooses.
#[derive(Debug, Clone, Copy)]
struct Setting {
    /// Which list of blocks.
    set: usize,
    loss: Loss,
    lambda: f64,
}

/// What a setting did on the rows of the folds.
#[derive(Debug, Clone)]
struct Played {
    /// Score of the answer chosen on each row, NaN where it is not known.
    scores: Vec<f64>,
    /// What the gate reads on each row, and the score.
    gate: Vec<Option<([f32; GATE_DIM], f64)>>,
}

/// A scorer with the numbers it reads.
struct Scorer {
    blocks: Vec<Block>,
    loss: Loss,
    weights: Vec<f64>,
}

impl Scorer {
    fn fit(blocks: &[Block], queries: &[Query<'_>], n_members: usize, setting: &Setting) -> Self {
        let scales: Vec<Option<f64>> =
            blocks.iter().flat_map(|block| blocks::scales(block, n_members)).collect();
        let rows = candidates::rows(queries, scales.len());
        let weights = losses::fit(&rows, setting.loss, setting.lambda, &scales);
        Self { blocks: blocks.to_vec(), loss: setting.loss, weights }
    }

    /// Score of each candidate: a share of the softmax is taken of them, or a probability each.
    fn scores(&self, query: &Query<'_>) -> Vec<f32> {
        let rows = query.features.chunks_exact(self.weights.len() - 1);
        rows.map(|x| match self.loss {
            Loss::Softmax => linear(&self.weights, x) as f32,
            Loss::Logistic => sigmoid(linear(&self.weights, x)) as f32,
        })
        .collect()
    }

    /// The same function for every arm.
    fn router(&self, n_arms: usize) -> Router {
        let link = match self.loss {
            Loss::Softmax => Link::Identity,
            Loss::Logistic => Link::Logistic,
        };
        programs::linear("candidate", &self.weights, link, n_arms)
    }
}

/// Blocks of a list that the log has something for.
fn learned(
    params: &Params,
    set: usize,
    log: &Log<'_>,
    rows: &[usize],
    accuracies: &Accuracies,
) -> Vec<Block> {
    let kinds = params.blocks[set].iter();
    kinds.filter_map(|kind| blocks::fit(*kind, log, rows, accuracies, &params.separator)).collect()
}

/// Plays the settings of one list of blocks on one fold.
fn play(params: &Params, settings: &[Setting], log: &Log<'_>, slice: &Slice) -> Vec<(Vec<f64>, Gates)> {
    let accuracies = Accuracies::fit(&log.votes, &slice.fit);
    let blocks = learned(params, settings[0].set, log, &slice.fit, &accuracies);
    let reader = Reader { log, accuracies: &accuracies, blocks: &blocks, grouping: Grouping::Equal };
    let (known, held) = (reader.read(&slice.fit, true), reader.read(&slice.valid, false));
    let one = |setting: &Setting| {
        let scorer = Scorer::fit(&blocks, &known, log.models.len(), setting);
        let of = |query: &Query<'_>| {
            let scores = scorer.scores(query);
            let found = best_candidates(&query.panel, &scores, &query.own);
            let score = candidates::returned(log, query, &found).unwrap_or(f64::NAN);
            let share = || softmax(&scores)[found[0]];
            let gate = (!found.is_empty() && !score.is_nan())
                .then(|| (gate_features(&query.panel, &query.standing(), found[0], share()), score));
            (score, gate)
        };
        held.iter().map(of).unzip()
    };
    settings.iter().map(one).collect()
}

type Gates = Vec<Option<([f32; GATE_DIM], f64)>>;

/// Every setting on the rows of every fold.
fn play_folds(params: &Params, log: &Log<'_>, folds: &Folds) -> Vec<Played> {
    let settings = params.settings();
    let blank = Played { scores: vec![f64::NAN; log.n_queries()], gate: vec![None; log.n_queries()] };
    let mut played = vec![blank; settings.len()];
    let slices: Vec<Slice> = (0..folds.n_folds()).filter_map(|fold| folds.slice(fold)).collect();
    let a_set = params.losses.len() * params.lambda.len();
    let jobs: Vec<(usize, &Slice)> =
        (0..params.blocks.len()).flat_map(|set| slices.iter().map(move |slice| (set, slice))).collect();
    let found: Vec<_> = jobs
        .par_iter()
        .map(|(set, slice)| play(params, &settings[set * a_set..(set + 1) * a_set], log, slice))
        .collect();
    for ((set, slice), results) in jobs.iter().zip(found) {
        for (at, (scores, gates)) in results.into_iter().enumerate() {
            let played = &mut played[set * a_set + at];
            for ((row, score), gate) in slice.valid.iter().zip(scores).zip(gates) {
                (played.scores[*row], played.gate[*row]) = (score, gate);
            }
        }
    }
    played
}

/// What every setting and the best single member did on the folds of every repeat: means of scores, and what the gate
/// reads in the first.
struct Validated {
    played: Vec<Played>,
    single: Vec<f64>,
}

impl Validated {
    fn of(params: &Params, log: &Log<'_>, repeats: &[Folds]) -> Self {
        let mut whole = Self {
            played: play_folds(params, log, &repeats[0]),
            single: folds::best_single(log, &repeats[0]),
        };
        let add = |sum: &mut [f64], more: &[f64]| sum.iter_mut().zip(more).for_each(|(sum, x)| *sum += x);
        for dealt in &repeats[1..] {
            for (sum, more) in whole.played.iter_mut().zip(play_folds(params, log, dealt)) {
                add(&mut sum.scores, &more.scores);
            }
            add(&mut whole.single, &folds::best_single(log, dealt));
        }
        let n = repeats.len() as f64;
        let scores = whole.played.iter_mut().map(|played| &mut played.scores);
        scores.chain([&mut whole.single]).flatten().for_each(|score| *score /= n);
        whole
    }
}

/// The first setting that is as good as the best within a part of the standard error of their difference; settings go
/// from plain to fancy.
fn plainest(played: &[Played], criteria: &[f64]) -> usize {
    let best = Log::strongest(criteria);
    let is_near = |at: &usize| {
        let behind = folds::gain(&played[best].scores, &played[*at].scores);
        behind.is_some_and(|(_, se)| criteria[best] - criteria[*at] <= TOLERANCE * se)
    };
    (0..best).find(is_near).unwrap_or(best)
}

/// Weights of the gate, learned on some rows.
fn fit_gate(gates: &[&([f32; GATE_DIM], f64)]) -> Vec<f64> {
    let rows = Rows {
        features: gates.iter().flat_map(|(x, _)| x.map(f64::from)).collect(),
        dim: GATE_DIM,
        targets: gates.iter().map(|(_, score)| *score).collect(),
        starts: vec![0, gates.len()],
    };
    losses::fit(&rows, Loss::Logistic, GATE_LAMBDA, &[None; GATE_DIM])
}

/// Expected calibration error on rows that the gate of the other folds has not seen.
fn calibration_error(gates: &Gates, folds: &Folds) -> Option<f64> {
    let mut seen = Vec::new();
    for slice in (0..folds.n_folds()).filter_map(|fold| folds.slice(fold)) {
        let known: Vec<_> = slice.fit.iter().filter_map(|row| gates[*row].as_ref()).collect();
        let weights = fit_gate(&known);
        for (x, score) in slice.valid.iter().filter_map(|row| gates[*row].as_ref()) {
            seen.push((sigmoid(linear(&weights, &x.map(f64::from))), *score));
        }
    }
    expected_calibration_error(seen)
}

/// `sum over bins of |mean probability - mean score|`, weighted by their rows; bins of equal numbers.
pub(super) fn expected_calibration_error(mut seen: Vec<(f64, f64)>) -> Option<f64> {
    seen.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n = seen.len();
    let bins = (0..BINS).map(|bin| &seen[bin * n / BINS..(bin + 1) * n / BINS]);
    let gap = |bin: &[(f64, f64)]| bin.iter().map(|(p, score)| p - score).sum::<f64>().abs();
    (n > 0).then(|| bins.map(gap).sum::<f64>() / n as f64)
}

impl Method for AnswerStacker {
    const NAME: &'static str = "answer-stacker";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let asked = Asked {
            method: Self::NAME,
            key: "members",
            models: &params.members,
            normalize: &params.normalize,
        };
        let log = Log::read(&asked, context)?;
        log.expect_forms(Self::NAME)?;
        let deal =
            |repeat: usize| Folds::new(context.train, context.seed.wrapping_add(repeat as u64), params.folds);
        let repeats: Vec<Folds> = (0..params.repeats).map(deal).collect();
        context.progress.start("cross-validation", 0);
        let Validated { played, single } = Validated::of(params, &log, &repeats);
        let sources = Sources::of(context.train);
        let criterion = |played: &Played| sources.mean(&played.scores, context.average);
        let criteria: Vec<f64> =
            played.iter().map(|played| criterion(played).unwrap_or(f64::NEG_INFINITY)).collect();
        let best = plainest(&played, &criteria);
        let (setting, played) = (params.settings()[best], &played[best]);
        let gained = folds::gain(&played.scores, &single);
        let mut metrics = folds::figures(&played.scores, &single, context);
        let error = calibration_error(&played.gate, &repeats[0]);
        metrics.extend(error.map(|error| ("folds_calibration_error".to_owned(), error)));
        let chosen = Params {
            members: log.models.clone(),
            blocks: vec![params.blocks[setting.set].clone()],
            losses: vec![setting.loss],
            lambda: vec![setting.lambda],
            ..params.clone()
        };
        let pays = gained.is_some_and(|(gain, se)| gain > params.margin * se);
        let mut fitted = match pays {
            true => asking_all(&log, context, &chosen, played)?,
            false => programs::alone(&log, context).fitted(&log, context, &chosen, Self::NAME)?,
        };
        fitted.metrics.extend(metrics);
        fitted.tuning = Some(Tuning { candidates: criteria.len(), slices: params.folds });
        Ok(fitted)
    }
}

/// The policy that asks all members, learned on all of train; `params` have one value in each grid.
fn asking_all(
    log: &Log<'_>,
    context: &FitContext<'_>,
    params: &Params,
    played: &Played,
) -> Result<Fitted, FitError> {
    let rows: Vec<usize> = (0..log.n_queries()).collect();
    let accuracies = Accuracies::fit(&log.votes, &rows);
    let blocks = learned(params, 0, log, &rows, &accuracies);
    let reader = Reader { log, accuracies: &accuracies, blocks: &blocks, grouping: Grouping::Equal };
    let scorer = Scorer::fit(&blocks, &reader.read(&rows, true), log.models.len(), &params.settings()[0]);
    let n_arms = context.train.n_arms();
    let gates: Vec<_> = played.gate.iter().flatten().collect();
    let gate = (scorer.loss == Loss::Softmax && !gates.is_empty())
        .then(|| programs::linear("winner", &fit_gate(&gates), Link::Logistic, n_arms));
    let judges = Judges { gate, ..scorer.router(n_arms).into() };
    let selection = Selection {
        skills: accuracies.skills(),
        blocks: scorer.blocks,
        least: (params.abstain > 0.0).then_some(params.abstain as f32),
        ..programs::selection(log, log.models.clone(), Grouping::Equal)
    };
    programs::Made { selection, judges }.fitted(log, context, params, AnswerStacker::NAME)
}

#[cfg(test)]
mod tests;
