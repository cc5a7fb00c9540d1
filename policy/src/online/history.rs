//! What an arm has seen, in parts where old rewards must be taken off again.
//!
//! | forgetting | parts | depends on the order of arrival |
//! |---|---|---|
//! | discount | none: the sums are scaled | by rounding only |
//! | window | one for every eighth of the window, by decision | no: bit for bit |
//! | adwin | of 32 rewards and more, older ones longer | yes: what is dropped depends on what was known |
//!
//! So the first two merge by addition, the last does not merge. The sums that count are always the sum of the
//! parts, so that dropping one is exact and the ridge, which is in no part, stays whole.

use super::adwin;
use super::forgetting::{Forgetting, PARTS};
use super::{ArmStatistics, Experience};
use routewright_data::{TensorError, Tensors};

/// Change of weight by a discount that is put up with before sums are brought to the present.
const DRIFT: f64 = 0.95;

/// Sums over the rewards of one arm.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Over all that counts. Its epoch: with a discount the decision weights are relative to, else the first
    /// decision of the newest part when parts were last looked at.
    sums: ArmStatistics,
    /// Oldest first; the epoch of each is its first decision. Empty with a discount.
    parts: Vec<ArmStatistics>,
}

impl History {
    /// Nothing seen.
    pub fn new(dim: usize) -> Self {
        Self { sums: ArmStatistics::new(dim), parts: Vec::new() }
    }

    /// What an arm is declared to earn before any reward, from decision `epoch` on. Where parts are dropped
    /// the declaration is in the first one, and is forgotten with it.
    pub(crate) fn declared(dim: usize, reward: f64, weight: f64, epoch: u64, forgetting: Forgetting) -> Self {
        let sums = ArmStatistics::declared(dim, reward, weight, epoch);
        let parts = match forgetting {
            Forgetting::Discount(_) => Vec::new(),
            Forgetting::Window(_) | Forgetting::Adwin(_) => vec![sums.clone()],
        };
        Self { sums, parts }
    }

    /// Sums over all that counts; its number of rewards counts those that are forgotten too.
    pub fn sums(&self) -> &ArmStatistics {
        &self.sums
    }

    /// Weight a reward has now; 0 for one that is forgotten before it is heard.
    pub(super) fn weigh(&self, experience: &Experience<'_>, forgetting: Forgetting) -> f64 {
        let counts = match forgetting {
            Forgetting::Discount(discount) => return self.sums.weigh(experience, discount),
            Forgetting::Window(window) => {
                let part = Forgetting::part(window);
                experience.time / part + PARTS > self.sums.epoch() / part
            }
            Forgetting::Adwin(_) => self.parts.first().is_none_or(|oldest| experience.time >= oldest.epoch()),
        };
        if counts { experience.weight } else { 0.0 }
    }

    /// Adds a reward of the weight given.
    #[inline(always)]
    pub(super) fn add(
        &mut self,
        features: &[f32],
        reward: f64,
        weight: f64,
        time: u64,
        forgetting: Forgetting,
    ) {
        self.sums.add(features, reward, weight);
        if weight != 0.0
            && let Some(part) = self.part(time, forgetting)
        {
            self.parts[part].add(features, reward, weight);
        }
    }

    /// Sets the counts right after a reward was taken off, which counted as one more.
    pub(super) fn uncount(&mut self, experience: &Experience<'_>, forgetting: Forgetting) {
        self.sums.uncount();
        if self.weigh(experience, forgetting) != 0.0
            && let Some(part) = self.part(experience.time, forgetting)
        {
            self.parts[part].uncount();
        }
    }

    /// The part that rewards of a decision belong to, made if there is none; `None` with a discount.
    fn part(&mut self, time: u64, forgetting: Forgetting) -> Option<usize> {
        let after = self.parts.partition_point(|part| part.epoch() <= time);
        let fits = |part: &ArmStatistics, first: u64| part.epoch() == first;
        let first = match forgetting {
            Forgetting::Discount(_) => return None,
            Forgetting::Window(window) => time - time % Forgetting::part(window),
            Forgetting::Adwin(_) => match after.checked_sub(1).map(|at| &self.parts[at]) {
                None => 0,
                Some(own) if after < self.parts.len() || !adwin::is_full(own) => own.epoch(),
                Some(_) => time,
            },
        };
        if let Some(at) = after.checked_sub(1).filter(|at| fits(&self.parts[*at], first)) {
            return Some(at);
        }
        self.parts.insert(after, ArmStatistics::beginning(self.sums.dim(), first));
        Some(after)
    }

    /// Whether [`History::forget`] would change anything.
    pub(super) fn is_stale(&self, now: u64, forgetting: Forgetting) -> bool {
        let epoch = self.sums.epoch();
        match forgetting {
            Forgetting::Discount(discount) => {
                discount < 1.0 && discount.powf(now.saturating_sub(epoch) as f64) < DRIFT
            }
            Forgetting::Window(window) => {
                let part = Forgetting::part(window);
                now / part > epoch / part
            }
            Forgetting::Adwin(_) => self.parts.last().is_some_and(|newest| newest.epoch() > epoch),
        }
    }

    /// Forgets what is past at decision `now`; whether sums have changed.
    pub(super) fn forget(&mut self, now: u64, forgetting: Forgetting) -> bool {
        match forgetting {
            Forgetting::Discount(discount) => {
                self.sums.bring_to(now, discount);
                true
            }
            Forgetting::Window(window) => {
                let part = Forgetting::part(window);
                self.sums.set_epoch(now - now % part);
                let gone = self.parts.partition_point(|p| p.epoch() / part + PARTS <= now / part);
                self.drop_oldest(gone);
                gone > 0
            }
            Forgetting::Adwin(_) => {
                self.sums.set_epoch(self.parts.last().map_or(0, ArmStatistics::epoch));
                adwin::compress(&mut self.parts);
                false
            }
        }
    }

    /// Whether the oldest part comes from another world than the newest ones, as the coefficients see it.
    pub(super) fn has_drifted(&self, mean: &[f32], forgetting: Forgetting) -> bool {
        matches!(forgetting, Forgetting::Adwin(delta) if adwin::has_drifted(&self.parts, mean, delta))
    }

    /// Takes the oldest parts off the sums.
    pub(super) fn drop_oldest(&mut self, n: usize) {
        self.parts.drain(..n);
        self.sums.become_sum_of(&self.parts);
    }

    /// Adds `other - base`: what another learner saw since it began with `base`. With [`Forgetting::Adwin`]
    /// there is no such thing.
    pub(super) fn merge(&mut self, mut other: Self, mut base: Self, forgetting: Forgetting) {
        let now = self.sums.epoch().max(other.sums.epoch()).max(base.sums.epoch());
        if let Forgetting::Discount(discount) = forgetting
            && discount < 1.0
        {
            for history in [&mut *self, &mut other, &mut base] {
                history.sums.bring_to(now, discount);
            }
        }
        self.sums.add_difference(&other.sums, &base.sums);
        if let Forgetting::Window(_) = forgetting {
            let nothing = ArmStatistics::new(self.sums.dim());
            for part in &other.parts {
                let before = base.parts.iter().find(|p| p.epoch() == part.epoch()).unwrap_or(&nothing);
                if let Some(at) = self.part(part.epoch(), forgetting) {
                    self.parts[at].add_difference(part, before);
                }
            }
            self.forget(now, forgetting);
            self.drop_oldest(0);
        }
    }

    /// Stores sums and parts, bit for bit, under `name`.
    pub fn store(&self, name: &str, tensors: &mut Tensors) {
        self.sums.store(name, tensors);
        for (at, part) in self.parts.iter().enumerate() {
            part.store(&format!("{name}.part.{at:03}"), tensors);
        }
    }

    /// Restores what [`History::store`] stored.
    ///
    /// # Errors
    /// If a tensor is missing, of another size, or holds a sum that is not finite.
    pub fn restore(name: &str, dim: usize, tensors: &mut Tensors) -> Result<Self, TensorError> {
        let sums = ArmStatistics::restore(name, dim, tensors)?;
        let mut parts = Vec::new();
        loop {
            let part = format!("{name}.part.{:03}", parts.len());
            if tensors.shape(&part).is_err() {
                return Ok(Self { sums, parts });
            }
            parts.push(ArmStatistics::restore(&part, dim, tensors)?);
        }
    }
}
