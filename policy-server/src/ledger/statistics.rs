//! The simplest consumer: per policy and model, how often it was chosen, what it cost, how it was judged.
//!
//! All sums are integers: money in nano-dollars, values and milliseconds in billionths. So the state does
//! not depend on the order in which events arrived, not even in its last bit.

use crate::ledger::event::{from_nano, nano};
use crate::ledger::{Consumer, DecisionRecord, Event, EventBody, FeedbackRecord};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name of their checkpoint.
pub(super) const CHECKPOINT: &str = "statistics";

/// A count and a sum in billionths, exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MetricStatistics {
    /// Number of values.
    pub count: u64,
    /// Their sum, in billionths.
    #[serde(with = "as_text")]
    pub sum_nano: i128,
}

impl MetricStatistics {
    fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum_nano += i128::from(nano(value));
    }

    fn remove(&mut self, value: f64) {
        self.count = self.count.saturating_sub(1);
        self.sum_nano -= i128::from(nano(value));
    }

    /// The mean; `None` without a value.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| from_nano(self.sum_nano) / self.count as f64)
    }
}

/// What is known of one model under one policy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ArmStatistics {
    /// Decisions for it, deferred ones once they are active.
    pub decisions: u64,
    /// What those decisions were predicted to cost, nano-dollars.
    #[serde(with = "as_text")]
    pub predicted_nano: i128,
    /// What they cost as far as it is known: the bill where there is one, else the prediction.
    #[serde(with = "as_text")]
    pub spend_nano: i128,
    /// Reported latency, milliseconds.
    pub latency_ms: MetricStatistics,
    /// Feedback by metric.
    pub metrics: BTreeMap<String, MetricStatistics>,
}

impl ArmStatistics {
    /// What it has cost, US dollars.
    pub fn spend_usd(&self) -> f64 {
        from_nano(self.spend_nano)
    }

    /// What it was predicted to cost, US dollars.
    pub fn predicted_usd(&self) -> f64 {
        from_nano(self.predicted_nano)
    }

    fn decided(&mut self, decision: &DecisionRecord) {
        let predicted = i128::from(decision.predicted_nano());
        self.decisions += 1;
        self.predicted_nano += predicted;
        self.spend_nano += predicted;
    }

    fn judged(&mut self, feedback: &FeedbackRecord, decision: &DecisionRecord) {
        if feedback.activates {
            self.decided(decision);
        }
        self.spend_nano += i128::from(feedback.spend_change_nano);
        if let Some(ms) = feedback.latency_ms {
            self.latency_ms.add(ms);
        }
        let value = feedback.value_of(&decision.model);
        if let (Some(value), Some(metric)) = (value, &feedback.metric) {
            let metric = self.metrics.entry(metric.clone()).or_default();
            feedback.replaces.into_iter().for_each(|default| metric.remove(default.value));
            metric.add(value);
        }
    }
}

/// Statistics by policy and model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Statistics {
    /// The figures.
    pub policies: BTreeMap<String, BTreeMap<String, ArmStatistics>>,
}

impl Statistics {
    fn arm(&mut self, decision: &DecisionRecord) -> &mut ArmStatistics {
        let models = self.policies.entry(decision.policy.clone()).or_default();
        models.entry(decision.model.clone()).or_default()
    }
}

impl Consumer for Statistics {
    fn apply(&mut self, event: &Event) {
        match &event.body {
            EventBody::Decision(decision) if decision.deferred || decision.returns() => {}
            EventBody::Decision(decision) => self.arm(decision).decided(decision),
            EventBody::Feedback(feedback, decision) => self.arm(decision).judged(feedback, decision),
            EventBody::Change(_) | EventBody::Unreadable(_) => {}
        }
    }

    fn save(&self) -> Vec<u8> {
        // Maps with text keys: writing them cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        *self = serde_json::from_slice(state).map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// JSON numbers end at 64 bits.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &i128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&value.to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i128, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
