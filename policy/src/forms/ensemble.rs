//! Several Bayesian ridge regressions, each fed its own resample of the rewards: the learner behind bagging and
//! cover.
//!
//! Member `i` counts a reward `k` times, `k ~ Poisson(1)` (the online bootstrap of Oza and Russell 2001), and starts
//! from a prior mean of its own, a draw of the prior (arXiv 1806.03335), without which members would agree on an
//! arm nobody called. `k` is a hash of the seed, the member, the decision, its arm and features: so it is the same
//! whenever and in whatever order a reward arrives, is the same when the reward is taken back, and independent
//! between decisions.
//!
//! `score` is the mean of the members, `score_se` their standard deviation, and
//! [`Prediction::members`](crate::Prediction) what each believes.

use super::{BayesianRidge, CostModel, FormRow, RidgeShape};
use crate::online::{Experience, LearnError, Learner, NewArm, check};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use rand::RngExt as _;
use rand_distr::StandardNormal;
use routewright_data::linalg::LinalgError;
use routewright_data::{Tensors, rng};
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "ensemble",
    version: 1,
    title: "several Bayesian ridge regressions an arm, each of its own resample of the rewards",
    load: Ensemble::load,
};

/// Members an ensemble has, at most.
const MEMBERS_MAX: usize = 256;

/// Sizes and switches of an [`Ensemble`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsembleShape {
    /// Number of members, `[2, 256]`.
    pub members: usize,
    /// Standard deviation of the members' prior means, in standard deviations of the prior; at least 0.
    pub spread: f64,
    /// Seed of the resamples.
    pub seed: u64,
    /// What each member is.
    pub ridge: RidgeShape,
}

/// Members with their resamples.
#[derive(Debug, Clone)]
pub struct Ensemble {
    shape: EnsembleShape,
    members: Vec<BayesianRidge>,
    cost: CostModel,
    n_updates: u64,
    deviations: Vec<f32>,
    /// Standard errors of a single member, which nobody reads.
    unread: Vec<f32>,
}

impl Ensemble {
    /// Beliefs before any reward, around `prior_mean`, `(n_arms, shape.ridge.width())`.
    ///
    /// # Errors
    /// If a size is out of range.
    ///
    /// # Panics
    /// If the length of `prior_mean` does not match (a bug of the caller).
    pub fn new(shape: EnsembleShape, prior_mean: &[f32], cost: CostModel) -> Result<Self, LinalgError> {
        shape.check().map_err(|reason| LinalgError { dim: shape.ridge.width(), reason })?;
        let sd = shape.spread * shape.ridge.noise / shape.ridge.precision.sqrt();
        let member = |member: usize| {
            let mut dice = rng::stream(shape.seed, &format!("ensemble prior {member}"));
            let draw = |mean: &f32| {
                let z: f64 = dice.sample(StandardNormal);
                mean + (sd * z) as f32
            };
            BayesianRidge::new(shape.ridge, prior_mean.iter().map(draw).collect(), cost.clone())
        };
        let members = (0..shape.members).map(member).collect::<Result<_, _>>()?;
        Ok(Self::of(shape, members, cost, 0))
    }

    fn of(shape: EnsembleShape, members: Vec<BayesianRidge>, cost: CostModel, n_updates: u64) -> Self {
        Self { shape, members, cost, n_updates, deviations: Vec::new(), unread: Vec::new() }
    }

    /// The members.
    pub fn members(&self) -> &[BayesianRidge] {
        &self.members
    }

    fn load(mut state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let shape: EnsembleShape = super::config(ROW.name, state.config)?;
        shape.check().map_err(|reason| LoadError::Config { form: ROW.name, reason })?;
        let n_updates = take_count(&mut state.tensors)?;
        let members = take_members(shape, &mut state.tensors, n_arms)?;
        let cost = CostModel::restore(&mut state.tensors, n_arms)?;
        Ok(Box::new(Self::of(shape, members, cost, n_updates)))
    }

    /// How often member `member` counts what came of a decision.
    fn count(&self, member: usize, experience: &Experience<'_>) -> f64 {
        let mut hash = mix(self.shape.seed ^ mix(member as u64 + 1));
        hash = mix(hash ^ experience.time);
        hash = mix(hash ^ experience.arm as u64);
        let fold = |hash, value: &f32| mix(hash ^ u64::from(value.to_bits()));
        hash = experience.features.iter().fold(hash, fold);
        poisson((hash >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// Lets `tell` speak to every member that counts the experience.
    fn each(
        &mut self,
        experience: &Experience<'_>,
        tell: impl Fn(&mut BayesianRidge, &Experience<'_>) -> Result<(), LearnError>,
    ) -> Result<(), LearnError> {
        check(experience, self.n_arms(), self.shape.ridge.dim)?;
        for member in 0..self.members.len() {
            let count = self.count(member, experience);
            if count > 0.0 {
                let counted = Experience { weight: count * experience.weight, ..*experience };
                tell(&mut self.members[member], &counted)?;
            }
        }
        Ok(())
    }
}

impl EnsembleShape {
    fn check(&self) -> Result<(), String> {
        if !(2..=MEMBERS_MAX).contains(&self.members) {
            return Err(format!("`members` is `{}`, expected 2 to {MEMBERS_MAX}", self.members));
        }
        if !(self.spread.is_finite() && self.spread >= 0.0) {
            return Err(format!("`spread` is `{}`, expected a finite number of at least 0", self.spread));
        }
        Ok(())
    }
}

/// Finaliser of SplitMix64: every bit of the input moves every bit of the output.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The number at which the distribution function of Poisson(1) passes `u` in `[0, 1)`.
fn poisson(u: f64) -> f64 {
    let (mut k, mut mass) = (0.0, (-1.0_f64).exp());
    let mut below = mass;
    while u >= below && k < 20.0 {
        k += 1.0;
        mass /= k;
        below += mass;
    }
    k
}

fn take_count(tensors: &mut Tensors) -> Result<u64, LoadError> {
    let words = tensors.take_u32("n_updates", &[2])?;
    Ok(u64::from(words[0]) | (u64::from(words[1]) << 32))
}

fn take_members(
    shape: EnsembleShape,
    tensors: &mut Tensors,
    n_arms: usize,
) -> Result<Vec<BayesianRidge>, LoadError> {
    let take = |member: usize| {
        let config = serde_json::to_value(shape.ridge).unwrap_or_default();
        let tensors = tensors.take_nested(&format!("member.{member:03}"));
        BayesianRidge::restore(FormState { config, tensors }, n_arms)
    };
    (0..shape.members).map(take).collect()
}

/// Turns the scores of members, `(n_members, n_arms)`, into mean, standard deviation and what each differs by.
fn summarize(members: &mut [f32], score: &mut [f32], score_se: &mut [f32]) {
    let n_arms = score.len();
    let n = (members.len() / n_arms) as f32;
    for arm in 0..n_arms {
        let of_arm = || members.iter().skip(arm).step_by(n_arms);
        score[arm] = of_arm().sum::<f32>() / n;
        let squares: f32 = of_arm().map(|value| (value - score[arm]) * (value - score[arm])).sum();
        score_se[arm] = (squares / (n - 1.0)).sqrt();
    }
    for member in members.chunks_exact_mut(n_arms) {
        member.iter_mut().zip(&*score).for_each(|(value, mean)| *value -= mean);
    }
}

impl Predictor for Ensemble {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.cost.mean_usd().len()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.shape.ridge.dim)
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.shape.ridge.dim)?;
        let (n, n_arms, n_members) = (batch.n_queries(), self.n_arms(), self.members.len());
        let mut members = vec![0.0; n * n_members * n_arms];
        for (at, member) in self.members.iter().enumerate() {
            let believed = member.predict(batch)?.score;
            for (row, believed) in believed.chunks_exact(n_arms).enumerate() {
                members[(row * n_members + at) * n_arms..][..n_arms].copy_from_slice(believed);
            }
        }
        let (mut score, mut score_se) = (vec![0.0; n * n_arms], vec![0.0; n * n_arms]);
        let rows = score.chunks_exact_mut(n_arms).zip(score_se.chunks_exact_mut(n_arms));
        for (members, (score, se)) in members.chunks_exact_mut(n_members * n_arms).zip(rows) {
            summarize(members, score, se);
        }
        let cost_usd = self.cost.predict(batch.features);
        let (score_se, members) = (Some(score_se), Some(members));
        let n_updates = self.n_updates;
        Ok(Prediction { n_arms, score, score_se, cost_usd, neighborhoods: None, members, n_updates })
    }

    fn state(&self) -> FormState {
        let mut tensors = Tensors::new();
        for (at, member) in self.members.iter().enumerate() {
            tensors.nest(&format!("member.{at:03}"), member.state().tensors);
        }
        let count = self.n_updates;
        tensors.insert_u32("n_updates", &[2], vec![count as u32, (count >> 32) as u32]);
        self.cost.store(&mut tensors);
        FormState { config: serde_json::to_value(self.shape).unwrap_or_default(), tensors }
    }

    fn learner(&self) -> Option<Box<dyn Learner>> {
        Some(Box::new(self.clone()))
    }
}

impl Learner for Ensemble {
    fn learn(&mut self, experience: &Experience<'_>) -> Result<(), LearnError> {
        self.each(experience, |member, counted| member.learn(counted))?;
        self.n_updates += 1;
        Ok(())
    }

    fn can_unlearn(&self) -> bool {
        true
    }

    fn unlearn(&mut self, experience: &Experience<'_>) -> Result<(), LearnError> {
        self.each(experience, |member, counted| member.unlearn(counted))?;
        self.n_updates = self.n_updates.saturating_sub(1);
        Ok(())
    }

    fn predict_into(
        &mut self,
        features: &[f32],
        source: Option<&str>,
        score: &mut [f32],
        score_se: &mut [f32],
    ) {
        let n_arms = score.len();
        self.deviations.resize(self.members.len() * n_arms, 0.0);
        self.unread.resize(n_arms, 0.0);
        for (member, believed) in self.members.iter_mut().zip(self.deviations.chunks_exact_mut(n_arms)) {
            member.predict_into(features, source, believed, &mut self.unread);
        }
        summarize(&mut self.deviations, score, score_se);
    }

    fn deviations(&self) -> Option<&[f32]> {
        Some(&self.deviations)
    }

    fn n_updates(&self) -> u64 {
        self.n_updates
    }

    fn add_arm(&mut self, arm: &NewArm) -> Result<(), LearnError> {
        self.add_arms(std::slice::from_ref(arm))
    }

    fn add_arms(&mut self, arms: &[NewArm]) -> Result<(), LearnError> {
        let mut members = self.members.clone();
        members.iter_mut().try_for_each(|member| member.add_arms(arms))?;
        self.members = members;
        arms.iter().for_each(|arm| self.cost.add_arm(arm.cost_usd));
        Ok(())
    }

    fn reprice(&mut self, arm: usize, usd: f64) -> Result<(), LearnError> {
        self.members.iter_mut().try_for_each(|member| member.reprice(arm, usd))?;
        self.cost.reprice(arm, usd);
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn Predictor> {
        Box::new(self.clone())
    }

    fn merge(&mut self, mut other: FormState, mut base: FormState) -> Result<(), LearnError> {
        let (heard, before) = (take_count(&mut other.tensors)?, take_count(&mut base.tensors)?);
        for (at, member) in self.members.iter_mut().enumerate() {
            let part = |state: &mut FormState| FormState {
                config: serde_json::Value::Null,
                tensors: state.tensors.take_nested(&format!("member.{at:03}")),
            };
            member.merge(part(&mut other), part(&mut base))?;
        }
        self.n_updates += heard.saturating_sub(before);
        Ok(())
    }
}

#[cfg(test)]
#[path = "ensemble_tests.rs"]
mod tests;
