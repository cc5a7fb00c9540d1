//! EVA (arXiv 2404.09492): every member's distribution is carried into the vocabulary of the first by a map between
//! their embeddings, and added there.
//!
//! Per step a member's `top` most probable tokens are kept, scaled, and multiplied by the sparse map of
//! [`crate::align::Projection`]. Weights are fixed, or equal among the members that agree with another (`drop`): those
//! whose most probable unit is among the `agree` most probable of another member.
//!
//! Deviations: those of the map, and: 4. every member keeps its cache. 5. Carried masses are scaled to sum to 1.

use super::TokenLoop;
use crate::align::{Align, Aligned, END, Projection, Rows, Side, Space};
use crate::backend::{Backend, BackendError, NextTokens};
use crate::distribution::Distribution;
use crate::fuse::{Fuser, Grain, MemberNeed, System, unfit, vocabularies};
use crate::generation::{FuseError, Generation};
use crate::mass::scaled;
use crate::member::Member;
use crate::pool::Pool;
use crate::weigh::{Agreement, Fixed, Weigh};
use std::borrow::Cow;
use std::sync::Arc;

/// Parameters of EVA.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Weights of the members; equal ones where empty.
    pub weights: Vec<f32>,
    /// Members that no other agrees with do not count.
    pub drop: bool,
    /// How far down another member's list a unit may stand to be agreed with.
    pub agree: usize,
    /// Tokens of every member that are kept a step.
    pub top: usize,
    /// Tokens of the first member that one of another is mixed of.
    pub mapped: usize,
    /// Cosine below which tokens are not alike.
    pub least: f32,
}

impl Default for Params {
    fn default() -> Self {
        Self { weights: Vec::new(), drop: true, agree: 3, top: 320, mapped: 10, least: 0.0 }
    }
}

/// The system.
#[derive(Debug)]
pub struct Eva(TokenLoop);

/// The first member's tokens are the units; others are carried to them.
#[derive(Debug)]
struct Carried {
    space: Space,
    /// By member; none of the first.
    maps: Vec<Option<Projection>>,
    top: usize,
}

impl System for Eva {
    const NAME: &'static str = "eva";
    const TITLE: &'static str =
        "distributions carried to one vocabulary by a map between embeddings, and added";
    const PAPER: Option<&'static str> = Some("2404.09492");
    const GRAIN: Grain = Grain::Token;
    const NEEDS: &'static [MemberNeed] =
        &[MemberNeed::Next(NextTokens::Top(1)), MemberNeed::Tokenizer, MemberNeed::Embeddings];
    type Params = Params;

    fn build(params: Params, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        if params.top == 0 || params.mapped == 0 || params.agree == 0 {
            return Err(unfit::<Self>("`top`, `mapped` and `agree` must be at least 1"));
        }
        let weights = crate::fuse::weights::<Self>(params.weights, backends)?;
        let vocabularies = vocabularies::<Self>(backends)?;
        let side = |at: usize| {
            let name = backends[at].name();
            let embeddings = backends[at].embeddings();
            let embeddings = embeddings
                .ok_or_else(|| unfit::<Self>(&format!("member `{name}` does not show its embeddings")))?;
            Ok::<_, FuseError>(Side { vocabulary: vocabularies[at], embeddings })
        };
        let mut maps = vec![None];
        for (at, backend) in backends.iter().enumerate().skip(1) {
            let map = Projection::new(side(at)?, side(0)?, params.mapped, params.least, rows(backend));
            maps.push(Some(map.map_err(|reason| unfit::<Self>(&format!("`{}`: {reason}", backend.name())))?));
        }
        let align = Box::new(Carried { space: Space::union(&vocabularies[..1]), maps, top: params.top });
        let weigh: Box<dyn Weigh> = match params.drop {
            true => Box::new(Agreement { n: params.agree, weights }),
            false => Box::new(Fixed(weights)),
        };
        Ok(Self(TokenLoop { align, pool: Pool::Linear, weigh }))
    }
}

/// Rows of the output projection of a member; none of one that shows none, which was refused.
fn rows(backend: &Arc<dyn Backend>) -> Rows {
    let backend = backend.clone();
    Box::new(move |id| {
        let row = backend.embeddings().map(|all| all.output[id as usize * all.dim..][..all.dim].to_vec());
        row.unwrap_or_default()
    })
}

impl Fuser for Eva {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        self.0.run(generation)
    }
}

impl Align for Carried {
    fn align<'a>(
        &'a self,
        members: &mut [Option<Member>],
        told: &[Option<Distribution>],
    ) -> Result<Aligned<'a>, BackendError> {
        let mass = members.iter().zip(told).enumerate().map(|(at, (member, told))| {
            let (vocabulary, told) = (member.as_ref()?.vocabulary(), told.as_ref()?);
            let top = Distribution::from_top(told.top(self.top)).ok()?;
            let Some(map) = &self.maps[at] else { return scaled(self.space.project(0, &top)) };
            let mut mass = self.space.spread(0, &map.project(&top));
            mass[END] = vocabulary.ends().iter().filter_map(|id| top.log_prob(*id)).map(f32::exp).sum();
            scaled(mass)
        });
        Ok(Aligned::listed(Cow::Borrowed(self.space.units()), mass.collect()))
    }
}
