//! What the log holds. These are the only types that are written to a store, as JSON.

use crate::settings::MetricConfig;
use routewright_data::QueryText;
use routewright_policy::{Constraints, Objective};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Milliseconds of a day.
pub(crate) const DAY_MS: i64 = 24 * 3600 * 1000;
/// Nano-dollars in a dollar, and the fixed point of every sum: integers add up to the same in any order.
const NANO: f64 = 1e9;

/// A number in billionths, rounded; what cannot be held saturates.
pub(crate) fn nano(value: f64) -> i64 {
    (value * NANO).round() as i64
}

/// Billionths as a number.
pub(crate) fn from_nano(nano: i128) -> f64 {
    nano as f64 / NANO
}

/// The trial of a canary that a decision was part of: who decided was left to chance.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TrialRecord {
    /// Digest of the canary's artifact.
    pub canary: String,
    /// Digest of the active version's artifact.
    pub active: String,
    /// When both stood as they stand, ms since 1970-01-01 UTC.
    pub since_ms: i64,
    /// Probability that the canary decides.
    pub share: f64,
}

/// The step of an episode that a record is: the first one has the id of the episode.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EpisodeRecord {
    /// Id of the episode.
    pub episode_id: String,
    /// Number of the step, from 0.
    pub step: u32,
    /// Whether the step is the end, so that no model was called.
    #[serde(default)]
    pub returns: bool,
    /// Price of the answers so far, US dollars.
    pub spent_usd: f64,
    /// Time so far: the slowest call of each step, milliseconds.
    pub elapsed_ms: f64,
    /// Answers to the calls of the step before.
    #[serde(default)]
    pub answers: Vec<AnswerRecord>,
}

/// An answer as its caller gave it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AnswerRecord {
    /// Number of the call in the episode.
    pub call: u64,
    /// Model called; `None` for a fused ensemble or a tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Sample of the call.
    pub sample: u32,
    /// Text, where prompts are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Why the text ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<String>,
    /// Tokens of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// What was billed, US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Time from call to last token, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// A decision as it was replied. The lists have one entry a candidate left after constraints.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// `dec_` and a UUIDv7.
    pub decision_id: String,
    /// When it was decided, ms since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// Name of the policy.
    pub policy: String,
    /// Its version.
    pub policy_version: String,
    /// Digest of its artifact.
    pub policy_digest: String,
    /// Digest of its featurizer.
    pub featurizer_digest: String,
    /// Models left after constraints.
    pub candidates: Vec<String>,
    /// Probability of each candidate.
    pub propensities: Vec<f32>,
    /// The chosen candidate.
    pub model: String,
    /// Probability it was drawn with.
    pub propensity: f32,
    /// Probability that this decision was kept when sampling; 1 where all are.
    pub pass_probability: f32,
    /// Seed of the draw.
    pub seed: u64,
    /// Why this model, as in the reply.
    pub reason: String,
    /// Predicted score of each candidate, where known.
    pub predicted_score: Vec<Option<f32>>,
    /// Predicted price of each candidate, US dollars, where known.
    pub predicted_cost_usd: Vec<Option<f32>>,
    /// Source of the query, where the caller named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Session the request belongs to, where it named one: decisions of one session are not independent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Text of the query, where it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Rule that made `prompt` of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_text: Option<QueryText>,
    /// Features the policy saw, where they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<f32>>,
    /// What the request valued, where it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// What the request asked of the model, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraints: Option<Constraints>,
    /// Whether it counts only once feedback says that it was acted upon.
    #[serde(default)]
    pub deferred: bool,
    /// Whose key asked; only the same one may report on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The trial it was part of, where a canary runs. Propensities are those of the version that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialRecord>,
    /// The step of an episode that it is; `None` for a decision of one step. Candidates are then the models that the
    /// alternatives call, joined by `+`, and `return`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episode: Option<EpisodeRecord>,
}

/// What the end of an episode is called among the candidates of its step.
pub(crate) const RETURN: &str = "return";

impl DecisionRecord {
    /// Whether it is the end of an episode, which calls no model.
    pub fn returns(&self) -> bool {
        self.episode.as_ref().is_some_and(|episode| episode.returns)
    }

    /// Whether it is the decision that `known` is, asked for again: all but the time at which it was taken.
    pub(crate) fn repeats(&self, known: &Self) -> bool {
        let asked = |record: &Self| {
            let Self { tenant, policy, policy_digest, seed, model, candidates, episode, .. } = record.clone();
            (tenant, policy, policy_digest, seed, model, candidates, episode)
        };
        asked(self) == asked(known)
    }

    /// Predicted price of the chosen model in nano-dollars; 0 where it is not known.
    pub fn predicted_nano(&self) -> i64 {
        let chosen = self.candidates.iter().position(|candidate| *candidate == self.model);
        let cost = chosen.and_then(|at| self.predicted_cost_usd.get(at).copied().flatten());
        cost.map_or(0, |cost| nano(f64::from(cost)))
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// A number in the range of its metric.
    Value(f64),
    /// One model's answer was preferred to another's.
    Preference {
        /// The model preferred.
        winner: String,
        /// The other one.
        loser: String,
    },
    /// Models from best to worst.
    Ranking(Vec<String>),
}

impl Measure {
    /// Whether it compares models, instead of saying a number.
    pub fn compares(&self) -> bool {
        !matches!(self, Self::Value(_))
    }

    /// The models it compares with `model`, and who won each time: 1 where `model` did, 0 where the other one did.
    pub fn against_others(&self, model: &str) -> Vec<(&str, f64)> {
        match self {
            Self::Value(_) => Vec::new(),
            Self::Preference { winner, loser } if winner == model => vec![(loser, 1.0)],
            Self::Preference { winner, loser } if loser == model => vec![(winner, 0.0)],
            Self::Preference { .. } => Vec::new(),
            Self::Ranking(models) => {
                let Some(own) = models.iter().position(|ranked| ranked == model) else { return Vec::new() };
                let others = models.iter().enumerate().filter(|(at, _)| *at != own);
                others.map(|(at, other)| (other.as_str(), if own < at { 1.0 } else { 0.0 })).collect()
            }
        }
    }

    /// What it says about `model` as a reward in `[0, 1]`: the value on the range of its metric, or the share of the
    /// others that it beat, which is one already.
    pub(crate) fn reward_of(&self, model: &str, metric: &MetricConfig) -> Option<f64> {
        let value = self.value_of(model)?;
        Some(if self.compares() { value } else { metric.reward(value) })
    }

    /// What it says about `model`: the value, or the share of the others that it beat. `None` if nothing.
    pub fn value_of(&self, model: &str) -> Option<f64> {
        match self {
            Self::Value(value) => Some(*value),
            Self::Preference { winner, .. } if winner == model => Some(1.0),
            Self::Preference { loser, .. } if loser == model => Some(0.0),
            Self::Preference { .. } => None,
            Self::Ranking(models) => {
                let at = models.iter().position(|ranked| ranked == model)?;
                let others = models.len().checked_sub(1).filter(|others| *others > 0)?;
                Some((others - at) as f64 / others as f64)
            }
        }
    }
}

/// How the call went that the server made for a decision, as it saw it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CallRecord {
    /// `ok`, or why there is no whole answer: `rate_limited`, `timed_out`, ...
    pub outcome: String,
    /// Why the text ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<String>,
    /// Tokens of the prompt, those of the provider's cache included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// From the request to the first piece of the answer, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<f64>,
}

/// One outcome of one decision.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FeedbackRecord {
    /// Idempotency key, unique within a tenant.
    pub key: String,
    /// The decision it belongs to.
    pub decision_id: String,
    /// Name of the metric; `None` for a bare report of cost, latency or activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Measure>,
    /// Who measured.
    pub source: String,
    /// How far the source is trusted, `[0, 1]`.
    pub weight: f32,
    /// When it happened, as the caller says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at_ms: Option<i64>,
    /// When it was received.
    pub received_at_ms: i64,
    /// What was billed, US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Time from request to last token, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Whether it says that a deferred decision was acted upon.
    #[serde(default)]
    pub activation: bool,
    /// The call that the server made for the decision, where it made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallRecord>,
    /// Whose key reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What a loss and a win are worth on the scale of the metric, of a report that compares; 0 and 1 where it is not
    /// said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<[f64; 2]>,
    /// Whether the metric declares who may report, so that the source tells reporters apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub source_is_declared: bool,
    /// Whether the same reporter reported the same metric of the same decision before. Set by the writer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeats: bool,
    /// Whether it came after the reward window. Set by the writer.
    #[serde(default)]
    pub late: bool,
    /// Whether it is the one that activates a deferred decision. Set by the writer.
    #[serde(default)]
    pub activates: bool,
    /// By how much it changes what the decision is known to cost, nano-dollars. Set by the writer.
    #[serde(default)]
    pub spend_change_nano: i64,
    /// Whether it carries the first bill of its decision. Set by the writer.
    #[serde(default)]
    pub first_bill: bool,
    /// Whether nobody reported it: the value a metric has by default once the reward window is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_default: bool,
    /// The default value that this report takes the place of; only the first report of a metric does. Set by the
    /// writer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaced>,
}

/// A default value that a report took the place of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Replaced {
    /// The value.
    pub value: f64,
    /// Its place in the log: who began behind it has not seen it.
    pub seq: u64,
}

/// Begins the key of a default value; no caller can give a key with a control character.
const SILENCE: &str = "\u{1}default";
/// Begins the key of what the server reports of its own call.
const CALL: &str = "\u{1}call";
/// Who reports it.
const GATEWAY: &str = "gateway";

impl FeedbackRecord {
    /// The default value of a metric that nobody reported of a decision.
    pub(crate) fn silence(decision: Silent, metric: &str, value: f64, now_ms: i64) -> Self {
        let Silent { decision_id, tenant, .. } = decision;
        Self {
            key: format!("{SILENCE}/{metric}/{decision_id}"),
            decision_id,
            metric: Some(metric.to_owned()),
            measure: Some(Measure::Value(value)),
            source: "default".to_owned(),
            weight: 1.0,
            received_at_ms: now_ms,
            tenant,
            is_default: true,
            ..Self::default()
        }
    }

    /// What the server saw of the call it made for a decision; `cost_usd` and `latency_ms` of a whole answer.
    pub(crate) fn of_call(decision_id: &str, tenant: Option<&str>, call: CallRecord, now_ms: i64) -> Self {
        Self {
            key: format!("{CALL}/{decision_id}"),
            decision_id: decision_id.to_owned(),
            source: GATEWAY.to_owned(),
            weight: 1.0,
            received_at_ms: now_ms,
            tenant: tenant.map(str::to_owned),
            call: Some(call),
            ..Self::default()
        }
    }

    /// Where the default value of the same metric and decision would be.
    pub(crate) fn silence_id(&self) -> Option<String> {
        let metric = self.metric.as_ref().filter(|_| self.measure.is_some())?;
        let key = format!("{SILENCE}/{metric}/{}", self.decision_id);
        Some(Self { key, tenant: self.tenant.clone(), ..Self::default() }.outcome_id())
    }

    /// When it happened: what the caller says, else when it was received.
    pub fn at_ms(&self) -> i64 {
        self.occurred_at_ms.unwrap_or(self.received_at_ms)
    }

    /// The key as it is unique in a store: a tenant cannot take another one's key.
    ///
    /// The first `/` ends the tenant, so one in its name is written `%2F`, and `%` is written `%25`.
    pub fn outcome_id(&self) -> String {
        match &self.tenant {
            Some(tenant) => format!("{}/{}", tenant.replace('%', "%25").replace('/', "%2F"), self.key),
            None => self.key.clone(),
        }
    }

    /// What it says about `model` on the scale of its metric: the value, or what the share of the others that it beat
    /// is worth. `None` if nothing.
    pub fn value_of(&self, model: &str) -> Option<f64> {
        let measure = self.measure.as_ref()?;
        let value = measure.value_of(model)?;
        let [loss, win] = self.scale.filter(|_| measure.compares()).unwrap_or([0.0, 1.0]);
        Some(if measure.compares() { loss + value * (win - loss) } else { value })
    }

    /// The source, where it tells who reports apart from others with the same key.
    pub(crate) fn declared_source(&self) -> Option<&str> {
        Some(self.source.as_str()).filter(|_| self.source_is_declared)
    }

    /// What the writer settles: whether it is late, whether it activates its decision, whether its bill counts.
    ///
    /// `bill_nano` is what the decision is known to cost so far, `counted` time and outcome of the bill that says
    /// so. The latest bill counts, by the time it happened; ties go by id, so that arrival decides nothing.
    pub(crate) fn judged(
        &self,
        decided_at_ms: i64,
        active: bool,
        bill_nano: i64,
        counted: Option<(i64, String)>,
        window_ms: i64,
    ) -> Judgement {
        let own = (self.at_ms(), self.outcome_id());
        let first_bill = self.cost_usd.is_some() && counted.is_none();
        let bill = self.cost_usd.map(nano).filter(|_| counted.is_none_or(|counted| counted < own));
        let record = Self {
            late: !self.is_default && self.received_at_ms.saturating_sub(decided_at_ms) > window_ms,
            // A bill says that the call was made, so it activates too.
            activates: !active && (self.activation || self.cost_usd.is_some()),
            spend_change_nano: bill.map_or(0, |bill| bill - bill_nano),
            first_bill,
            ..self.clone()
        };
        Judgement { record, bill_nano: bill }
    }

    /// Digest of what the caller said: equal for a repeated delivery, whenever it comes.
    pub(crate) fn content(&self) -> Vec<u8> {
        let said = Self {
            received_at_ms: 0,
            late: false,
            activates: false,
            spend_change_nano: 0,
            first_bill: false,
            replaces: None,
            weight: 0.0,
            scale: None,
            source_is_declared: false,
            repeats: false,
            ..self.clone()
        };
        // Plain structs of texts and numbers: writing them cannot fail.
        let text = serde_json::to_vec(&said).unwrap_or_default();
        blake3::hash(&text).as_bytes()[..16].to_vec()
    }
}

/// A decision of which a metric was not reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// Its id.
    pub decision_id: String,
    /// From when it counts, ms since 1970-01-01 UTC: when it was made, or activated where it was deferred.
    pub at_ms: i64,
    /// Whose key asked.
    pub tenant: Option<String>,
}

/// Feedback as it is stored, and its bill if that is the one that counts now.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) record: FeedbackRecord,
    pub(crate) bill_nano: Option<i64>,
}

/// What an operator says of one arm. What is not said stays as it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArmChange {
    /// Mean price of a call, US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Mean latency of a call, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Properties a request may ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Of a new arm: the value of the metric expected of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<f64>,
    /// Of a new arm: how many reports `quality` counts as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Whether it is no longer chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<bool>,
}

/// A change of the arms of a policy while it serves; all of it is in force or none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ChangeRecord {
    /// `chg_` and a UUIDv7.
    pub change_id: String,
    /// Name of the policy.
    pub policy: String,
    /// When it was asked for, ms since 1970-01-01 UTC.
    pub at_ms: i64,
    /// Who asked: `admin`, or `file` with the digest of the file.
    pub who: String,
    /// What is said of each model.
    pub arms: BTreeMap<String, ArmChange>,
}

/// What is asked to be appended.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A decision.
    Decision(Box<DecisionRecord>),
    /// Feedback, and the time after its decision from which on it is late, milliseconds.
    Feedback(Box<FeedbackRecord>, i64),
    /// A change of arms.
    Change(Box<ChangeRecord>),
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// It is in the log.
    Accepted {
        /// Whether it came after the reward window.
        late: bool,
    },
    /// It was in the log already.
    Duplicate,
    /// Its key is in the log with other content.
    Conflict,
    /// No such decision is in the log.
    UnknownDecision,
    /// The decision is another tenant's.
    Foreign,
}

/// One event of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its place in the log.
    pub seq: u64,
    /// What happened.
    pub body: EventBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventBody {
    /// A policy decided.
    Decision(Box<DecisionRecord>),
    /// An outcome was reported, here with the decision it belongs to.
    Feedback(Box<FeedbackRecord>, Box<DecisionRecord>),
    /// The arms of a policy were changed.
    Change(Box<ChangeRecord>),
    /// A record that cannot be read, and why; it is passed over.
    Unreadable(String),
}
