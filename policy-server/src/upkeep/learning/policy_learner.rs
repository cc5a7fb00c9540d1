//! What one policy learns from the log: a fold over its decisions and their feedback.
//!
//! The first report of the metric that a reporter makes of a decision is one observation, weighed by the trust in its
//! source; what he reports of it again counts only with `observations = "all"`. What a call costs is taken
//! off when an arm is chosen, not when a reward is learned: so a new price counts at once, for what was learned
//! before it too. The statistics of the learners are sums whose order decides no bit (see
//! `routewright_policy::online`), and each event is applied once, so the state after a crash, a restart or a
//! repeated delivery is that of the clean fold.

use crate::ledger::{ChangeRecord, Consumer, DecisionRecord, Event, EventBody, FeedbackRecord};
use crate::live::arm_table::ArmTable;
use crate::settings::MetricConfig;
use crate::settings::{LearningConfig, Observations};
use crate::upkeep::learning::accounts::{Account, Accounts};
use crate::upkeep::learning::decision_count::DecisionCount;
use routewright_policy::drift::Drift;
use routewright_policy::online::{Experience, Learner};
use routewright_policy::pacing::Pacer;
use routewright_policy::trust::{Report, Trust};
use routewright_policy::{Arm, FormState, Policy, artifact, forms};
use serde::{Deserialize, Serialize};

/// Nano-dollars in a dollar.
const NANO: f64 = 1e9;
/// Share of a report that must be believed for it to say that rewards have changed.
const LEAST_SHARE: f64 = 0.5;
/// Who reports without a key to a metric that declares no sources.
const ANYBODY: &str = "anybody";

/// The state of a learning policy.
#[derive(Debug)]
pub(crate) struct PolicyLearner {
    policy: String,
    digest: String,
    featurizer_digest: String,
    arm_table: ArmTable,
    /// Arms of the artifact; those behind were added since.
    n_base: usize,
    config: LearningConfig,
    metric: MetricConfig,
    learner: Box<dyn Learner>,
    accounts: Accounts,
    trust: Option<Trust>,
    drift: Option<Drift>,
    clock: DecisionCount,
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
    roster: Option<ArmTable>,
    #[serde(default)]
    models: Vec<String>,
    /// What was saved before keys had accounts has `pacer` instead.
    #[serde(default)]
    accounts: Option<Accounts>,
    #[serde(default)]
    pacer: Option<Pacer>,
    #[serde(default)]
    trust: Option<Trust>,
    #[serde(default)]
    drift: Option<Drift>,
    clock: DecisionCount,
    refused: u64,
    #[serde(default)]
    born: u64,
}

impl PolicyLearner {
    /// The learner of a policy that has learned nothing yet; `None` if its form learns nothing.
    pub(crate) fn new(
        name: &str,
        policy: &Policy,
        config: &LearningConfig,
        metric: &MetricConfig,
    ) -> Option<Self> {
        let learner = policy.router().ok()?.predictor.learner()?;
        let arm_table = ArmTable::new(&policy.arms);
        let n_base = arm_table.arms.len();
        Some(Self {
            policy: name.to_owned(),
            digest: policy.digest.clone(),
            featurizer_digest: policy.manifest.featurizer.digest.clone(),
            arm_table,
            n_base,
            config: config.clone(),
            metric: metric.clone(),
            learner,
            accounts: Accounts::new(config, n_base),
            trust: config.trust.clone().map(Trust::new),
            drift: config.drift.clone().map(Drift::new),
            clock: DecisionCount::default(),
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

    /// What was spent, where spend is paced.
    pub(crate) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Who is believed how far, where that is looked at.
    pub(crate) fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    /// What has changed, where that is watched.
    pub(crate) fn drift(&self) -> Option<&Drift> {
        self.drift.as_ref()
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
    pub(crate) fn arm_table(&self) -> &ArmTable {
        &self.arm_table
    }

    /// The metric it learns from.
    pub(crate) fn metric(&self) -> &MetricConfig {
        &self.metric
    }

    /// Takes in a change of the arms.
    pub(crate) fn changed(&mut self, change: &ChangeRecord) {
        let n_arms = self.arm_table.arms.len();
        let reward = |value: f64| self.metric.reward(value);
        self.refused += self.arm_table.apply(change, &mut *self.learner, &reward);
        (n_arms..self.arm_table.arms.len()).for_each(|_| self.accounts.add_arm());
    }

    fn decided(&mut self, decision: &DecisionRecord) {
        self.clock.tick(decision.timestamp_ms);
        if let (Some(drift), Some(features)) = (&mut self.drift, &decision.features)
            && decision.featurizer_digest == self.featurizer_digest
        {
            drift.query(features, self.clock.count());
        }
        if let Some(arm) = self.arm_table.find(&decision.model) {
            self.accounts.decided(arm, decision);
        }
    }

    fn billed(&mut self, feedback: &FeedbackRecord, decision: &DecisionRecord) {
        let Some(arm) = self.arm_table.find(&decision.model) else { return };
        self.accounts.billed(arm, feedback, decision);
        if let (Some(drift), Some(usd), true) = (&mut self.drift, feedback.cost_usd, feedback.first_bill) {
            drift.bill(arm, usd, decision.predicted_nano() as f64 / NANO, self.clock.count());
        }
    }

    /// The reward of an outcome: its value on `[0, 1]`.
    fn reward(&self, feedback: &FeedbackRecord, decision: &DecisionRecord) -> Option<f64> {
        if feedback.metric.as_deref() != Some(self.config.metric.as_str()) {
            return None;
        }
        feedback.measure.as_ref()?.reward_of(&decision.model, &self.metric)
    }

    fn reported(&mut self, feedback: &FeedbackRecord, decision: &DecisionRecord) {
        self.billed(feedback, decision);
        if feedback.repeats && self.config.observations == Observations::First {
            return;
        }
        if self.learner.compares() {
            return self.compared(feedback, decision);
        }
        let Some(reward) = self.reward(feedback, decision) else { return };
        // A default that could not be taken back when a report comes is not learned in the first place.
        let unlearns = self.learner.can_unlearn();
        if feedback.is_default && !unlearns {
            return;
        }
        let same_features = decision.featurizer_digest == self.featurizer_digest;
        let (Some(arm), true) = (self.arm_table.find(&decision.model), same_features) else {
            self.refused += 1;
            return;
        };
        let mut experience = Experience {
            features: decision.features.as_deref().unwrap_or_default(),
            source: decision.source.as_deref(),
            arm,
            rival: None,
            reward,
            weight: f64::from(feedback.weight),
            time: self.clock.at(decision.timestamp_ms),
        };
        let share = self.weigh(feedback, &experience);
        experience.weight *= share;
        // A default from before its time was never learned.
        if let Some(default) = feedback.replaces.filter(|default| unlearns && default.seq > self.born) {
            // What a report is not believed of, the default stays.
            let default =
                Experience { reward: self.metric.reward(default.value), weight: share, ..experience };
            // What could not be learned cannot be taken back either, and was counted then.
            let _refused_before = self.learner.unlearn(&default);
        }
        if self.learner.learn(&experience).is_err() {
            self.refused += 1;
        }
    }

    /// Learns how the model that was chosen did against others, one comparison for each of them. A number compares
    /// nothing, and a default is one.
    fn compared(&mut self, feedback: &FeedbackRecord, decision: &DecisionRecord) {
        if feedback.is_default || feedback.metric.as_deref() != Some(self.config.metric.as_str()) {
            return;
        }
        let compared = feedback.measure.as_ref().map(|measure| measure.against_others(&decision.model));
        let compared = compared.unwrap_or_default();
        let same_features = decision.featurizer_digest == self.featurizer_digest;
        let (Some(arm), true, false) =
            (self.arm_table.find(&decision.model), same_features, compared.is_empty())
        else {
            self.refused += 1;
            return;
        };
        let weight = f64::from(feedback.weight) / compared.len() as f64;
        for (rival, reward) in compared {
            let Some(rival) = self.arm_table.find(rival) else {
                self.refused += 1;
                continue;
            };
            let mut experience = Experience {
                features: decision.features.as_deref().unwrap_or_default(),
                source: decision.source.as_deref(),
                arm,
                rival: Some(rival),
                reward,
                weight,
                time: self.clock.at(decision.timestamp_ms),
            };
            experience.weight *= self.weigh(feedback, &experience);
            if self.learner.learn(&experience).is_err() {
                self.refused += 1;
            }
        }
    }

    /// The share of a report that is believed; what is watched sees it.
    fn weigh(&mut self, feedback: &FeedbackRecord, experience: &Experience<'_>) -> f64 {
        let Experience { arm, reward, weight, features, source, .. } = *experience;
        let unwatched = self.trust.is_none() && self.drift.is_none();
        // The learner refuses what does not fit, and says so.
        let fits = self.learner.dim().is_none_or(|dim| dim == features.len());
        if unwatched || feedback.is_default || weight <= 0.0 || !fits {
            return 1.0;
        }
        let n_arms = self.arm_table.arms.len();
        let (mut score, mut score_se) = (vec![f32::NAN; n_arms], vec![0.0; n_arms]);
        self.learner.predict_into(features, source, &mut score, &mut score_se);
        let (expected, now) = (f64::from(score[arm]), self.clock.count());
        let reporter = reporter(&self.metric, feedback);
        let report = Report { reporter: &reporter, arm, reward, expected, weight, now };
        let share = self.trust.as_mut().map_or(1.0, |trust| trust.weigh(&report) / weight);
        if let Some(drift) = self.drift.as_mut().filter(|_| share > LEAST_SHARE) {
            drift.reward(arm, reward, expected, now);
        }
        share
    }
}

impl Consumer for PolicyLearner {
    fn apply(&mut self, event: &Event) {
        match &event.body {
            EventBody::Decision(decision) if decision.policy == self.policy && !decision.returns() => {
                self.decided(decision);
            }
            EventBody::Feedback(feedback, decision) if decision.policy == self.policy => {
                self.reported(feedback, decision);
            }
            EventBody::Change(change) if change.policy == self.policy => self.changed(change),
            EventBody::Decision(_)
            | EventBody::Feedback(..)
            | EventBody::Change(_)
            | EventBody::Unreadable(_) => {}
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
            roster: Some(self.arm_table.clone()),
            models: Vec::new(),
            accounts: Some(self.accounts.clone()),
            pacer: None,
            trust: self.trust.clone(),
            drift: self.drift.clone(),
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
        let kept = head.roster.as_ref().map_or(&self.arm_table, |roster| roster);
        let older: Vec<Arm> = head.models.into_iter().map(of).collect();
        let stored = names(if head.roster.is_some() { &kept.arms } else { &older }, self.n_base);
        let own = names(&self.arm_table.arms, self.n_base);
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
        let older = || Accounts { all: Account { mean: head.pacer, day: None }, ..Accounts::default() };
        self.accounts.resume(head.accounts.unwrap_or_else(older), kept.arms.len() - self.n_base);
        if let Some((own, stored)) = self.trust.as_mut().zip(head.trust)
            && own.settings() == stored.settings()
        {
            *own = stored;
        }
        if let Some((own, stored)) = self.drift.as_mut().zip(head.drift)
            && own.settings() == stored.settings()
        {
            *own = stored;
        }
        self.arm_table = kept;
        (self.clock, self.refused, self.born) = (head.clock, head.refused, head.born);
        Ok(())
    }
}

/// Who reports: the key, and where the metric says who may report, the source. A source that anybody may invent tells
/// nobody apart.
fn reporter(metric: &MetricConfig, feedback: &FeedbackRecord) -> String {
    let source = Some(&feedback.source).filter(|_| !metric.sources.is_empty());
    match (&feedback.tenant, source) {
        (Some(key), Some(source)) => format!("{key}/{source}"),
        (Some(name), None) | (None, Some(name)) => name.clone(),
        (None, None) => ANYBODY.to_owned(),
    }
}

/// Names of the first arms.
fn names(arms: &[Arm], n: usize) -> Vec<&str> {
    arms.iter().take(n).map(|arm| arm.model.as_str()).collect()
}
