//! How much each member counts, step by step. One file a way.

mod agreement;
mod fixed;
mod perplexity;
mod served;
mod spans;

pub use agreement::Agreement;
pub use fixed::Fixed;
pub use perplexity::{Loss, Perplexity};
pub use served::ServedWeights;
pub use spans::SpanWeights;

use crate::align::Aligned;
use crate::distribution::Distribution;
use crate::generation::{FuseError, Generation};
use std::fmt::Debug;

/// A way to set weights; shared by all answers.
pub trait Weigh: Send + Sync + Debug {
    /// Begins an answer: the members have read the prompt.
    ///
    /// # Errors
    /// If a member fails or the weights cannot be had.
    fn start(&self, generation: &mut Generation<'_>) -> Result<Box<dyn Weigher>, FuseError>;
}

/// Weights over one answer.
pub trait Weigher: Send {
    /// Weights of this step, one a member, not negative. Members that take no part are left out afterwards
    /// and the others scaled to 1.
    ///
    /// # Errors
    /// If the weights cannot be had.
    fn weigh(&mut self, view: &View<'_>) -> Result<Weights, FuseError>;
}

/// What weights may depend on.
#[derive(Debug)]
pub struct View<'a> {
    /// Steps committed before.
    pub step: usize,
    /// The prompt.
    pub prompt: &'a [u8],
    /// The answer so far.
    pub text: &'a [u8],
    /// What the members say comes next.
    pub told: &'a [Option<Distribution>],
    /// The same in one space.
    pub aligned: &'a Aligned<'a>,
}

/// Weights with what is to be logged of how they came about.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weights {
    /// One a member.
    pub values: Vec<f32>,
    /// Span they belong to, where they are set by span.
    pub span: Option<usize>,
    /// Natural logarithm of the density they were drawn with, where they were drawn.
    pub log_density: Option<f64>,
}

impl Weights {
    /// Weights that nothing else is to be said of.
    pub fn plain(values: Vec<f32>) -> Self {
        Self { values, span: None, log_density: None }
    }
}

/// Weights of the members that take part, scaled to sum to 1; equal ones where all of them are 0.
pub fn among(weights: &[f32], taking_part: &[bool]) -> Vec<f32> {
    let kept: Vec<f32> =
        weights.iter().zip(taking_part).map(|(w, part)| if *part { w.max(0.0) } else { 0.0 }).collect();
    let sum: f32 = kept.iter().sum();
    if sum > 0.0 && sum.is_finite() {
        return kept.iter().map(|w| w / sum).collect();
    }
    let n = taking_part.iter().filter(|part| **part).count().max(1) as f32;
    taking_part.iter().map(|part| if *part { 1.0 / n } else { 0.0 }).collect()
}
