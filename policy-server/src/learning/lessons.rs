//! What one policy learns from the log: a fold over its decisions and their feedback.
//!
//! Every outcome of the metric is one observation, weighed by the trust in its source. What a call costs is taken
//! off when an arm is chosen, not when a reward is learned: so a new price counts at once, for what was learned
//! before it too. The statistics of the learners are sums whose order decides no bit (see
//! `routewright_policy::online`), and each event is applied once, so the state after a crash, a restart or a
//! repeated delivery is that of the clean fold.

use super::clock::Clock;
use super::config::LearningConfig;
use super::roster::Roster;
use crate::store::{
    ChangeRecord, Consumer, DecisionRecord, Direction, Event, EventBody, FeedbackRecord, MetricConfig,
};
use routewright_policy::online::{Experience, Learner};
use routewright_policy::pacing::{Pacer, PacerSettings};
use routewright_policy::{Arm, FormState, Policy, artifact, forms};
use serde::{Deserialize, Serialize};

/// Nano-dollars in a dollar.
const NANO: f64 = 1e9;

/// The state of a learning policy.
#[derive(Debug)]
pub(crate) struct Lessons {
    policy: String,
    digest: String,
    featurizer_digest: String,
    roster: Roster,
    /// Arms of the artifact; those behind were added since.
    n_base: usize,
    config: LearningConfig,
    metric: MetricConfig,
    learner: Box<dyn Learner>,
    pacer: Option<Pacer>,
    clock: Clock,
    /// Feedback that could not be learned from.
    refused: u64,
    /// Last event before its time.
    born: u64,
}

/// What is saved beside the tensors.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    form: String,
    version: u32,
    config: serde_json::Value,
    /// Arms as they stand; what was saved before arms could change has `models` instead.
    #[serde(default)]
    roster: Option<Roster>,
    #[serde(default)]
    models: Vec<String>,
    pacer: Option<Pacer>,
    clock: Clock,
    refused: u64,
    #[serde(default)]
    born: u64,
}

impl Lessons {
    /// The lessons of a policy that has learned nothing yet; `None` if its form learns nothing.
    pub(crate) fn new(
        name: &str,
        policy: &Policy,
        config: &LearningConfig,
        metric: &MetricConfig,
    ) -> Option<Self> {
        let learner = policy.predictor.learner()?;
        let roster = Roster::new(&policy.arms);
        let n_base = roster.arms.len();
        let pacer = config.target_usd.map(|usd| Pacer::new(PacerSettings::target(usd), n_base));
        Some(Self {
            policy: name.to_owned(),
            digest: policy.digest.clone(),
            featurizer_digest: policy.manifest.featurizer.digest.clone(),
            roster,
            n_base,
            config: config.clone(),
            metric: metric.clone(),
            learner,
            pacer,
            clock: Clock::default(),
            refused: 0,
            born: 0,
        })
    }

    /// Digest of the artifact it began with.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// What is learned, to be served.
    pub(crate) fn learner(&self) -> &dyn Learner {
        &*self.learner
    }

    /// The account of what was spent, where spend is paced.
    pub(crate) fn pacer(&self) -> Option<&Pacer> {
        self.pacer.as_ref()
    }

    /// Decisions seen.
    pub(crate) fn n_decisions(&self) -> u64 {
        self.clock.count()
    }

    /// Feedback that could not be learned from.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Begins behind an event of the log.
    pub(crate) fn begin_after(&mut self, seq: u64) {
        self.born = seq;
    }

    /// Its arms.
    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The metric it learns from.
    pub(crate) fn metric(&self) -> &MetricConfig {
        &self.metric
    }

    /// Takes in a change of the arms.
    pub(crate) fn changed(&mut self, change: &ChangeRecord) {
        let n_arms = self.roster.arms.len();
        let reward = |value: f64| scaled(&self.metric, value);
        self.refused += self.roster.apply(change, &mut *self.learner, &reward);
        if let Some(pacer) = &mut self.pacer {
            (n_arms..self.roster.arms.len()).for_each(|_| pacer.add_arm());
        }
    }

    fn decided(&mut self, decision: &DecisionRecord) {
        self.clock.tick(decision.timestamp_ms);
        let Some(arm) = self.roster.find(&decision.model) else { return };
        if let Some(pacer) = &mut self.pacer {
            pacer.decided(arm, decision.predicted_nano() as f64 / NANO);
        }
    }

    /// Books a bill: the first of a decision, or a later one that corrects it.
    fn billed(&mut self, feedback: &FeedbackRecord, decision: &DecisionRecord) {
        let Some((pacer, arm)) = self.pacer.as_mut().zip(self.roster.find(&decision.model)) else { return };
        let change = feedback.spend_change_nano as f64 / NANO;
        let expected = decision.predicted_nano() as f64 / NANO;
        if feedback.first_bill {
            pacer.billed(arm, expected, expected + change);
        } else if feedback.spend_change_nano != 0 {
            pacer.rebilled(arm, change);
        }
    }

    /// The reward of an outcome: its value on `[0, 1]`.
    fn reward(&self, feedback: &FeedbackRecord, decision: &DecisionRecord) -> Option<f64> {
        if feedback.metric.as_deref() != Some(self.config.metric.as_str()) {
            return None;
        }
        let value = feedback.measure.as_ref()?.value_of(&decision.model)?;
        Some(scaled(&self.metric, value))
    }

    fn told(&mut self, feedback: &FeedbackRecord, decision: &DecisionRecord) {
        self.billed(feedback, decision);
        let Some(reward) = self.reward(feedback, decision) else { return };
        // A default that could not be taken back when a report comes is not learned in the first place.
        let unlearns = self.learner.can_unlearn();
        if feedback.is_default && !unlearns {
            return;
        }
        let same_features = decision.featurizer_digest == self.featurizer_digest;
        let (Some(arm), true) = (self.roster.find(&decision.model), same_features) else {
            self.refused += 1;
            return;
        };
        let experience = Experience {
            features: decision.features.as_deref().unwrap_or_default(),
            source: decision.source.as_deref(),
            arm,
            reward,
            weight: f64::from(feedback.weight),
            time: self.clock.at(decision.timestamp_ms),
        };
        // A default from before its time was never learned.
        if let Some(default) = feedback.replaces.filter(|default| unlearns && default.seq > self.born) {
            let default =
                Experience { reward: scaled(&self.metric, default.value), weight: 1.0, ..experience };
            // What could not be learned cannot be taken back either, and was counted then.
            let _refused_before = self.learner.unlearn(&default);
        }
        if self.learner.learn(&experience).is_err() {
            self.refused += 1;
        }
    }
}

impl Consumer for Lessons {
    fn apply(&mut self, event: &Event) {
        match &event.body {
            EventBody::Decision(decision) if decision.policy == self.policy => self.decided(decision),
            EventBody::Feedback(feedback, decision) if decision.policy == self.policy => {
                self.told(feedback, decision);
            }
            EventBody::Change(change) if change.policy == self.policy => self.changed(change),
            EventBody::Decision(_) | EventBody::Feedback(..) | EventBody::Change(_) => {}
        }
    }

    fn save(&self) -> Vec<u8> {
        let FormState { config, tensors } = self.learner.state();
        let form = self.learner.form().to_owned();
        let version = forms::ALL.iter().find(|row| row.name == form).map_or(0, |row| row.version);
        let head = Head {
            form,
            version,
            config,
            roster: Some(self.roster.clone()),
            models: Vec::new(),
            pacer: self.pacer.clone(),
            clock: self.clock.clone(),
            refused: self.refused,
            born: self.born,
        };
        // Plain structs and tensors of valid shape: writing them cannot fail.
        let head = serde_json::to_vec(&head).unwrap_or_default();
        let tensors = artifact::encode_tensors(&tensors).unwrap_or_default();
        [(head.len() as u64).to_le_bytes().as_slice(), &head, &tensors].concat()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let (length, rest) = state.split_first_chunk::<8>().ok_or("it is cut off")?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| "it is cut off")?;
        let head = rest.get(..length).ok_or("it is cut off")?;
        let head: Head = serde_json::from_slice(head).map_err(|error| error.to_string())?;
        let of = |model: String| Arm { model, ..Arm::default() };
        let kept = head.roster.as_ref().map_or(&self.roster, |roster| roster);
        let older: Vec<Arm> = head.models.into_iter().map(of).collect();
        let stored = names(if head.roster.is_some() { &kept.arms } else { &older }, self.n_base);
        let own = names(&self.roster.arms, self.n_base);
        if stored != own {
            return Err(format!(
                "its arms are {}, those of the policy {}",
                stored.join(", "),
                own.join(", ")
            ));
        }
        let tensors = artifact::decode_tensors(&rest[length..])?;
        let form = FormState { config: head.config, tensors };
        let restored = forms::load(&head.form, head.version, form, kept.arms.len());
        let restored = restored.map_err(|error| error.to_string())?;
        self.learner = restored.learner().ok_or_else(|| format!("form `{}` learns nothing", head.form))?;
        let kept = kept.clone();
        // A target that was changed starts a new account.
        if let (Some(own), Some(stored)) = (&mut self.pacer, head.pacer)
            && own.settings() == stored.settings()
        {
            *own = stored;
        } else if let Some(own) = &mut self.pacer {
            (self.n_base..kept.arms.len()).for_each(|_| own.add_arm());
        }
        self.roster = kept;
        (self.clock, self.refused, self.born) = (head.clock, head.refused, head.born);
        Ok(())
    }
}

/// A value of a metric as a reward: on `[0, 1]`, greater for better.
fn scaled(metric: &MetricConfig, value: f64) -> f64 {
    let [lo, hi] = metric.range;
    let score = (value - lo) / (hi - lo);
    if metric.direction == Direction::Lower { 1.0 - score } else { score }
}

/// Names of the first arms.
fn names(arms: &[Arm], n: usize) -> Vec<&str> {
    arms.iter().take(n).map(|arm| arm.model.as_str()).collect()
}
