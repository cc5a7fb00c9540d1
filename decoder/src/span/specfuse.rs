//! SpecFuse (arXiv 2412.07380, renamed SpecEM in its second version): rounds of inference, in which every member
//! writes a few tokens, and verification, in which all judge them; members whose texts others like gain weight.
//!
//! A round: every member writes up to `tokens` tokens, cut back to its last whole word. Member `j` gives the text of
//! member `k` the score `s_jk`, its log-probability a byte, and the text of greatest `sum_j w_j s_jk` is taken. The
//! weights begin equal at every prompt. With `hedge` = c above 0 they move in round t before the choice (Hedge,
//! multiplicative weights): `w_i <- w_i exp(eta r_i)`, scaled to sum to 1, with `eta = c sqrt(1 / K) / t` and `r_i` the
//! share, of the `(K - 1)^2` pairs of another judge and a rival, in which the judge likes i's text no less than the
//! rival's. With `fast` the answer ends with the first text that ends it.
//!
//! Deviations from the released code: 1. scores are mean log-probabilities of bytes; there they are mean raw logits,
//! divided by their sum, which no two models share a scale of. 2. Nothing is sampled unless the pick says so: the
//! code has temperature 0.6 and top-p 0.9. 3. Members keep their caches between rounds. 4. Where no word is whole, the
//! tokens are taken as they are; the code writes `" ."`. 5. All members judge; the code can have others judge than
//! write. 6. The exit of weak members of version 1 is left out: weights take its place. 7. Members that wrote
//! nothing in a round, because they were dropped, are no rivals in it.

use super::looping::{Judged, run};
use super::score::Scores;
use super::{Proposer, Span, Until};
use crate::backend::{Backend, NextTokens};
use crate::fuse::{Fuser, Grain, MemberNeed, System, unfit};
use crate::generation::{FuseError, Generation};
use std::sync::Arc;

/// Parameters of SpecFuse.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Tokens of a text.
    pub tokens: usize,
    /// Rate at which weights move; 0 keeps them equal.
    pub hedge: f64,
    /// The first text that ends the answer does end it.
    pub fast: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self { tokens: 10, hedge: 1.0, fast: false }
    }
}

/// The system.
#[derive(Debug)]
pub struct SpecFuse {
    proposer: Proposer,
    hedge: f64,
    fast: bool,
}

impl System for SpecFuse {
    const NAME: &'static str = "specfuse";
    const TITLE: &'static str = "a few tokens each, judged by all; whose texts are liked gains weight";
    const PAPER: Option<&'static str> = Some("2412.07380");
    const GRAIN: Grain = Grain::Span;
    const NEEDS: &'static [MemberNeed] = &[MemberNeed::Next(NextTokens::None), MemberNeed::Scoring];
    type Params = Params;

    fn build(params: Params, _backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        let Params { tokens, hedge, fast } = params;
        if tokens == 0 {
            return Err(unfit::<Self>("`tokens` is 0; at least 1 is accepted"));
        }
        if !(hedge >= 0.0 && hedge.is_finite()) {
            return Err(unfit::<Self>(&format!("`hedge` is `{hedge}`; numbers of at least 0 are accepted")));
        }
        Ok(Self { proposer: Proposer { until: Until::Tokens(tokens), tokens }, hedge, fast })
    }
}

impl Fuser for SpecFuse {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        let n = generation.members().len();
        let mut weights = vec![1.0 / n as f64; n];
        let mut round = 0.0;
        run(generation, &self.proposer, |spans, scores| {
            round += 1.0;
            if self.hedge > 0.0 {
                hedge(&mut weights, scores, self.hedge, round);
            }
            let mut merits: Vec<f64> = scores.iter().map(|scores| weighted(scores, &weights)).collect();
            let ended = |span: &Option<Span>| span.as_ref().is_some_and(|span| span.ends);
            if let Some(first) = spans.iter().position(ended).filter(|_| self.fast) {
                merits[first] = f64::INFINITY;
            }
            Judged { merits, weights: weights.iter().map(|weight| *weight as f32).collect() }
        })
    }
}

/// `sum_j w_j s_j` over those who said something, their weights scaled to 1.
fn weighted(scores: &[f32], weights: &[f64]) -> f64 {
    let said = scores.iter().zip(weights).filter(|(score, _)| !score.is_nan());
    let (sum, weight) = said.fold((0.0, 0.0), |(sum, all), (s, w)| (sum + w * f64::from(*s), all + w));
    sum / weight
}

/// One turn of Hedge; `scores` are by proposal and judge.
fn hedge(weights: &mut [f64], scores: &Scores, rate: f64, round: f64) {
    let n = scores.iter().filter(|scores| !scores.is_empty()).count();
    if n < 2 {
        return;
    }
    let eta = rate * (1.0 / n as f64).sqrt() / round;
    let pairs = (n - 1).pow(2) as f64;
    let wins = |at: usize| {
        let rivals = |judge: usize| {
            let own = scores[at][judge];
            (0..scores.len()).filter(move |rival| {
                *rival != at && scores[*rival].get(judge).is_some_and(|score| own >= *score)
            })
        };
        (0..scores[at].len()).filter(|judge| *judge != at).map(|judge| rivals(judge).count()).sum::<usize>()
    };
    for (at, weight) in weights.iter_mut().enumerate() {
        *weight *= (eta * wins(at) as f64 / pairs).exp();
    }
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_of_hedge_by_hand() {
        // Judges 1 and 2 like text 0 best, judge 0 likes text 1 best.
        let scores = vec![vec![-2.0, -1.0, -1.0], vec![-1.0, -2.0, -3.0], vec![-3.0, -3.0, -2.0]];
        let mut weights = vec![1.0 / 3.0; 3];
        hedge(&mut weights, &scores, 1.0, 2.0);
        // Wins 4 (judges 1, 2 over both rivals), 2 (judge 0 over both; judge 2 over none), and of text 2: judge 0 over
        // none, judge 1 over none.
        let eta = (1.0_f64 / 3.0).sqrt() / 2.0;
        let raw = [(eta).exp(), (eta * 0.5).exp(), 1.0];
        let sum: f64 = raw.iter().sum();
        for (weight, raw) in weights.iter().zip(raw) {
            assert!((weight - raw / sum).abs() < 1e-12, "{weights:?}");
        }
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn weights_of_one_text_stay() {
        let mut weights = vec![0.4, 0.6];
        hedge(&mut weights, &vec![Vec::new(), Vec::new()], 1.0, 1.0);
        assert_eq!(weights, [0.4, 0.6]);
    }
}
