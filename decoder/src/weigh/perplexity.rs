//! Weights by how well each member knows the prompt (PackLLM, arXiv 2404.11531).

use super::{Fixed, Weigh, Weigher};
use crate::align::{END, MinEdit};
use crate::backend::BackendError;
use crate::distribution::Distribution;
use crate::fuse::unfit;
use crate::generation::{FuseError, Generation};
use crate::member::{Member, Scored};
use crate::token::packllm::PackLlm;
use std::sync::Arc;

/// Steps of the grid of shares.
const GRID: usize = 20;

/// How losses on the prompt become weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// `softmax(-loss / tau)`.
    Sim,
    /// Mixed in one by one with the share that makes the loss of the mix least.
    Opt,
    /// The member of least loss alone.
    #[serde(rename = "top-1")]
    Top1,
}

/// Weights set by the prompt, once.
#[derive(Debug, Clone)]
pub struct Perplexity {
    /// How losses become weights.
    pub loss: Loss,
    /// Temperature of [`Loss::Sim`], nats a token of the first member.
    pub tau: f32,
    /// Tokens of the first member as those of the others; needed by [`Loss::Opt`].
    pub map: Option<Arc<MinEdit>>,
}

impl Weigh for Perplexity {
    fn start(&self, generation: &mut Generation<'_>) -> Result<Box<dyn Weigher>, FuseError> {
        let n = generation.members().len();
        let from = shared_start(generation);
        let (Some(from), false) = (from, generation.prompt().is_empty()) else {
            return Ok(Box::new(Fixed(vec![1.0; n])));
        };
        let scored: Vec<Option<Scored>> = generation.ask(|_, member| member.prompt_log_prob(from))?;
        // Nats a byte, times the bytes of a token of the first member that is there.
        let token = scored.iter().flatten().next().map_or(1.0, |s| s.bytes as f64 / s.tokens.max(1) as f64);
        let loss = |scored: &Scored| -scored.log_prob / scored.bytes.max(1) as f64 * token;
        let losses: Vec<f64> = scored.iter().map(|s| s.as_ref().map_or(f64::INFINITY, loss)).collect();
        let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
        let weights = match self.loss {
            Loss::Sim => {
                losses.iter().map(|loss| (-(loss - best) / f64::from(self.tau)).exp() as f32).collect()
            }
            Loss::Top1 => {
                let first = losses.iter().position(|loss| *loss == best);
                (0..n).map(|at| f32::from(Some(at) == first)).collect()
            }
            Loss::Opt => self.mixed(generation, &losses, from)?,
        };
        Ok(Box::new(Fixed(weights)))
    }
}

/// The first byte of the prompt from which on every member has the log-probability of its tokens, and at which
/// one of them begins; `None` where there is none. Members that read the prompt in a template are asked about their
/// own text.
fn shared_start(generation: &Generation<'_>) -> Option<usize> {
    let members = || generation.members().iter().flatten();
    if members().all(Member::scores_first) || members().any(Member::has_marks) {
        return Some(0);
    }
    let starts: Vec<Vec<usize>> = members().map(Member::text_starts).collect();
    let (first, others) = starts.split_first()?;
    let within = |at: &usize| *at > 0 && *at < generation.prompt().len();
    let shared = |at: &usize| others.iter().all(|starts| starts.binary_search(at).is_ok());
    first.iter().copied().find(|at| within(at) && shared(at))
}

impl Perplexity {
    /// Weights of [`Loss::Opt`]: log-probabilities of the prompt in units of the first member, mixed greedily. Tokens
    /// that begin before byte `from` are left out.
    fn mixed(
        &self,
        generation: &mut Generation<'_>,
        losses: &[f64],
        from: usize,
    ) -> Result<Vec<f32>, FuseError> {
        let n = losses.len();
        let members = || generation.members().iter().flatten();
        if members().any(Member::has_marks) {
            return Err(unfit::<PackLlm>(
                "`opt` compares one text, and a member reads the prompt in a template",
            ));
        }
        let (Some(Some(first)), Some(map)) = (generation.members().first(), &self.map) else {
            return Ok(vec![1.0; n]);
        };
        let (reference, ids) = (first.vocabulary().clone(), first.text_ids().to_vec());
        // A space that the tokenizer of the first put there is a token of the text to no one else.
        let has_space = first.tokenizer().has_dummy_prefix();
        let space = ids.first().filter(|id| has_space && reference.bytes(**id) == b" ").map_or(0, |_| 1);
        let skip = first.text_starts().iter().take_while(|start| **start < from).count().max(space);
        let logs = generation.ask(|at, member| {
            let own = if member.tokenizer().has_dummy_prefix() { 0 } else { space };
            let translated = map.translate(at, &ids[own..], &reference);
            let told = told_of(member, &translated, skip - own)?;
            let vocabulary = member.vocabulary();
            let row = |told| logarithms(&map.gather(at, told, vocabulary));
            Ok(told.iter().map(row).collect::<Vec<Vec<f32>>>())
        })?;
        let unit = |id: &u32| map.space().find(reference.bytes(*id)).unwrap_or(END);
        let units: Vec<usize> = ids[skip..].iter().map(unit).collect();
        let mut order: Vec<usize> = (0..n).filter(|at| logs[*at].is_some()).collect();
        order.sort_by(|a, b| losses[*a].total_cmp(&losses[*b]).then(a.cmp(b)));
        let mut weights = vec![0.0; n];
        let mut mix: Vec<Vec<f32>> = Vec::new();
        for at in order {
            let Some(next) = &logs[at] else { continue };
            if mix.is_empty() {
                (mix, weights[at]) = (next.clone(), 1.0);
                continue;
            }
            let share = |step: usize| step as f32 / GRID as f32;
            let loss = |keep: f32| cross_entropy(&mix, next, keep, &units);
            // Of equal ones the one that changes least.
            let best = (0..=GRID).rev().min_by(|a, b| loss(share(*a)).total_cmp(&loss(share(*b))));
            let keep = best.map_or(1.0, share);
            weights.iter_mut().for_each(|weight| *weight *= keep);
            weights[at] = 1.0 - keep;
            for (mix, next) in mix.iter_mut().zip(next) {
                mix.iter_mut().zip(next).for_each(|(a, b)| *a = keep * *a + (1.0 - keep) * b);
            }
        }
        Ok(weights)
    }
}

/// What a member says before each of `ids` but the first `skip`, from the beginning of the text; it has read its prompt
/// again afterwards. Without a beginning-of-text token, its own first token stands for the first of `ids`.
fn told_of(member: &mut Member, ids: &[u32], skip: usize) -> Result<Vec<Distribution>, BackendError> {
    let begins = member.begins();
    let session = member.session()?;
    let all = session.ids().to_vec();
    session.rollback(1)?;
    let read = usize::from(!begins).min(ids.len());
    let told = session.feed_and_tell(&ids[read..]);
    session.rollback(1)?;
    session.feed(&all[1..])?;
    let mut told = told?;
    told.truncate(ids.len() - read);
    Ok(told.split_off(skip.saturating_sub(read).min(told.len())))
}

/// Logarithms of masses; what has none has next to none, so that a mix stays finite.
fn logarithms(mass: &[f32]) -> Vec<f32> {
    mass.iter().map(|mass| mass.max(1e-20).ln()).collect()
}

/// Mean cross-entropy, nats a token, of `softmax(keep a + (1 - keep) b)` on the tokens that stand there.
fn cross_entropy(a: &[Vec<f32>], b: &[Vec<f32>], keep: f32, units: &[usize]) -> f64 {
    let mut loss = 0.0;
    for ((a, b), unit) in a.iter().zip(b).zip(units) {
        let mixed: Vec<f32> = a.iter().zip(b).map(|(a, b)| keep * a + (1.0 - keep) * b).collect();
        let max = mixed.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = mixed.iter().map(|z| (z - max).exp()).sum();
        loss += f64::from(max + sum.ln() - mixed[*unit]);
    }
    loss / units.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_by_hand() {
        let logs = |p: [f32; 2]| vec![p.map(f32::ln).to_vec()];
        let (a, b) = (logs([0.8, 0.2]), logs([0.2, 0.8]));
        assert!((cross_entropy(&a, &b, 1.0, &[0]) + 0.8_f64.ln()).abs() < 1e-6);
        assert!((cross_entropy(&a, &b, 0.5, &[0]) + 0.5_f64.ln()).abs() < 1e-6);
        assert!((cross_entropy(&a, &b, 0.0, &[0]) + 0.2_f64.ln()).abs() < 1e-6);
    }
}
