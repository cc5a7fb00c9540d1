//! SweetSpan (arXiv 2409.18583): members write a few words each, all judge all, scores that stand out are left out,
//! the text of the best mean is taken.
//!
//! Every member writes `words` words on. Member `j` gives text `i` the score `s_ij`, its log-probability a byte. Of the
//! scores of a text those further from their median than `deviations` median absolute deviations are left out
//! ([`Filter`]); the mean of the others decides, ties by what the author thinks of its own text.
//!
//! There is no released code. What the paper leaves open is filled in so: 1. the rule of the filter is ours. 2.
//! Scores are per byte, not per token. 3. A span has `words` words also where the first of them was begun before.

use super::looping::{Judged, run};
use super::score::mean;
use super::{Filter, Proposer, Until};
use crate::backend::{Backend, NextTokens};
use crate::fuse::{Fuser, Grain, MemberNeed, System, unfit};
use crate::generation::{FuseError, Generation};
use std::sync::Arc;

/// Parameters of SweetSpan.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Words of a span.
    pub words: usize,
    /// Tokens of a span at most.
    pub tokens: usize,
    /// Which scores of a text count.
    pub filter: Filter,
}

impl Default for Params {
    fn default() -> Self {
        Self { words: 4, tokens: 48, filter: Filter::default() }
    }
}

/// The system.
#[derive(Debug)]
pub struct SweetSpan {
    proposer: Proposer,
    filter: Filter,
}

impl System for SweetSpan {
    const NAME: &'static str = "sweetspan";
    const TITLE: &'static str = "spans of a few words, judged by all members but those that stand out";
    const PAPER: Option<&'static str> = Some("2409.18583");
    const GRAIN: Grain = Grain::Span;
    const NEEDS: &'static [MemberNeed] = &[MemberNeed::Next(NextTokens::None), MemberNeed::Scoring];
    type Params = Params;

    fn build(params: Params, _backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        let Params { words, tokens, filter } = params;
        if words == 0 || tokens == 0 {
            return Err(unfit::<Self>("`words` and `tokens` must be at least 1"));
        }
        if !(filter.deviations >= 0.0 && filter.deviations.is_finite()) {
            let reason =
                format!("`deviations` is `{}`; numbers of at least 0 are accepted", filter.deviations);
            return Err(unfit::<Self>(&reason));
        }
        Ok(Self { proposer: Proposer { until: Until::Words(words), tokens }, filter })
    }
}

impl Fuser for SweetSpan {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        run(generation, &self.proposer, |_, scores| {
            let merit = |(author, scores): (usize, &Vec<f32>)| {
                let kept = self.filter.keep(scores, author);
                let kept = kept.iter().filter(|score| !score.is_nan()).map(|score| f64::from(*score));
                mean(kept).unwrap_or(f64::NAN)
            };
            Judged { merits: scores.iter().enumerate().map(merit).collect(), weights: Vec::new() }
        })
    }
}
