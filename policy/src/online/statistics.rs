//! What a linear arm has seen, and what it believes: ridge regression, updated a reward at a time.
//!
//! With features `x_i`, rewards `r_i`, weights `w_i`, prior mean `theta_0` and precision `lambda`:
//!
//! ```text
//! A = lambda I + sum w_i x_i x_i'        theta = A^-1 (lambda theta_0 + sum w_i r_i x_i)
//! ```
//!
//! [`ArmStatistics`] are the sums. Every product is rounded to a multiple of 2^-30 before it is added, so
//! that additions are exact below 2^22 and their order does not matter: any reordering of the same rewards
//! gives the same bits. [`Posterior`] is the working copy, kept by rank-one updates (Sherman and Morrison)
//! and recomputed from the sums by a Cholesky factorisation every [`REFRESH`] updates, so that rounding
//! never piles up.
//!
//! With a discount the sums are relative to an epoch `e`: a reward of decision `t` weighs `g^(e - t)`. When
//! decisions have moved the weights by more than a twentieth, the sums are brought to the present; other ways to
//! forget drop parts of the sums, see [`History`]. Then the posterior is recomputed with the *whole* ridge, so that
//! the precision never falls below `lambda`.

use super::packed::{Packed, Padded};
use super::{Experience, Forgetting, History};
use routewright_data::linalg::{Cholesky, LinalgError};
use routewright_data::{TensorError, Tensors};

/// Updates after which the posterior is recomputed from the sums.
const REFRESH: u32 = 4096;
/// Where taking a reward off leaves less than this of the precision along its features, the posterior is recomputed.
const LEAST_SHARE: f32 = 0.05;
/// Adding and taking away this number rounds to a multiple of 2^-30.
const ROUNDER: f64 = 1.5 * (1_u64 << 22) as f64;

fn rounded(value: f64) -> f64 {
    (value + ROUNDER) - ROUNDER
}

/// What is believed of every arm before any reward.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior {
    /// Precision `lambda` of every coefficient, above 0.
    pub precision: f64,
    /// Prior mean of the coefficients, `(dim,)`; empty for zeros.
    pub mean: Vec<f32>,
}

/// Sums over the rewards of one arm, relative to an epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmStatistics {
    dim: usize,
    /// Lower triangle of `sum w x x'`, row by row.
    gram: Vec<f64>,
    /// `sum w r x`.
    moment: Vec<f64>,
    /// `sum w r^2`.
    square: f64,
    /// `sum w`.
    weight: f64,
    /// Rewards added, whatever their weight.
    n_updates: u64,
    /// Decision the weights are relative to.
    epoch: u64,
}

impl ArmStatistics {
    /// Nothing seen.
    pub fn new(dim: usize) -> Self {
        let gram = vec![0.0; dim * (dim + 1) / 2];
        Self { dim, gram, moment: vec![0.0; dim], square: 0.0, weight: 0.0, n_updates: 0, epoch: 0 }
    }

    /// Nothing seen since a decision.
    pub(super) fn beginning(dim: usize, epoch: u64) -> Self {
        Self { epoch, ..Self::new(dim) }
    }

    /// What an arm is declared to earn before any reward, as `weight` rewards of it on a query that has only the
    /// intercept, the last coefficient.
    pub(super) fn declared(dim: usize, reward: f64, weight: f64, epoch: u64) -> Self {
        let mut out = Self::beginning(dim, epoch);
        if weight > 0.0 {
            let mut features = vec![0.0; dim];
            if let Some(last) = features.last_mut() {
                *last = 1.0;
            }
            out.add(&features, reward, weight);
            // It is no reward that was learned from.
            out.n_updates = 0;
        }
        out
    }

    /// Number of coefficients.
    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    /// Decision the sums are relative to, or begin with.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// An entry of `sum w x x'`.
    pub(crate) fn gram(&self, i: usize, j: usize) -> f64 {
        self.gram[i.max(j) * (i.max(j) + 1) / 2 + i.min(j)]
    }

    /// `sum w r x`.
    pub(crate) fn moment(&self) -> &[f64] {
        &self.moment
    }

    /// Rewards added.
    pub fn n_updates(&self) -> u64 {
        self.n_updates
    }

    /// Sum of the weights of the rewards added.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// `sum w r^2`.
    pub fn square(&self) -> f64 {
        self.square
    }

    /// Weight of a reward relative to the epoch.
    pub(super) fn weigh(&self, experience: &Experience<'_>, discount: f64) -> f64 {
        if discount >= 1.0 {
            return experience.weight;
        }
        let age = self.epoch as f64 - experience.time as f64;
        experience.weight * discount.powf(age)
    }

    /// Adds one reward of the weight given, a row of the triangle at a time.
    #[inline(always)]
    pub(crate) fn add(&mut self, features: &[f32], reward: f64, weight: f64) {
        let mut rest = self.gram.as_mut_slice();
        for (i, x) in features.iter().enumerate() {
            let (row, after) = rest.split_at_mut(i + 1);
            let scaled = weight * f64::from(*x);
            for (sum, y) in row.iter_mut().zip(features) {
                *sum += rounded(scaled * f64::from(*y));
            }
            self.moment[i] += rounded(scaled * reward);
            rest = after;
        }
        self.square += rounded(weight * reward * reward);
        self.weight += rounded(weight);
        self.n_updates += 1;
    }

    /// One reward was taken off and counted as one more: two fewer.
    pub(crate) fn uncount(&mut self) {
        self.n_updates = self.n_updates.saturating_sub(2);
    }

    /// Makes the sums relative to decision `now`.
    pub(super) fn bring_to(&mut self, now: u64, discount: f64) {
        let factor = discount.powf(now as f64 - self.epoch as f64);
        self.gram.iter_mut().chain(&mut self.moment).for_each(|sum| *sum *= factor);
        self.square *= factor;
        self.weight *= factor;
        self.epoch = now;
    }

    /// Adds what another has seen.
    pub(super) fn accumulate(&mut self, other: &Self) {
        self.add_difference(other, &Self::new(self.dim));
    }

    /// Adds `other - base`, all relative to one epoch.
    pub(crate) fn add_difference(&mut self, other: &Self, base: &Self) {
        let parts = other.gram.iter().zip(&base.gram).chain(other.moment.iter().zip(&base.moment));
        let own = self.gram.iter_mut().chain(&mut self.moment);
        own.zip(parts).for_each(|(sum, (other, base))| *sum += other - base);
        self.square += other.square - base.square;
        self.weight += other.weight - base.weight;
        self.n_updates += other.n_updates.saturating_sub(base.n_updates);
    }

    /// Takes the sums of all parts; the number of rewards and the epoch stay.
    pub(super) fn become_sum_of(&mut self, parts: &[Self]) {
        let (n_updates, epoch) = (self.n_updates, self.epoch);
        *self = Self::new(self.dim);
        parts.iter().for_each(|part| self.accumulate(part));
        (self.n_updates, self.epoch) = (n_updates, epoch);
    }

    /// Stores the sums, bit for bit, under `name`.
    pub fn store(&self, name: &str, tensors: &mut Tensors) {
        let head = [self.square.to_bits(), self.weight.to_bits(), self.n_updates, self.epoch];
        let sums = self.gram.iter().chain(&self.moment).map(|sum| sum.to_bits());
        let words: Vec<u32> =
            head.into_iter().chain(sums).flat_map(|bits| [bits as u32, (bits >> 32) as u32]).collect();
        tensors.insert_u32(name, &[words.len()], words);
    }

    /// Restores what [`ArmStatistics::store`] stored.
    ///
    /// # Errors
    /// If the tensor is missing, of another size, or holds a sum that is not finite.
    pub fn restore(name: &str, dim: usize, tensors: &mut Tensors) -> Result<Self, TensorError> {
        let n_gram = dim * (dim + 1) / 2;
        let words = tensors.take_u32(name, &[2 * (4 + n_gram + dim)])?;
        let bits: Vec<u64> =
            words.chunks_exact(2).map(|pair| u64::from(pair[0]) | (u64::from(pair[1]) << 32)).collect();
        let float = |at: usize| f64::from_bits(bits[at]);
        let sums: Vec<f64> = (4..bits.len()).map(float).collect();
        let head = [float(0), float(1)];
        if let Some(position) = head.iter().chain(&sums).position(|sum| !sum.is_finite()) {
            return Err(TensorError::NotFinite { name: name.to_owned(), position });
        }
        let (gram, moment) = sums.split_at(n_gram);
        Ok(Self {
            dim,
            gram: gram.to_vec(),
            moment: moment.to_vec(),
            square: head[0],
            weight: head[1],
            n_updates: bits[2],
            epoch: bits[3],
        })
    }
}

/// Belief about one arm: the sums, and what follows from them.
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    history: History,
    prior: Prior,
    /// `A^-1`.
    covariance: Packed,
    /// `theta`, padded like the covariance.
    mean: Vec<f32>,
    since_refresh: u32,
}

/// Room that updates and predictions work in, kept so that nothing is allocated a round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scratch {
    pub(super) x: Padded,
    /// `A^-1 x` of the arm last asked.
    pub(super) product: Padded,
}

/// What a reward changed: `A^-1 -= gain y y'` and `theta += step y`, where `y` is `A^-1 x` before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(super) gain: f32,
    pub(super) step: f32,
}

impl Scratch {
    /// Takes the features of the query that follows.
    pub(crate) fn fill(&mut self, features: &[f32]) {
        self.x.fill(features);
    }
}

impl Posterior {
    /// The belief that `history` and `prior` make.
    ///
    /// # Errors
    /// If the precision is too small for the sums to be factorised.
    pub fn new(history: History, prior: Prior) -> Result<Self, LinalgError> {
        let dim = history.sums().dim;
        let mean = vec![0.0; dim];
        let mut out = Self { history, prior, covariance: Packed::diagonal(dim, 0.0), mean, since_refresh: 0 };
        out.refresh()?;
        Ok(out)
    }

    /// The mean, made from the sums; a fraction of the work of [`Posterior::new`], which also inverts.
    ///
    /// # Errors
    /// If the sums cannot be factorised.
    pub(crate) fn mean_of_sums(&self) -> Result<Vec<f32>, LinalgError> {
        let dim = self.history.sums().dim;
        let Some(a) = self.system() else { return Ok(self.prior_means()) };
        if let Some(diagonal) = self.diagonal() {
            return Ok((0..dim).map(|i| (self.right_side(i) / diagonal[i]) as f32).collect());
        }
        let right = (0..dim).map(|i| self.right_side(i)).collect();
        Ok(Cholesky::of(a, dim)?.solve(right, 1)?.into_iter().map(|theta| theta as f32).collect())
    }

    /// What was seen.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Sums over what counts.
    pub fn statistics(&self) -> &ArmStatistics {
        self.history.sums()
    }

    /// Coefficients believed, `(dim,)`.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// What was believed before any reward.
    pub(crate) fn prior(&self) -> &Prior {
        &self.prior
    }

    /// Prior mean of a coefficient.
    pub(super) fn prior_mean(&self, i: usize) -> f64 {
        self.prior.mean.get(i).map_or(0.0, |mean| f64::from(*mean))
    }

    /// `A^-1`.
    pub(crate) fn covariance(&self) -> &Packed {
        &self.covariance
    }

    /// `A` of the sums, row-major; `None` before anything was seen.
    fn system(&self) -> Option<Vec<f64>> {
        let sums = self.history.sums();
        if sums.n_updates == 0 && sums.weight == 0.0 {
            return None;
        }
        let dim = sums.dim;
        let mut a = vec![0.0; dim * dim];
        for i in 0..dim {
            for j in 0..dim {
                a[i * dim + j] = sums.gram(i, j);
            }
            a[i * dim + i] += self.prior.precision;
        }
        Some(a)
    }

    /// The diagonal of `A` where there is nothing beside it, as of an arm that was only declared: no factorisation is
    /// needed then.
    fn diagonal(&self) -> Option<Vec<f64>> {
        let sums = self.history.sums();
        let entry = |i| self.prior.precision + sums.gram(i, i);
        let is_diagonal = (0..sums.dim).all(|i| entry(i) > 0.0 && (0..i).all(|j| sums.gram(i, j) == 0.0));
        is_diagonal.then(|| (0..sums.dim).map(entry).collect())
    }

    /// What `A theta` must be, one coefficient of it.
    fn right_side(&self, i: usize) -> f64 {
        self.prior.precision * self.prior_mean(i) + self.history.sums().moment[i]
    }

    fn prior_means(&self) -> Vec<f32> {
        (0..self.history.sums().dim).map(|i| self.prior_mean(i) as f32).collect()
    }

    /// Makes covariance and mean from the sums.
    fn refresh(&mut self) -> Result<(), LinalgError> {
        let dim = self.history.sums().dim;
        self.since_refresh = 0;
        let Some(a) = self.system() else {
            self.covariance = Packed::diagonal(dim, (1.0 / self.prior.precision) as f32);
            self.mean = self.prior_means();
            return Ok(());
        };
        if let Some(diagonal) = self.diagonal() {
            let inverse = |i: usize, j: usize| if i == j { (1.0 / diagonal[i]) as f32 } else { 0.0 };
            self.covariance = Packed::from_fn(dim, inverse);
            self.mean = (0..dim).map(|i| (self.right_side(i) / diagonal[i]) as f32).collect();
            return Ok(());
        }
        // `[I | b]`: the inverse and the mean come out of one solve.
        let mut right = vec![0.0; dim * (dim + 1)];
        for i in 0..dim {
            right[i * (dim + 1) + i] = 1.0;
            right[i * (dim + 1) + dim] = self.right_side(i);
        }
        let solved = Cholesky::of(a, dim)?.solve(right, dim + 1)?;
        self.covariance = Packed::from_fn(dim, |i, j| solved[i * (dim + 1) + j] as f32);
        self.mean = (0..dim).map(|i| solved[i * (dim + 1) + dim] as f32).collect();
        Ok(())
    }

    /// Sets the counts right after a reward was taken off, which counted as one more.
    pub(crate) fn uncount(&mut self, experience: &Experience<'_>, forgetting: Forgetting) {
        self.history.uncount(experience, forgetting);
    }

    /// Learns one reward, or takes it off where its weight is negative; the features are those in `scratch`. `None`
    /// if the belief was recomputed.
    pub(crate) fn learn(
        &mut self,
        experience: &Experience<'_>,
        features: &[f32],
        forgetting: Forgetting,
        scratch: &mut Scratch,
    ) -> Result<Option<Change>, LinalgError> {
        let weight = self.history.weigh(experience, forgetting);
        self.since_refresh += 1;
        let Experience { reward, time, .. } = *experience;
        if self.since_refresh >= REFRESH {
            self.history.add(features, reward, weight, time, forgetting);
            return self.refresh().map(|()| None);
        }
        let change = routewright_data::simd::widest(
            #[inline(always)]
            || {
                self.history.add(features, reward, weight, time, forgetting);
                let Scratch { x, product } = scratch;
                self.covariance.product(x, product);
                let spread = dot(x.values(), product.values());
                let share = 1.0 + weight as f32 * spread;
                if share < LEAST_SHARE {
                    return None;
                }
                let gain = weight as f32 / share;
                let error = reward as f32 - dot(&self.mean, features);
                let step = gain * error;
                self.mean.iter_mut().zip(product.values()).for_each(|(mean, p)| *mean += step * p);
                self.covariance.add_outer(-gain, product);
                Some(Change { gain, step })
            },
        );
        if change.is_none() {
            self.refresh()?;
        }
        Ok(change)
    }

    /// Forgets what is past at decision `now`.
    pub(crate) fn forget(&mut self, now: u64, forgetting: Forgetting) -> Result<(), LinalgError> {
        if self.history.forget(now, forgetting) {
            self.refresh()?;
        }
        while self.history.has_drifted(&self.mean, forgetting) {
            self.history.drop_oldest(1);
            self.refresh()?;
        }
        Ok(())
    }

    /// Whether [`Posterior::forget`] would change anything.
    pub(crate) fn is_stale(&self, now: u64, forgetting: Forgetting) -> bool {
        self.history.is_stale(now, forgetting)
    }

    /// `(theta . x, sqrt(x' A^-1 x))` of the features in `scratch`.
    #[inline(always)]
    pub(crate) fn predict(&self, features: &[f32], scratch: &Scratch) -> (f32, f32) {
        (dot(&self.mean, features), self.covariance.quadratic(&scratch.x).max(0.0).sqrt())
    }

    /// `(theta . x, x' A^-1 x)` of the features in `scratch`, where `A^-1 x` is left.
    #[inline(always)]
    pub(super) fn project(&self, features: &[f32], scratch: &mut Scratch) -> (f32, f32) {
        self.covariance.product(&scratch.x, &mut scratch.product);
        (dot(&self.mean, features), dot(features, scratch.product.values()))
    }

    /// Adds what another belief with the same prior learned since both were `base`.
    ///
    /// # Errors
    /// If the sums cannot be factorised.
    pub(crate) fn merge(
        &mut self,
        other: History,
        base: History,
        forgetting: Forgetting,
    ) -> Result<(), LinalgError> {
        self.history.merge(other, base, forgetting);
        self.refresh()
    }
}

#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let n = a.len().min(b.len());
    let (a, b) = (a[..n].chunks_exact(LANES), b[..n].chunks_exact(LANES));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}
