//! The trial of a canary: the feedback of both sides, as a fold over the log of decisions.
//!
//! Only decisions that were left to chance count ([`TrialRecord`] says so), so that both sides answered the same kind
//! of request; a decision that a caller pinned to a version does not. The first report of a metric on a decision
//! counts, scaled to [0, 1] with 1 the best. A policy has one trial at a time, the latest: another share or another
//! active version is another trial.
//!
//! Deviation: the last [`SEEN_MAX`] decisions reported on are remembered, so a second report that comes after as many
//! others counts again.

use crate::ledger::{Consumer, DecisionRecord, Event, EventBody, FeedbackRecord, TrialRecord};
use crate::registry::Sequence;
use crate::settings::MetricConfig;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Reports remembered of a trial.
const SEEN_MAX: usize = 4096;

/// One metric, of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Sides {
    pub(crate) canary: Sequence,
    pub(crate) active: Sequence,
}

/// The trial that runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Trial {
    pub(crate) record: TrialRecord,
    /// By metric.
    pub(crate) metrics: BTreeMap<String, Sides>,
    /// Hashes of decision and metric, the oldest first.
    seen: VecDeque<u64>,
}

/// The trial of every policy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trials {
    pub(crate) policies: BTreeMap<String, Trial>,
    declared: BTreeMap<String, MetricConfig>,
}

impl Trials {
    pub(crate) fn new(declared: BTreeMap<String, MetricConfig>) -> Self {
        Self { policies: BTreeMap::new(), declared }
    }

    /// What feedback says of the chosen model on a scale from 0 (worst) to 1.
    fn reward(&self, metric: &str, feedback: &FeedbackRecord, decision: &DecisionRecord) -> Option<f64> {
        let measure = feedback.measure.as_ref()?;
        match self.declared.get(metric) {
            Some(declared) => measure.reward_of(&decision.model, declared),
            None => measure.value_of(&decision.model),
        }
    }

    fn reported(&mut self, feedback: &FeedbackRecord, decision: &DecisionRecord) {
        let (Some(record), Some(metric)) = (&decision.trial, &feedback.metric) else { return };
        let value = self.reward(metric, feedback, decision);
        let Some(value) = value.filter(|_| feedback.weight > 0.0 && !feedback.is_default) else { return };
        let trial = self.policies.entry(decision.policy.clone()).or_default();
        if trial.record != *record {
            if trial.record.since_ms >= record.since_ms {
                return;
            }
            *trial = Trial { record: record.clone(), ..Trial::default() };
        }
        if trial.is_new(&decision.decision_id, metric) {
            let sides = trial.metrics.entry(metric.clone()).or_default();
            let by_canary = decision.policy_digest == record.canary;
            if by_canary { &mut sides.canary } else { &mut sides.active }.add(value);
        }
    }
}

impl Trial {
    fn is_new(&mut self, decision_id: &str, metric: &str) -> bool {
        let digest = blake3::hash(format!("{decision_id}\u{0}{metric}").as_bytes());
        let bytes = digest.as_bytes().iter().take(8);
        let hash = bytes.fold(0, |hash, byte| hash << 8 | u64::from(*byte));
        if self.seen.contains(&hash) {
            return false;
        }
        if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(hash);
        true
    }
}

impl Consumer for Trials {
    fn apply(&mut self, event: &Event) {
        if let EventBody::Feedback(feedback, decision) = &event.body {
            self.reported(feedback, decision);
        }
    }

    fn save(&self) -> Vec<u8> {
        // Maps with text keys: writing them cannot fail.
        serde_json::to_vec(&self.policies).unwrap_or_default()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        self.policies = serde_json::from_slice(state).map_err(|error| error.to_string())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Fold, Measure};
    use crate::settings::Direction;

    /// The report of `value` on decision `n` of the trial that began at `since_ms`; even ones are the canary's.
    fn event(seq: u64, n: u64, since_ms: i64, value: f64) -> Event {
        let trial = TrialRecord { canary: "c".to_owned(), active: "a".to_owned(), since_ms, share: 0.5 };
        let decision = DecisionRecord {
            decision_id: format!("dec_{n}"),
            policy: "main".to_owned(),
            policy_digest: if n.is_multiple_of(2) { "c" } else { "a" }.to_owned(),
            trial: Some(trial),
            ..DecisionRecord::default()
        };
        let feedback = FeedbackRecord {
            key: seq.to_string(),
            decision_id: decision.decision_id.clone(),
            metric: Some("delay".to_owned()),
            measure: Some(Measure::Value(value)),
            source: "user".to_owned(),
            weight: 1.0,
            occurred_at_ms: None,
            received_at_ms: 0,
            cost_usd: None,
            latency_ms: None,
            activation: false,
            tenant: None,
            late: false,
            activates: false,
            spend_change_nano: 0,
            ..FeedbackRecord::default()
        };
        Event { seq, body: EventBody::Feedback(Box::new(feedback), Box::new(decision)) }
    }

    fn trials() -> Fold<Trials> {
        let delay =
            MetricConfig { range: [0.0, 10.0], direction: Direction::Lower, ..MetricConfig::default() };
        Fold::new("test", Trials::new(BTreeMap::from([("delay".to_owned(), delay)])))
    }

    #[test]
    fn first_reports_count_scaled_and_a_newer_trial_starts_anew() {
        let mut fold = trials();
        for (seq, (n, since_ms, value)) in
            [(0, 5, 2.0), (1, 5, 10.0), (0, 5, 9.0), (3, 4, 0.0)].into_iter().enumerate()
        {
            fold.apply(&event(seq as u64 + 1, n, since_ms, value));
        }
        let sides = fold.consumer.policies["main"].metrics["delay"];
        assert_eq!(
            (sides.canary.n(), sides.active.n()),
            (1, 1),
            "a second report and an older trial do not count"
        );
        assert_eq!(
            (sides.canary.mean(), sides.active.mean()),
            (Some(0.8), Some(0.0)),
            "less delay is better"
        );
        fold.apply(&event(9, 6, 7, 0.0));
        let sides = fold.consumer.policies["main"].metrics["delay"];
        assert_eq!((sides.canary.n(), sides.active.n()), (1, 0));
    }

    #[test]
    fn a_win_is_the_best_reward_whatever_the_range_and_direction() {
        let mut fold = trials();
        for (seq, winner) in [(1, "m"), (2, "other")] {
            let mut event = event(seq, 0, 5, 0.0);
            let EventBody::Feedback(feedback, decision) = &mut event.body else { unreachable!() };
            (decision.model, decision.decision_id) = ("m".to_owned(), format!("dec_{seq}"));
            let loser = if winner == "m" { "other" } else { "m" };
            let (winner, loser) = (winner.to_owned(), loser.to_owned());
            feedback.measure = Some(Measure::Preference { winner, loser });
            fold.apply(&event);
        }
        let sides = fold.consumer.policies["main"].metrics["delay"];
        assert_eq!((sides.canary.n(), sides.canary.mean()), (2, Some(0.5)), "one win of 1, one loss of 0");
    }

    #[test]
    fn a_restart_goes_on_where_it_was() {
        let events: Vec<Event> = (1..=200).map(|n| event(n, n * n % 97, 5, (n % 10) as f64)).collect();
        let (mut whole, mut first, mut second) = (trials(), trials(), trials());
        events.iter().for_each(|event| whole.consumer.apply(event));
        events[..120].iter().for_each(|event| first.consumer.apply(event));
        second.consumer.restore(&first.consumer.save()).unwrap();
        events[120..].iter().for_each(|event| second.consumer.apply(event));
        assert_eq!(second.consumer.policies, whole.consumer.policies);
        assert!(second.consumer.restore(b"[]").is_err());
    }
}
