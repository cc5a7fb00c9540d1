//! Whether what reaches a policy has changed: its queries, its rewards, its prices.
//!
//! A [`Change`] looks at a stream of numbers in blocks. What is new is held against all blocks since the last alarm by
//! the standardised difference of means, `z = (m - m_0) / sqrt(v / n + v_0 / n_0)`; where the mean ought to be zero
//! it is held against zero. A block that is too far off is an alarm, and the new beginning. Blocks do not overlap, so a
//! stream of `N` numbers has `N / block` chances of a false alarm; at `z = 5` each is one in two million for means of
//! many numbers.
//!
//! Three kinds are watched. **Features**: a few random projections of them, so that a shift in any direction is seen
//! and each number is a sum of many. **Reward**: what was reported less what was expected, an arm apart, against zero;
//! the first block of an arm is left out, in which it is learned. **Price**: the logarithm of bill over expectation,
//! an arm apart.
//!
//! An alarm widens exploration: a share of the calls is made at random, all of it right after the alarm and less and
//! less over the decisions that follow.

use rand::RngExt as _;
use routewright_data::rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Directions that features are watched in.
const N_PROJECTIONS: usize = 8;
/// Least change of a mean reward, and of a price as a share of it, that is worth an alarm.
const LEAST_CHANGE: f64 = 0.05;

/// What is watched, and what an alarm does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriftSettings {
    /// Numbers of a block, at least 2.
    pub block: u64,
    /// Standard errors that a block must be off for an alarm, above 0.
    pub z: f64,
    /// Share of calls made at random right after an alarm, `[0, 1]`.
    pub epsilon: f64,
    /// Decisions over which that share goes down to 0.
    pub hold: u64,
}

impl Default for DriftSettings {
    fn default() -> Self {
        Self { block: 200, z: 5.0, epsilon: 0.1, hold: 2000 }
    }
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// The queries.
    Features,
    /// What the arms earn.
    Reward,
    /// What the arms bill.
    Price,
}

impl DriftKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Features, Self::Reward, Self::Price];

    /// Its name, as in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Features => "features",
            Self::Reward => "reward",
            Self::Price => "price",
        }
    }
}

/// Count, mean and sum of squared distances from it (Welford).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Moments {
    n: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.n += 1;
        let off = value - self.mean;
        self.mean += off / self.n as f64;
        self.squares += off * (value - self.mean);
    }

    fn merge(&mut self, other: Self) {
        let n = (self.n + other.n).max(1) as f64;
        let off = other.mean - self.mean;
        self.squares += other.squares + off * off * self.n as f64 * other.n as f64 / n;
        self.mean += off * other.n as f64 / n;
        self.n += other.n;
    }

    /// Square of the standard error of the mean.
    fn error(&self) -> f64 {
        self.squares / ((self.n.max(2) - 1) as f64 * self.n.max(1) as f64)
    }
}

/// One stream of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Change {
    /// Blocks since the last alarm.
    before: Moments,
    block: Moments,
    /// Distance of the last block, standard errors.
    z: f64,
}

impl Change {
    /// Takes a number; whether it ends a block that is too far off. `zero`: the mean ought to be zero.
    fn see(&mut self, value: f64, zero: bool, least: f64, settings: &DriftSettings) -> bool {
        self.block.add(value);
        if self.block.n < settings.block.max(2) {
            return false;
        }
        let block = std::mem::take(&mut self.block);
        if self.before.n == 0 {
            self.before = block;
            return false;
        }
        let expected = if zero { Moments::default() } else { self.before };
        let expected_error = if zero { 0.0 } else { expected.error() };
        let off = block.mean - expected.mean;
        // A stream that never varies is known to the last digit.
        self.z = off / (block.error() + expected_error).sqrt().max(1e-9);
        if off.abs() > least && self.z.abs() > settings.z {
            self.before = block;
            return true;
        }
        self.before.merge(block);
        false
    }
}

/// All that is watched of one policy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Drift {
    settings: DriftSettings,
    features: Vec<Change>,
    rewards: BTreeMap<usize, Change>,
    prices: BTreeMap<usize, Change>,
    /// Alarms so far.
    alarms: BTreeMap<DriftKind, u64>,
    /// Decision of the last alarm.
    last: Option<u64>,
    /// Signs of the projections, `(N_PROJECTIONS, dim)`; drawn again after a restart.
    #[serde(skip)]
    signs: Vec<f32>,
}

impl Drift {
    /// Nothing seen.
    pub fn new(settings: DriftSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// What is watched.
    pub fn settings(&self) -> &DriftSettings {
        &self.settings
    }

    /// A query was decided, as decision `now`.
    pub fn query(&mut self, features: &[f32], now: u64) {
        if features.is_empty() || features.iter().any(|value| !value.is_finite()) {
            return;
        }
        if self.signs.len() != features.len() * N_PROJECTIONS {
            let mut rng = rng::stream(features.len() as u64, "drift");
            let sign = |_| if rng.random_bool(0.5) { 1.0 } else { -1.0 };
            self.signs = (0..features.len() * N_PROJECTIONS).map(sign).collect();
        }
        self.features.resize(N_PROJECTIONS, Change::default());
        let mut moved = false;
        for (signs, change) in self.signs.chunks_exact(features.len()).zip(&mut self.features) {
            let projected: f32 = signs.iter().zip(features).map(|(sign, value)| sign * value).sum();
            moved |= change.see(f64::from(projected), false, 0.0, &self.settings);
        }
        if moved {
            self.alarm(DriftKind::Features, now);
        }
    }

    /// A reward of an arm was reported where `expected` was expected.
    pub fn reward(&mut self, arm: usize, reward: f64, expected: f64, now: u64) {
        let off = reward - expected;
        let change = self.rewards.entry(arm).or_default();
        if off.is_finite() && change.see(off, true, LEAST_CHANGE, &self.settings) {
            self.alarm(DriftKind::Reward, now);
        }
    }

    /// A call of an arm was billed where `expected_usd` was expected.
    pub fn bill(&mut self, arm: usize, billed_usd: f64, expected_usd: f64, now: u64) {
        let ratio = (billed_usd / expected_usd).ln();
        let change = self.prices.entry(arm).or_default();
        if ratio.is_finite() && change.see(ratio, false, LEAST_CHANGE, &self.settings) {
            self.alarm(DriftKind::Price, now);
        }
    }

    fn alarm(&mut self, kind: DriftKind, now: u64) {
        *self.alarms.entry(kind).or_default() += 1;
        self.last = Some(now);
    }

    /// Alarms so far.
    pub fn alarms(&self, kind: DriftKind) -> u64 {
        self.alarms.get(&kind).copied().unwrap_or(0)
    }

    /// Decision of the last alarm.
    pub fn last_alarm(&self) -> Option<u64> {
        self.last
    }

    /// How far the last blocks were off, the farthest of them, in standard errors.
    pub fn z(&self, kind: DriftKind) -> f64 {
        let far = |z: f64, change: &Change| z.max(change.z.abs());
        match kind {
            DriftKind::Features => self.features.iter().fold(0.0, far),
            DriftKind::Reward => self.rewards.values().fold(0.0, far),
            DriftKind::Price => self.prices.values().fold(0.0, far),
        }
    }

    /// Share of calls to make at random at decision `now`.
    pub fn epsilon(&self, now: u64) -> f64 {
        let Some(last) = self.last else { return 0.0 };
        let gone = now.saturating_sub(last) as f64 / self.settings.hold.max(1) as f64;
        self.settings.epsilon * (1.0 - gone).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::StandardNormal;

    const DIM: usize = 12;

    /// `n` queries, rewards and bills, shifted by what is given.
    fn feed(drift: &mut Drift, from: u64, n: u64, [query, reward, price]: [f64; 3]) {
        let mut rng = rng::stream(from, "drift test");
        for now in from..from + n {
            let features: Vec<f32> = (0..DIM)
                .map(|at| rng.sample::<f32, _>(StandardNormal) + if at < 3 { query as f32 } else { 0.0 })
                .collect();
            drift.query(&features, now);
            let arm = (now % 2) as usize;
            let said = f64::from(u8::from(rng.random_bool(0.6 - reward)));
            drift.reward(arm, said, 0.6, now);
            let noise: f64 = rng.sample(StandardNormal);
            drift.bill(arm, 0.01 * (0.3 * noise).exp() * (1.0 + price), 0.01, now);
        }
    }

    #[test]
    fn a_planted_change_is_told_by_its_kind_and_a_stream_that_stays_is_not() {
        let mut calm = Drift::new(DriftSettings::default());
        feed(&mut calm, 0, 100_000, [0.0; 3]);
        assert_eq!(DriftKind::ALL.map(|kind| calm.alarms(kind)), [0; 3]);
        assert_eq!(calm.epsilon(100_000), 0.0);
        for (at, shift) in [[1.0, 0.0, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 1.0]].into_iter().enumerate() {
            let mut drift = Drift::new(DriftSettings::default());
            feed(&mut drift, 0, 4000, [0.0; 3]);
            // A restart in between.
            drift = serde_json::from_str(&serde_json::to_string(&drift).unwrap()).unwrap();
            feed(&mut drift, 4000, 1200, shift);
            let alarms = DriftKind::ALL.map(|kind| drift.alarms(kind));
            let expected: Vec<bool> = (0..3).map(|kind| kind == at).collect();
            assert_eq!(alarms.map(|n| n > 0).to_vec(), expected, "{shift:?}: {alarms:?}");
            let last = drift.last_alarm().unwrap();
            assert!((4000..5200).contains(&last), "{last}");
            assert_eq!((drift.epsilon(last), drift.epsilon(last + 1000)), (0.1, 0.05));
            assert_eq!(drift.epsilon(last + 5000), 0.0);
        }
    }

    #[test]
    fn a_price_list_that_never_varies_is_no_change_and_a_new_one_is() {
        let mut drift = Drift::new(DriftSettings { block: 10, ..DriftSettings::default() });
        (0..100).for_each(|now| drift.bill(0, 0.01, 0.01, now));
        (100..200).for_each(|now| drift.bill(0, 0.0104, 0.01, now));
        assert_eq!(drift.alarms(DriftKind::Price), 0, "four per cent are not worth it");
        (200..220).for_each(|now| drift.bill(0, 0.02, 0.01, now));
        assert_eq!(drift.alarms(DriftKind::Price), 1, "and from then on it is the price");
        drift.bill(0, 0.0, 0.01, 220);
        drift.query(&[f32::NAN], 220);
        assert_eq!(drift.z(DriftKind::Features), 0.0);
    }
}
