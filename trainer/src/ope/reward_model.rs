//! The reward model `q(x, a)`: a ridge regression for each arm on the rounds in which it was chosen.
//!
//! `min_w sum m (r - w . x - b)^2 + alpha |w|^2`, the intercept free, in f64. It is cross-fitted: rounds are
//! dealt into folds by a hash of their question, and a round is predicted by what the other folds taught
//! (Chernozhukov et al. 2018), without which the direct method and its corrections would be optimistic. Only
//! sums are kept, a Gram matrix for each arm and fold, so a log of any length is learned from in one pass:
//! memory is `arms x folds x width^2` numbers.
//!
//! One `alpha` is chosen from a grid for all arms by the squared error on the folds left out, which the sums
//! give without a second pass. An arm without a round in the other folds is predicted by the mean reward of
//! them. Predictions are kept within the range of the rewards seen.
//!
//! Features wider than 512 are cut off: those of `lexical` stand in the order of their strength.

use super::OpeError;
use super::folds::fold;
use routewright_data::linalg::solve_spd;

/// Features that are used at most.
pub(super) const WIDTH_MAX: usize = 512;
/// Penalties tried.
const ALPHAS: [f64; 5] = [1.0, 10.0, 30.0, 100.0, 1000.0];
/// Penalty of the intercept: just enough to stay solvable.
const EPSILON: f64 = 1e-9;

/// Sums over the rounds of one arm in one fold.
#[derive(Debug, Clone, Default)]
struct Sums {
    rounds: u64,
    mass: f64,
    reward: f64,
    square: f64,
    /// Lower triangle of `sum m x x^T`, row by row; empty before the first round.
    gram: Vec<f64>,
    /// `sum m x r`.
    moments: Vec<f64>,
}

/// What has been learned so far.
#[derive(Debug, Clone)]
pub struct RewardSums {
    n_folds: usize,
    /// Width of `x` with its 1 for the intercept, once known.
    width: usize,
    /// `n_folds` entries an arm.
    sums: Vec<Sums>,
    range: (f64, f64),
    x: Vec<f64>,
}

/// Predicts rewards; each fold has weights learned without it.
#[derive(Debug, Clone)]
pub struct RewardModel {
    n_folds: usize,
    width: usize,
    /// Shape `(n_arms, n_folds, width)`.
    weights: Vec<f64>,
    /// Prediction for arms never seen, one a fold.
    unseen: Vec<f64>,
    range: (f64, f64),
    /// The penalty chosen.
    pub alpha: f64,
}

impl RewardSums {
    /// Nothing learned yet; `n_folds` below 2 counts as 2.
    pub fn new(n_folds: usize) -> Self {
        let range = (f64::INFINITY, f64::NEG_INFINITY);
        Self { n_folds: n_folds.max(2), width: 0, sums: Vec::new(), range, x: Vec::new() }
    }

    /// Fold of a round whose question has that key.
    pub fn fold(&self, key: u64) -> usize {
        fold(key, self.n_folds)
    }

    /// Learns a round: `arm` was chosen on features `x`, got `reward` and counts `mass` times.
    pub fn add(&mut self, arm: usize, fold: usize, x: &[f32], reward: f64, mass: f64) {
        if self.width == 0 {
            self.width = x.len().min(WIDTH_MAX) + 1;
        }
        if self.sums.len() < (arm + 1) * self.n_folds {
            self.sums.resize((arm + 1) * self.n_folds, Sums::default());
        }
        self.range = (self.range.0.min(reward), self.range.1.max(reward));
        self.x.clear();
        self.x.extend(x.iter().take(self.width - 1).map(|v| f64::from(*v)));
        self.x.push(1.0);
        let sums = &mut self.sums[arm * self.n_folds + fold];
        sums.add(&self.x, reward, mass);
    }

    /// Solves for every arm and fold.
    ///
    /// # Errors
    /// If a system cannot be solved.
    pub fn solve(&self) -> Result<RewardModel, OpeError> {
        let mut best: Option<(f64, RewardModel)> = None;
        for alpha in ALPHAS {
            let model = self.solve_with(alpha)?;
            let error = self.held_out_error(&model);
            if best.as_ref().is_none_or(|(least, _)| error < *least) {
                best = Some((error, model));
            }
        }
        let none = || OpeError::RewardModel { reason: "its errors are not finite".to_owned() };
        best.map(|(_, model)| model).ok_or_else(none)
    }

    fn solve_with(&self, alpha: f64) -> Result<RewardModel, OpeError> {
        let (n_folds, width) = (self.n_folds, self.width.max(1));
        let n_arms = self.sums.len() / n_folds;
        let others = |arm: usize, fold: usize| {
            let arm = &self.sums[arm * n_folds..(arm + 1) * n_folds];
            arm.iter().enumerate().filter(move |(at, s)| *at != fold && s.rounds > 0).map(|(_, s)| s)
        };
        let mut unseen = Vec::with_capacity(n_folds);
        for fold in 0..n_folds {
            let all = || (0..n_arms).flat_map(|arm| others(arm, fold));
            let mass: f64 = all().map(|s| s.mass).sum();
            unseen.push(if mass > 0.0 { all().map(|s| s.reward).sum::<f64>() / mass } else { 0.0 });
        }
        let mut weights = vec![0.0; n_arms * n_folds * width];
        for (at, weights) in weights.chunks_exact_mut(width).enumerate() {
            let (arm, fold) = (at / n_folds, at % n_folds);
            let parts: Vec<&Sums> = others(arm, fold).collect();
            if parts.is_empty() {
                weights[width - 1] = unseen[fold];
                continue;
            }
            let solved = ridge(&parts, width, alpha)
                .map_err(|error| OpeError::RewardModel { reason: error.to_string() })?;
            weights.copy_from_slice(&solved);
        }
        Ok(RewardModel { n_folds, width, weights, unseen, range: self.range, alpha })
    }

    /// Sum of squared errors on the folds left out: `sum r^2 - 2 w . b + w^T A w`.
    fn held_out_error(&self, model: &RewardModel) -> f64 {
        let width = model.width;
        let mut error = 0.0;
        for (sums, w) in self.sums.iter().zip(model.weights.chunks_exact(width)) {
            if sums.rounds == 0 {
                continue;
            }
            let mut quadratic = 0.0;
            let mut at = 0;
            for i in 0..width {
                for j in 0..=i {
                    let twice = if i == j { 1.0 } else { 2.0 };
                    quadratic += twice * w[i] * w[j] * sums.gram[at];
                    at += 1;
                }
            }
            let cross: f64 = w.iter().zip(&sums.moments).map(|(w, b)| w * b).sum();
            error += sums.square - 2.0 * cross + quadratic;
        }
        error
    }
}

impl Sums {
    fn add(&mut self, x: &[f64], reward: f64, mass: f64) {
        if self.gram.is_empty() {
            self.gram = vec![0.0; x.len() * (x.len() + 1) / 2];
            self.moments = vec![0.0; x.len()];
        }
        self.rounds += 1;
        self.mass += mass;
        self.reward += mass * reward;
        self.square += mass * reward * reward;
        let mut rest = self.gram.as_mut_slice();
        for i in 0..x.len() {
            let (row, tail) = std::mem::take(&mut rest).split_at_mut(i + 1);
            let scaled = mass * x[i];
            row.iter_mut().zip(x).for_each(|(sum, xj)| *sum += scaled * xj);
            rest = tail;
            self.moments[i] += scaled * reward;
        }
    }
}

/// Weights of one arm from some of its folds.
fn ridge(
    parts: &[&Sums],
    width: usize,
    alpha: f64,
) -> Result<Vec<f64>, routewright_data::linalg::LinalgError> {
    let mut gram = vec![0.0; width * width];
    let mut moments = vec![0.0; width];
    for part in parts {
        let mut at = 0;
        for i in 0..width {
            for j in 0..=i {
                gram[i * width + j] += part.gram[at];
                at += 1;
            }
            moments[i] += part.moments[i];
        }
    }
    for i in 0..width {
        for j in 0..i {
            gram[j * width + i] = gram[i * width + j];
        }
        gram[i * width + i] += if i + 1 < width { alpha } else { EPSILON };
    }
    solve_spd(gram, moments, width, 1)
}

impl RewardModel {
    /// Fold of a round, as [`RewardSums::fold`] dealt it.
    pub fn fold(&self, key: u64) -> usize {
        fold(key, self.n_folds)
    }

    /// Reward of an arm on features `x`, by what was learned without `fold`.
    pub fn predict(&self, arm: usize, fold: usize, x: &[f32]) -> f64 {
        let at = (arm * self.n_folds + fold) * self.width;
        let Some(w) = self.weights.get(at..at + self.width) else { return self.unseen[fold] };
        let (slopes, intercept) = w.split_at(self.width - 1);
        let value = intercept[0] + slopes.iter().zip(x).map(|(w, x)| w * f64::from(*x)).sum::<f64>();
        value.clamp(self.range.0, self.range.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_is_found_and_never_left_to_the_fold_itself() {
        let mut sums = RewardSums::new(2);
        // Arm 0 gets 0.25 + 0.5 x; arm 1 gets 0 in fold 0 and 1 in fold 1.
        for i in 0..4000 {
            let (x, fold) = ((i % 10) as f32 / 10.0, i / 10 % 2);
            sums.add(0, fold, &[x], 0.25 + 0.5 * f64::from(x), 1.0);
            if i < 40 {
                sums.add(1, fold, &[0.0], fold as f64, 1.0);
            }
        }
        let model = sums.solve().unwrap();
        assert_eq!(model.alpha, 1.0);
        // Penalty 1 against a spread of 0.0825 x 2000: the slope loses 0.6 %.
        assert!((model.predict(0, 1, &[0.9]) - 0.7).abs() < 0.002, "{}", model.predict(0, 1, &[0.9]));
        assert!(model.predict(1, 1, &[0.0]).abs() < 1e-6 && (model.predict(1, 0, &[0.0]) - 1.0).abs() < 1e-6);
        // An arm never seen gets the mean of the other fold: (2000 x 0.475 + 20) / 2020. Rewards are 0 to 1.
        assert!(
            (model.predict(7, 0, &[0.5]) - 970.0 / 2020.0).abs() < 1e-6,
            "{}",
            model.predict(7, 0, &[0.5])
        );
        assert_eq!(model.predict(0, 1, &[-100.0]), 0.0);
    }

    #[test]
    fn weight_two_is_a_round_seen_twice() {
        let (mut once, mut twice) = (RewardSums::new(2), RewardSums::new(2));
        for (i, r) in [0.0, 1.0, 0.5, 0.25].into_iter().enumerate() {
            for fold in 0..2 {
                once.add(0, fold, &[i as f32, 1.0], r, 2.0);
                twice.add(0, fold, &[i as f32, 1.0], r, 1.0);
                twice.add(0, fold, &[i as f32, 1.0], r, 1.0);
            }
        }
        let (once, twice) = (once.solve().unwrap(), twice.solve().unwrap());
        assert!((once.predict(0, 0, &[2.0, 1.0]) - twice.predict(0, 0, &[2.0, 1.0])).abs() < 1e-12);
    }

    #[test]
    fn an_arm_of_a_single_fold_falls_back_to_the_mean() {
        let mut sums = RewardSums::new(2);
        sums.add(0, 0, &[1.0], 0.5, 1.0);
        sums.add(1, 1, &[1.0], 0.75, 1.0);
        let model = sums.solve().unwrap();
        assert_eq!(model.predict(0, 0, &[1.0]), 0.75);
        assert!((model.predict(1, 0, &[1.0]) - 0.75).abs() < 1e-6);
    }
}
