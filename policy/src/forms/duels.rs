//! What comparisons of two arms say of all: a Bayesian regression of who won on the difference of two arms.
//!
//! With features `x` (`[x, 1]` with an intercept), coefficients `theta_m` of each arm, and `r` = 1 where arm `a` won, 0
//! where `b` did, 1/2 where neither:
//!
//! ```text
//! r - 1/2 = (theta_a - theta_b) . x + noise        theta_m ~ N(0, noise^2 / precision)
//! ```
//!
//! Only differences show in comparisons, so that arms are uncertain *together*: the belief is one normal distribution
//! over the coefficients of all arms. At `noise` 1/2 it is the posterior of the Bradley-Terry likelihood under its
//! quadratic bound around a tie (Boehning and Lindsay 1988), in units of a quarter of the log odds.
//!
//! The sums are kept for every pair of arms, see [`ArmStatistics`]: the same comparisons in any order, and told from
//! either side, give the same bits.

use super::{CostModel, FormRow};
use crate::online::{ArmStatistics, Experience, LearnError, Learner, NewArm, check, dot};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::linalg::{Cholesky, LinalgError};
use routewright_data::{TensorError, Tensors};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) const ROW: FormRow = FormRow {
    name: "duels",
    version: 1,
    title: "a Bayesian regression of who wins a comparison, joint over all arms",
    load: Duels::load,
};

/// Coefficients of all arms together, at most: the belief is a matrix of their square.
pub const COEFFICIENTS_MAX: usize = 2048;
/// Updates after which the belief is recomputed from the sums.
const REFRESH: u32 = 4096;
/// Where taking a comparison back leaves less than this of the precision along it, the belief is recomputed.
const LEAST_SHARE: f32 = 0.05;

/// Sizes and switches of [`Duels`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DuelShape {
    /// Width of the features.
    pub dim: usize,
    /// Whether a constant feature is added.
    pub intercept: bool,
    /// Prior precision of every coefficient, above 0.
    pub precision: f64,
    /// Standard deviation of a result around its expectation; 1/2 is the most it can be.
    pub noise: f64,
    /// Weight of a comparison for the arm believed the best on its query, whichever took part; at least 0.
    pub feel_good: f64,
}

impl DuelShape {
    fn width(&self) -> usize {
        self.dim + usize::from(self.intercept)
    }

    fn check(&self, n_arms: usize) -> Result<(), String> {
        let n = n_arms * self.width();
        if n > COEFFICIENTS_MAX {
            let width = self.width();
            let limit = format!("expected at most {COEFFICIENTS_MAX}: use features of a smaller `dim`");
            return Err(format!("{n_arms} arms of {width} coefficients are {n}, {limit}"));
        }
        for (name, value, positive) in [
            ("precision", self.precision, true),
            ("noise", self.noise, false),
            ("feel_good", self.feel_good, false),
        ] {
            if !(value.is_finite() && value >= 0.0 && (value > 0.0 || !positive)) {
                let least = if positive { "above 0" } else { "of at least 0" };
                return Err(format!("{name} is `{value}`, expected a number {least}"));
            }
        }
        Ok(())
    }
}

/// The belief: mean `(n,)` and covariance over noise squared `(n, n)`, arm by arm.
#[derive(Debug, Clone)]
struct Belief {
    mean: Vec<f32>,
    covariance: Vec<f32>,
}

/// What comparisons say of all arms.
#[derive(Debug, Clone)]
pub struct Duels {
    shape: DuelShape,
    n_arms: usize,
    /// Of arms `a < b` at `b (b - 1) / 2 + a`: features, and `r - 1/2` from the side of `a`.
    pairs: Vec<Arc<ArmStatistics>>,
    /// What feeling good added to the moments, `(n,)`; zeros without it.
    tilt: Vec<f64>,
    belief: Arc<Belief>,
    cost: CostModel,
    n_updates: u64,
    since_refresh: u32,
}

/// Position of a pair of arms, and whether it is told from the side of the first of them.
fn pair(arm: usize, rival: usize) -> (usize, bool) {
    let (low, high) = (arm.min(rival), arm.max(rival));
    (high * (high - 1) / 2 + low, arm < rival)
}

impl Duels {
    /// Beliefs before any comparison.
    ///
    /// # Errors
    /// If a number of the shape is out of range.
    pub fn new(shape: DuelShape, cost: CostModel) -> Result<Self, LinalgError> {
        let n_arms = cost.mean_usd().len();
        let nothing = Arc::new(ArmStatistics::new(shape.width()));
        let pairs = vec![nothing; n_arms * n_arms.saturating_sub(1) / 2];
        Self::with(shape, pairs, vec![0.0; n_arms * shape.width()], cost)
    }

    fn with(
        shape: DuelShape,
        pairs: Vec<Arc<ArmStatistics>>,
        tilt: Vec<f64>,
        cost: CostModel,
    ) -> Result<Self, LinalgError> {
        let n_arms = cost.mean_usd().len();
        shape.check(n_arms).map_err(|reason| LinalgError { dim: shape.width(), reason })?;
        let n_updates = pairs.iter().map(|pair| pair.n_updates()).fold(0, u64::saturating_add);
        let belief = Arc::new(Belief { mean: Vec::new(), covariance: Vec::new() });
        let mut out = Self { shape, n_arms, pairs, tilt, belief, cost, n_updates, since_refresh: 0 };
        out.refresh()?;
        Ok(out)
    }

    fn load(state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let FormState { config, mut tensors } = state;
        let shape: DuelShape = super::config(ROW.name, config)?;
        let pairs = take_pairs(&mut tensors, n_arms, shape.width())?;
        let words = tensors.take_u32("tilt", &[2 * n_arms * shape.width()])?;
        let bits = |pair: &[u32]| f64::from_bits(u64::from(pair[0]) | (u64::from(pair[1]) << 32));
        let tilt: Vec<f64> = words.chunks_exact(2).map(bits).collect();
        if let Some(position) = tilt.iter().position(|value| !value.is_finite()) {
            return Err(TensorError::NotFinite { name: "tilt".to_owned(), position }.into());
        }
        let cost = CostModel::restore(&mut tensors, n_arms)?;
        let pairs = pairs.into_iter().map(Arc::new).collect();
        let duels = Self::with(shape, pairs, tilt, cost);
        let failed = |error: LinalgError| LoadError::Config { form: ROW.name, reason: error.to_string() };
        Ok(Box::new(duels.map_err(failed)?))
    }

    fn failed(error: LinalgError) -> LearnError {
        LearnError::Statistics(LoadError::Config { form: ROW.name, reason: error.to_string() })
    }

    /// Makes the belief from the sums.
    fn refresh(&mut self) -> Result<(), LinalgError> {
        let width = self.shape.width();
        let n = self.n_arms * width;
        self.since_refresh = 0;
        if self.pairs.iter().all(|pair| pair.n_updates() == 0) {
            let mut covariance = vec![0.0; n * n];
            (0..n).for_each(|i| covariance[i * n + i] = (1.0 / self.shape.precision) as f32);
            self.belief = Arc::new(Belief { mean: vec![0.0; n], covariance });
            return Ok(());
        }
        let mut a = vec![0.0; n * n];
        let mut right = vec![0.0; n * (n + 1)];
        for i in 0..n {
            a[i * n + i] = self.shape.precision;
            right[i * (n + 1) + i] = 1.0;
            right[i * (n + 1) + n] = self.tilt[i];
        }
        for high in 1..self.n_arms {
            for low in 0..high {
                let sums = &self.pairs[pair(low, high).0];
                let (low, high) = (low * width, high * width);
                for i in 0..width {
                    for j in 0..width {
                        let gram = sums.gram(i, j);
                        a[(low + i) * n + low + j] += gram;
                        a[(high + i) * n + high + j] += gram;
                        a[(low + i) * n + high + j] -= gram;
                        a[(high + i) * n + low + j] -= gram;
                    }
                    right[(low + i) * (n + 1) + n] += sums.moment()[i];
                    right[(high + i) * (n + 1) + n] -= sums.moment()[i];
                }
            }
        }
        let solved = Cholesky::of(a, n)?.solve(right, n + 1)?;
        let covariance = (0..n * n).map(|at| solved[at / n * (n + 1) + at % n] as f32).collect();
        let mean = (0..n).map(|i| solved[i * (n + 1) + n] as f32).collect();
        self.belief = Arc::new(Belief { mean, covariance });
        Ok(())
    }

    fn features(&self, features: &[f32]) -> Vec<f32> {
        let mut x = features.to_vec();
        if self.shape.intercept {
            x.push(1.0);
        }
        x
    }

    /// Covariance over noise squared times the coefficients `sum_m amount_m x` at arms `m`.
    fn spread(&self, x: &[f32], arms: &[(usize, f32)]) -> Vec<f32> {
        let (width, n) = (x.len(), self.n_arms * x.len());
        let at = |row: &[f32]| {
            let of = |(arm, amount): &(usize, f32)| amount * dot(&row[arm * width..(arm + 1) * width], x);
            arms.iter().map(of).sum()
        };
        self.belief.covariance.chunks_exact(n).map(at).collect()
    }

    /// Makes room for one more arm, of which nothing is believed before the next refresh.
    fn grow(&mut self, arm: &NewArm) -> Result<(), LearnError> {
        if arm.quality.is_some() {
            return Err(LearnError::Quality {
                reason: "the policy learns from comparisons, which have no scale",
            });
        }
        let width = self.shape.width();
        self.shape
            .check(self.n_arms + 1)
            .map_err(|reason| Self::failed(LinalgError { dim: width, reason }))?;
        self.pairs.extend((0..self.n_arms).map(|_| Arc::new(ArmStatistics::new(width))));
        self.tilt.resize((self.n_arms + 1) * width, 0.0);
        self.n_arms += 1;
        self.cost.add_arm(arm.cost_usd);
        Ok(())
    }

    /// Adds a comparison, or takes it off where its weight is negative.
    fn tell(&mut self, experience: &Experience<'_>, rival: usize) -> Result<(), LearnError> {
        let x = self.features(experience.features);
        let (at, in_order) = pair(experience.arm, rival);
        let lead = experience.reward - 0.5;
        // From the side of the lower arm, so that either side gives the same bits.
        let (low, high, lead) = match in_order {
            true => (experience.arm, rival, lead),
            false => (rival, experience.arm, -lead),
        };
        Arc::make_mut(&mut self.pairs[at]).add(&x, lead, experience.weight);
        self.since_refresh += 1;
        if self.since_refresh >= REFRESH {
            return self.refresh().map_err(Self::failed);
        }
        let width = x.len();
        let of = |vector: &[f32], arm: usize| dot(&vector[arm * width..(arm + 1) * width], &x);
        let spread = self.spread(&x, &[(low, 1.0), (high, -1.0)]);
        let share = 1.0 + experience.weight as f32 * (of(&spread, low) - of(&spread, high));
        if share < LEAST_SHARE {
            return self.refresh().map_err(Self::failed);
        }
        let gain = experience.weight as f32 / share;
        let belief = Arc::make_mut(&mut self.belief);
        let step = gain * (lead as f32 - (of(&belief.mean, low) - of(&belief.mean, high)));
        belief.mean.iter_mut().zip(&spread).for_each(|(mean, s)| *mean += step * s);
        for (row, s) in belief.covariance.chunks_exact_mut(spread.len()).zip(&spread) {
            let factor = gain * s;
            row.iter_mut().zip(&spread).for_each(|(value, s)| *value -= factor * s);
        }
        Ok(())
    }

    /// Lets a comparison speak for the arm believed the best on its query.
    fn feel_good(&mut self, experience: &Experience<'_>, rival: usize) {
        let x = self.features(experience.features);
        let width = x.len();
        let believed = |arm: usize| dot(&self.belief.mean[arm * width..(arm + 1) * width], &x);
        let best = (0..self.n_arms).max_by(|a, b| believed(*a).total_cmp(&believed(*b))).unwrap_or(0);
        let amount = self.shape.feel_good * experience.weight;
        let arms = [(best, 1.0), (experience.arm, -0.5), (rival, -0.5)];
        for (arm, share) in arms {
            let tilt = &mut self.tilt[arm * width..(arm + 1) * width];
            tilt.iter_mut().zip(&x).for_each(|(t, x)| *t += amount * f64::from(share * x));
        }
        let spread = self.spread(&x, &arms);
        let mean = &mut Arc::make_mut(&mut self.belief).mean;
        mean.iter_mut().zip(spread).for_each(|(mean, s)| *mean += amount as f32 * s);
    }

    /// Score and standard error of each arm against one drawn at random.
    fn predict_row(&self, features: &[f32], score: &mut [f32], score_se: &mut [f32]) {
        let x = self.features(features);
        let (width, n_arms) = (x.len(), self.n_arms);
        let mut joint = vec![0.0_f32; n_arms * n_arms];
        for (i, row) in self.belief.covariance.chunks_exact(n_arms * width).enumerate() {
            let (arm, factor) = (i / width, x[i % width]);
            for (other, block) in row.chunks_exact(width).enumerate() {
                joint[arm * n_arms + other] += factor * dot(block, &x);
            }
        }
        let share = 1.0 / n_arms as f32;
        for (arm, score) in score.iter_mut().enumerate() {
            *score = dot(&self.belief.mean[arm * width..(arm + 1) * width], &x);
        }
        let mean = score.iter().sum::<f32>() * share;
        score.iter_mut().for_each(|score| *score += 0.5 - mean);
        let all = joint.iter().sum::<f32>() * share * share;
        for (arm, se) in score_se.iter_mut().enumerate() {
            let row = &joint[arm * n_arms..(arm + 1) * n_arms];
            let variance = row[arm] - 2.0 * share * row.iter().sum::<f32>() + all;
            *se = self.shape.noise as f32 * variance.max(0.0).sqrt();
        }
    }

    /// The rival of a comparison that fits.
    fn checked(&self, experience: &Experience<'_>) -> Result<usize, LearnError> {
        check(experience, self.n_arms, self.shape.dim)?;
        let Experience { arm, reward, .. } = *experience;
        if !(0.0..=1.0).contains(&reward) {
            let expected = "1 for the arm, 0 for its rival, or between";
            return Err(LearnError::Number { field: "reward", value: reward, expected });
        }
        match experience.rival {
            None => Err(LearnError::Rival { form: ROW.name }),
            Some(rival) if rival == arm || rival >= self.n_arms => {
                Err(LearnError::Arm { arm: rival, n_arms: self.n_arms })
            }
            Some(rival) => Ok(rival),
        }
    }

    fn is_ordered(&self) -> Result<(), LearnError> {
        if self.shape.feel_good > 0.0 { Err(LearnError::Order { form: ROW.name }) } else { Ok(()) }
    }
}

fn take_pairs(tensors: &mut Tensors, n_arms: usize, width: usize) -> Result<Vec<ArmStatistics>, LoadError> {
    let pairs = (0..n_arms).flat_map(|high| (0..high).map(move |low| (low, high)));
    let take = |(low, high)| ArmStatistics::restore(&name(low, high), width, tensors);
    Ok(pairs.map(take).collect::<Result<_, _>>()?)
}

fn name(low: usize, high: usize) -> String {
    format!("pair.{low:04}.{high:04}")
}

impl Predictor for Duels {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.n_arms
    }

    fn dim(&self) -> Option<usize> {
        Some(self.shape.dim)
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.shape.dim)?;
        let (n, n_arms) = (batch.n_queries(), self.n_arms);
        let (mut score, mut score_se) = (vec![0.0; n * n_arms], vec![0.0; n * n_arms]);
        let rows = score.chunks_exact_mut(n_arms).zip(score_se.chunks_exact_mut(n_arms));
        for (row, (score, se)) in rows.enumerate() {
            self.predict_row(batch.features.row(row), score, se);
        }
        let cost_usd = self.cost.predict(batch.features);
        let (score_se, n_updates) = (Some(score_se), self.n_updates);
        Ok(Prediction { n_arms, score, score_se, cost_usd, neighborhoods: None, members: None, n_updates })
    }

    fn state(&self) -> FormState {
        let mut tensors = Tensors::new();
        for high in 0..self.n_arms {
            (0..high).for_each(|low| self.pairs[pair(low, high).0].store(&name(low, high), &mut tensors));
        }
        let words = |value: &f64| [value.to_bits() as u32, (value.to_bits() >> 32) as u32];
        let tilt: Vec<u32> = self.tilt.iter().flat_map(words).collect();
        tensors.insert_u32("tilt", &[tilt.len()], tilt);
        self.cost.store(&mut tensors);
        FormState { config: serde_json::to_value(self.shape).unwrap_or_default(), tensors }
    }

    fn learner(&self) -> Option<Box<dyn Learner>> {
        Some(Box::new(self.clone()))
    }
}

impl Learner for Duels {
    fn compares(&self) -> bool {
        true
    }

    fn learn(&mut self, experience: &Experience<'_>) -> Result<(), LearnError> {
        let rival = self.checked(experience)?;
        self.tell(experience, rival)?;
        if self.shape.feel_good > 0.0 {
            self.feel_good(experience, rival);
        }
        self.n_updates += 1;
        Ok(())
    }

    fn can_unlearn(&self) -> bool {
        self.is_ordered().is_ok()
    }

    fn unlearn(&mut self, experience: &Experience<'_>) -> Result<(), LearnError> {
        self.is_ordered()?;
        let rival = self.checked(experience)?;
        self.tell(&Experience { weight: -experience.weight, ..*experience }, rival)?;
        Arc::make_mut(&mut self.pairs[pair(experience.arm, rival).0]).uncount();
        self.n_updates = self.n_updates.saturating_sub(1);
        Ok(())
    }

    fn predict_into(&mut self, features: &[f32], _: Option<&str>, score: &mut [f32], score_se: &mut [f32]) {
        self.predict_row(features, score, score_se);
    }

    fn n_updates(&self) -> u64 {
        self.n_updates
    }

    fn add_arm(&mut self, arm: &NewArm) -> Result<(), LearnError> {
        self.add_arms(std::slice::from_ref(arm))
    }

    fn add_arms(&mut self, arms: &[NewArm]) -> Result<(), LearnError> {
        let before = self.n_arms;
        let grown = arms.iter().try_for_each(|arm| self.grow(arm));
        // Once for all: a refresh takes time by the cube of the arms.
        if self.n_arms > before {
            self.refresh().map_err(Self::failed)?;
        }
        grown
    }

    fn reprice(&mut self, arm: usize, usd: f64) -> Result<(), LearnError> {
        if arm >= self.n_arms {
            return Err(LearnError::Arm { arm, n_arms: self.n_arms });
        }
        self.cost.reprice(arm, usd);
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn Predictor> {
        Box::new(self.clone())
    }

    fn merge(&mut self, mut other: FormState, mut base: FormState) -> Result<(), LearnError> {
        self.is_ordered()?;
        let width = self.shape.width();
        let other = take_pairs(&mut other.tensors, self.n_arms, width)?;
        let base = take_pairs(&mut base.tensors, self.n_arms, width)?;
        for ((pair, other), base) in self.pairs.iter_mut().zip(&other).zip(&base) {
            Arc::make_mut(pair).add_difference(other, base);
        }
        self.n_updates = self.pairs.iter().map(|pair| pair.n_updates()).sum();
        self.refresh().map_err(Self::failed)
    }
}

#[cfg(test)]
#[path = "duels_tests.rs"]
mod tests;
