//! GaC, "generation as classification" (arXiv 2406.12585): the union of the vocabularies, probabilities added.
//!
//! Every step is one classification over the union: `q = sum_m w_m p_m M_m` with 0/1 matrices `M_m`, here one index
//! an id. Weights are equal, or in proportion to a score of each model (`scores`). With `threshold` the first member
//! is a gate: where it is sure, it alone decides and the others are not asked.
//!
//! Deviations from the released code: 1. byte-level BPE tokens are bytes of any value, not ASCII only. 2. Units stand
//! in the order of the ids of the first member, so that ties fall the same in every process. 3. Nothing is read again
//! because a unit is several tokens of a member (see [`crate::member`]). 4. Sampling is possible, not only the most
//! probable unit.

use super::TokenLoop;
use super::looping::choose;
use crate::align::{Space, Union};
use crate::backend::{Backend, NextTokens};
use crate::fuse::{Fuser, Grain, MemberNeed, System, unfit, vocabularies};
use crate::generation::{FuseError, Generation};
use crate::pool::Pool;
use crate::weigh::{Fixed, View};
use std::sync::Arc;

/// Parameters of GaC.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Weights of the members; equal ones where empty.
    pub weights: Vec<f32>,
    /// Score of each member on a task, instead of weights: weights are in proportion to them.
    pub scores: Vec<f32>,
    /// Probability from which on the first member decides alone; above 1 never.
    pub threshold: f32,
}

impl Default for Params {
    fn default() -> Self {
        Self { weights: Vec::new(), scores: Vec::new(), threshold: 2.0 }
    }
}

/// The system.
#[derive(Debug)]
pub struct Gac {
    steps: TokenLoop,
    threshold: f32,
}

impl System for Gac {
    const NAME: &'static str = "gac";
    const TITLE: &'static str = "probabilities added over the union of the vocabularies";
    const PAPER: Option<&'static str> = Some("2406.12585");
    const GRAIN: Grain = Grain::Token;
    const NEEDS: &'static [MemberNeed] = &[MemberNeed::Next(NextTokens::Top(1)), MemberNeed::Tokenizer];
    type Params = Params;

    fn build(params: Params, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        let weights = match (&params.weights[..], &params.scores[..]) {
            ([], []) => vec![1.0; backends.len()],
            (weights, []) => weights.to_vec(),
            ([], scores) => scores.to_vec(),
            _ => return Err(unfit::<Self>("give `weights` or `scores`, not both")),
        };
        let weights = crate::fuse::weights::<Self>(weights, backends)?;
        let space = Space::union(&vocabularies::<Self>(backends)?);
        let steps = TokenLoop {
            align: Box::new(Union::new(space)),
            pool: Pool::Linear,
            weigh: Box::new(Fixed(weights)),
        };
        Ok(Self { steps, threshold: params.threshold })
    }
}

impl Fuser for Gac {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        if self.threshold > 1.0 {
            return self.steps.run(generation);
        }
        let mut weigher = self.steps.weigh.start(generation)?;
        while !generation.is_over()? {
            let mut told = generation.ask_some(|at| at == 0, |_, member| member.next())?;
            let sure = told[0].as_ref().is_some_and(|told| told.best().1.exp() > self.threshold);
            if !sure {
                let others = generation.ask_some(|at| at != 0, |_, member| member.next())?;
                told.iter_mut().zip(others).skip(1).for_each(|(told, other)| *told = other);
            }
            let aligned = generation.align(&*self.steps.align, &told)?;
            let (step, prompt, text) = (generation.steps(), generation.prompt(), generation.text());
            let weights = weigher.weigh(&View { step, prompt, text, told: &told, aligned: &aligned })?;
            choose(self.steps.pool, generation, &told, &aligned, weights)?;
        }
        Ok(())
    }
}
