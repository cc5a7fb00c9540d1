//! Probability matching: each arm as often as it is the best under the beliefs (Thompson sampling).
//!
//! Sampling a score per arm and taking the greatest draws from a distribution nobody can write into the
//! log. Here that distribution is computed first, by quadrature over the arms' independent beliefs, and the
//! arm is drawn from it: what is logged is exactly what was drawn from.

use super::{Selector, SelectorRow, SelectorSpec, share_best};
use crate::PredictionRow;
use serde::{Deserialize, Serialize};

pub(super) const ROW: SelectorRow = SelectorRow {
    name: "thompson",
    title: "each arm as often as it is the best under normal beliefs",
    build: |settings, _| {
        let thompson: Thompson = super::settings(ROW.name, settings)?;
        super::finite_at_least(ROW.name, "scale", thompson.scale, 0.0)?;
        Ok(Box::new(thompson))
    },
};

/// Quadrature nodes an arm: the trapezoid rule on `[-REACH, REACH]` standard deviations.
const NODES: usize = 65;
const REACH: f64 = 4.5;
/// An arm this many joint standard deviations behind another is never the best of the two.
const HOPELESS: f64 = 6.0;

/// Draws arm `a` with `P(a) = E[prod_b Phi((m_a + s_a z - m_b) / s_b)]` over standard normal `z`, where
/// `m` are the scores and `s` the standard errors times `scale`; the probabilities are normalised.
///
/// Without standard errors it is `argmax`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thompson {
    /// Factor on the standard errors, at least 0.
    #[serde(default = "one")]
    pub scale: f64,
}

fn one() -> f64 {
    1.0
}

/// The belief about one arm.
#[derive(Debug, Clone, Copy)]
struct Belief {
    arm: usize,
    mean: f64,
    sd: f64,
}

/// Standard normal distribution function, to 1.5e-4: a logistic curve with a cubic argument.
fn phi(z: f64) -> f64 {
    1.0 / (1.0 + (-z * (1.5976 + 0.070_565_992 * z * z)).exp())
}

/// Greatest standard deviation; an infinite one is so much, beside which all scores are equal.
const SD_MAX: f64 = 1e140;

/// Probability that a score drawn from `other` is below the one that lies `z` standard deviations above the mean of
/// `one`. The means are subtracted first: next to a great mean a small deviation would be lost.
fn below(other: &Belief, one: &Belief, z: f64) -> f64 {
    let lead = one.mean - other.mean + one.sd * z;
    match other.sd > 0.0 {
        true => phi(lead / other.sd),
        false if lead == 0.0 => 0.5,
        false => f64::from(u8::from(lead > 0.0)),
    }
}

/// Probability that `one` is the best, but for a factor common to all.
fn weight(one: &Belief, rivals: &[Belief]) -> f64 {
    let others = || rivals.iter().filter(|other| other.arm != one.arm);
    let step = 2.0 * REACH / (NODES - 1) as f64;
    let node = |k: usize| {
        let z = k as f64 * step - REACH;
        let density = (-0.5 * z * z).exp();
        others().fold(density, |product, other| product * below(other, one, z))
    };
    (0..NODES).map(node).sum()
}

impl Selector for Thompson {
    fn spec(&self) -> SelectorSpec {
        SelectorSpec { name: ROW.name.to_owned(), settings: serde_json::json!({ "scale": self.scale }) }
    }

    fn distribution(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Vec<f32> {
        let sd = |arm: usize| super::spread(row, arm, self.scale).min(SD_MAX);
        let believe = |arm: usize| Belief { arm, mean: f64::from(row.score[arm]), sd: sd(arm) };
        let beliefs: Vec<Belief> = (0..row.score.len()).filter(|arm| eligible[*arm]).map(believe).collect();
        let score: Vec<f64> = row.score.iter().map(|score| f64::from(*score)).collect();
        let is_sure: Vec<bool> = (0..score.len()).map(|arm| eligible[arm] && sd(arm) == 0.0).collect();
        // Of arms whose score is known only the best can be the best: it stands for those that tie with it.
        let sure = share_best(&score, row, &is_sure);
        let first_sure = sure.iter().position(|share| *share > 0.0);
        let stands = |one: &&Belief| one.sd > 0.0 || first_sure == Some(one.arm);
        let hopeless = |one: &Belief| {
            beliefs.iter().any(|other| other.mean - one.mean > HOPELESS * other.sd.hypot(one.sd))
        };
        let rivals: Vec<Belief> =
            beliefs.iter().filter(stands).filter(|one| !hopeless(one)).copied().collect();
        let mut weights = vec![0.0; score.len()];
        rivals.iter().for_each(|one| weights[one.arm] = weight(one, &rivals));
        let of_sure = first_sure.map_or(0.0, |arm| weights[arm]);
        let share = |(weight, (sure, is_sure)): (f64, (&f32, &bool))| match is_sure {
            true => of_sure * f64::from(*sure),
            false => weight,
        };
        let shared = weights.into_iter().zip(sure.iter().zip(&is_sure)).map(share);
        super::normalized(&shared.collect::<Vec<f64>>())
    }

    fn explore(&self, row: &PredictionRow<'_>, eligible: &[bool]) -> Option<Vec<f32>> {
        Some(self.distribution(row, eligible))
    }
}
