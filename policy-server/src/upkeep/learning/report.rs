//! What a policy has learned, in figures.

use super::accounts::Account;
use super::policy_learner::PolicyLearner;
use crate::live::report::{DriftFigure, Report, Spend};
use routewright_policy::drift::DriftKind;

/// The figures of an account.
fn spend(account: &Account) -> Spend {
    Spend {
        lambda: account.lambda(),
        mean_usd: account.mean.as_ref().map(|pacer| pacer.mean_usd()),
        day_usd: account.day.as_ref().map(|day| day.spent_usd()),
    }
}

impl PolicyLearner {
    /// The figures as they are now.
    pub(super) fn report(&self) -> Report {
        let figure = |kind| {
            let drift = self.drift()?;
            Some(DriftFigure { kind, alarms: drift.alarms(kind), z: drift.z(kind) })
        };
        let keys = self.accounts().keys.iter();
        Report {
            updates: self.learner().n_updates(),
            refused: self.refused(),
            decisions: self.n_decisions(),
            spend: spend(&self.accounts().all),
            keys: keys.map(|(key, account)| (key.clone(), spend(account))).collect(),
            reporters: self.trust().map(|trust| trust.reputations()).unwrap_or_default(),
            drift: DriftKind::ALL.into_iter().filter_map(figure).collect(),
            last_alarm: self.drift().and_then(|drift| drift.last_alarm()),
            epsilon: self.drift().map_or(0.0, |drift| drift.epsilon(self.n_decisions())),
        }
    }
}
