//! The price of money that keeps spend at a target: a primal-dual pacer for any selector.
//!
//! Every call has its cost taken off its score at a price (score per US dollar), and the price follows the
//! balance of the account: with `b` the dollars spent above target so far, over the target per call,
//!
//! ```text
//! price = max(0, level + gain * b) / target        level += rate * (gain * b)
//! ```
//!
//! The term in `b` is the dual step of online mirror descent for one packing constraint (each call moves it
//! by `gain * (cost / target - 1)`), and since it is a function of the *account*, not of a smoothed cost,
//! nothing is ever forgotten: overspend at the end is at most `price * target / gain` calls' worth. The slow
//! `level` learns what the price has to be on average, so that the balance itself goes to zero.
//!
//! A call is booked at its expected cost when it is decided, whether or not feedback ever comes, and
//! corrected when the bill is known. The account is integer nano-dollars: booking and correcting in any
//! order gives the same balance.

use serde::{Deserialize, Serialize};

/// How spend is paced.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacerSettings {
    /// Mean price of a call to aim at, US dollars, above 0.
    pub target_usd: f64,
    /// Score per target given up for every target of overspend, above 0.
    #[serde(default = "default_gain")]
    pub gain: f64,
    /// How fast the level follows, at least 0.
    #[serde(default = "default_rate")]
    pub rate: f64,
    /// Unspent targets that may be saved up, at least 0.
    #[serde(default = "default_credit")]
    pub credit: f64,
}

fn default_gain() -> f64 {
    0.005
}

fn default_rate() -> f64 {
    0.001
}

fn default_credit() -> f64 {
    1000.0
}

impl PacerSettings {
    /// The settings for a target, all else as documented.
    pub fn target(target_usd: f64) -> Self {
        Self { target_usd, gain: default_gain(), rate: default_rate(), credit: default_credit() }
    }
}

/// The account and the price that follows from it; what has to be stored to go on after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pacer {
    settings: PacerSettings,
    /// Spent so far, nano-dollars.
    spent_nusd: i128,
    /// Calls decided so far.
    n_calls: u64,
    /// Savings given up because they exceeded the credit, nano-dollars.
    forgone_nusd: i128,
    /// Slow part of the price, score per target.
    level: f64,
}

fn nano(usd: f64) -> i128 {
    (usd * 1e9).round() as i128
}

impl Pacer {
    /// Nothing spent.
    pub fn new(settings: PacerSettings) -> Self {
        Self { settings, spent_nusd: 0, n_calls: 0, forgone_nusd: 0, level: 0.0 }
    }

    /// Overspend so far, in targets; negative for savings.
    fn balance(&self) -> f64 {
        let target = nano(self.settings.target_usd).max(1);
        let over = self.spent_nusd + self.forgone_nusd - target * i128::from(self.n_calls);
        over as f64 / target as f64
    }

    /// Score given up to save one US dollar.
    pub fn lambda(&self) -> f64 {
        (self.level + self.settings.gain * self.balance()).max(0.0) / self.settings.target_usd
    }

    /// Books a call at its expected cost.
    pub fn decided(&mut self, expected_usd: f64) {
        self.spent_nusd += nano(expected_usd);
        self.n_calls += 1;
        let PacerSettings { target_usd, gain, rate, credit } = self.settings;
        let excess = -self.balance() - credit;
        if excess > 0.0 {
            self.forgone_nusd += nano(excess * target_usd);
        }
        self.level = (self.level + rate * gain * self.balance()).max(0.0);
    }

    /// Corrects a call booked at `expected_usd` to what was billed.
    pub fn billed(&mut self, expected_usd: f64, billed_usd: f64) {
        self.spent_nusd += nano(billed_usd) - nano(expected_usd);
    }

    /// Spent so far, US dollars.
    pub fn spent_usd(&self) -> f64 {
        self.spent_nusd as f64 / 1e9
    }

    /// Mean price of the calls so far, US dollars.
    pub fn mean_usd(&self) -> f64 {
        self.spent_usd() / self.n_calls.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;
    use routewright_data::rng;

    /// Ten arms over a 450-fold span of prices, scores that grow with the price, a noisy bill.
    fn world() -> (Vec<f64>, Vec<f64>) {
        let cost = |arm: i32| 1e-5 * 450.0_f64.powf(f64::from(arm) / 9.0);
        let score = |arm: i32| 0.5 + 0.4 * f64::from(arm) / 9.0;
        ((0..10).map(cost).collect(), (0..10).map(score).collect())
    }

    fn run(target: f64, n: usize, restart: bool) -> (f64, f64) {
        let (costs, scores) = world();
        let mut rng = rng::stream(3, "pacing");
        let mut pacer = Pacer::new(PacerSettings::target(target));
        let (mut spent, mut late, mut reached) = (0.0, Vec::new(), 0.0);
        for round in 0..n {
            let lambda = pacer.lambda();
            let noise: Vec<f64> = (0..10).map(|_| 0.3 * rng.random::<f64>()).collect();
            let worth = |arm: &usize| scores[*arm] + noise[*arm] - lambda * costs[*arm];
            let arm = (0..10).max_by(|a, b| worth(a).total_cmp(&worth(b))).unwrap();
            let billed = costs[arm] * (0.5 + rng.random::<f64>());
            pacer.decided(costs[arm]);
            spent += billed;
            reached += scores[arm] + noise[arm];
            late.push((costs[arm], billed));
            // Bills come a hundred calls late; each is booked once.
            if let Some((expected, billed)) = round.checked_sub(100).map(|at| late[at]) {
                pacer.billed(expected, billed);
            }
            if restart && round == n / 2 {
                let stored = serde_json::to_string(&pacer).unwrap();
                pacer = serde_json::from_str(&stored).unwrap();
            }
        }
        (spent / n as f64, reached / n as f64)
    }

    #[test]
    fn spend_meets_the_target_over_a_wide_span_of_prices_with_late_bills_and_a_restart() {
        for target in [3e-5, 1e-4, 1e-3] {
            let (mean, _) = run(target, 10_000, false);
            assert!((mean / target - 1.0).abs() < 0.01, "target {target}: spent {mean} a call");
            assert_eq!(run(target, 10_000, true), run(target, 10_000, false), "a restart forgets nothing");
        }
        // A target nobody can spend is no constraint: the best arm is called throughout.
        let (mean, reached) = run(1.0, 1000, false);
        assert!(mean < 0.01 && reached > 0.95, "{mean} {reached}");
    }

    #[test]
    fn bookings_and_corrections_commute() {
        let bookings = [(1e-3, 2e-3), (5e-4, 1e-4), (2e-3, 2e-3)];
        let mut pacers = [Pacer::new(PacerSettings::target(1e-3)); 2];
        for (expected, _) in bookings {
            pacers.iter_mut().for_each(|pacer| pacer.decided(expected));
        }
        for (at, pacer) in pacers.iter_mut().enumerate() {
            for i in 0..3 {
                let (expected, billed) = bookings[if at == 0 { i } else { 2 - i }];
                pacer.billed(expected, billed);
            }
        }
        assert_eq!(pacers[0], pacers[1]);
        assert!((pacers[0].spent_usd() - 4.1e-3).abs() < 1e-9);
    }
}
