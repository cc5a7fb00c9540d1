//! What one policy learns from the log: a fold over its decisions and their feedback.
//!
//! Every outcome of the metric is one observation, weighed by the trust in its source; what a call cost comes
//! off the reward at `lambda`. The statistics of the learners are sums whose order decides no bit (see
//! `routewright_policy::online`), and each event is applied once, so the state after a crash, a restart or a
//! repeated delivery is that of the clean fold.

use super::clock::Clock;
use super::config::LearningConfig;
use crate::store::{Consumer, DecisionRecord, Direction, Event, EventBody, FeedbackRecord, MetricConfig};
use routewright_policy::online::{Experience, Learner};
use routewright_policy::pacing::{Pacer, PacerSettings};
use routewright_policy::{FormState, Policy, artifact, forms};
use serde::{Deserialize, Serialize};

/// Nano-dollars in a dollar.
const NANO: f64 = 1e9;

/// The state of a learning policy.
#[derive(Debug)]
pub(crate) struct Lessons {
    policy: String,
    digest: String,
    featurizer_digest: String,
    models: Vec<String>,
    config: LearningConfig,
    metric: MetricConfig,
    learner: Box<dyn Learner>,
    pacer: Option<Pacer>,
    clock: Clock,
    /// Feedback that could not be learned from.
    refused: u64,
}

/// What is saved beside the tensors.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    form: String,
    version: u32,
    config: serde_json::Value,
    models: Vec<String>,
    pacer: Option<Pacer>,
    clock: Clock,
    refused: u64,
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
        let models: Vec<String> = policy.arms.iter().map(|arm| arm.model.clone()).collect();
        let pacer = config.target_usd.map(|usd| Pacer::new(PacerSettings::target(usd), models.len()));
        Some(Self {
            policy: name.to_owned(),
            digest: policy.digest.clone(),
            featurizer_digest: policy.manifest.featurizer.digest.clone(),
            models,
            config: config.clone(),
            metric: metric.clone(),
            learner,
            pacer,
            clock: Clock::default(),
            refused: 0,
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

    fn arm(&self, model: &str) -> Option<usize> {
        self.models.iter().position(|own| own == model)
    }

    fn decided(&mut self, decision: &DecisionRecord) {
        self.clock.tick(decision.timestamp_ms);
        let Some(arm) = self.arm(&decision.model) else { return };
        if let Some(pacer) = &mut self.pacer {
            pacer.decided(arm, decision.predicted_nano() as f64 / NANO);
        }
    }

    /// Books a bill: the first of a decision, or a later one that corrects it.
    fn billed(&mut self, feedback: &FeedbackRecord, decision: &DecisionRecord) {
        let Some((pacer, arm)) =
            self.pacer.as_mut().zip(self.models.iter().position(|m| *m == decision.model))
        else {
            return;
        };
        let change = feedback.spend_change_nano as f64 / NANO;
        let expected = decision.predicted_nano() as f64 / NANO;
        if feedback.first_bill {
            pacer.billed(arm, expected, expected + change);
        } else if feedback.spend_change_nano != 0 {
            pacer.rebilled(arm, change);
        }
    }

    /// The reward of an outcome: its value on `[0, 1]`, less what the call cost.
    fn reward(&self, feedback: &FeedbackRecord, decision: &DecisionRecord) -> Option<f64> {
        if feedback.metric.as_deref() != Some(self.config.metric.as_str()) {
            return None;
        }
        let value = feedback.measure.as_ref()?.value_of(&decision.model)?;
        let [lo, hi] = self.metric.range;
        let score = (value - lo) / (hi - lo);
        let score = if self.metric.direction == Direction::Lower { 1.0 - score } else { score };
        let usd = feedback.cost_usd.unwrap_or(decision.predicted_nano() as f64 / NANO);
        Some(score - self.config.lambda * usd)
    }

    fn told(&mut self, feedback: &FeedbackRecord, decision: &DecisionRecord) {
        self.billed(feedback, decision);
        let Some(reward) = self.reward(feedback, decision) else { return };
        let same_features = decision.featurizer_digest == self.featurizer_digest;
        let (Some(arm), true) = (self.arm(&decision.model), same_features) else {
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
            EventBody::Decision(_) | EventBody::Feedback(..) => {}
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
            models: self.models.clone(),
            pacer: self.pacer.clone(),
            clock: self.clock.clone(),
            refused: self.refused,
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
        if head.models != self.models {
            let stored = head.models.join(", ");
            return Err(format!("its arms are {stored}, those of the policy {}", self.models.join(", ")));
        }
        let tensors = artifact::decode_tensors(&rest[length..])?;
        let form = FormState { config: head.config, tensors };
        let restored = forms::load(&head.form, head.version, form, self.models.len());
        let restored = restored.map_err(|error| error.to_string())?;
        self.learner = restored.learner().ok_or_else(|| format!("form `{}` learns nothing", head.form))?;
        // A target that was changed starts a new account.
        if let (Some(own), Some(stored)) = (&mut self.pacer, head.pacer)
            && own.settings() == stored.settings()
        {
            *own = stored;
        }
        (self.clock, self.refused) = (head.clock, head.refused);
        Ok(())
    }
}
