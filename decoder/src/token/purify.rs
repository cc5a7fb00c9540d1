//! "Purifying large language models by ensembling a small language model" (arXiv 2402.14845): logits of a large and
//! a benign small model averaged, `z = alpha z_large + (1 - alpha) z_small`.
//!
//! As distributions that is the log-linear pool with weights alpha and 1 - alpha (CP-Delta with the Kullback-Leibler
//! divergence). The paper has one vocabulary and two members.
//!
//! Deviations: 1. any number of members, with `weights`. 2. Members of unlike vocabularies meet in the union of their
//! byte strings where `vocabulary = "union"`; a string one member lacks is vetoed by it almost completely.

use super::TokenLoop;
use crate::align::{Align, Same, Space, Union};
use crate::backend::{Backend, NextTokens};
use crate::fuse::{Fuser, Grain, MemberNeed, System, unfit, vocabularies};
use crate::generation::{FuseError, Generation};
use crate::pool::Pool;
use crate::weigh::Fixed;
use std::sync::Arc;

/// The space logits are averaged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meet {
    /// One vocabulary; others are refused.
    #[default]
    Same,
    /// The union of the byte strings.
    Union,
}

/// Parameters of the purifying ensemble.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Weights of the members; equal ones where empty. Two members: alpha and 1 - alpha.
    pub weights: Vec<f32>,
    /// The space logits are averaged in.
    pub vocabulary: Meet,
}

/// The system.
#[derive(Debug)]
pub struct Purify(TokenLoop);

impl System for Purify {
    const NAME: &'static str = "purify";
    const TITLE: &'static str = "logits averaged: what one member finds improbable is not said";
    const PAPER: Option<&'static str> = Some("2402.14845");
    const GRAIN: Grain = Grain::Token;
    const NEEDS: &'static [MemberNeed] = &[MemberNeed::Next(NextTokens::Top(1)), MemberNeed::Tokenizer];
    type Params = Params;

    fn build(params: Params, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        let weights = crate::fuse::weights::<Self>(params.weights, backends)?;
        let vocabularies = vocabularies::<Self>(backends)?;
        let align: Box<dyn Align> = match params.vocabulary {
            Meet::Union => Box::new(Union::new(Space::union(&vocabularies))),
            Meet::Same => Box::new(Same::new(&vocabularies).map_err(|reason| {
                unfit::<Self>(&format!("{reason}; set `vocabulary` to `union` for unlike vocabularies"))
            })?),
        };
        let (pool, weigh) = (Pool::LogLinear, Box::new(Fixed(weights)));
        Ok(Self(TokenLoop { align, pool, weigh }))
    }
}

impl Fuser for Purify {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        self.0.run(generation)
    }
}
