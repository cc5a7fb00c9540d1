//! A budget for each day, spent evenly over its hours.
//!
//! What may be spent by now is the budget times the share of the day (UTC) that is over. With `b` the dollars spent
//! today beyond that, in mean prices of a call, the price of money is that of [`crate::pacing`]:
//!
//! ```text
//! price = max(0, level + gain * b) / mean price        level += rate * gain * clamp(b, -50, 50)
//! ```
//!
//! Money that quiet hours leave over is there for the busy ones of the same day; at midnight the account starts again
//! and the level stays. A call is booked at its expected price when it is decided, whether or not a bill ever comes,
//! and a bill corrects it on its own day. The account is integer nano-dollars.

use serde::{Deserialize, Serialize};

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3600 * 1000;
const GAIN: f64 = 0.005;
const RATE: f64 = 0.001;
/// Calls of overspend beyond which the level learns no faster.
const WINDUP: f64 = 50.0;

/// The account of one day, and the price that follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// US dollars a day.
    usd: f64,
    /// Days since 1970-01-01 UTC.
    day: i64,
    /// Moment of the last decision, ms since 1970-01-01 UTC.
    now_ms: i64,
    spent_nano: i64,
    /// Calls of all days, and what they were expected to cost.
    n_calls: u64,
    expected_nano: i64,
    level: f64,
}

impl Allowance {
    /// Nothing spent of `usd` a day, a number above 0.
    pub fn new(usd: f64) -> Self {
        Self { usd, day: 0, now_ms: 0, spent_nano: 0, n_calls: 0, expected_nano: 0, level: 0.0 }
    }

    /// US dollars a day.
    pub fn usd(&self) -> f64 {
        self.usd
    }

    /// Books a call. A clock that is set back is not followed.
    pub fn decided(&mut self, at_ms: i64, expected_nano: i64) {
        self.now_ms = self.now_ms.max(at_ms);
        let day = self.now_ms.div_euclid(DAY_MS);
        if day != self.day {
            (self.day, self.spent_nano) = (day, 0);
        }
        self.n_calls += 1;
        self.expected_nano += expected_nano;
        self.spent_nano += expected_nano;
        self.level = (self.level + RATE * GAIN * self.balance().clamp(-WINDUP, WINDUP)).max(0.0);
    }

    /// Corrects what a call of that moment cost.
    pub fn billed(&mut self, at_ms: i64, change_nano: i64) {
        if at_ms.div_euclid(DAY_MS) == self.day {
            self.spent_nano += change_nano;
        }
    }

    /// Mean price of a call, US dollars; 0 before any.
    fn unit(&self) -> f64 {
        self.expected_nano as f64 / 1e9 / self.n_calls.max(1) as f64
    }

    /// Overspend so far today, in calls; negative for what may still be spent by now.
    fn balance(&self) -> f64 {
        let over = self.now_ms.rem_euclid(DAY_MS) as f64 / DAY_MS as f64;
        let unit = self.unit();
        if unit > 0.0 { (self.spent_usd() - self.usd * over) / unit } else { 0.0 }
    }

    /// Score given up to save one US dollar.
    pub fn lambda(&self) -> f64 {
        let unit = self.unit();
        if unit > 0.0 { (self.level + GAIN * self.balance()).max(0.0) / unit } else { 0.0 }
    }

    /// Spent today, US dollars.
    pub fn spent_usd(&self) -> f64 {
        self.spent_nano as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cost and score of three arms.
    const ARMS: [(f64, f64); 3] = [(1e-4, 0.5), (1e-3, 0.6), (1e-2, 0.7)];

    /// Spend of each of `days` at `n` calls a day; bills run a tenth above what is expected, half of them never come.
    fn days(budget: f64, n: i64, days: i64, restart: bool) -> Vec<f64> {
        let mut account = Allowance::new(budget);
        let mut spent = Vec::new();
        for day in 0..days {
            let mut today = 0.0;
            for call in 0..n {
                let at_ms = day * DAY_MS + call * DAY_MS / n;
                let lambda = account.lambda();
                let worth = |arm: &&(f64, f64)| arm.1 - lambda * arm.0;
                let arm = ARMS.iter().max_by(|a, b| worth(a).total_cmp(&worth(b))).unwrap();
                account.decided(at_ms, (arm.0 * 1e9) as i64);
                account.billed(at_ms, (arm.0 * 1e8) as i64);
                today += arm.0 * 1.1;
                if restart && call == n / 2 {
                    account = serde_json::from_str(&serde_json::to_string(&account).unwrap()).unwrap();
                }
            }
            spent.push(today);
        }
        spent
    }

    #[test]
    fn each_day_spends_its_budget_and_a_restart_forgets_nothing() {
        let spent = days(10.0, 5000, 5, false);
        assert!(spent.iter().all(|usd| (usd / 10.0 - 1.0).abs() < 0.02), "{spent:?}");
        assert_eq!(days(10.0, 5000, 5, true), spent);
        let plenty = days(1000.0, 500, 2, false);
        assert!(plenty.iter().all(|usd| (usd - 500.0 * 0.011).abs() < 1e-9), "no constraint: {plenty:?}");
    }

    #[test]
    fn a_bill_of_yesterday_and_a_clock_set_back_change_nothing_of_today() {
        let mut account = Allowance::new(1.0);
        account.decided(DAY_MS + 5, 100);
        account.billed(DAY_MS - 5, 50);
        account.decided(5, 100);
        assert_eq!(account.spent_nano, 200);
        account.billed(DAY_MS + 5, 50);
        assert_eq!(account.spent_nano, 250);
        account.decided(2 * DAY_MS, 7);
        assert_eq!(account.spent_nano, 7, "a new day");
    }
}
