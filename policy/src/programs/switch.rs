//! Switching: sample one arm several times, and switch to the next while its samples disagree.
//!
//! Arms have a fixed order, each with a number of samples. Where the share of the most frequent answer of an arm
//! is at least `agreement` (failed samples count in the denominator), the episode ends; else the next arm is
//! sampled. The reply is a vote over all samples: with `n_i(a)` of the `K_i` samples of arm `i` giving answer `a`
//! and `H_i` the entropy of its histogram,
//!
//! ```text
//! score(a) = sum_i w_i c_i n_i(a) / K_i      c_i = b + (1 - b) (1 - H_i / log2(number of answers)),  b = 1 / K_i
//! ```
//!
//! where `w_i` is the weight of the arm, and `c_i` is 1 where all of its answers are the same. Ties go to the arm
//! that comes first. Arms that the request excludes are skipped, and those of which not all samples fit get as many
//! as do.

use super::crowd::drawn;
use super::tally::{Ballot, Reading, winners};
use super::{ProgramError, ProgramRow, ProgramState, config, no_parts};
use crate::Arm;
use crate::program::{
    Action, Answer, AnswerNeed, Bounds, Call, Episode, Estimate, Part, Program, Reply, Step, StepError,
    StepReason,
};
use routewright_data::answers::Agreement;
use routewright_data::answers::normalize::Normalizer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) const ROW: ProgramRow = ProgramRow {
    name: "switch",
    version: 1,
    title: "samples one arm several times and switches to the next while the samples disagree",
    load: Switch::load,
    example: |arms| {
        let stages: Vec<Value> =
            arms.iter().map(|arm| json!({ "model": arm.model, "samples": 3, "weight": 1.0 })).collect();
        let config = json!({
            "stages": stages, "agreement": 1.0, "answers": "exact", "reads": "short", "temperature": 0.7,
        });
        ProgramState { config, ..ProgramState::default() }
    },
};

/// Most stages, and most samples of one.
const SIZE_MAX: u32 = 1024;

/// An arm and how often it is sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The model.
    pub model: String,
    /// Samples, at least 1.
    pub samples: u32,
    /// Weight of its votes, at least 0.
    pub weight: f64,
}

/// What is sampled, and when it is enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stages {
    /// Arms in the order they are sampled, at least one, each once.
    pub stages: Vec<Stage>,
    /// Least share of the most frequent answer at which no further arm is sampled, in (0, 1].
    pub agreement: f64,
    /// Rule that makes equal answers equal texts, by name.
    pub answers: String,
    /// What of an answer the rule reads.
    pub reads: Reading,
    /// Temperature of the samples; `None` leaves it to the host.
    pub temperature: Option<f32>,
}

/// Samples of each stage that was asked, in order: their forms.
pub type Sampled<'a> = Vec<Vec<Option<&'a str>>>;

impl Stages {
    /// Whether the samples of an arm agree enough to end.
    pub fn agree(&self, forms: &[Option<&str>]) -> bool {
        Agreement::of(forms.iter().copied()).modal_share() >= self.agreement - 1e-9
    }

    /// The vote of every sample, stage by stage; `weights` are those of the stages.
    pub fn ballots<'a>(sampled: &Sampled<'a>, weights: &[f64]) -> Vec<Ballot<'a>> {
        let stages = sampled.iter().zip(weights).enumerate();
        let of = |(stage, (forms, weight)): (usize, (&Vec<Option<&'a str>>, &f64))| {
            let n = forms.len().max(1) as f64;
            let least = 1.0 / n;
            let certainty = Agreement::of(forms.iter().copied()).certainty();
            let weight = weight * (least + (1.0 - least) * certainty) / n;
            // An earlier stage is the stronger one.
            let strength = -(stage as f64);
            forms.iter().map(|form| Ballot { form: *form, weight, strength }).collect::<Vec<_>>()
        };
        stages.flat_map(of).collect()
    }
}

/// The program of this module.
#[derive(Debug)]
pub struct Switch {
    config: Stages,
    /// Arm of each stage.
    arms: Vec<usize>,
    rule: &'static Normalizer,
}

impl Switch {
    /// Samples `arms` as the stages say.
    ///
    /// # Errors
    /// If there is no stage, one names no arm or one twice, a number is out of range, or the rule is unknown.
    pub fn new(config: Stages, arms: &[Arm]) -> Result<Self, ProgramError> {
        Self::of(config, arms).map_err(|reason| ProgramError::Config { program: ROW.name, reason })
    }

    fn load(state: ProgramState, arms: &[Arm]) -> Result<Box<dyn Program>, ProgramError> {
        no_parts(ROW.name, &state.parts)?;
        Ok(Box::new(Self::new(config(ROW.name, state.config)?, arms)?))
    }

    fn of(config: Stages, all: &[Arm]) -> Result<Self, String> {
        let n = config.stages.len();
        if n == 0 || n > SIZE_MAX as usize {
            return Err(format!("it has {n} stages, expected 1 to {SIZE_MAX}"));
        }
        if !(config.agreement > 0.0 && config.agreement <= 1.0) {
            return Err(format!("`agreement` is `{}`, expected a number in (0, 1]", config.agreement));
        }
        if let Some(value) = config.temperature.filter(|value| !(value.is_finite() && *value >= 0.0)) {
            return Err(format!("`temperature` is `{value}`, expected a number of at least 0"));
        }
        let mut arms = Vec::with_capacity(n);
        for Stage { model, samples, weight } in &config.stages {
            let at = all.iter().position(|arm| arm.model == *model);
            let at = at.ok_or_else(|| format!("a stage samples `{model}`, which is no arm of the policy"))?;
            if arms.contains(&at) {
                return Err(format!("two stages sample `{model}`, expected each model once"));
            }
            if !(1..=SIZE_MAX).contains(samples) {
                return Err(format!("a stage has `{samples}` samples, expected 1 to {SIZE_MAX}"));
            }
            if !(*weight >= 0.0 && weight.is_finite()) {
                return Err(format!("a stage has the weight `{weight}`, expected a number of at least 0"));
            }
            arms.push(at);
        }
        let rule = Normalizer::named(&config.answers)?;
        Ok(Self { config, arms, rule })
    }

    /// The next stage from `from` on that is allowed and fits, with the samples that fit.
    fn open(&self, episode: &Episode<'_>, from: usize) -> Option<(usize, u32)> {
        (from..self.arms.len()).find_map(|stage| {
            let mut samples = (1..=self.config.stages[stage].samples).rev();
            samples.find(|n| episode.affords(&[self.arms[stage]], *n)).map(|n| (stage, n))
        })
    }

    fn reply(&self, episode: &Episode<'_>, forms: &[Option<String>], reason: StepReason) -> Step {
        // Samples by stage, and the place of each in the episode.
        let (mut sampled, mut places, mut weights) = (Sampled::new(), Vec::new(), Vec::new());
        for (stage, arm) in self.arms.iter().enumerate() {
            let of_stage = |at: &usize| episode.answers[*at].arm == Some(*arm);
            let at: Vec<usize> = (0..episode.answers.len()).filter(of_stage).collect();
            if at.is_empty() {
                continue;
            }
            sampled.push(at.iter().map(|at| forms[*at].as_deref()).collect());
            weights.push(self.config.stages[stage].weight);
            places.extend(at);
        }
        let found = winners(&Stages::ballots(&sampled, &weights));
        let found: Vec<usize> = found.into_iter().map(|at| places[at]).collect();
        if let Some(last) = found.len().checked_sub(1) {
            return drawn(&found, last, episode, reason);
        }
        // No answer has a form: the first that came.
        match episode.answers.iter().position(Answer::is_ok) {
            Some(at) => Step::sure(Action::Return(Reply::Answer(at)), StepReason::Exhausted),
            None if episode.answers.is_empty() => {
                Step::sure(Action::Return(Reply::Abstain), StepReason::Limit)
            }
            None => Step::sure(Action::Return(Reply::Abstain), StepReason::Failed),
        }
    }
}

impl Program for Switch {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn needs(&self) -> &'static [AnswerNeed] {
        match self.config.reads {
            Reading::Short => &[AnswerNeed::Short, AnswerNeed::Samples],
            Reading::Text => &[AnswerNeed::Samples],
        }
    }

    fn bounds(&self) -> Bounds {
        let samples = self.config.stages.iter().map(|stage| stage.samples).sum();
        Bounds { steps: self.arms.len() as u32 + 1, calls: samples }
    }

    fn next(&self, episode: &Episode<'_>) -> Result<Step, StepError> {
        let forms: Vec<Option<String>> =
            episode.answers.iter().map(|answer| self.config.reads.of(self.rule, answer)).collect();
        let last = episode
            .answers
            .last()
            .and_then(|answer| self.arms.iter().position(|arm| Some(*arm) == answer.arm));
        let (mut from, mut reason) = (0, StepReason::Start);
        if let Some(stage) = last {
            let is_last = |at: &usize| episode.answers[*at].arm == Some(self.arms[stage]);
            let at: Vec<usize> = (0..episode.answers.len()).filter(is_last).collect();
            let sampled: Vec<Option<&str>> = at.iter().map(|at| forms[*at].as_deref()).collect();
            if self.config.agree(&sampled) {
                return Ok(self.reply(episode, &forms, StepReason::Agreement));
            }
            from = stage + 1;
            let answered = at.iter().any(|at| episode.answers[*at].is_ok());
            reason = if answered { StepReason::Disagreement } else { StepReason::Failed };
        }
        let Some((stage, samples)) = self.open(episode, from) else {
            return Ok(self.reply(episode, &forms, StepReason::Vote));
        };
        let arm = self.arms[stage];
        let call = Call { samples, temperature: self.config.temperature, ..Call::arm(arm) };
        let estimate = Estimate { score: None, cost_usd: episode.arms[arm].price.mean_cost_usd };
        Ok(Step { estimates: vec![estimate], ..Step::call(vec![call], reason) })
    }

    fn parts(&self) -> Vec<Part<'_>> {
        Vec::new()
    }

    fn config(&self) -> Value {
        serde_json::to_value(&self.config).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Budget, Machine};
    use crate::{Policy, Price, Request};

    fn arms() -> Vec<Arm> {
        let arm = |(model, usd): (&str, f64)| Arm {
            model: model.to_owned(),
            price: Price { mean_cost_usd: Some(usd), ..Price::default() },
            ..Arm::default()
        };
        [("a", 1.0), ("b", 10.0)].map(arm).to_vec()
    }

    fn stages() -> Stages {
        let stage = |model: &str, samples, weight| Stage { model: model.to_owned(), samples, weight };
        Stages {
            stages: vec![stage("a", 4, 1.0), stage("b", 2, 1.5)],
            agreement: 1.0,
            answers: "exact".to_owned(),
            reads: Reading::Text,
            temperature: Some(0.7),
        }
    }

    /// Samples asked of each arm in turn, and the last step; an empty text is a failed sample.
    fn run(config: Stages, budget: Budget, a: &[&str], b: &[&str]) -> (Vec<(usize, u32)>, Step) {
        let program = Box::new(Switch::new(config, &arms()).unwrap());
        let policy = Policy { manifest: Default::default(), digest: String::new(), arms: arms(), program };
        let mut machine = Machine::new(&policy, Request::default(), budget);
        let mut step = machine.start().unwrap();
        while let Action::Call(calls) = &step.action {
            let (call, arm) = (machine.first_pending(), calls[0].arm_index().unwrap());
            let texts = [a, b][arm];
            let answer = |sample: u32| {
                let text = texts[sample as usize];
                let failed = text.is_empty().then(|| "timed out".to_owned());
                Answer { call, arm: Some(arm), sample, text: text.to_owned(), failed, ..Answer::default() }
            };
            step = machine.supply((0..calls[0].samples).map(answer).collect()).unwrap();
        }
        let called = machine.calls().iter().map(|call| (call.arm_index().unwrap(), call.samples)).collect();
        (called, step)
    }

    #[test]
    fn it_stops_while_the_samples_agree_and_switches_where_they_do_not() {
        let none = Budget::default();
        let (called, step) = run(stages(), none, &["4"; 4], &[]);
        assert_eq!((called, step.reason), (vec![(0, 4)], StepReason::Agreement));
        assert_eq!(step.action, Action::Return(Reply::Answer(0)));
        // a: 3 of 4 say 4, H = 0.811 of 1 bit: c = 0.25 + 0.75 * 0.189 = 0.392, score(4) = 0.294, score(5) = 0.098.
        // b agrees on 5: 1.5 more. Sample 3 is the first with 5, of the first stage.
        let (called, step) = run(stages(), none, &["4", "4", "4", "5"], &["5", "5"]);
        assert_eq!((called, step.reason), (vec![(0, 4), (1, 2)], StepReason::Agreement));
        assert_eq!(step.action, Action::Return(Reply::Answer(3)));
        // b disagrees: c = 0.5, each of its answers counts 1.5 * 0.5 / 2 = 0.375; 4 has 0.294 + 0.375.
        let (_, step) = run(stages(), none, &["4", "4", "4", "5"], &["7", "4"]);
        assert_eq!((step.action, step.reason), (Action::Return(Reply::Answer(0)), StepReason::Vote));
        // A lower bar: 3 of 4 are enough.
        let lenient = Stages { agreement: 0.75, ..stages() };
        assert_eq!(run(lenient, none, &["4", "4", "4", "5"], &[]).0, [(0, 4)]);
    }

    #[test]
    fn failed_samples_lower_the_share_and_budgets_the_samples() {
        let none = Budget::default();
        let (called, step) = run(stages(), none, &["4", "4", "4", ""], &["4", "4"]);
        assert_eq!((called.len(), step.action), (2, Action::Return(Reply::Answer(0))));
        let (called, step) = run(stages(), none, &[""; 4], &["", ""]);
        assert_eq!(
            (called.len(), step.action, step.reason),
            (2, Action::Return(Reply::Abstain), StepReason::Failed)
        );
        // 13 dollars: 4 samples of a, none of b. 12.5: after 2 samples that cost 2, one of b fits.
        let budget = |usd| Budget { usd: Some(usd), deadline_ms: None };
        let (called, step) = run(stages(), budget(13.0), &["4", "4", "5", "4"], &[]);
        assert_eq!(
            (called, step.action, step.reason),
            (vec![(0, 4)], Action::Return(Reply::Answer(0)), StepReason::Vote)
        );
        let two = Stages {
            stages: vec![Stage { samples: 2, ..stages().stages[0].clone() }, stages().stages[1].clone()],
            ..stages()
        };
        assert_eq!(run(two, budget(12.5), &["4", "5"], &["5", "5"]).0, [(0, 2), (1, 1)]);
        let (called, step) = run(stages(), budget(0.5), &[], &[]);
        assert_eq!((called, step.reason), (vec![], StepReason::Limit));
    }

    #[test]
    fn what_has_no_stages_is_refused() {
        let says = |edit: fn(&mut Stages)| {
            let mut config = stages();
            edit(&mut config);
            Switch::new(config, &arms()).unwrap_err().to_string()
        };
        assert!(says(|s| s.stages.clear()).contains("0 stages"));
        assert!(says(|s| s.stages[0].model = "d".to_owned()).contains("`d`, which is no arm"));
        assert!(says(|s| s.stages[0].model = "b".to_owned()).contains("two stages sample `b`"));
        assert!(says(|s| s.stages[0].samples = 0).contains("`0` samples"));
        assert!(says(|s| s.stages[0].weight = -1.0).contains("weight `-1`"));
        assert!(says(|s| s.agreement = 1.5).contains("`agreement` is `1.5`"));
        assert!(says(|s| s.temperature = Some(f32::NAN)).contains("`temperature` is `NaN`"));
        assert!(says(|s| s.answers = "exat".to_owned()).contains("did you mean `exact`"));
    }
}
