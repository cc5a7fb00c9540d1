//! Parameters that every network method has: how long, how fast, on what.

use super::epochs::Schedule;
use super::optim::AdamW;
use crate::method::FitError;
use serde::{Deserialize, Serialize};

/// Parameters of a training run, flattened into those of a method.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Steps, at most.
    pub steps: u64,
    /// Steps between judgements on the validation slice.
    pub every: u64,
    /// Judgements without progress before it stops; 0 for never.
    pub patience: u64,
    /// Queries a step.
    pub batch: usize,
    /// Learning rate.
    pub rate: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Items of each source an epoch, repeated or cut to that number; 0 deals every query once.
    pub per_source: usize,
    /// Slices of the train split held out in turn to choose the number of steps; below 2 one slice is.
    pub folds: usize,
    /// Share of the train split in the slice where there is only one.
    pub valid_share: f64,
    /// Whether to train on all rows for the chosen number of steps in the end.
    pub refit: bool,
}

impl Training {
    /// The run that chooses the number of steps.
    pub fn schedule(&self) -> Schedule {
        Schedule { steps: self.steps, every: self.every, judged: true, patience: self.patience }
    }

    /// The optimiser.
    pub fn optimizer(&self) -> AdamW {
        AdamW { rate: self.rate, weight_decay: self.weight_decay, ..AdamW::default() }
    }

    /// Refuses what no run can be made of.
    ///
    /// # Errors
    /// If a parameter is out of range.
    pub fn check(&self, method: &'static str) -> Result<(), FitError> {
        let error = |reason: String| Err(FitError::Params { method, reason });
        if self.steps == 0 {
            return error("`steps` is `0`, expected at least 1".to_owned());
        }
        if !(self.rate > 0.0 && self.rate < 10.0) {
            return error(format!("`rate` is `{}`, expected a number above 0 and below 10", self.rate));
        }
        if !(0.0..1.0).contains(&self.valid_share) {
            return error(format!("`valid_share` is `{}`, expected a number in [0, 1)", self.valid_share));
        }
        Ok(())
    }
}
