//! Cool-Fusion (arXiv 2407.19807): members write to the next word boundary they have in common, and the text that
//! they together find least perplexing is taken.
//!
//! Every member writes on until its text reaches a place where a word ends and every tokenizer cuts, whatever
//! follows: so nobody's earlier tokens change. Every member gives every text its perplexity, here `exp` of the mean
//! negative log-probability of a byte; the text of the least mean perplexity is appended for all.
//!
//! There is no released code. What the paper leaves open is filled in so: 1. perplexity is per byte, not per token, so
//! that tokenizers are comparable. 2. A boundary is white space after something else, where no token of any member
//! reaches across. 3. A text without a boundary ends after `tokens` tokens. 4. The text alone is judged, given what
//! comes before; judging it together with the whole answer (version 2 of the paper) is left out.

use super::looping::{Judged, run};
use super::score::mean;
use super::{Boundary, Proposer, Until};
use crate::backend::{Backend, NextTokens};
use crate::fuse::{Fuser, Grain, MemberNeed, System, unfit};
use crate::generation::{FuseError, Generation};
use std::sync::Arc;

/// Parameters of Cool-Fusion.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Tokens of a text without a boundary.
    pub tokens: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self { tokens: 32 }
    }
}

/// The system.
#[derive(Debug)]
pub struct CoolFusion(Proposer);

impl System for CoolFusion {
    const NAME: &'static str = "cool-fusion";
    const TITLE: &'static str = "texts up to a common word boundary, the least perplexing to all is taken";
    const PAPER: Option<&'static str> = Some("2407.19807");
    const GRAIN: Grain = Grain::Span;
    const NEEDS: &'static [MemberNeed] = &[MemberNeed::Next(NextTokens::None), MemberNeed::Scoring];
    type Params = Params;

    fn build(params: Params, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        if params.tokens == 0 {
            return Err(unfit::<Self>("`tokens` is 0; at least 1 is accepted"));
        }
        let until = Until::Boundary(Boundary::of(backends));
        Ok(Self(Proposer { until, tokens: params.tokens }))
    }
}

impl Fuser for CoolFusion {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        run(generation, &self.0, |_, scores| {
            let perplexity =
                |scores: &Vec<f32>| mean(scores.iter().filter(|s| !s.is_nan()).map(|s| f64::from(-s).exp()));
            let merits = scores.iter().map(|scores| perplexity(scores).map_or(f64::NAN, |p| -p));
            Judged { merits: merits.collect(), weights: Vec::new() }
        })
    }
}
