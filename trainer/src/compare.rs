//! Several methods on one log, side by side, over several seeds.
//!
//! For every seed the featurizer is fitted on the train rows, every method is cross-validated on them
//! (folds by prompt hash, each with a featurizer fitted without it) and fitted on all of them, and the test
//! rows are predicted once. The method of the best cross-validated score is the *pick*: the figure a user
//! gets who never looks at test.

use crate::evaluate::{
    Decisions, Evaluation, JudgeError, JudgeOptions, Judged, Picked, Sources, judge, query_scores,
    standard_error,
};
use crate::method::{Device, MethodRow};
use crate::progress::{Progress, Silent};
use crate::train::{FeatureChoice, Prepared, RunOptions, TrainError, arms, feature_inputs, observed_arms};
use crate::validation::{self, Folds};
use routewright_data::{FeatureMatrix, OutcomeTable};
use routewright_policy::selectors::{self, SelectorError};
use routewright_policy::{Batch, Selector};
use std::time::Instant;

mod sides;

use sides::{Held, Sides};

/// Queries decided one at a time to measure what a decision takes.
const TIMED_DECISIONS: usize = 100;

/// How a comparison is run.
#[derive(Debug, Clone)]
pub struct CompareOptions {
    /// How features are made.
    pub features: FeatureChoice,
    /// The average of the headline figures, and of every criterion.
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
}

/// The outcome of a comparison.
#[derive(Debug)]
pub struct Compared {
    /// Every figure.
    pub judged: Judged,
}

impl Compared {
    /// One line on the pick, for people.
    pub fn summary(&self) -> String {
        let Some(picked) = &self.judged.picked else { return String::new() };
        let mut names = picked.methods.clone();
        names.dedup();
        let se = picked.score_se.map_or_else(String::new, |se| format!(" ± {se:.4}"));
        format!(
            "picked by cross-validation on train: {} with score {:.4}{se}",
            names.join(", "),
            picked.score
        )
    }
}

/// Fits and judges every method on the arms observed in `train`; `test` must have them.
///
/// # Errors
/// If a method cannot be fitted or nothing can be judged.
pub fn compare(
    train: &OutcomeTable,
    test: &OutcomeTable,
    methods: &[(&MethodRow, serde_json::Value)],
    options: &CompareOptions,
    progress: &dyn Progress,
) -> Result<Compared, CompareError> {
    let train = &observed_arms(train.clone());
    let test = &crate::evaluate::align(test, &arms(train))?;
    let judge_options = JudgeOptions { average: options.average, ..JudgeOptions::default() };
    let mut judged = Judged::new(&options.log, &options.split, Some(train), test, &judge_options)?;
    let mut runs: Vec<Vec<Evaluation>> = methods.iter().map(|_| Vec::new()).collect();
    let total = options.seeds.len() * methods.len();
    progress.start("methods", total as u64);
    let sides = Sides::open(train, test, &options.features)?;
    for (round, &seed) in options.seeds.iter().enumerate() {
        let (prepared, features) = sides.whole(seed)?;
        let left_out = LeftOut::each(&sides, seed, options.folds)?;
        for (at, (method, params)) in methods.iter().enumerate() {
            progress.step((round * methods.len() + at) as u64, &format!("{} with seed {seed}", method.name));
            let one = One { method, params, prepared: &prepared, left_out: &left_out, seed, options };
            runs[at].push(one.run(test, &features, &judge_options)?);
        }
    }
    judged.picked = pick(&runs, test, &judge_options);
    for run in runs {
        if let Some(evaluation) = mean_over_seeds(run, test, &judge_options) {
            judged.add(evaluation);
        }
    }
    Ok(Compared { judged })
}

/// The folds of a cross-validation, shared by every method.
struct LeftOut {
    folds: Folds,
    /// One entry a fold; `None` where a side is empty.
    held: Vec<Option<Held>>,
}

impl LeftOut {
    /// `None` if no cross-validation was asked for.
    fn each(sides: &Sides<'_>, seed: u64, n_folds: usize) -> Result<Option<Self>, CompareError> {
        if n_folds < 2 {
            return Ok(None);
        }
        let folds = Folds::new(sides.train(), seed, n_folds);
        let held = (0..folds.n_folds()).map(|at| folds.slice(at).map(|s| sides.fold(&s, seed)).transpose());
        let held = held.collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Self { folds, held }))
    }
}

/// One method with one seed.
struct One<'a> {
    method: &'a MethodRow,
    params: &'a serde_json::Value,
    prepared: &'a Prepared,
    left_out: &'a Option<LeftOut>,
    seed: u64,
    options: &'a CompareOptions,
}

impl One<'_> {
    fn run(
        &self,
        test: &OutcomeTable,
        features: &FeatureMatrix,
        judge_options: &JudgeOptions,
    ) -> Result<Evaluation, CompareError> {
        let validation_score = self.cross_validate()?;
        let started = Instant::now();
        let fitted =
            self.prepared.fit(self.method, self.params, &self.run_options()).map_err(TrainError::from)?;
        let fit_seconds = started.elapsed().as_secs_f64();
        let prediction = self.prepared.predict(&fitted, test, features)?;
        let selector = selectors::build(&fitted.selector, &arms(&self.prepared.train))?;
        let train = Some(&self.prepared.train);
        let mut evaluation = judge(self.method.name, test, train, &prediction, &*selector, judge_options)?;
        evaluation.validation_score = validation_score;
        evaluation.fit_seconds = Some(fit_seconds);
        evaluation.decide_us = Some(self.time_decisions(&fitted, test, &*selector)?);
        Ok(evaluation)
    }

    fn run_options(&self) -> RunOptions<'_> {
        RunOptions {
            average: self.options.average,
            seed: self.seed,
            device: self.options.device,
            progress: &Silent,
            checkpoint: None,
        }
    }

    /// Score of out-of-fold decisions over the train rows.
    fn cross_validate(&self) -> Result<Option<f64>, CompareError> {
        let Some(LeftOut { folds, held }) = self.left_out else { return Ok(None) };
        let scores = folds.out_of_fold(1, f64::NAN, |fold, slice| match &held[fold] {
            Some(held) => self.judge_held(held),
            None => Ok(vec![f64::NAN; slice.valid.len()]),
        })?;
        Ok(Sources::of(&self.prepared.train).mean(&scores, self.options.average))
    }

    /// Scores of the decisions on one fold by what was fitted on the others.
    fn judge_held(&self, held: &Held) -> Result<Vec<f64>, CompareError> {
        let rest = &held.rest;
        let fitted =
            held.kept.fit(self.method, self.params, &self.run_options()).map_err(TrainError::from)?;
        let prediction = held.kept.predict(&fitted, rest, &held.features)?;
        let selector = selectors::build(&fitted.selector, &arms(&held.kept.train))?;
        Ok(query_scores(&Decisions::of(&prediction, &*selector), rest))
    }

    /// Microseconds from text to chosen arm, one query at a time.
    fn time_decisions(
        &self,
        fitted: &crate::Fitted,
        test: &OutcomeTable,
        selector: &dyn Selector,
    ) -> Result<f64, CompareError> {
        let featurizer = fitted.featurizer.as_ref().unwrap_or(&self.prepared.featurizer);
        let inputs = feature_inputs(test);
        let (sources, n) = (test.sources(), inputs.len().min(TIMED_DECISIONS));
        let eligible = vec![true; test.n_arms()];
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

/// The best cross-validated method of every seed and what the picks reach on test.
fn pick(runs: &[Vec<Evaluation>], test: &OutcomeTable, options: &JudgeOptions) -> Option<Picked> {
    let n_seeds = runs.first().map_or(0, Vec::len);
    let mut picks: Vec<&Evaluation> = Vec::new();
    for seed in 0..n_seeds {
        let candidates: Vec<(&Evaluation, f64)> =
            runs.iter().filter_map(|run| Some((&run[seed], run[seed].validation_score?))).collect();
        picks.push(validation::best(&candidates)?.0);
    }
    let (score, score_se) = mean_score(&picks, test, options)?;
    Some(Picked { methods: picks.iter().map(|e| e.name().to_owned()).collect(), score, score_se })
}

/// Mean score over seeds and the bootstrap standard error of that mean: seeds share their queries, so the
/// queries are resampled with their mean score over seeds.
fn mean_score(
    runs: &[&Evaluation],
    test: &OutcomeTable,
    options: &JudgeOptions,
) -> Option<(f64, Option<f64>)> {
    let n = runs.len() as f64;
    let mut means = vec![0.0; runs.first()?.query_scores.len()];
    for run in runs {
        means.iter_mut().zip(&run.query_scores).for_each(|(mean, score)| *mean += score / n);
    }
    let score = runs.iter().map(|run| run.score).sum::<f64>() / n;
    Some((score, standard_error(&means, &Sources::of(test), options)))
}

/// The first seed's evaluation with its headline figures replaced by means over seeds.
fn mean_over_seeds(runs: Vec<Evaluation>, test: &OutcomeTable, options: &JudgeOptions) -> Option<Evaluation> {
    let borrowed: Vec<&Evaluation> = runs.iter().collect();
    let (score, score_se) = mean_score(&borrowed, test, options)?;
    let mean = |figure: fn(&Evaluation) -> Option<f64>| {
        let figures: Option<Vec<f64>> = runs.iter().map(figure).collect();
        figures.map(|figures| figures.iter().sum::<f64>() / figures.len() as f64)
    };
    let mut out = runs.first()?.clone();
    if runs.len() == 1 {
        return Some(out);
    }
    out.score = score;
    out.score_se = score_se;
    out.cost_usd = mean(|e| e.cost_usd);
    out.aiq = mean(|e| e.aiq);
    out.fit_seconds = mean(|e| e.fit_seconds);
    out.decide_us = mean(|e| e.decide_us);
    out.score_micro = mean(|e| Some(e.score_micro)).unwrap_or(out.score_micro);
    out.score_macro = mean(|e| Some(e.score_macro)).unwrap_or(out.score_macro);
    out.validation_score = mean(|e| e.validation_score);
    out.seed_scores = runs.iter().map(|run| run.score).collect();
    for (source, value) in &mut out.by_source {
        *value = runs.iter().filter_map(|run| run.by_source.get(source)).sum::<f64>() / runs.len() as f64;
    }
    Some(out)
}
