//! Expert token routing, ETR (arXiv 2403.16854): a model writes, and hands over to an expert by a token of its
//! own that stands for it.
//!
//! The first member's output projection is longer by a row an expert ([`super::expert_rows`]). Where an expert's
//! logit is above that of every token, this expert writes on the same text; what was learned are the rows alone,
//! of states of the first member after queries it had better not answer itself. With `tokens` above 0 the first
//! member is asked again after so many tokens; else the expert finishes the answer.
//!
//! Deviations from the released code: 1. rows are fitted to convergence with a small penalty; there five epochs
//! of AdamW with decay 1. 2. What an expert is good at is learned from which of the members answers a query rightly
//! alone; there every expert has a set of queries. 3. Experts are plain members and do not hand over themselves;
//! `tokens` gives control back. 4. Nothing is sampled of the choice of expert.

use super::expert_rows::{ExpertRows, ExpertState, dot};
use super::looping::{opinions, say};
use crate::backend::{Backend, NextTokens};
use crate::backends::writing::pick;
use crate::distribution::Distribution;
use crate::fuse::{Fuser, Grain, MemberNeed, System, unfit};
use crate::generation::{FuseError, Generation};
use crate::trace::Step;
use std::path::PathBuf;
use std::sync::Arc;

/// Parameters of expert token routing.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// File of the rows; relative to the ensemble file.
    pub rows: Option<PathBuf>,
    /// Tokens after which an expert hands back; 0 for never.
    pub tokens: usize,
}

/// The system.
#[derive(Debug)]
pub struct ExpertToken {
    first: Arc<dyn Backend>,
    rows: ExpertRows,
    /// The member of every row.
    members: Vec<usize>,
    tokens: usize,
}

impl System for ExpertToken {
    const NAME: &'static str = "expert-token";
    const TITLE: &'static str = "a member hands over to experts by tokens of its own that stand for them";
    const PAPER: Option<&'static str> = Some("2403.16854");
    const GRAIN: Grain = Grain::Token;
    const NEEDS: &'static [MemberNeed] = &[MemberNeed::Next(NextTokens::Top(1)), MemberNeed::HiddenOfFirst];
    type Params = Params;

    fn build(params: Params, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        let first = &backends[0];
        let Some(dim) = first.embeddings().map(|embeddings| embeddings.dim) else {
            let name = first.name();
            return Err(unfit::<Self>(&format!(
                "member `{name}` does not show its embeddings, the first must"
            )));
        };
        let Some(path) = &params.rows else {
            return Err(unfit::<Self>(
                "give the file of the experts' `rows`; `fuse --expert-rows` makes one",
            ));
        };
        let rows = ExpertRows::load(path, dim).map_err(|reason| unfit::<Self>(&reason))?;
        Self::with_rows(rows, params.tokens, backends)
    }
}

impl ExpertToken {
    /// Handing over by rows in memory.
    ///
    /// # Errors
    /// If an expert is no member but the first.
    pub fn with_rows(
        rows: ExpertRows,
        tokens: usize,
        backends: &[Arc<dyn Backend>],
    ) -> Result<Self, FuseError> {
        let member = |(name, _): &(String, Vec<f32>)| {
            let at = backends.iter().skip(1).position(|backend| backend.name() == name);
            at.map(|at| at + 1).ok_or_else(|| {
                unfit::<Self>(&format!(
                    "there are rows of an expert `{name}`, which is no member after the first"
                ))
            })
        };
        let members = rows.rows.iter().map(member).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { first: backends[0].clone(), rows, members, tokens })
    }

    /// The expert that takes over, if one does.
    fn expert(&self, hidden: &[f32], told: &Distribution) -> Option<usize> {
        let (at, logit) = self.rows.best(hidden)?;
        let (best, _) = logits(&*self.first, hidden, told)?;
        (logit > best).then(|| self.members[at])
    }
}

/// Logit of the most probable token, and the logarithm of the sum of the exponentials of all.
fn logits(first: &dyn Backend, hidden: &[f32], told: &Distribution) -> Option<(f32, f32)> {
    let embeddings = first.embeddings()?;
    let (best, log_p) = told.best();
    let row = embeddings.output.get(best as usize * embeddings.dim..)?.get(..embeddings.dim)?;
    let logit = dot(row, hidden);
    Some((logit, logit - log_p))
}

impl Fuser for ExpertToken {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        let mut turn = 0;
        let mut left = 0;
        while !generation.is_over()? {
            let alive = |at: usize| generation.members()[at].is_some();
            // Where the first is gone, the remaining members write.
            if !alive(turn) {
                turn = (0..generation.members().len()).find(|at| alive(*at)).unwrap_or(0);
                left = 0;
            }
            let asked = generation.ask_some(
                |at| at == turn,
                |at, member| {
                    let told = member.next()?;
                    let hidden = if at == 0 { member.hidden()? } else { Vec::new() };
                    Ok((told, hidden))
                },
            )?;
            let Some((told, hidden)) = asked.into_iter().flatten().next() else { continue };
            let expert = self.expert(&hidden, &told).filter(|_| turn == 0);
            if let Some(expert) = expert.filter(|expert| generation.members()[*expert].is_some()) {
                (turn, left) = (expert, self.tokens);
                continue;
            }
            let how = generation.picking();
            let id = pick(&told, how.temperature, how.top_p, generation.rng());
            let fused = told.log_prob(id).map(f32::exp);
            let unit =
                generation.members()[turn].as_ref().map(|member| member.vocabulary().bytes(id).to_vec());
            let mut all = vec![None; generation.members().len()];
            all[turn] = Some(told);
            let (probabilities, agree) = opinions(generation, &all, &unit.unwrap_or_default());
            let step = Step { probabilities, agree, fused, ..Step::default() };
            say(generation, turn, id, step);
            if turn != 0 && self.tokens > 0 {
                left -= 1;
                if left == 0 {
                    turn = 0;
                }
            }
        }
        Ok(())
    }
}

/// The state of the first member after everything read, for rows to be learned of.
///
/// # Errors
/// If no member is left or none may fail and one does; nothing where the first shows no states.
pub fn expert_state(
    first: &dyn Backend,
    generation: &mut Generation<'_>,
    expert: Option<usize>,
) -> Result<Option<ExpertState>, FuseError> {
    let told = generation.ask_some(|at| at == 0, |_, member| Ok((member.next()?, member.hidden()?)))?;
    let state = told.into_iter().flatten().next().and_then(|(told, hidden)| {
        let (_, log_sum) = logits(first, &hidden, &told)?;
        Some(ExpertState { hidden, log_sum, expert })
    });
    Ok(state)
}

/// Where rows begin: the mean of the model's own.
pub fn mean_row(first: &dyn Backend) -> Option<Vec<f32>> {
    let embeddings = first.embeddings()?;
    let n = (embeddings.output.len() / embeddings.dim).max(1) as f32;
    let mut mean = vec![0.0; embeddings.dim];
    for row in embeddings.output.chunks_exact(embeddings.dim) {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / n);
    }
    Some(mean)
}
