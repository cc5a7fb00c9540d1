//! What a policy spends, as a whole and for each key that has a budget, and the prices of money that follow.
//!
//! The price of the whole is in the selector in service; that of a key comes on top for its own requests
//! (`routewright_policy::Request::price`). The accounts are a part of the fold, so a restart goes on with the same
//! prices.

use crate::ledger::{DecisionRecord, FeedbackRecord};
use crate::settings::{Budget, LearningConfig};
use routewright_policy::allowance::Allowance;
use routewright_policy::decide::WEIGHT_MAX;
use routewright_policy::pacing::{Pacer, PacerSettings};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Nano-dollars in a dollar.
const NANO: f64 = 1e9;

/// One account: the mean price of a call, the budget of a day, or both.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) mean: Option<Pacer>,
    pub(crate) day: Option<Allowance>,
}

impl Account {
    fn new(budget: &Budget, n_arms: usize) -> Self {
        let mean = budget.target_usd.map(|usd| Pacer::new(PacerSettings::target(usd), n_arms));
        Self { mean, day: budget.day_usd.map(Allowance::new) }
    }

    fn decided(&mut self, arm: usize, decision: &DecisionRecord) {
        let expected = decision.predicted_nano();
        if let Some(pacer) = &mut self.mean {
            pacer.decided(arm, expected as f64 / NANO);
        }
        if let Some(day) = &mut self.day {
            day.decided(decision.timestamp_ms, expected);
        }
    }

    /// Books a bill: the first of a decision, or a later one that corrects it.
    fn billed(&mut self, arm: usize, feedback: &FeedbackRecord, decision: &DecisionRecord) {
        let change = feedback.spend_change_nano as f64 / NANO;
        let expected = decision.predicted_nano() as f64 / NANO;
        if let Some(pacer) = &mut self.mean {
            if feedback.first_bill {
                pacer.billed(arm, expected, expected + change);
            } else if feedback.spend_change_nano != 0 {
                pacer.rebilled(arm, change);
            }
        }
        if let Some(day) = &mut self.day {
            day.billed(decision.timestamp_ms, feedback.spend_change_nano);
        }
    }

    fn add_arm(&mut self) {
        if let Some(pacer) = &mut self.mean {
            pacer.add_arm();
        }
    }

    /// Goes on with what was stored; a budget that was changed starts a new account.
    fn resume(&mut self, stored: Self, n_new_arms: usize) {
        match (&mut self.mean, stored.mean) {
            (Some(own), Some(stored)) if own.settings() == stored.settings() => *own = stored,
            (Some(own), _) => (0..n_new_arms).for_each(|_| own.add_arm()),
            (None, _) => {}
        }
        if let (Some(own), Some(stored)) = (&mut self.day, stored.day)
            && own.usd() == stored.usd()
        {
            *own = stored;
        }
    }

    /// Score given up to save one US dollar.
    pub(crate) fn lambda(&self) -> f64 {
        let mean = self.mean.as_ref().map_or(0.0, Pacer::lambda);
        // A request may give up no more.
        (mean + self.day.as_ref().map_or(0.0, Allowance::lambda)).min(WEIGHT_MAX)
    }
}

/// Every account of one policy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Accounts {
    pub(crate) all: Account,
    pub(crate) keys: BTreeMap<String, Account>,
}

impl Accounts {
    /// Nothing spent.
    pub(super) fn new(config: &LearningConfig, n_arms: usize) -> Self {
        let key = |(name, budget): (&String, &Budget)| (name.clone(), Account::new(budget, n_arms));
        let whole = Budget { target_usd: config.target_usd, day_usd: config.day_usd };
        Self { all: Account::new(&whole, n_arms), keys: config.keys.iter().map(key).collect() }
    }

    fn of(&mut self, key: Option<&String>) -> impl Iterator<Item = &mut Account> {
        [&mut self.all].into_iter().chain(key.and_then(|key| self.keys.get_mut(key)))
    }

    /// Books a decision, whether or not anything is ever reported of it.
    pub(super) fn decided(&mut self, arm: usize, decision: &DecisionRecord) {
        self.of(decision.tenant.as_ref()).for_each(|account| account.decided(arm, decision));
    }

    /// Books what feedback says of the bill.
    pub(super) fn billed(&mut self, arm: usize, feedback: &FeedbackRecord, decision: &DecisionRecord) {
        self.of(decision.tenant.as_ref()).for_each(|account| account.billed(arm, feedback, decision));
    }

    /// Adds an arm behind the others.
    pub(super) fn add_arm(&mut self) {
        self.all.add_arm();
        self.keys.values_mut().for_each(Account::add_arm);
    }

    /// Goes on with what was stored; `n_new_arms` were added to those of the artifact since.
    pub(super) fn resume(&mut self, mut stored: Self, n_new_arms: usize) {
        self.all.resume(std::mem::take(&mut stored.all), n_new_arms);
        for (key, account) in &mut self.keys {
            account.resume(stored.keys.remove(key).unwrap_or_default(), n_new_arms);
        }
    }

    /// Score that each key gives up to save one US dollar, beside what all do.
    pub(super) fn prices(&self) -> BTreeMap<String, f64> {
        self.keys.iter().map(|(key, account)| (key.clone(), account.lambda())).collect()
    }
}
