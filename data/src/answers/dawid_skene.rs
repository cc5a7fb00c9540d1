//! Dawid and Skene's model of votes (Applied Statistics 28, 1979): how good judges are and what is right, from votes
//! alone.
//!
//! Item `l` is of class `z_l`, drawn with probability `pi`; judge `j` says class `c` with probability `C_j[z_l, c]`.
//! *One coin* (`C_j[z, z] = a_j`, every other class `(1 - a_j) / (K - 1)`) has one accuracy a judge; the full model a
//! matrix each. Expectation maximisation from the majority; a Dirichlet prior adds `smoothing` votes to every entry of
//! a row and `trust` more to the right one, which draws judges of few votes to the same and keeps classes from being
//! swapped.
//!
//! ```text
//! E   p_l(z) ~ pi_z prod_j C_j[z, y_lj]          M   C_j[z, c] ~ sum_l p_l(z) 1(y_lj = c) + smoothing + trust 1(z = c)
//! ```
//!
//! It supposes that judges err independently given the class. Where they do not, as several prompts of one model do
//! not, it believes the largest clique: labels are better.

use crate::linalg::{Cholesky, LinalgError};

/// One vote: a judge says of an item that it is of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassVote {
    /// Item, from 0.
    pub item: u32,
    /// Judge, from 0.
    pub judge: u32,
    /// Class, from 0.
    pub class: u32,
}

/// What a judge has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coin {
    /// One accuracy.
    One,
    /// A confusion matrix.
    Matrix,
}

/// How the model is fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// What a judge has.
    pub coin: Coin,
    /// Votes that the prior adds to every entry, at least 0.
    pub smoothing: f64,
    /// Votes more that it adds to the right class, at least 0.
    pub trust: f64,
    /// Most rounds.
    pub rounds: usize,
    /// Change of the log-likelihood an item at which it ends.
    pub tolerance: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { coin: Coin::One, smoothing: 0.01, trust: 0.02, rounds: 500, tolerance: 1e-9 }
    }
}

/// Judges and items as the votes show them.
#[derive(Debug, Clone, PartialEq)]
pub struct DawidSkene {
    n_classes: usize,
    /// `C_j`, (n_judges, K, K) with the true class as the row.
    confusions: Vec<f64>,
    /// `pi`.
    classes: Vec<f64>,
    /// `p_l`, (n_items, K).
    posteriors: Vec<f64>,
    rounds: usize,
}

impl DawidSkene {
    /// Fits the model; judges and items without votes keep the prior.
    ///
    /// # Errors
    /// If there are fewer than two classes, or a vote names an item, judge or class that there is not.
    pub fn fit(
        votes: &[ClassVote],
        (n_items, n_judges, n_classes): (usize, usize, usize),
        settings: &Settings,
    ) -> Result<Self, String> {
        if n_classes < 2 {
            return Err(format!("there are {n_classes} classes, expected at least 2"));
        }
        let is_known = |vote: &ClassVote| {
            (vote.item as usize) < n_items
                && (vote.judge as usize) < n_judges
                && (vote.class as usize) < n_classes
        };
        if let Some(vote) = votes.iter().find(|vote| !is_known(vote)) {
            let expected = format!("expected {n_items} items, {n_judges} judges, {n_classes} classes");
            return Err(format!("there is the vote {vote:?}, {expected}"));
        }
        let k = n_classes;
        let mut sorted = votes.to_vec();
        sorted.sort_by_key(|vote| (vote.item, vote.judge, vote.class));
        let mut model = Self {
            n_classes,
            confusions: vec![0.0; n_judges * k * k],
            classes: vec![1.0 / k as f64; k],
            posteriors: majority(&sorted, n_items, k),
            rounds: 0,
        };
        let mut last = f64::NEG_INFINITY;
        while model.rounds < settings.rounds {
            model.rounds += 1;
            model.maximise(&sorted, settings);
            let likelihood = model.expect(&sorted) / n_items.max(1) as f64;
            if (likelihood - last).abs() < settings.tolerance {
                break;
            }
            last = likelihood;
        }
        Ok(model)
    }

    fn maximise(&mut self, votes: &[ClassVote], settings: &Settings) {
        let k = self.n_classes;
        for (at, entry) in self.confusions.iter_mut().enumerate() {
            let is_right = at / k % k == at % k;
            *entry = settings.smoothing + if is_right { settings.trust } else { 0.0 };
        }
        for vote in votes {
            let (item, judge, class) = (vote.item as usize, vote.judge as usize, vote.class as usize);
            for z in 0..k {
                self.confusions[(judge * k + z) * k + class] += self.posteriors[item * k + z];
            }
        }
        for judge in self.confusions.chunks_exact_mut(k * k) {
            match settings.coin {
                Coin::Matrix => judge.chunks_exact_mut(k).for_each(normalise),
                Coin::One => {
                    let all: f64 = judge.iter().sum();
                    let right: f64 = (0..k).map(|z| judge[z * k + z]).sum();
                    let accuracy = if all > 0.0 { right / all } else { 1.0 / k as f64 };
                    let other = (1.0 - accuracy) / (k as f64 - 1.0);
                    judge.iter_mut().enumerate().for_each(|(at, entry)| {
                        *entry = if at / k == at % k { accuracy } else { other };
                    });
                }
            }
        }
        self.classes = vec![settings.smoothing.max(1e-9); k];
        for posterior in self.posteriors.chunks_exact(k) {
            self.classes.iter_mut().zip(posterior).for_each(|(sum, p)| *sum += p);
        }
        normalise(&mut self.classes);
    }

    /// Posteriors of all items; returns the log-likelihood of the votes.
    fn expect(&mut self, votes: &[ClassVote]) -> f64 {
        let k = self.n_classes;
        let logs: Vec<f64> = self.confusions.iter().map(|p| p.max(1e-300).ln()).collect();
        let prior: Vec<f64> = self.classes.iter().map(|p| p.max(1e-300).ln()).collect();
        for posterior in self.posteriors.chunks_exact_mut(k) {
            posterior.copy_from_slice(&prior);
        }
        for vote in votes {
            let (item, judge, class) = (vote.item as usize, vote.judge as usize, vote.class as usize);
            let posterior = &mut self.posteriors[item * k..(item + 1) * k];
            for (z, p) in posterior.iter_mut().enumerate() {
                *p += logs[(judge * k + z) * k + class];
            }
        }
        let mut likelihood = 0.0;
        for posterior in self.posteriors.chunks_exact_mut(k) {
            let most = posterior.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            posterior.iter_mut().for_each(|p| *p = (*p - most).exp());
            likelihood += most + posterior.iter().sum::<f64>().ln();
            normalise(posterior);
        }
        likelihood
    }

    /// Rounds that it took.
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// Share of each class.
    pub fn classes(&self) -> &[f64] {
        &self.classes
    }

    /// Probability of each class of an item.
    ///
    /// # Panics
    /// If there is no such item.
    pub fn posterior(&self, item: usize) -> &[f64] {
        &self.posteriors[item * self.n_classes..(item + 1) * self.n_classes]
    }

    /// Probability of each class that a judge says, row by row of the true class.
    ///
    /// # Panics
    /// If there is no such judge.
    pub fn confusion(&self, judge: usize) -> &[f64] {
        let size = self.n_classes * self.n_classes;
        &self.confusions[judge * size..(judge + 1) * size]
    }

    /// Probability that a judge is right, over the classes.
    ///
    /// # Panics
    /// If there is no such judge.
    pub fn accuracy(&self, judge: usize) -> f64 {
        let confusion = self.confusion(judge);
        (0..self.n_classes).map(|z| self.classes[z] * confusion[z * self.n_classes + z]).sum()
    }

    /// Standard error of the accuracy of each judge of a model with one coin: of the observed information, by Louis's
    /// formula (the information that complete data would have, less what is lost for not knowing the classes).
    ///
    /// # Errors
    /// If the information has no inverse: the votes do not determine the accuracies.
    pub fn standard_errors(&self, votes: &[ClassVote]) -> Result<Vec<f64>, LinalgError> {
        let k = self.n_classes;
        let n_judges = self.confusions.len() / (k * k);
        // Accuracies, then the shares of all classes but the last.
        let n = n_judges + k - 1;
        let mut information = vec![0.0; n * n];
        let mut sorted = votes.to_vec();
        sorted.sort_by_key(|vote| (vote.item, vote.judge, vote.class));
        for of_item in sorted.chunk_by(|a, b| a.item == b.item) {
            self.add_information(of_item, n_judges, n, &mut information);
        }
        let inverse = Cholesky::of(information, n)?;
        let mut unit = vec![0.0; n * n];
        (0..n).for_each(|at| unit[at * n + at] = 1.0);
        let inverse = inverse.solve(unit, n)?;
        Ok((0..n_judges).map(|judge| inverse[judge * n + judge].max(0.0).sqrt()).collect())
    }

    fn add_information(&self, votes: &[ClassVote], n_judges: usize, n: usize, information: &mut [f64]) {
        let k = self.n_classes;
        let posterior = self.posterior(votes[0].item as usize);
        // Slope of the complete log-likelihood in each parameter that this item speaks of, were it of class z.
        let mut slopes: Vec<(usize, Vec<f64>)> = Vec::new();
        for vote in votes {
            let (judge, class) = (vote.judge as usize, vote.class as usize);
            let a = self.confusion(judge)[0].clamp(1e-6, 1.0 - 1e-6);
            let slope = |z: usize| if z == class { 1.0 / a } else { -1.0 / (1.0 - a) };
            let right = posterior[class];
            information[judge * n + judge] += right / (a * a) + (1.0 - right) / ((1.0 - a) * (1.0 - a));
            slopes.push((judge, (0..k).map(slope).collect()));
        }
        let share = |z: usize| self.classes[z].max(1e-6);
        for side in 0..k - 1 {
            let slope = |z: usize| match z {
                _ if z == side => 1.0 / share(side),
                _ if z == k - 1 => -1.0 / share(k - 1),
                _ => 0.0,
            };
            let at = n_judges + side;
            for other in 0..k - 1 {
                let own = if other == side { posterior[side] / share(side).powi(2) } else { 0.0 };
                information[at * n + n_judges + other] += own + posterior[k - 1] / share(k - 1).powi(2);
            }
            slopes.push((at, (0..k).map(slope).collect()));
        }
        for (a, of_a) in &slopes {
            let mean = |slopes: &[f64]| posterior.iter().zip(slopes).map(|(p, s)| p * s).sum::<f64>();
            for (b, of_b) in &slopes {
                let both: f64 = (0..k).map(|z| posterior[z] * of_a[z] * of_b[z]).sum();
                information[a * n + b] -= both - mean(of_a) * mean(of_b);
            }
        }
    }
}

/// Share of the votes of each item for each class; the same for all classes where it has none.
fn majority(votes: &[ClassVote], n_items: usize, k: usize) -> Vec<f64> {
    let mut shares = vec![1e-3; n_items * k];
    votes.iter().for_each(|vote| shares[vote.item as usize * k + vote.class as usize] += 1.0);
    shares.chunks_exact_mut(k).for_each(normalise);
    shares
}

fn normalise(values: &mut [f64]) {
    let sum: f64 = values.iter().sum();
    let n = values.len() as f64;
    values.iter_mut().for_each(|value| *value = if sum > 0.0 { *value / sum } else { 1.0 / n });
}

/// The rate at which one side wins where a judge says so at the rate `said`, and is right of `wins` of the wins and of
/// `losses` of the losses: `(said + losses - 1) / (wins + losses - 1)`, drawn into [0, 1]. `None` of a judge that knows
/// no better than chance.
pub fn win_rate(said: f64, wins: f64, losses: f64) -> Option<f64> {
    let known = wins + losses - 1.0;
    (known > 1e-9).then(|| ((said + losses - 1.0) / known).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use rand::RngExt as _;

    /// Votes of judges of these accuracies on items of two classes, and the classes.
    fn planted(accuracies: &[f64], n_items: u32, share: f64, seed: u64) -> (Vec<ClassVote>, Vec<u32>) {
        let mut rng = rng::stream(seed, "planted");
        let classes: Vec<u32> = (0..n_items).map(|_| u32::from(rng.random::<f64>() < share)).collect();
        let mut votes = Vec::new();
        for (item, z) in (0..n_items).zip(&classes) {
            for (judge, accuracy) in (0_u32..).zip(accuracies) {
                let is_right = rng.random::<f64>() < *accuracy;
                votes.push(ClassVote { item, judge, class: if is_right { *z } else { 1 - z } });
            }
        }
        (votes, classes)
    }

    #[test]
    fn planted_accuracies_are_recovered_within_two_standard_errors_in_95_of_100_draws() {
        const DRAWS: u64 = 200;
        let accuracies = [0.9, 0.8, 0.75, 0.7, 0.65, 0.85, 0.6];
        let (mut within, mut n) = (0.0, 0.0);
        for seed in 0..DRAWS {
            let (votes, classes) = planted(&accuracies, 600, 0.4, seed);
            let model = DawidSkene::fit(&votes, (600, 7, 2), &Settings::default()).unwrap();
            let errors = model.standard_errors(&votes).unwrap();
            for (judge, (planted, error)) in accuracies.iter().zip(errors).enumerate() {
                let found = model.confusion(judge)[0];
                within += f64::from(u8::from((found - planted).abs() <= 2.0 * error));
                n += 1.0;
            }
            // A judge's rate of wins, corrected by its accuracy, is the share of the class.
            let says = votes.iter().filter(|vote| vote.judge == 1 && vote.class == 1).count() as f64 / 600.0;
            let a = model.confusion(1)[0];
            let share = f64::from(classes.iter().sum::<u32>()) / 600.0;
            let rate = win_rate(says, a, a).unwrap();
            assert!((rate - share).abs() < 4.0 * 0.045, "{rate} {share}");
        }
        let covered: f64 = within / n;
        // 95.45 % of a normal distribution; 1400 estimates, seven of a draw together.
        assert!(covered >= 0.94, "{covered} of {n}");
    }

    #[test]
    fn a_matrix_tells_habits_apart_that_one_coin_does_not() {
        // Judges 0 and 1 are good; judge 2 says class 1 always.
        let (mut votes, _) = planted(&[0.9, 0.85, 0.8], 2000, 0.5, 3);
        let more: Vec<ClassVote> = (0..2000).map(|item| ClassVote { item, judge: 3, class: 1 }).collect();
        votes.extend(more);
        let settings = Settings { coin: Coin::Matrix, ..Settings::default() };
        let model = DawidSkene::fit(&votes, (2000, 4, 2), &settings).unwrap();
        let habit = model.confusion(3);
        assert!(habit[0] < 0.01 && habit[3] > 0.99, "{habit:?}");
        assert!((model.accuracy(0) - 0.9).abs() < 0.03, "{}", model.accuracy(0));
        assert!((model.classes()[1] - 0.5).abs() < 0.05);
        let sum: f64 = model.posterior(7).iter().sum();
        assert!((sum - 1.0).abs() < 1e-12 && model.rounds() > 1);
    }

    #[test]
    fn one_round_is_that_by_hand() {
        // Two items, three judges; the third errs on both. Without a prior and after one round:
        // majorities 2/3 (and 1e-3 a class), so judges 0 and 1 have about 2/3, judge 2 about 1/3.
        let vote = |item, judge, class| ClassVote { item, judge, class };
        let votes =
            [vote(0, 0, 0), vote(0, 1, 0), vote(0, 2, 1), vote(1, 0, 1), vote(1, 1, 1), vote(1, 2, 0)];
        let settings = Settings { smoothing: 0.0, trust: 0.0, rounds: 1, ..Settings::default() };
        let model = DawidSkene::fit(&votes, (2, 3, 2), &settings).unwrap();
        let share = 2.001 / 3.002;
        assert!((model.confusion(0)[0] - share).abs() < 1e-12);
        assert!((model.confusion(2)[0] - (1.0 - share)).abs() < 1e-12);
        // Three times the odds of 2.001 to 1.001.
        let odds = (2.001_f64 / 1.001).powi(3);
        assert!((model.posterior(0)[0] - odds / (1.0 + odds)).abs() < 1e-12);
    }

    #[test]
    fn votes_that_are_none_are_refused_and_silence_is_no_fault() {
        let vote = ClassVote { item: 0, judge: 0, class: 2 };
        let error = DawidSkene::fit(&[vote], (1, 1, 2), &Settings::default()).unwrap_err();
        assert!(error.contains("class: 2"), "{error}");
        assert!(DawidSkene::fit(&[], (1, 1, 1), &Settings::default()).unwrap_err().contains("1 classes"));
        let silent = DawidSkene::fit(&[], (2, 1, 3), &Settings::default()).unwrap();
        assert!(silent.posterior(1).iter().all(|p| (p - 1.0 / 3.0).abs() < 1e-9));
        assert_eq!(win_rate(0.6, 0.5, 0.5), None);
        // 0.9 * 0.25 + 0.2 * 0.75 = 0.375 where a quarter are wins.
        assert!((win_rate(0.375, 0.9, 0.8).unwrap() - 0.25).abs() < 1e-12);
    }
}
