//! PackLLM (arXiv 2404.11531): the better a model knows the prompt, the more it counts; logits added.
//!
//! The loss of a member is its cross-entropy on the prompt. `sim`: weights are `softmax(-loss / tau)`. `opt`: members
//! are sorted by loss and mixed in one by one, each with the share (a grid of 0.05) that makes the mix's loss on the
//! prompt least. `top-1`: the member of least loss alone. Logits are added with these weights, which is the
//! log-linear pool. The units are tokens of the first member (see [`crate::align::MinEdit`]); `union` meets in the
//! union instead.
//!
//! Deviations: 1. losses are per byte of the prompt times the bytes of a token of the first member, so that members
//! of long tokens are not at a disadvantage, and of the same bytes for all: where a member has no beginning-of-text
//! token it cannot tell how probable its first token is, and all leave those bytes out; a prompt that has no other
//! bytes in common says nothing. 2. The reference is the first member, not the one of least loss: maps
//! are made before there is a prompt. 3. An end of answer ends it; the released code writes to a fixed length. 4. An
//! empty prompt says nothing: weights are equal.

use super::TokenLoop;
use crate::align::{Align, MinEdit, Space, Union};
use crate::backend::{Backend, NextTokens};
use crate::fuse::{Fuser, Grain, MemberNeed, System, unfit, vocabularies};
use crate::generation::{FuseError, Generation};
use crate::pool::Pool;
use crate::weigh::{Loss, Perplexity};
use std::sync::Arc;

/// The space logits are added in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meet {
    /// Tokens of the first member, others mapped to them by edit distance.
    #[default]
    MinEdit,
    /// The union of the byte strings.
    Union,
}

/// Parameters of PackLLM.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// How losses become weights.
    pub weights: Loss,
    /// Temperature of `sim`, in nats a token.
    pub tau: f32,
    /// The space logits are added in.
    pub vocabulary: Meet,
}

impl Default for Params {
    fn default() -> Self {
        Self { weights: Loss::Sim, tau: 1.0, vocabulary: Meet::MinEdit }
    }
}

/// The system.
#[derive(Debug)]
pub struct PackLlm(TokenLoop);

impl System for PackLlm {
    const NAME: &'static str = "packllm";
    const TITLE: &'static str = "logits added, weighted by how well each member knows the prompt";
    const PAPER: Option<&'static str> = Some("2404.11531");
    const GRAIN: Grain = Grain::Token;
    const NEEDS: &'static [MemberNeed] =
        &[MemberNeed::Next(NextTokens::Top(1)), MemberNeed::Tokenizer, MemberNeed::Scoring];
    type Params = Params;

    fn build(params: Params, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        if !(params.tau > 0.0 && params.tau.is_finite()) {
            return Err(unfit::<Self>(&format!("`tau` is `{}`; numbers above 0 are accepted", params.tau)));
        }
        let full = backends.iter().all(|backend| backend.capabilities().next == NextTokens::Full);
        if params.weights == Loss::Opt && !full {
            return Err(unfit::<Self>("`opt` needs all next-token probabilities of every member"));
        }
        let vocabularies = vocabularies::<Self>(backends)?;
        // Distances between all tokens of two vocabularies take a while; they are not computed for nothing.
        let needed = params.vocabulary == Meet::MinEdit || params.weights == Loss::Opt;
        let map = needed.then(|| Arc::new(MinEdit::new(&vocabularies, 0)));
        let align: Box<dyn Align> = match (params.vocabulary, &map) {
            (Meet::MinEdit, Some(map)) => Box::new(map.clone()),
            _ => Box::new(Union::new(Space::union(&vocabularies))),
        };
        let weigh = Box::new(Perplexity { loss: params.weights, tau: params.tau, map });
        Ok(Self(TokenLoop { align, pool: Pool::LogLinear, weigh }))
    }
}

impl Fuser for PackLlm {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        self.0.run(generation)
    }
}
