//! Speculative ensemble (arXiv 2502.01662): what plain fusion would write, with fewer turns.
//!
//! One member drafts `gamma` tokens. The member furthest behind reads the draft at once, which gives what it
//! thinks of every position and of one more: from that it adds a token (and up to `gamma` in all) to the draft. As
//! soon as all have read the first open position, the fused distribution `r` is known there, and the drafted token
//! `x` is kept with probability `min(1, r(x) / q(x))`, where `q` is what it was drawn from; on refusal a token is
//! drawn from
//! `(r - q)+`, scaled to 1, and drafting begins again. So what is written has exactly the distribution of plain
//! fusion, at temperature 0 the same text, and where members agree a call of one of them is a token, not a call of
//! all.
//!
//! Deviations: 1. `r` and `q` are the shaped distributions (temperature, top-p), so that any way of picking is exact.
//! 2. The member whose turn it is is the one furthest behind, not the next of a fixed order. 3. Where several ids
//! stand for the same bytes, members read the id of the one that drafted it.

use super::looping::opinions;
use crate::align::{END, Same};
use crate::backend::{Backend, NextTokens};
use crate::distribution::Distribution;
use crate::fuse::{Fuser, Grain, MemberNeed, System, unfit, vocabularies};
use crate::generation::{FuseError, Generation, Unit};
use crate::member::Member;
use crate::pick::Pick;
use crate::pool::Pool;
use crate::trace::Step;
use crate::weigh::among;
use rand::RngExt as _;
use routewright_data::rng::Rng;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Draws from a shaped distribution as it is.
const DRAW: Pick = Pick { temperature: 1.0, top_p: 1.0 };

/// Parameters of the speculative ensemble.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Tokens a member drafts when it is its turn.
    pub gamma: usize,
    /// Weights of the members; equal ones where empty.
    pub weights: Vec<f32>,
    /// How probabilities meet.
    pub pool: Pool,
}

impl Default for Params {
    fn default() -> Self {
        Self { gamma: 1, weights: Vec::new(), pool: Pool::Linear }
    }
}

/// The system.
#[derive(Debug)]
pub struct Speculative {
    align: Same,
    gamma: usize,
    weights: Vec<f32>,
    pool: Pool,
}

/// A drafted token and the shaped distribution it was drawn from, by unit.
#[derive(Debug, Clone)]
struct Drafted {
    id: u32,
    unit: usize,
    q: Vec<f32>,
}

/// The text beyond what all have agreed on.
#[derive(Debug)]
struct Ahead {
    draft: VecDeque<Drafted>,
    /// What each member says of the open positions, first first; it has read one drafted token less.
    told: Vec<VecDeque<Distribution>>,
    /// The token that was agreed on and that a member has not read.
    behind: Vec<Option<u32>>,
}

impl System for Speculative {
    const NAME: &'static str = "speculative-ensemble";
    const TITLE: &'static str = "plain fusion in fewer turns: one member drafts, all verify";
    const PAPER: Option<&'static str> = Some("2502.01662");
    const GRAIN: Grain = Grain::Token;
    const NEEDS: &'static [MemberNeed] = &[MemberNeed::Next(NextTokens::Full), MemberNeed::Tokenizer];
    type Params = Params;

    fn build(params: Params, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        if params.gamma == 0 {
            return Err(unfit::<Self>("`gamma` is 0; at least 1 is accepted"));
        }
        let weights = crate::fuse::weights::<Self>(params.weights, backends)?;
        let align = Same::new(&vocabularies::<Self>(backends)?).map_err(|reason| unfit::<Self>(&reason))?;
        Ok(Self { align, gamma: params.gamma, weights, pool: params.pool })
    }
}

impl Fuser for Speculative {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        generation.keeps_weights(&self.weights);
        let n = generation.members().len();
        let (draft, told) = (VecDeque::new(), vec![VecDeque::new(); n]);
        let mut ahead = Ahead { draft, told, behind: vec![None; n] };
        while !generation.is_over()? {
            let alive = (0..n).filter(|at| generation.members()[*at].is_some());
            // The first of those furthest behind.
            let Some(turn) = alive.min_by_key(|at| ahead.told[*at].len()) else { break };
            self.read_and_draft(generation, turn, &mut ahead)?;
            self.verify(generation, &mut ahead)?;
        }
        Ok(())
    }
}

impl Speculative {
    /// One member's turn: it reads what was drafted and drafts on.
    fn read_and_draft(
        &self,
        generation: &mut Generation<'_>,
        turn: usize,
        ahead: &mut Ahead,
    ) -> Result<(), FuseError> {
        let (pick, mut rng) = (generation.picking(), generation.streams().swap_remove(turn));
        let (told, draft) = (&ahead.told[turn], &ahead.draft);
        let unread = draft.iter().skip(told.len().saturating_sub(1)).filter(|drafted| drafted.unit != END);
        let behind = ahead.behind[turn].take();
        let unread: Vec<u32> = behind.into_iter().chain(unread.map(|drafted| drafted.id)).collect();
        let (known, ended) =
            (!told.is_empty() || behind.is_some(), draft.back().is_some_and(|drafted| drafted.unit == END));
        let gamma = self.gamma;
        let rng = Mutex::new(&mut rng);
        let reply = generation.ask_some(
            |at| at == turn,
            |_, member| {
                let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
                let mut new = member.read_ahead(&unread)?;
                // What it gave before is read already.
                new.drain(..usize::from(known).min(new.len()));
                let mut drafts = Vec::new();
                while !ended && drafts.len() < gamma {
                    let Some(next) = new.last() else { break };
                    let Some(drafted) = self.draw(member, next, pick, &mut rng) else { break };
                    let (id, unit) = (drafted.id, drafted.unit);
                    drafts.push(drafted);
                    if unit == END || drafts.len() == gamma {
                        break;
                    }
                    new.extend(member.read_ahead(&[id])?.pop());
                }
                Ok((new, drafts))
            },
        )?;
        if let Some((new, drafts)) = reply.into_iter().flatten().next() {
            ahead.told[turn].extend(new);
            ahead.draft.extend(drafts);
        }
        Ok(())
    }

    /// A token drawn as the member alone would.
    fn draw(&self, member: &Member, next: &Distribution, pick: Pick, rng: &mut Rng) -> Option<Drafted> {
        let q = pick.shape(&self.align.space().project(0, next));
        let unit = DRAW.pick(&q, rng)?;
        let vocabulary = member.vocabulary();
        let id = match unit {
            END => vocabulary.ends().first().copied()?,
            unit => crate::align::own(member, next, &self.align.space().units()[unit])?,
        };
        Some(Drafted { id, unit, q })
    }

    /// Keeps or replaces drafted tokens as long as all members have read the first open position.
    fn verify(&self, generation: &mut Generation<'_>, ahead: &mut Ahead) -> Result<(), FuseError> {
        loop {
            let alive: Vec<bool> = generation.members().iter().map(Option::is_some).collect();
            let all = |ahead: &Ahead| (0..alive.len()).all(|at| !alive[at] || !ahead.told[at].is_empty());
            if generation.is_over()? || !all(ahead) {
                return Ok(());
            }
            let here: Vec<Option<Distribution>> = ahead
                .told
                .iter_mut()
                .zip(&alive)
                .map(|(told, alive)| told.pop_front().filter(|_| *alive))
                .collect();
            let (fused, step) = self.fused(generation, &here)?;
            let r = generation.picking().shape(&fused);
            let drafted = ahead.draft.pop_front();
            let left = match &drafted {
                None => r,
                Some(drafted) => {
                    let (unit, q) = (drafted.unit, &drafted.q);
                    if generation.rng().random::<f32>() * q[unit] < r[unit] {
                        for (behind, told) in ahead.behind.iter_mut().zip(&ahead.told) {
                            *behind = told.is_empty().then_some(drafted.id);
                        }
                        let step = self.done(generation, &here, step, &fused, unit);
                        self.keep(generation, unit, step);
                        continue;
                    }
                    let left: Vec<f32> = r.iter().zip(q).map(|(r, q)| (r - q).max(0.0)).collect();
                    crate::mass::scaled(left).unwrap_or(r)
                }
            };
            let unit = DRAW.pick(&left, generation.rng()).ok_or_else(|| FuseError::Nothing {
                at: generation.text().len(),
                reason: "the fused distribution is empty".to_owned(),
            })?;
            // Popped above is the position that the first drafted token, if any, was read after.
            let read: Vec<usize> = ahead.told.iter().map(VecDeque::len).collect();
            generation.ask(|at, member| member.settle(read[at]))?;
            ahead.draft.clear();
            ahead.told.iter_mut().for_each(VecDeque::clear);
            let step = self.done(generation, &here, step, &fused, unit);
            self.commit(generation, unit, step, &here);
        }
    }

    /// A drafted token becomes text.
    fn keep(&self, generation: &mut Generation<'_>, unit: usize, step: Step) {
        match unit {
            END => generation.note(Unit::End, step),
            unit => generation.note(Unit::Text(&self.align.space().units()[unit]), step),
        }
    }

    /// The fused distribution of one position, with what is known of it.
    fn fused(
        &self,
        generation: &mut Generation<'_>,
        told: &[Option<Distribution>],
    ) -> Result<(Vec<f32>, Step), FuseError> {
        let aligned = self.align.project(told);
        let part: Vec<bool> = aligned.iter().map(Option::is_some).collect();
        let weights = among(&self.weights, &part);
        let fused = self.pool.pool(&aligned, &weights).ok_or_else(|| FuseError::Nothing {
            at: generation.text().len(),
            reason: "what the members say has no unit in common".to_owned(),
        })?;
        Ok((fused, Step { weights, ..Step::default() }))
    }

    /// What is known of a unit once it is chosen.
    fn done(
        &self,
        generation: &Generation<'_>,
        told: &[Option<Distribution>],
        step: Step,
        fused: &[f32],
        unit: usize,
    ) -> Step {
        let bytes: &[u8] = if unit == END { b"" } else { &self.align.space().units()[unit] };
        let (probabilities, agree) = opinions(generation, told, bytes);
        Step { probabilities, agree, fused: Some(fused[unit]), ..step }
    }

    fn commit(
        &self,
        generation: &mut Generation<'_>,
        unit: usize,
        step: Step,
        told: &[Option<Distribution>],
    ) {
        if unit == END {
            return generation.commit(Unit::End, &[], step);
        }
        let bytes = &self.align.space().units()[unit];
        let members = generation.members().iter().zip(told);
        let own: Vec<Option<u32>> = members
            .map(|(member, told)| crate::align::own(member.as_ref()?, told.as_ref()?, bytes))
            .collect();
        generation.commit(Unit::Text(bytes), &own, step);
    }
}
