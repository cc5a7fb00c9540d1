//! Several methods on one log, side by side, over several seeds.
//!
//! For every seed the featurizer is fitted on the train rows, every method is cross-validated on them
//! (folds by prompt hash, each with a featurizer fitted without it) and fitted on all of them, and the test
//! rows are predicted once. One method is picked on the cross-validation (`pick.rs`): the figure a user gets who
//! never looks at test.
//!
//! The fits of the cross-validation run on all cores; the fit on all train rows, whose time is reported, runs alone.
//! A method that fails keeps its name and its error in the document and costs no other its row.

use crate::evaluate::{
    Contender, Evaluation, JudgeError, JudgeOptions, Judged, Judging, Picked, QueryOutcomes, judge,
    judge_played,
};
use crate::method::{Device, Fitted, MethodRow, Need, Reads};
use crate::progress::{Progress, Silent};
use crate::report;
use crate::rollout::{self, ReplayWorld, RolloutError};
use crate::train::{FeatureChoice, Prepared, RunOptions, TrainError, arms, feature_inputs, observed_arms};
use routewright_data::answers::AnswerTable;
use routewright_data::stats::Coverage;
use routewright_data::{FeatureMatrix, OutcomeTable};
use routewright_policy::program::Budget;
use routewright_policy::selectors::{self, SelectorError};
use routewright_policy::{Batch, Policy, PredictError, Predictor, Request, Selector};
use std::time::Instant;

mod out_of_fold;
mod pick;
pub(crate) mod sides;

use out_of_fold::{LeftOut, OutOfFold};
use sides::Sides;

/// Queries decided one at a time to measure what a decision takes.
const TIMED_DECISIONS: usize = 100;
/// Queries on which it is tried whether a policy reads the source.
const SOURCE_TRIALS: usize = 64;

/// How a comparison is run.
#[derive(Debug, Clone)]
pub struct CompareOptions {
    /// How features are made.
    pub features: FeatureChoice,
    /// The average of the headline figures, of the baselines and of every criterion.
    pub average: crate::evaluate::Average,
    /// Seeds; figures are means over them.
    pub seeds: Vec<u64>,
    /// Folds on which the best method is picked; below 2 none is picked.
    pub folds: usize,
    /// Where tensors are computed.
    pub device: Device,
    /// Name of the log, for the report.
    pub log: String,
    /// Split judged on, for the report.
    pub split: String,
    /// The answers of both sides, where a method reads them.
    pub answers: Option<Answers>,
}

/// The answers to the train rows and to the test rows, each by the models and in the order of its table.
#[derive(Debug, Clone)]
pub struct Answers {
    /// What is learned from.
    pub train: AnswerTable,
    /// What is judged on.
    pub test: AnswerTable,
}

/// Why methods could not be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// A method could not be trained.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A policy could not be judged.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// The selector of a method could not be built.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// A policy of several steps could not be played.
    #[error(transparent)]
    Rollout(#[from] Box<RolloutError>),
    /// A method reads answers, and none were given.
    #[error("method `{method}` reads answers, which the log does not have: expected a column `response`")]
    NoAnswers {
        /// Name of the method.
        method: &'static str,
    },
}

/// The outcome of a comparison.
#[derive(Debug)]
pub struct Compared {
    /// Every figure.
    pub judged: Judged,
}

impl Compared {
    /// What a reader should do, in a sentence or two.
    pub fn summary(&self) -> String {
        report::verdict(&self.judged)
    }
}

/// Fits and judges every method on the arms observed in `train`; `test` must have them.
///
/// # Errors
/// If features cannot be made or there is nothing to judge on. What goes wrong with one method is in
/// [`Judged::failed`]; if it does with all of them, the first error is returned.
pub fn compare(
    train: &OutcomeTable,
    test: &OutcomeTable,
    methods: &[(&MethodRow, serde_json::Value)],
    options: &CompareOptions,
    progress: &dyn Progress,
) -> Result<Compared, CompareError> {
    let models = [train.models.as_slice(), test.models.as_slice()];
    let answers = options.answers.as_ref().map(|answers| sides::Logged { answers, models });
    let train = &observed_arms(train.clone());
    let test = &crate::evaluate::align(test, &arms(train))?;
    let judge_options = JudgeOptions { average: options.average, ..JudgeOptions::default() };
    let mut judging = Judging::new(&options.log, &options.split, Some(train), test, &judge_options)?;
    let mut rows: Vec<MethodRuns> = methods.iter().map(|_| Ok(Vec::new())).collect();
    let mut picks = Vec::new();
    progress.start("methods", (options.seeds.len() * methods.len()) as u64);
    let sides = Sides::open(train, test, &options.features)?.with_answers(answers);
    for (round, &seed) in options.seeds.iter().enumerate() {
        let (prepared, features) = sides.whole(seed)?;
        let run = run_options(options, seed);
        let left_out = LeftOut::each(&sides, seed, options.folds, options.average)?;
        let validated = left_out.as_ref().map(|left_out| left_out.validate(methods, &run));
        let one = One { prepared: &prepared, test, features: &features, answers, run, judge_options };
        for (at, (method, params)) in methods.iter().enumerate() {
            progress.step((round * methods.len() + at) as u64, &format!("{}, seed {seed}", method.name));
            let Ok(evaluations) = &mut rows[at] else { continue };
            let found = validated.as_ref().and_then(|validated| validated[at].as_ref());
            match one.evaluate(method, params, found) {
                Ok(evaluation) => evaluations.push(evaluation),
                Err(error) => rows[at] = Err(error),
            }
        }
        if let (Some(left_out), Some(validated)) = (&left_out, &validated) {
            picks.extend(pick::pick(methods, validated, left_out, &judge_options));
        }
    }
    if let Some(thin) = Coverage::of(train).thin() {
        judging.notice(format!(
            "train rows: {thin}. What is learned there is confounded, and nothing is picked"
        ));
        picks.clear();
    }
    if let Some(picked) = picked(picks, &rows, methods, &judging, options.seeds.len()) {
        judging.pick(picked);
    }
    finish(judging, rows, methods, &judge_options)
}

/// The evaluations of one method, one a seed, or why there are none.
type MethodRuns = Result<Vec<Evaluation>, CompareError>;

fn run_options(options: &CompareOptions, seed: u64) -> RunOptions<'static> {
    RunOptions { average: options.average, seed, device: options.device, progress: &Silent, checkpoint: None }
}

fn finish(
    mut judging: Judging,
    rows: Vec<MethodRuns>,
    methods: &[(&MethodRow, serde_json::Value)],
    options: &JudgeOptions,
) -> Result<Compared, CompareError> {
    let mut first_error = None;
    let mut n_judged = 0;
    for (row, (method, _)) in rows.into_iter().zip(methods) {
        match row {
            Ok(seeds) => {
                if let Some(evaluation) = Evaluation::over_seeds(seeds, judging.sources(), options) {
                    judging.add(evaluation);
                    n_judged += 1;
                }
            }
            Err(error) => {
                judging.fail(method.name, error.to_string());
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if n_judged == 0 => Err(error),
        _ => Ok(Compared { judged: judging.finish() }),
    }
}

/// The picks of all seeds on the rows judged; `None` unless every seed has one.
fn picked(
    picks: Vec<pick::Pick>,
    rows: &[MethodRuns],
    methods: &[(&MethodRow, serde_json::Value)],
    judging: &Judging,
    n_seeds: usize,
) -> Option<Picked> {
    if picks.len() != n_seeds || picks.is_empty() {
        return None;
    }
    let best_single = judging.baselines().best_single.as_ref()?;
    let mut out = Picked {
        methods: Vec::new(),
        reasons: Vec::new(),
        figures: crate::evaluate::Figures::default(),
        reads_source: false,
        runs: Vec::<QueryOutcomes>::new(),
    };
    for (seed, pick) in picks.into_iter().enumerate() {
        let Some(at) = pick.method else {
            out.methods.push(pick::BEST_SINGLE.to_owned());
            out.runs.push(best_single.run.clone());
            out.reasons.push(pick.reason);
            continue;
        };
        let evaluation = rows[at].as_ref().ok()?.get(seed)?;
        out.methods.push(methods[at].0.name.to_owned());
        out.runs.extend(evaluation.runs.iter().cloned());
        out.reads_source |= evaluation.reads_source;
        out.reasons.push(pick.reason);
    }
    Some(out)
}

/// What every method of one seed shares.
struct One<'a> {
    prepared: &'a Prepared,
    test: &'a OutcomeTable,
    features: &'a FeatureMatrix,
    answers: Option<sides::Logged<'a>>,
    run: RunOptions<'a>,
    judge_options: JudgeOptions,
}

impl One<'_> {
    /// Fits one method on all train rows and judges it on test.
    fn evaluate(
        &self,
        method: &MethodRow,
        params: &serde_json::Value,
        validated: Option<&OutOfFold>,
    ) -> Result<Evaluation, CompareError> {
        if method.reads(Reads::Answers) && self.prepared.answers.is_none() {
            return Err(CompareError::NoAnswers { method: method.name });
        }
        let started = Instant::now();
        let fitted = self.prepared.fit(method, params, &self.run).map_err(TrainError::from)?;
        let fit_seconds = started.elapsed().as_secs_f64();
        if fitted.program.is_some() {
            return self.play(method, fitted, validated, fit_seconds);
        }
        let own = fitted.featurizer.as_ref().map(|own| own.featurize(&feature_inputs(self.test)));
        let own = own.transpose().map_err(TrainError::from)?;
        let (features, sources) = (own.as_ref().unwrap_or(self.features), self.test.sources());
        let at = |lambda: f64| {
            let lambdas = vec![Some(lambda); self.test.n_queries()];
            fitted.predictor.predict(&Batch { features, sources: &sources, lambdas: &lambdas })
        };
        let batch = Batch { sources: &sources, ..Batch::of(features) };
        let prediction = fitted.predictor.predict(&batch).map_err(TrainError::from)?;
        let selector = selectors::build(&fitted.selector, &arms(&self.prepared.train))?;
        let contender = Contender {
            repredict: if fitted.predictor.is_conditioned() { Some(&at) } else { None },
            ..Contender::new(method.name, &prediction, &*selector)
        };
        let train = Some(&self.prepared.train);
        let mut evaluation = judge(&contender, self.test, train, &self.judge_options)?;
        evaluation.validation = validated.map(|found| found.validation);
        evaluation.tuning = fitted.tuning;
        evaluation.reads_source =
            reads_source(fitted.predictor.as_ref(), features, &sources).map_err(TrainError::from)?;
        evaluation.fit_seconds = Some(fit_seconds);
        evaluation.decide_us = Some(self.time_decisions(&fitted, &*selector)?);
        Ok(evaluation)
    }

    /// Plays a policy of several steps on the answers to the test rows.
    fn play(
        &self,
        method: &MethodRow,
        fitted: Fitted,
        validated: Option<&OutOfFold>,
        fit_seconds: f64,
    ) -> Result<Evaluation, CompareError> {
        let logged = self.answers.ok_or(CompareError::NoAnswers { method: method.name })?;
        let tuning = fitted.tuning;
        let policy = self.prepared.policy(method, fitted, self.run.seed)?;
        let world =
            ReplayWorld::new(&self.test.queries, logged.models[1], &logged.answers.test, &policy.arms);
        let seeds = [self.run.seed];
        let played = rollout::play(method.name, &policy, self.test, &world, &self.judge_options, &seeds);
        let played = played.map_err(Box::new)?;
        let train = Some(&self.prepared.train);
        let evaluation = judge_played(played, self.test, train, &self.judge_options)?;
        Ok(Evaluation {
            validation: validated.map(|found| found.validation),
            tuning,
            fit_seconds: Some(fit_seconds),
            decide_us: Some(time_steps(&policy, self.test, &world)),
            reads_source: method.needs.contains(&Need::Source),
            ..evaluation
        })
    }

    /// Microseconds from text to chosen arm, one query at a time.
    fn time_decisions(&self, fitted: &Fitted, selector: &dyn Selector) -> Result<f64, CompareError> {
        let featurizer = fitted.featurizer.as_ref().unwrap_or(&self.prepared.featurizer);
        let inputs = feature_inputs(self.test);
        let (sources, n) = (self.test.sources(), inputs.len().min(TIMED_DECISIONS));
        let eligible = vec![true; self.test.n_arms()];
        let started = Instant::now();
        for (input, source) in inputs[..n].iter().zip(&sources) {
            let features = featurizer.featurize(&[*input]).map_err(TrainError::from)?;
            let batch = Batch { sources: &[*source], ..Batch::of(&features) };
            let prediction = fitted.predictor.predict(&batch).map_err(TrainError::from)?;
            std::hint::black_box(selector.distribution(&prediction.row(0), &eligible));
        }
        Ok(started.elapsed().as_secs_f64() * 1e6 / n.max(1) as f64)
    }
}

/// Microseconds that all steps of an episode take beside its calls, one query at a time.
fn time_steps(policy: &Policy, test: &OutcomeTable, world: &ReplayWorld<'_>) -> f64 {
    let inputs = feature_inputs(test);
    let n = inputs.len().min(TIMED_DECISIONS);
    let started = Instant::now();
    for (query, input) in inputs[..n].iter().enumerate() {
        let request = Request { input: *input, ..Request::default() };
        std::hint::black_box(rollout::episode(policy, request, Budget::default(), world, query).is_ok());
    }
    started.elapsed().as_secs_f64() * 1e6 / n.max(1) as f64
}

/// Whether predictions change when the sources the log names are withheld.
pub fn reads_source(
    predictor: &dyn Predictor,
    features: &FeatureMatrix,
    sources: &[Option<&str>],
) -> Result<bool, PredictError> {
    let mut seen = std::collections::BTreeSet::new();
    let first = |row: &usize| sources[*row].is_some() && seen.insert(sources[*row]);
    let rows: Vec<usize> = (0..sources.len()).filter(first).take(SOURCE_TRIALS).collect();
    let features = features.select_rows(&rows);
    let known: Vec<Option<&str>> = rows.iter().map(|row| sources[*row]).collect();
    let with = predictor.predict(&Batch { sources: &known, ..Batch::of(&features) })?;
    let without = predictor.predict(&Batch::of(&features))?;
    Ok(with.score != without.score)
}

#[cfg(test)]
mod tests;
