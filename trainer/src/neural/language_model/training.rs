//! Steps of AdamW on batches of texts: warm-up, cosine, clipped gradients.

use super::super::engine::{store_step, take_step};
use super::super::optim::AdamW;
use super::weights::{LmShape, LmWeights};
use super::{SHARDS, pass};
use crate::method::FitError;
use crate::progress::Progress;
use rayon::prelude::*;
use routewright_data::{Tensors, rng};
use routewright_policy::LoadError;
use serde::{Deserialize, Serialize};

const METHOD: &str = "language-model";

/// A text to learn: ids as the model reads them, from the beginning-of-text id to the end-of-text id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The ids.
    pub ids: Vec<u32>,
    /// Whether an id counts in the loss, for every id; others are only read. The first never counts.
    pub learned: Vec<bool>,
}

impl Text {
    /// Places of the ids that count.
    pub(super) fn targets(&self) -> impl Iterator<Item = usize> {
        (1..self.ids.len()).filter(|at| self.learned.get(*at) == Some(&true))
    }
}

/// How a model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LmRecipe {
    /// Sizes.
    pub shape: LmShape,
    /// Steps.
    pub steps: u64,
    /// Steps of linear warm-up; the rate then falls to 0 along a cosine.
    pub warm_up: u64,
    /// Highest learning rate.
    pub rate: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Length the gradient is cut to.
    pub clip: f32,
    /// Seed of the weights at the start.
    pub seed: u64,
}

impl LmRecipe {
    /// Learning rate of a step, counted from 0.
    fn rate(&self, step: u64) -> f32 {
        if step < self.warm_up {
            return self.rate * (step + 1) as f32 / self.warm_up as f32;
        }
        let done = (step - self.warm_up) as f32 / (self.steps - self.warm_up).max(1) as f32;
        self.rate * 0.5 * (1.0 + (std::f32::consts::PI * done).cos())
    }
}

/// A model in training.
#[derive(Debug, Clone)]
pub struct LmTrainer {
    recipe: LmRecipe,
    weights: LmWeights,
    moments: [LmWeights; 2],
    step: u64,
}

impl LmTrainer {
    /// A model at the start of its training.
    ///
    /// # Errors
    /// If the recipe cannot be followed.
    pub fn new(recipe: LmRecipe) -> Result<Self, FitError> {
        let error = |reason| FitError::Params { method: METHOD, reason };
        recipe.shape.check().map_err(error)?;
        if recipe.warm_up > recipe.steps {
            let (warm_up, steps) = (recipe.warm_up, recipe.steps);
            return Err(error(format!("`warm_up` is `{warm_up}`, expected at most the {steps} steps")));
        }
        let weights = LmWeights::random(recipe.shape, &mut rng::stream(recipe.seed, "language model"));
        let zeros = weights.zeros();
        Ok(Self { recipe, weights, moments: [zeros.clone(), zeros], step: 0 })
    }

    /// Takes the steps that are left; `batch` gives the texts of a step from its number alone.
    ///
    /// # Errors
    /// If a text cannot be read or a loss is not finite.
    pub fn run(&mut self, batch: &dyn Fn(u64) -> Vec<Text>, progress: &dyn Progress) -> Result<(), FitError> {
        progress.start("language model", self.recipe.steps);
        while self.step < self.recipe.steps {
            let loss = self.step(&batch(self.step))?;
            progress.step(self.step, &format!("loss {loss:.4}"));
        }
        Ok(())
    }

    /// Takes one step; the loss an id before it.
    ///
    /// # Errors
    /// If a text cannot be read or the loss is not finite.
    pub fn step(&mut self, texts: &[Text]) -> Result<f64, FitError> {
        let vocabulary = self.recipe.shape.vocabulary;
        if let Some(id) = texts.iter().flat_map(|text| &text.ids).find(|id| **id as usize >= vocabulary) {
            let reason = format!("a text has id `{id}`, expected ids below {vocabulary}");
            return Err(FitError::Log { method: METHOD, reason });
        }
        let (loss, mut gradient) = gradient(&self.weights, texts);
        if !loss.is_finite() {
            let reason = format!("the loss is `{loss}` at step {}; try a smaller learning rate", self.step);
            return Err(FitError::Numeric { method: METHOD, reason });
        }
        let mut parts = gradient.parts_mut();
        let squares: f64 = parts.iter().flat_map(|(_, part)| part.iter()).map(|g| f64::from(g * g)).sum();
        let scale = (f64::from(self.recipe.clip) / squares.sqrt().max(1e-12)).min(1.0) as f32;
        parts.iter_mut().for_each(|(_, part)| part.iter_mut().for_each(|g| *g *= scale));
        let rate = self.recipe.rate(self.step);
        let optimizer =
            AdamW { rate, beta_2: 0.99, weight_decay: self.recipe.weight_decay, ..AdamW::default() };
        self.step += 1;
        let at = optimizer.at(self.step);
        let [first, second] = &mut self.moments;
        let moments = first.parts_mut().into_iter().zip(second.parts_mut());
        for (((_, w), ((_, m), (_, v))), (_, g)) in
            self.weights.parts_mut().into_iter().zip(moments).zip(parts)
        {
            at.update(w, m, v, g);
        }
        Ok(loss)
    }

    /// Logits `(ids.len(), vocabulary)` after each id of a text.
    pub fn logits(&self, ids: &[u32]) -> Vec<f32> {
        pass::logits(&self.weights, ids)
    }

    /// The weights as they are now.
    pub fn weights(&self) -> &LmWeights {
        &self.weights
    }

    /// Steps taken.
    pub fn steps_taken(&self) -> u64 {
        self.step
    }

    /// Everything needed to go on.
    pub fn save(&self) -> Tensors {
        let mut tensors = Tensors::new();
        let mut all = [self.weights.clone(), self.moments[0].clone(), self.moments[1].clone()];
        for (kind, weights) in ["weights", "moment_1", "moment_2"].iter().zip(&mut all) {
            for (name, part) in weights.parts_mut() {
                tensors.insert_f32(&format!("{kind}.{name}"), &[part.len()], std::mem::take(part));
            }
        }
        store_step("step", self.step, &mut tensors);
        tensors
    }

    /// Goes on from what [`Self::save`] saved.
    ///
    /// # Errors
    /// If a tensor is missing, misshapen or not finite.
    pub fn restore(&mut self, tensors: &mut Tensors) -> Result<(), LoadError> {
        let [first, second] = &mut self.moments;
        for (kind, weights) in
            ["weights", "moment_1", "moment_2"].iter().zip([&mut self.weights, first, second])
        {
            for (name, part) in weights.parts_mut() {
                *part = tensors.take_f32(&format!("{kind}.{name}"), &[part.len()])?;
            }
        }
        self.step = take_step("step", tensors)?;
        Ok(())
    }
}

/// Mean loss an id learned, and its gradient.
pub(super) fn gradient(weights: &LmWeights, texts: &[Text]) -> (f64, LmWeights) {
    let learned: usize = texts.iter().map(|text| text.targets().count()).sum();
    let share = 1.0 / learned.max(1) as f32;
    let parts: Vec<(f64, LmWeights)> = texts
        .par_chunks(texts.len().div_ceil(SHARDS).max(1))
        .map(|texts| {
            let mut d = weights.zeros();
            (pass::backward(weights, texts, share, &mut d), d)
        })
        .collect();
    let mut parts = parts.into_iter();
    let (mut loss, mut sum) = parts.next().unwrap_or_else(|| (0.0, weights.zeros()));
    for (other, mut d) in parts {
        loss += other;
        for ((_, sum), (_, d)) in sum.parts_mut().into_iter().zip(d.parts_mut()) {
            sum.iter_mut().zip(d.iter()).for_each(|(sum, d)| *sum += d);
        }
    }
    (loss / learned.max(1) as f64, sum)
}
