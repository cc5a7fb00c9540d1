//! DeePEn (arXiv 2404.12715): distributions meet as similarities to common tokens, and a search brings their mean
//! back to the vocabulary of the first member.
//!
//! `rbar = sum_m w_m p_m R_m` with the representations `R_m` of [`crate::align::Relative`]. From the first member's
//! logits
//! `z`, `iterations` steps of AdamW (betas 0.9 and 0.999, decay 0.01, rate annealed by a cosine from `eta` to `eta /
//! 4` over 10 steps) lower the mean over anchors of `rbar ln(rbar / (softmax(z) R_1))`; a unit is chosen from
//! `softmax(z)`. The gradient is written by hand: `dL/dz = p (g - sum p g)` with `g = -R_1 (rbar / r) / n_anchors`.
//!
//! Where the first member would end, it ends; where only it is left, it writes alone.
//!
//! Deviations: those of the alignment, and: 4. every member keeps its cache; in the released code helpers read the
//! text again at every step. 5. No special case for digits or early-stop strings. 6. Sampling is possible. 7. Of
//! members after the first, only tokens of a probability of at least 1e-6 count.

use super::looping::opinions;
use crate::align::{END, Relative, RelativeOnDemand, Space, anchors, own};
use crate::backend::{Backend, NextTokens};
use crate::distribution::Distribution;
use crate::fuse::{Fuser, Grain, MemberNeed, System, unfit, vocabularies};
use crate::generation::{FuseError, Generation, Unit};
use crate::trace::Step;
use crate::vocabulary::Role;
use crate::weigh::among;
use std::sync::Arc;

/// Steps the annealing is made for, as in the released code; fewer are taken.
const ANNEAL: f32 = 10.0;
const DECAY: f32 = 0.01;

/// Parameters of DeePEn.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Weights of the members; equal ones where empty.
    pub weights: Vec<f32>,
    /// Rate of the search, "relative ensemble learning rate"; 0 is the first member alone.
    pub eta: f32,
    /// Steps of the search.
    pub iterations: usize,
    /// Anchors at most.
    pub anchors: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self { weights: Vec::new(), eta: 0.15, iterations: 5, anchors: 4096 }
    }
}

/// The system.
#[derive(Debug)]
pub struct Deepen {
    params: Params,
    space: Space,
    /// Of the first member, whose vocabulary is searched.
    relative: Relative,
    others: Vec<RelativeOnDemand>,
}

impl System for Deepen {
    const NAME: &'static str = "deepen";
    const TITLE: &'static str =
        "distributions averaged as similarities to common tokens, and searched for in one vocabulary";
    const PAPER: Option<&'static str> = Some("2404.12715");
    const GRAIN: Grain = Grain::Token;
    const NEEDS: &'static [MemberNeed] =
        &[MemberNeed::Next(NextTokens::Full), MemberNeed::Tokenizer, MemberNeed::Embeddings];
    type Params = Params;

    fn build(mut params: Params, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        if !(params.eta >= 0.0 && params.eta.is_finite()) {
            return Err(unfit::<Self>(&format!(
                "`eta` is `{}`; numbers of at least 0 are accepted",
                params.eta
            )));
        }
        params.weights = crate::fuse::weights::<Self>(params.weights, backends)?;
        let vocabularies = vocabularies::<Self>(backends)?;
        let anchors = anchors(&vocabularies, params.anchors);
        if anchors.is_empty() {
            return Err(unfit::<Self>("the vocabularies have no token in common to be an anchor"));
        }
        let hides = |backend: &Arc<dyn Backend>| {
            unfit::<Self>(&format!("member `{}` does not show its embeddings", backend.name()))
        };
        let embeddings = backends[0].embeddings().ok_or_else(|| hides(&backends[0]))?;
        let relative = Relative::new(vocabularies[0], embeddings, &anchors);
        let other = |backend| RelativeOnDemand::new(backend, &anchors).ok_or_else(|| hides(backend));
        let others = backends[1..].iter().map(other).collect::<Result<Vec<_>, FuseError>>()?;
        Ok(Self { params, space: Space::union(&vocabularies[..1]), relative, others })
    }
}

impl Fuser for Deepen {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        while !generation.is_over()? {
            let told = generation.next()?;
            let (Some(main), Some(member)) = (&told[0], &generation.members()[0]) else {
                let reason = "its first member was dropped, and answers are written in its tokens".to_owned();
                return Err(FuseError::Unfit { fuser: Self::NAME.to_owned(), reason });
            };
            let ends = member.vocabulary().role(main.best().0) == Role::End;
            let part: Vec<bool> = told.iter().map(Option::is_some).collect();
            let weights = among(&self.params.weights, &part);
            let alone = ends || self.params.eta == 0.0 || part.iter().filter(|part| **part).count() == 1;
            let found = if alone { main.clone() } else { self.search(main, &told, &weights)? };
            let fused = self.space.project(0, &found);
            let Some(unit) = generation.pick(&fused) else {
                let reason = "the first member says nothing".to_owned();
                return Err(FuseError::Nothing { at: generation.text().len(), reason });
            };
            let bytes: &[u8] = if unit == END { b"" } else { &self.space.units()[unit] };
            let (probabilities, agree) = opinions(generation, &told, bytes);
            let step = Step { weights, probabilities, agree, fused: Some(fused[unit]), ..Step::default() };
            self.commit(generation, unit, step, &told);
        }
        Ok(())
    }
}

impl Deepen {
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
        let bytes = &self.space.units()[unit];
        let members = generation.members().iter().zip(told);
        let own: Vec<Option<u32>> =
            members.map(|(member, told)| own(member.as_ref()?, told.as_ref()?, bytes)).collect();
        generation.commit(Unit::Text(bytes), &own, step);
    }

    /// The distribution over the first member's vocabulary whose representation is near the mean of all.
    fn search(
        &self,
        main: &Distribution,
        told: &[Option<Distribution>],
        weights: &[f32],
    ) -> Result<Distribution, FuseError> {
        let mut target = vec![0.0; self.relative.n_anchors()];
        for (at, (told, weight)) in told.iter().zip(weights).enumerate() {
            let Some(told) = told else { continue };
            let own = if at == 0 { self.relative.of(told) } else { self.others[at - 1].of(told) };
            target.iter_mut().zip(own).for_each(|(sum, value)| *sum += weight * value);
        }
        let Distribution::Full(logs) = main else { return Ok(main.clone()) };
        let logits = inverse(&self.relative, logs, &target, self.params.eta, self.params.iterations);
        Distribution::from_logits(logits).map_err(|error| FuseError::Unfit {
            fuser: Self::NAME.to_owned(),
            reason: format!("the search left the numbers: {error}; a lower `eta` may help"),
        })
    }
}

/// AdamW from `start`: logits whose softmax has about the representation `target`. What was impossible stays so.
fn inverse(relative: &Relative, start: &[f32], target: &[f32], eta: f32, iterations: usize) -> Vec<f32> {
    let mut z = start.to_vec();
    let (mut first, mut second) = (vec![0.0_f32; z.len()], vec![0.0_f32; z.len()]);
    for step in 0..iterations {
        let phase = (std::f32::consts::PI * step as f32 / ANNEAL).cos();
        let rate = eta / 4.0 + (eta - eta / 4.0) * (1.0 + phase) / 2.0;
        let gradient = gradient(relative, &z, target);
        let n = i32::try_from(step + 1).unwrap_or(i32::MAX);
        let (bias_1, bias_2) = (1.0 - 0.9_f32.powi(n), 1.0 - 0.999_f32.powi(n));
        for (at, g) in gradient.iter().enumerate().filter(|(at, _)| start[*at] > f32::NEG_INFINITY) {
            first[at] = 0.9 * first[at] + 0.1 * g;
            second[at] = 0.999 * second[at] + 0.001 * g * g;
            let step = (first[at] / bias_1) / ((second[at] / bias_2).sqrt() + 1e-8);
            z[at] -= rate * (DECAY * z[at] + step);
        }
    }
    z
}

/// Gradient of the mean over anchors of `target ln(target / (softmax(z) R))` by `z`.
fn gradient(relative: &Relative, z: &[f32], target: &[f32]) -> Vec<f32> {
    let max = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut p: Vec<f32> = z.iter().map(|z| (z - max).exp()).collect();
    let sum: f32 = p.iter().sum();
    p.iter_mut().for_each(|p| *p /= sum);
    let r = relative.represent(&p);
    let n = target.len() as f32;
    let slope: Vec<f32> = target.iter().zip(&r).map(|(t, r)| -t / r.max(1e-12) / n).collect();
    let g: Vec<f32> = (0..z.len())
        .map(|id| relative.row(id).iter().map(|(anchor, value)| value * slope[*anchor as usize]).sum())
        .collect();
    let mean: f32 = p.iter().zip(&g).map(|(p, g)| p * g).sum();
    p.iter().zip(&g).map(|(p, g)| p * (g - mean)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Embeddings;
    use crate::vocabulary::Vocabulary;

    fn relative() -> Relative {
        let words = ["a", "b", "c", "d"];
        let vocabulary = Vocabulary::new(words.map(|word| (word.as_bytes().to_vec(), Role::Text)));
        let input = [1.0, 0.0, 0.999, 0.03, 0.0, 1.0, 0.05, 0.99];
        let anchors = [b"a".to_vec(), b"b".to_vec(), b"c".to_vec()];
        Relative::new(&vocabulary, Embeddings { input: &input, output: &input, dim: 2 }, &anchors)
    }

    fn loss(relative: &Relative, z: &[f32], target: &[f32]) -> f64 {
        let sum: f32 = z.iter().map(|z| z.exp()).sum();
        let p: Vec<f32> = z.iter().map(|z| z.exp() / sum).collect();
        let r = relative.represent(&p);
        let term = |(t, r): (&f32, &f32)| f64::from(*t) * (f64::from(*t) / f64::from(*r)).ln();
        target.iter().zip(&r).map(term).sum::<f64>() / target.len() as f64
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let relative = relative();
        let (z, target) = ([0.3_f32, -0.2, 0.1, 0.4], [0.2_f32, 0.3, 0.5]);
        for (at, g) in gradient(&relative, &z, &target).iter().enumerate() {
            let mut moved = [z, z];
            moved[0][at] += 1e-2;
            moved[1][at] -= 1e-2;
            let slope = (loss(&relative, &moved[0], &target) - loss(&relative, &moved[1], &target)) / 2e-2;
            assert!((slope - f64::from(*g)).abs() < 2e-4, "{at}: {slope} {g}");
        }
    }

    #[test]
    fn the_search_lowers_the_loss_and_keeps_what_is_impossible() {
        let relative = relative();
        let (start, target) = ([2.0_f32, 0.0, -1.0, f32::NEG_INFINITY], [0.1_f32, 0.1, 0.8]);
        let found = inverse(&relative, &start, &target, 0.3, 5);
        assert!(found[3] == f32::NEG_INFINITY);
        assert!(loss(&relative, &found, &target) < loss(&relative, &start, &target));
    }
}
