//! The training loop: steps, judgements on a validation slice, checkpoints.

use super::checkpoint::Checkpoint;
use super::engine::{store_step, take_step};
use crate::method::FitError;
use crate::progress::Progress;
use rand::seq::SliceRandom;
use routewright_data::{OutcomeTable, Tensors, rng};
use routewright_policy::LoadError;
use std::collections::BTreeMap;

/// What the loop drives.
pub trait Learner {
    /// Takes step `step`, counted from 0, and returns the loss before it. Every random choice must depend
    /// on the step and the seed alone.
    fn step(&mut self, step: u64) -> f32;

    /// How good the weights are on the validation slice; greater is better.
    fn judge(&self) -> f64;

    /// The weights as they are now.
    fn weights(&self) -> Tensors;

    /// Everything needed to go on, weights included.
    fn save(&self) -> Tensors;

    /// Goes on from what [`Learner::save`] saved.
    ///
    /// # Errors
    /// If the tensors are not those of this learner.
    fn restore(&mut self, tensors: &mut Tensors) -> Result<(), LoadError>;
}

/// How long a run is.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Steps, at most.
    pub steps: u64,
    /// Steps between judgements (and checkpoints).
    pub every: u64,
    /// Whether to judge at all; without, the last weights are the best.
    pub judged: bool,
    /// Judgements without a better one after which the run ends; 0 for never.
    pub patience: u64,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Steps taken when the weights were best.
    pub best_step: u64,
    /// The judgement then; NaN for a run that is not judged.
    pub best_score: f64,
    /// The weights then.
    pub best: Tensors,
    /// Every judgement, in the order of the steps.
    pub curve: Vec<Judgement>,
}

/// What the weights were worth after some steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// Steps taken.
    pub step: u64,
    /// What the learner said; greater is better.
    pub score: f64,
}

impl Run {
    fn start() -> Self {
        Self { best_step: 0, best_score: f64::NEG_INFINITY, best: Tensors::new(), curve: Vec::new() }
    }
}

const BEST: &str = "best.";
const AT: &str = "run.at";
const BEST_AT: &str = "run.best_at";
const BEST_SCORE: &str = "run.best_score";
const CURVE: &str = "run.curve";

/// Runs a learner through a phase, going on from its checkpoint where there is one.
///
/// # Errors
/// If a loss is not finite, or a checkpoint cannot be read or written.
pub fn run(
    method: &'static str,
    phase: &str,
    learner: &mut dyn Learner,
    schedule: &Schedule,
    checkpoint: &Checkpoint,
    progress: &dyn Progress,
) -> Result<Run, FitError> {
    let mut best = Run::start();
    let mut step = 0;
    if let Some(mut saved) = checkpoint.load(phase)? {
        let misfit = |error: LoadError| checkpoint.misfit(phase, &error);
        step = take_step(AT, &mut saved).map_err(misfit)?;
        best = take_best(&mut saved).map_err(misfit)?;
        learner.restore(&mut saved).map_err(misfit)?;
    }
    progress.start(phase, schedule.steps);
    progress.step(step, "");
    let every = schedule.every.max(1);
    while step < schedule.steps && !out_of_patience(schedule, step, best.best_step) {
        let loss = learner.step(step);
        step += 1;
        if !loss.is_finite() {
            let reason = format!("the loss is `{loss}` at step {step}; try a smaller learning rate");
            return Err(FitError::Numeric { method, reason });
        }
        progress.step(step, &format!("loss {loss:.4}"));
        if !step.is_multiple_of(every) && step < schedule.steps {
            continue;
        }
        if schedule.judged {
            let score = learner.judge();
            best.curve.push(Judgement { step, score });
            if score > best.best_score {
                best = Run { best_step: step, best_score: score, best: learner.weights(), ..best };
            }
            progress.step(step, &format!("loss {loss:.4}, validation {score:.4}"));
        }
        if checkpoint.is_kept() {
            checkpoint.save(phase, state(learner, step, &best))?;
        }
    }
    if !schedule.judged || best.best_step == 0 {
        best = Run { best_step: step, best_score: f64::NAN, best: learner.weights(), ..best };
    }
    Ok(best)
}

fn out_of_patience(schedule: &Schedule, step: u64, best_step: u64) -> bool {
    let limit = schedule.patience * schedule.every.max(1);
    schedule.judged && limit > 0 && best_step > 0 && step - best_step >= limit
}

fn state(learner: &dyn Learner, step: u64, best: &Run) -> Tensors {
    let mut tensors = learner.save();
    store_step(AT, step, &mut tensors);
    store_step(BEST_AT, best.best_step, &mut tensors);
    store_step(BEST_SCORE, best.best_score.to_bits(), &mut tensors);
    let halves = |v: u64| [v as u32, (v >> 32) as u32];
    let curve = best.curve.iter().flat_map(|j| [halves(j.step), halves(j.score.to_bits())]).flatten();
    tensors.insert_u32(CURVE, &[best.curve.len(), 4], curve.collect());
    for (name, tensor) in best.best.iter() {
        tensors.insert(&format!("{BEST}{name}"), tensor.clone());
    }
    tensors
}

fn take_best(tensors: &mut Tensors) -> Result<Run, LoadError> {
    let best_step = take_step(BEST_AT, tensors)?;
    let best_score = f64::from_bits(take_step(BEST_SCORE, tensors)?);
    let shape = tensors.shape(CURVE)?;
    let whole = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let curve = tensors.take_u32(CURVE, &shape)?;
    let curve = curve
        .chunks_exact(4)
        .map(|q| Judgement { step: whole(q[0], q[1]), score: f64::from_bits(whole(q[2], q[3])) });
    let curve = curve.collect();
    let names: Vec<String> = tensors.iter().map(|(name, _)| name.to_owned()).collect();
    let mut best = Tensors::new();
    for name in names.iter().filter(|name| name.starts_with(BEST)) {
        best.insert(&name[BEST.len()..], tensors.take(name)?);
    }
    Ok(Run { best_step, best_score, best, curve })
}

/// Deals rows out in batches, epoch by epoch; the batch of a step depends on the step and the seed alone.
#[derive(Debug, Clone)]
pub struct Sampler {
    pool: Vec<usize>,
    batch: usize,
    seed: u64,
    epoch: u64,
    order: Vec<usize>,
}

impl Sampler {
    /// Batches of `batch` out of `rows` of `table`.
    ///
    /// With `per_source > 0` every source is dealt `per_source` items an epoch, repeated or cut to that
    /// number (as RouterDC's released code does with its training files); with 0 every row once.
    pub fn new(table: &OutcomeTable, rows: &[usize], per_source: usize, batch: usize, seed: u64) -> Self {
        let mut pool = rows.to_vec();
        if per_source > 0 {
            let mut by_source = BTreeMap::<Option<&str>, Vec<usize>>::new();
            for &row in rows {
                by_source.entry(table.queries[row].source.as_deref()).or_default().push(row);
            }
            let mut rng = rng::stream(seed, "per-source");
            pool.clear();
            for rows in by_source.values_mut() {
                rows.shuffle(&mut rng);
                pool.extend(rows.iter().cycle().take(per_source));
            }
        }
        let batch = batch.clamp(1, pool.len().max(1));
        Self { pool, batch, seed, epoch: u64::MAX, order: Vec::new() }
    }

    /// Rows of the batch of a step; the rest of an epoch that does not fill a batch is left out.
    pub fn batch(&mut self, step: u64) -> &[usize] {
        let batches = (self.pool.len() / self.batch).max(1) as u64;
        let (epoch, at) = (step / batches, (step % batches) as usize);
        if epoch != self.epoch {
            self.epoch = epoch;
            self.order.clone_from(&self.pool);
            self.order.shuffle(&mut rng::stream(self.seed, &format!("epoch {epoch}")));
        }
        &self.order[at * self.batch..((at + 1) * self.batch).min(self.order.len())]
    }
}
