//! Agreement: members write one text together, each in its own tokens, and only what agrees with the text counts
//! (agreement-based ensembling, arXiv 2502.21265).
//!
//! A member's tokens agree with the text if one is a beginning of the other. A member in the middle of a token is not
//! asked again: the tokens it listed that agree with the text say what may follow. So every member is asked once a
//! token of its own, and lists that are cut off suffice: it works over a network. It is the byte mixture
//! ([`super::byte_mixture`]) with one cover a member; where a text leaves all tokens a member listed, the member
//! reads the text as its tokenizer cuts it and goes on from there.
//!
//! Deviations: 1. the paper searches jointly over tokens of all members; here bytes are chosen one by one. 2. Fused
//! everywhere: SAFE's decision when to fuse, and its sharpening, are not done. 3. In log-linear pools a byte that no
//! listed token agrees with has the probability of one token that the list lacks, however many of them begin with it.

use super::ByteLoop;
use crate::align::bytes::Beam;
use crate::backend::{Backend, NextTokens};
use crate::fuse::{Fuser, Grain, MemberNeed, System};
use crate::generation::{FuseError, Generation};
use crate::pool::Pool;
use crate::weigh::Fixed;
use std::sync::Arc;

/// Parameters of agreement.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Weights of the members; equal ones where empty.
    pub weights: Vec<f32>,
    /// How probabilities meet.
    pub pool: Pool,
}

/// The system.
#[derive(Debug)]
pub struct Agreement(ByteLoop);

impl System for Agreement {
    const NAME: &'static str = "agreement";
    const TITLE: &'static str =
        "one text, each member in its own tokens: only tokens that agree with the text count";
    const PAPER: Option<&'static str> = Some("2502.21265");
    const GRAIN: Grain = Grain::Token;
    const NEEDS: &'static [MemberNeed] = &[MemberNeed::Next(NextTokens::Top(2)), MemberNeed::Tokenizer];
    type Params = Params;

    fn build(params: Params, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        let weights = crate::fuse::weights::<Self>(params.weights, backends)?;
        let beam = Beam { width: 1, share: 0.0 };
        Ok(Self(ByteLoop::new(backends, beam, params.pool, Box::new(Fixed(weights)))))
    }
}

impl Fuser for Agreement {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        self.0.run(generation)
    }
}
