//! Byte mixture: the next-byte probabilities of every member, added with weights; one byte a step.
//!
//! What the systems of the survey lack: no token of one vocabulary competes with a prefix of itself from another,
//! so words stay whole at every weight. The alignment and its deviations: [`crate::align::bytes`]. A step is a byte,
//! so `limits.steps` counts bytes.

use super::ByteLoop;
use crate::align::bytes::Beam;
use crate::backend::{Backend, NextTokens};
use crate::fuse::{Fuser, Grain, MemberNeed, System, unfit};
use crate::generation::{FuseError, Generation};
use crate::pool::Pool;
use crate::weigh::Fixed;
use std::sync::Arc;

/// Parameters of the byte mixture.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Weights of the members; equal ones where empty.
    pub weights: Vec<f32>,
    /// How many covers of the text are kept of each member.
    pub beam: Beam,
    /// How probabilities meet.
    pub pool: Pool,
}

/// The system.
#[derive(Debug)]
pub struct ByteMixture(ByteLoop);

impl System for ByteMixture {
    const NAME: &'static str = "byte-mixture";
    const TITLE: &'static str = "next-byte probabilities added, whatever the vocabularies";
    const PAPER: Option<&'static str> = Some("2410.09303");
    const GRAIN: Grain = Grain::Token;
    const NEEDS: &'static [MemberNeed] =
        &[MemberNeed::Next(NextTokens::Full), MemberNeed::Tokenizer, MemberNeed::CheapRollback];
    type Params = Params;

    fn build(params: Params, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        if params.beam.width == 0 || !(0.0..1.0).contains(&params.beam.share) {
            return Err(unfit::<Self>("`beam` needs a width of at least 1 and a share in [0, 1)"));
        }
        let weights = crate::fuse::weights::<Self>(params.weights, backends)?;
        Ok(Self(ByteLoop::new(backends, params.beam, params.pool, Box::new(Fixed(weights)))))
    }
}

impl Fuser for ByteMixture {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        self.0.run(generation)
    }
}
