//! Answers written span by span, as an environment: what chooses weights, and what it is worth.
//!
//! The process of RLAE (arXiv 2506.00439): a step is one span, decoded once with the weights drawn for it; the state is
//! the prompt, the text so far and the number of spans; the reward comes at the end. The decoder implements
//! [`Environment`], the trainer plays it, and neither knows the other.

use crate::{DecideError, Policy, Request};
use routewright_data::features::FeatureInput;
pub use routewright_data::features::State;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Weights of one span and how they came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// One a member, not negative, sum 1.
    pub weights: Vec<f32>,
    /// Natural logarithm of the density they were drawn with; `None` where they were not drawn.
    pub log_density: Option<f64>,
}

/// Chooses the weights of every span of one answer.
pub trait Chooser: Send {
    /// Weights for what follows `state`.
    ///
    /// # Errors
    /// If they cannot be had; the answer fails with this reason.
    fn choose(&mut self, state: &State<'_>) -> Result<Choice, String>;
}

impl<C: Chooser + ?Sized> Chooser for &mut C {
    fn choose(&mut self, state: &State<'_>) -> Result<Choice, String> {
        (**self).choose(state)
    }
}

/// Where a span ends: after so many units, or after a unit that brings one of the marks, whichever comes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpanRule {
    /// Units at most: tokens, or bytes of a byte-level loop.
    pub units: usize,
    /// Marks.
    pub marks: Vec<String>,
}

impl Default for SpanRule {
    fn default() -> Self {
        Self { units: 8, marks: vec!["\n".to_owned()] }
    }
}

/// What an answer was worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Reward, in [0, 1].
    pub reward: f32,
    /// Calls of all models.
    pub calls: u64,
}

/// Tasks whose answers are written by members with weights.
pub trait Environment: Sync {
    /// Names of the members, in the order of weights.
    fn members(&self) -> Vec<String>;

    /// Number of tasks.
    fn n_tasks(&self) -> usize;

    /// Writes one answer to a task, its weights chosen by `chooser`; the same seed gives the same answer.
    ///
    /// # Errors
    /// If no answer can be written.
    fn play(&self, task: usize, seed: u64, chooser: &mut dyn Chooser) -> Result<Outcome, String>;
}

/// Chooses as a policy says: the weights are the distribution of its selector.
#[derive(Debug, Clone)]
pub struct PolicyWeights(pub Arc<Policy>);

impl PolicyWeights {
    /// Weights for what follows `state`.
    ///
    /// # Errors
    /// If the policy cannot read the state, or what it predicts makes no distribution.
    pub fn weights(&self, state: &State<'_>) -> Result<Vec<f32>, DecideError> {
        let text = state.to_text();
        let request = Request { input: FeatureInput::from(&*text), ..Request::default() };
        let router = self.0.router()?;
        let features = router.featurizer.featurize(&[request.input])?;
        let prediction = router.predictor.predict(&crate::Batch::of(&features))?;
        let eligible: Vec<bool> = self.0.arms.iter().map(|arm| !arm.retired).collect();
        router.checked_distribution(&self.0.arms, &prediction.row(0), &eligible)
    }
}

impl Chooser for PolicyWeights {
    fn choose(&mut self, state: &State<'_>) -> Result<Choice, String> {
        let weights = self.weights(state).map_err(|error| error.to_string())?;
        Ok(Choice { weights, log_density: None })
    }
}
