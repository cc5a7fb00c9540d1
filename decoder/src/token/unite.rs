//! UniTE (arXiv 2410.03777): probabilities averaged over the union of the members' `k` most probable tokens.
//!
//! The alignment and its deviations: [`crate::align::TopUnion`]. Further: 4. every member keeps its cache; the released
//! code reads the text again at every step. 5. An end of answer ends it; the released code writes to a fixed length.

use super::TokenLoop;
use crate::align::TopUnion;
use crate::backend::{Backend, NextTokens};
use crate::fuse::{Fuser, Grain, MemberNeed, System, unfit};
use crate::generation::{FuseError, Generation};
use crate::pool::Pool;
use crate::weigh::Fixed;
use std::sync::Arc;

/// Parameters of UniTE.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Tokens of each member that form the union.
    pub k: usize,
    /// Weights of the members; equal ones where empty.
    pub weights: Vec<f32>,
}

impl Default for Params {
    fn default() -> Self {
        Self { k: 10, weights: Vec::new() }
    }
}

/// The system.
#[derive(Debug)]
pub struct Unite(TokenLoop);

impl System for Unite {
    const NAME: &'static str = "unite";
    const TITLE: &'static str = "probabilities averaged over the union of the most probable tokens";
    const PAPER: Option<&'static str> = Some("2410.03777");
    const GRAIN: Grain = Grain::Token;
    const NEEDS: &'static [MemberNeed] = &[MemberNeed::Next(NextTokens::Top(1))];
    type Params = Params;

    fn build(params: Params, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        if params.k == 0 {
            return Err(unfit::<Self>("`k` is 0; at least 1 is accepted"));
        }
        let weights = crate::fuse::weights::<Self>(params.weights, backends)?;
        Ok(Self(TokenLoop {
            align: Box::new(TopUnion { k: params.k }),
            pool: Pool::Linear,
            weigh: Box::new(Fixed(weights)),
        }))
    }
}

impl Fuser for Unite {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        self.0.run(generation)
    }
}
