//! The price of money that keeps spend at a target: a primal-dual pacer for any selector.
//!
//! Every call has its cost taken off its score at a price (score per US dollar), and the price follows the
//! balance of the account: with `b` the dollars spent above target so far, over the target per call,
//!
//! ```text
//! price = max(0, level + gain * b) / target        level += rate * gain * clamp(b, -50, 50)
//! ```
//!
//! The term in `b` is the dual step of online mirror descent for one packing constraint (each call moves it
//! by `gain * (cost / target - 1)`), and since it is a function of the *account*, not of a smoothed cost,
//! nothing is ever forgotten: overspend at the end is at most `price * target / gain` calls' worth. The slow
//! `level` learns what the price has to be on average, so that the balance itself goes to zero.
//!
//! A call is booked at its expected cost when it is decided, whether or not a bill ever comes, and corrected
//! when it does. An arm whose bills run above what was expected is expected to do so where no bill has come
//! yet: its open calls count at the ratio seen so far. The account is integer nano-dollars: booking and
//! billing in any order gives the same balance.

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
    /// Unspent targets that may be saved up and spent later, at least 0: a small number keeps a quiet spell from
    /// being followed by a spree, a great one keeps the mean at the target.
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
    10_000.0
}

impl PacerSettings {
    /// The settings for a target, all else as documented.
    pub fn target(target_usd: f64) -> Self {
        Self { target_usd, gain: default_gain(), rate: default_rate(), credit: default_credit() }
    }
}

/// What the calls of one arm were expected to cost and did, nano-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    /// Expected of every call.
    expected: i128,
    /// Expected of those that have a bill.
    expected_billed: i128,
    /// Billed.
    billed: i128,
}

impl Book {
    /// Spent on the arm: bills, and what open calls will cost if bills go on as they did. `prior` is what a
    /// ratio of 1 weighs.
    fn spent(&self, prior: i128) -> f64 {
        let ratio = (self.billed + prior) as f64 / (self.expected_billed + prior) as f64;
        self.billed as f64 + (self.expected - self.expected_billed) as f64 * ratio
    }
}

/// The account and the price that follows from it; what has to be stored to go on after a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pacer {
    settings: PacerSettings,
    /// One entry an arm.
    books: Vec<Book>,
    /// Calls decided so far.
    n_calls: u64,
    /// Savings given up because they exceeded the credit, targets.
    forgone: f64,
    /// Slow part of the price, score per target.
    level: f64,
}

/// Targets of overspend beyond which the level learns no faster: while a great debt is paid off no price does
/// more than the cheapest arm, and a level that kept rising would stay too high long after.
const WINDUP: f64 = 50.0;
/// Calls at the target price that a ratio of 1 between bills and expectations weighs.
const PRIOR_CALLS: i128 = 5;

fn nano(usd: f64) -> i128 {
    (usd * 1e9).round() as i128
}

impl Pacer {
    /// Nothing spent.
    pub fn new(settings: PacerSettings, n_arms: usize) -> Self {
        Self { settings, books: vec![Book::default(); n_arms], n_calls: 0, forgone: 0.0, level: 0.0 }
    }

    /// Adds an arm behind the others.
    pub fn add_arm(&mut self) {
        self.books.push(Book::default());
    }

    /// Overspend so far, in targets; negative for savings.
    fn balance(&self) -> f64 {
        self.spent_usd() / self.settings.target_usd + self.forgone - self.n_calls as f64
    }

    /// Score given up to save one US dollar.
    pub fn lambda(&self) -> f64 {
        (self.level + self.settings.gain * self.balance()).max(0.0) / self.settings.target_usd
    }

    /// Books a call of an arm at its expected cost.
    ///
    /// # Panics
    /// If there is no such arm (a bug of the caller).
    pub fn decided(&mut self, arm: usize, expected_usd: f64) {
        self.books[arm].expected += nano(expected_usd);
        self.n_calls += 1;
        let PacerSettings { gain, rate, credit, .. } = self.settings;
        let balance = self.balance();
        self.forgone += (-balance - credit).max(0.0);
        let balance = balance.clamp(-WINDUP, WINDUP);
        self.level = (self.level + rate * gain * balance).max(0.0);
    }

    /// Corrects a call booked at `expected_usd` to what was billed.
    ///
    /// # Panics
    /// If there is no such arm (a bug of the caller).
    pub fn billed(&mut self, arm: usize, expected_usd: f64, billed_usd: f64) {
        let book = &mut self.books[arm];
        book.expected_billed += nano(expected_usd);
        book.billed += nano(billed_usd);
    }

    /// Changes what a call that has a bill cost.
    ///
    /// # Panics
    /// If there is no such arm (a bug of the caller).
    pub fn rebilled(&mut self, arm: usize, change_usd: f64) {
        self.books[arm].billed += nano(change_usd);
    }

    /// How it is paced.
    pub fn settings(&self) -> &PacerSettings {
        &self.settings
    }

    /// Spent so far, US dollars: bills, and what open calls are expected to cost.
    pub fn spent_usd(&self) -> f64 {
        let prior = nano(self.settings.target_usd).max(1) * PRIOR_CALLS;
        self.books.iter().map(|book| book.spent(prior)).sum::<f64>() / 1e9
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
        let mut pacer = Pacer::new(PacerSettings::target(target), 10);
        let (mut spent, mut late, mut reached) = (0.0, Vec::new(), 0.0);
        for round in 0..n {
            let lambda = pacer.lambda();
            let noise: Vec<f64> = (0..10).map(|_| 0.3 * rng.random::<f64>()).collect();
            let worth = |arm: &usize| scores[*arm] + noise[*arm] - lambda * costs[*arm];
            let arm = (0..10).max_by(|a, b| worth(a).total_cmp(&worth(b))).unwrap();
            // Bills run a fifth above what is expected.
            let billed = costs[arm] * (0.7 + rng.random::<f64>());
            pacer.decided(arm, costs[arm]);
            spent += billed;
            reached += scores[arm] + noise[arm];
            late.push((arm, billed));
            // Bills come a hundred calls late; each is booked once.
            if let Some((arm, billed)) = round.checked_sub(100).map(|at| late[at]) {
                // Half of the bills never come.
                if round % 2 == 0 {
                    pacer.billed(arm, costs[arm], billed);
                }
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
            let (mean, reached) = run(target, 10_000, false);
            assert!((mean / target - 1.0).abs() < 0.01, "target {target}: spent {mean} a call");
            assert_eq!(run(target, 10_000, true), (mean, reached), "a restart forgets nothing");
        }
        // A target nobody can spend is no constraint: the best arm is called throughout.
        let (mean, reached) = run(1.0, 1000, false);
        assert!(mean < 0.01 && reached > 0.95, "{mean} {reached}");
    }

    #[test]
    fn bookings_and_corrections_commute() {
        let bookings = [(1e-3, 2e-3), (5e-4, 1e-4), (2e-3, 2e-3)];
        let mut pacers = [(); 2].map(|()| Pacer::new(PacerSettings::target(1e-3), 2));
        for (arm, (expected, _)) in bookings.into_iter().enumerate() {
            pacers.iter_mut().for_each(|pacer| pacer.decided(arm % 2, expected));
        }
        for (at, pacer) in pacers.iter_mut().enumerate() {
            for i in 0..3 {
                let call = if at == 0 { i } else { 2 - i };
                let (expected, billed) = bookings[call];
                pacer.billed(call % 2, expected, billed);
            }
        }
        assert_eq!(pacers[0], pacers[1]);
        assert!((pacers[0].spent_usd() - 4.1e-3).abs() < 1e-9);
    }
}
