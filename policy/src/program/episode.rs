//! What a program sees: the request, the answers so far, what is left to spend.

use super::{Answer, Call};
use crate::{Arm, Request};
use rand::RngExt as _;

/// What an episode may use in all; `None` sets no limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Budget {
    /// Price of all calls, US dollars.
    pub usd: Option<f64>,
    /// Latency from the first call to the reply, milliseconds.
    pub deadline_ms: Option<f64>,
}

/// One request on its way to a reply.
#[derive(Debug, Clone, Copy)]
pub struct Episode<'a> {
    /// The query, its constraints, its objective and its seed.
    pub request: &'a Request<'a>,
    /// Arms of the policy, as they are in service.
    pub arms: &'a [Arm],
    /// Every call made so far, in order.
    pub calls: &'a [Call],
    /// Every answer so far, in the order of calls and samples.
    pub answers: &'a [Answer],
    /// Price of the answers so far, US dollars.
    pub spent_usd: f64,
    /// Latency so far: the sum over steps of the slowest call, milliseconds.
    pub elapsed_ms: f64,
    /// Steps taken before this one.
    pub step: u32,
    /// What all of it may use.
    pub budget: Budget,
}

impl Episode<'_> {
    /// US dollars left; `None` without a budget.
    pub fn left_usd(&self) -> Option<f64> {
        self.budget.usd.map(|usd| (usd - self.spent_usd).max(0.0))
    }

    /// Milliseconds left; `None` without a deadline.
    pub fn left_ms(&self) -> Option<f64> {
        self.budget.deadline_ms.map(|ms| (ms - self.elapsed_ms).max(0.0))
    }

    /// Seed of the draws of this step: the request's own at the first step.
    pub fn seed(&self) -> u64 {
        match self.step {
            0 => self.request.seed,
            step => routewright_data::rng::stream(self.request.seed, &format!("step {step}")).random(),
        }
    }

    /// Whether the request allows the arm at all: in service, a candidate, with the tags asked for, and one call within
    /// `max_cost_usd` and `max_latency_ms` by its mean price and latency.
    pub fn allows(&self, arm: usize) -> bool {
        let limits = &self.request.constraints;
        self.arms.get(arm).is_some_and(|arm| {
            is_open(arm, self.request)
                && within(arm.price.mean_cost_usd, limits.max_cost_usd)
                && within(arm.mean_latency_ms, limits.max_latency_ms)
        })
    }

    /// Whether calls of these arms at the same time, `samples` of each, are allowed and fit what is left of budget and
    /// deadline, by mean prices and latencies; an unknown one fits no limit.
    pub fn affords(&self, arms: &[usize], samples: u32) -> bool {
        if !arms.iter().all(|arm| self.allows(*arm)) {
            return false;
        }
        let of = |value: fn(&Arm) -> Option<f64>| arms.iter().map(move |arm| value(&self.arms[*arm]));
        let price: Option<f64> = of(|arm| arm.price.mean_cost_usd).sum();
        let latency = of(|arm| arm.mean_latency_ms).try_fold(0.0, |most: f64, ms| Some(most.max(ms?)));
        within(price.map(|usd| usd * f64::from(samples)), self.left_usd()) && within(latency, self.left_ms())
    }
}

/// Whether an arm is in service, a candidate, and has the tags that the request asks for.
pub(super) fn is_open(arm: &Arm, request: &Request<'_>) -> bool {
    !arm.retired
        && request.candidates.is_none_or(|names| names.contains(&arm.model))
        && request.constraints.tags.iter().all(|tag| arm.tags.contains(tag))
}

/// Whether a value is within a limit; an unknown one is within none. Sums of prices round: 1e-9 of the limit is let
/// pass.
pub(super) fn within(value: Option<f64>, limit: Option<f64>) -> bool {
    limit.is_none_or(|most| value.is_some_and(|value| value <= most * (1.0 + 1e-9)))
}
