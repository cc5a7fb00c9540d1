//! How every network method is fitted: choose the number of steps on a validation slice, then refit.
//!
//! 1. *select*: train on the rows outside a slice and judge on it; the number of steps is the one that judges best,
//!    on one slice (whose best weights are kept) or on average over several held out in turn.
//! 2. Fit the line from raw outputs to scores on the (first) slice, with weights after that many steps outside it.
//! 3. *refit* (optional): train from the start on every row for the chosen number of steps.

use super::bag::{BagRows, TrainableBag};
#[cfg(feature = "bert")]
use super::bert::BertRecipe;
use super::checkpoint::Checkpoint;
use super::device;
use super::epochs::{Judgement, Run, Sampler, Schedule, run};
use super::judge::Judge;
use super::learner::{Criterion, Encoder, MakeTargets, NetworkLearner, unpack};
use super::network::{Network, Parameter};
use super::optim::AdamW;
use super::training::Training;
use crate::calibration;
use crate::evaluate::Tuning;
use crate::method::{FitContext, FitError, Fitted};
use crate::validation::{self, Slice};
use routewright_data::{Cells, Tensors};
use routewright_policy::Batch;
use routewright_policy::forms::{Calibration, CostModel};

/// A bag of n-grams in front of the network.
#[derive(Debug)]
pub struct BagRecipe<'a> {
    /// N-grams of every query of the train table.
    pub rows: &'a BagRows,
    /// Rows of the table.
    pub n_buckets: usize,
    /// Standard deviation of the table at the start.
    pub sd: f32,
    /// Its own learning rate and decay.
    pub optimizer: AdamW,
}

/// What is trained in front of the network.
#[derive(Debug)]
pub enum Front<'a> {
    /// A bag of n-grams.
    Bag(BagRecipe<'a>),
    /// A sentence encoder.
    #[cfg(feature = "bert")]
    Bert(&'a BertRecipe),
}

/// What a method asks for.
pub struct Recipe<'a> {
    /// Name of the method, for errors.
    pub method: &'static str,
    /// Sizes of the network.
    pub network: Network,
    /// In front of the network; features of the context where `None`.
    pub front: Option<Front<'a>>,
    /// How long, how fast, on what.
    pub training: Training,
    /// What is judged on the slice, by which labels, averaged how.
    pub criterion: Criterion,
    /// Labels `(n_queries, n_arms)` choices are judged by.
    pub judged: &'a Cells,
    /// Standard deviation of the noise added to inputs in training.
    pub noise: f32,
    /// Makes the targets of a batch of rows.
    pub targets: &'a MakeTargets<'a>,
    /// Where to resume from.
    pub checkpoint: Checkpoint,
}

impl std::fmt::Debug for Recipe<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recipe")
            .field("method", &self.method)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl Recipe<'_> {
    fn check(&self) -> Result<(), FitError> {
        let method = self.method;
        let error = |reason: String| Err(FitError::Params { method, reason });
        if self.network.dim == 0 {
            let reason = "the features have width 0; choose another featurizer".to_owned();
            return Err(FitError::Log { method, reason });
        }
        if self.network.layers.iter().any(|layer| layer.width == 0) {
            return error("a layer has width `0`, expected at least 1".to_owned());
        }
        if !(self.noise >= 0.0 && self.noise.is_finite()) {
            return error(format!("`noise` is `{}`, expected 0 or a positive number", self.noise));
        }
        self.training.check(method)
    }
}

/// What was learned.
#[derive(Debug)]
pub struct Trained {
    /// Weights of the network.
    pub parameters: Vec<Parameter>,
    /// Rows of the bag, where there is one.
    pub bag: Option<Vec<f32>>,
    /// Weights of the whole run by name, those of the front among them.
    pub weights: Tensors,
    /// Line from raw outputs to scores, fitted on the slice.
    pub calibration: Calibration,
    /// Chosen number of steps.
    pub steps: u64,
    /// Judgement of the slice at that step.
    pub validation: f64,
    /// How many numbers of steps were tried on how many slices.
    pub tried: Tuning,
}

impl Trained {
    /// Writes what was chosen on the validation slice into the figures of a fit.
    pub fn record(&self, fitted: &mut Fitted, name: &str, value: f64) {
        fitted.metrics.insert("steps".to_owned(), self.steps as f64);
        fitted.tuning = Some(self.tried).filter(|tried| tried.candidates > 1);
        if value.is_finite() {
            fitted.metrics.insert(name.to_owned(), value);
        }
    }
}

/// Fits a recipe.
///
/// # Errors
/// If the device cannot be used, training diverges, or a checkpoint cannot be read or written.
pub fn fit(recipe: &Recipe<'_>, context: &FitContext<'_>) -> Result<Trained, FitError> {
    device::probe(context.device)?;
    recipe.check()?;
    let (slice, selected, tried) = select(recipe, context)?;
    let judge = Judge::new(context.train, recipe.judged, &slice.valid, context.average);
    let (mut parameters, mut bag) = unpacked(recipe, &selected)?;
    let calibration = calibrate(recipe, context, &slice, &parameters, &selected.best)?;
    let mut weights = selected.best;
    if recipe.training.refit {
        let all: Vec<usize> = (0..context.train.n_queries()).collect();
        let slice = Slice { fit: all, valid: slice.valid };
        let schedule = Schedule { steps: selected.best_step, judged: false, ..recipe.training.schedule() };
        let refitted = phase(recipe, context, &slice, &judge, "refit", schedule)?;
        (parameters, bag) = unpacked(recipe, &refitted)?;
        weights = refitted.best;
    }
    let (steps, validation) = (selected.best_step, selected.best_score);
    Ok(Trained { parameters, bag, weights, calibration, steps, validation, tried })
}

/// The run that chose the number of steps, the slice its weights have not seen, and how much was tried.
fn select(recipe: &Recipe<'_>, context: &FitContext<'_>) -> Result<(Slice, Run, Tuning), FitError> {
    let (train, training) = (context.train, &recipe.training);
    let mut slices = Vec::new();
    if training.folds >= 2 {
        let folds = validation::Folds::new(train, context.seed, training.folds);
        slices.extend((0..training.folds).filter_map(|fold| folds.slice(fold)));
    }
    if slices.len() < 2 {
        let slice = validation::slice(train, context.seed, training.valid_share);
        let judge = Judge::new(train, recipe.judged, &slice.valid, context.average);
        let run = phase(recipe, context, &slice, &judge, "select", training.schedule())?;
        let tried = Tuning { candidates: run.curve.len(), slices: 1 };
        return Ok((slice, run, tried));
    }
    let mut curves = Vec::new();
    for (at, slice) in slices.iter().enumerate() {
        let judge = Judge::new(train, recipe.judged, &slice.valid, context.average);
        let name = format!("select-{}", at + 1);
        curves.push(phase(recipe, context, slice, &judge, &name, training.schedule())?.curve);
    }
    let candidates = curves.iter().map(Vec::len).min().unwrap_or(0);
    let tried = Tuning { candidates, slices: slices.len() };
    let slice = slices.swap_remove(0);
    let judge = Judge::new(train, recipe.judged, &slice.valid, context.average);
    let Some((steps, score)) = best_on_average(&curves) else {
        let reason = "no number of steps could be judged on the slices of train".to_owned();
        return Err(FitError::Numeric { method: recipe.method, reason });
    };
    let schedule = Schedule { steps, judged: false, ..training.schedule() };
    let run = phase(recipe, context, &slice, &judge, "calibrate", schedule)?;
    Ok((slice, Run { best_score: score, ..run }, tried))
}

/// The number of steps of the greatest mean judgement, among those that every curve has.
fn best_on_average(curves: &[Vec<Judgement>]) -> Option<(u64, f64)> {
    let n = curves.iter().map(Vec::len).min()?;
    let mean = |at: usize| curves.iter().map(|curve| curve[at].score).sum::<f64>() / curves.len() as f64;
    let candidates: Vec<(u64, f64)> = (0..n).map(|at| (curves[0][at].step, mean(at))).collect();
    validation::best(&candidates)
}

fn phase(
    recipe: &Recipe<'_>,
    context: &FitContext<'_>,
    slice: &Slice,
    judge: &Judge,
    name: &str,
    schedule: Schedule,
) -> Result<Run, FitError> {
    let seed = context.seed;
    let parameters = recipe.network.init(seed);
    let mut learner = NetworkLearner {
        network: recipe.network.clone(),
        engine: device::engine(
            context.device,
            recipe.network.clone(),
            parameters,
            recipe.training.optimizer(),
        )?,
        encoder: encoder(recipe, context)?,
        sampler: Sampler::new(
            context.train,
            &slice.fit,
            recipe.training.per_source,
            recipe.training.batch,
            seed,
        ),
        targets: recipe.targets,
        valid: &slice.valid,
        judge,
        criterion: recipe.criterion,
        noise: recipe.noise,
        seed,
    };
    run(recipe.method, name, &mut learner, &schedule, &recipe.checkpoint, context.progress)
}

/// The encoder in front of the network, at the start of training.
fn encoder<'a>(recipe: &'a Recipe<'_>, context: &'a FitContext<'_>) -> Result<Encoder<'a>, FitError> {
    Ok(match &recipe.front {
        None => Encoder::Frozen(context.features),
        Some(Front::Bag(bag)) => {
            let dim = recipe.network.dim;
            let table = TrainableBag::new(bag.n_buckets, dim, bag.sd, bag.optimizer, context.seed);
            Encoder::Bag(Box::new(table), bag.rows)
        }
        #[cfg(feature = "bert")]
        Some(Front::Bert(bert)) => Encoder::Bert(bert.start(context.device)?),
    })
}

fn unpacked(recipe: &Recipe<'_>, run: &Run) -> Result<(Vec<Parameter>, Option<Vec<f32>>), FitError> {
    unpack(&recipe.network, &run.best)
        .map_err(|error| FitError::Numeric { method: recipe.method, reason: error.to_string() })
}

fn calibrate(
    recipe: &Recipe<'_>,
    context: &FitContext<'_>,
    slice: &Slice,
    parameters: &[Parameter],
    weights: &Tensors,
) -> Result<Calibration, FitError> {
    // Outputs of a network with several heads are not scores of arms; its method knows what they are.
    if recipe.network.n_arms != context.train.n_arms() {
        return Ok(Calibration::default());
    }
    let mut encoder = encoder(recipe, context)?;
    encoder
        .set_weights(weights)
        .map_err(|error| FitError::Numeric { method: recipe.method, reason: error.to_string() })?;
    let inputs = encoder.inputs(&slice.valid);
    let cost = CostModel::constant(vec![f32::NAN; recipe.network.n_arms]);
    let predictor = recipe.network.predictor(parameters, Calibration::default(), cost);
    let labels = context.train.score.select_rows(&slice.valid);
    Ok(predictor
        .predict(&Batch::of(&inputs))
        .map_or_else(|_| Calibration::default(), |p| calibration::within_queries(&p.score, &labels)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_steps_is_the_best_on_average_that_every_curve_has() {
        let curve = |scores: &[f64]| -> Vec<Judgement> {
            let at = |(i, &score): (usize, &f64)| Judgement { step: 10 * (i as u64 + 1), score };
            scores.iter().enumerate().map(at).collect()
        };
        // Means 0.5, 0.6, 0.55; the third curve ended before its fourth judgement.
        let curves = [curve(&[0.9, 0.5, 0.4, 1.0]), curve(&[0.3, 0.8, 0.5, 1.0]), curve(&[0.3, 0.5, 0.75])];
        let (steps, score) = best_on_average(&curves).unwrap();
        assert_eq!(steps, 20);
        assert!((score - 0.6).abs() < 1e-12);
        assert_eq!(best_on_average(&[curve(&[]), curve(&[0.5])]), None);
    }
}
