//! Consistency: sample one arm under several prompts at the same time, and ask another where the samples do not agree.
//!
//! By the rule `vote` the most frequent answer is returned where its share of all samples is at least a threshold; a
//! failed sample and one without an answer count in the denominator. By the rule `verify` the most frequent answers of
//! all prompts must be the same. Else the second arm is sampled, and its most frequent answer is returned. The program
//! has several thresholds, of which the objective of a request chooses one as it does among the strategies of
//! `cascade`.
//!
//! Where the samples do not fit budget and deadline, or the request excludes the first arm, the second is asked; where
//! it does not fit, the most frequent answer in hand is returned.

use super::tally::Reading;
use super::{ProgramError, ProgramRow, ProgramState, config, no_parts, objective};
use crate::Arm;
use crate::program::{
    Action, Answer, AnswerNeed, Bounds, Call, Episode, Estimate, Part, Program, Prompt, Reply, Step,
    StepError, StepReason,
};
use routewright_data::answers::Agreement;
use routewright_data::answers::normalize::Normalizer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) const ROW: ProgramRow = ProgramRow {
    name: "consistency",
    version: 1,
    title: "samples an arm under several prompts, and asks another where the samples do not agree",
    load: Consistency::load,
    example: |arms| {
        let (weak, strong) = (&arms[0].model, &arms[arms.len() - 1].model);
        let points = json!([
            { "threshold": 0.6, "score": 0.8, "cost_usd": 0.05 },
            { "threshold": 0.0, "score": 0.5, "cost_usd": 0.005 },
        ]);
        let thoughts = json!([{ "prompt": null, "samples": 2 }, { "prompt": "steps", "samples": 1 }]);
        let config = json!({
            "weak": weak, "strong": strong, "thoughts": thoughts, "strong_samples": 1, "rule": "vote",
            "temperature": 0.7, "answers": "exact", "reads": "short", "points": points, "default": 0,
        });
        let prompts = [("steps".to_owned(), "{query} Think step by step.".to_owned())].into();
        ProgramState { config, prompts, ..ProgramState::default() }
    },
};

/// Most samples of a prompt, prompts and points.
const SIZE_MAX: usize = 256;

/// When samples agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgreementRule {
    /// The most frequent answer has a share of all samples.
    Vote,
    /// The most frequent answers of all prompts are the same.
    Verify,
}

/// Samples under one prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thought {
    /// Id of the prompt; the query as it came where `None`.
    pub prompt: Option<String>,
    /// Samples, at least 1.
    pub samples: u32,
}

/// A threshold, and what the program did at it on other queries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharePoint {
    /// Least share at which the answer is kept; not read by `verify`.
    pub threshold: f64,
    /// Mean score.
    pub score: f64,
    /// Mean price of an episode, US dollars.
    pub cost_usd: f64,
}

/// What the program is restored from, beside its prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyConfig {
    /// Model that is sampled.
    pub weak: String,
    /// Model that is asked where the samples do not agree.
    pub strong: String,
    /// Prompts of the first model, each once, and their samples.
    pub thoughts: Vec<Thought>,
    /// Samples of the second model, at least 1.
    pub strong_samples: u32,
    /// When samples agree.
    pub rule: AgreementRule,
    /// Temperature of the samples; the host's where `None`.
    pub temperature: Option<f32>,
    /// Rule that makes equal answers equal texts, by name.
    pub answers: String,
    /// What of an answer the rule reads.
    pub reads: Reading,
    /// The thresholds, at least one.
    pub points: Vec<SharePoint>,
    /// The threshold of a request without an objective.
    pub default: usize,
}

/// The program of this module.
#[derive(Debug)]
pub struct Consistency {
    config: ConsistencyConfig,
    prompts: BTreeMap<String, String>,
    weak: usize,
    strong: usize,
    normalizer: &'static Normalizer,
}

impl ConsistencyConfig {
    /// Place among all samples of the answer that they agree on, prompt by prompt; `None` where they do not at this
    /// threshold.
    pub fn agreed(&self, samples: &[Vec<Option<&str>>], threshold: f64) -> Option<usize> {
        let all: Vec<Option<&str>> = samples.iter().flatten().copied().collect();
        let found = Agreement::of(all.iter().copied());
        let mode = found.mode()?;
        let is_agreed = match self.rule {
            // Shares of whole numbers of samples, as 3 of 5 is 0.6.
            AgreementRule::Vote => found.share(mode) >= threshold - 1e-9,
            AgreementRule::Verify => {
                let modes: Vec<Option<&str>> = samples.iter().map(|own| most_frequent(own)).collect();
                modes[0].is_some() && modes.iter().all(|own| *own == modes[0])
            }
        };
        if !is_agreed {
            return None;
        }
        let form = match self.rule {
            AgreementRule::Vote => {
                (0..all.len()).find(|at| found.group(*at) == Some(mode)).and_then(|at| all[at])
            }
            AgreementRule::Verify => most_frequent(&samples[0]),
        };
        all.iter().position(|one| *one == form)
    }
}

/// The most frequent form, the earliest of equals.
fn most_frequent<'a>(forms: &[Option<&'a str>]) -> Option<&'a str> {
    let found = Agreement::of(forms.iter().copied());
    let mode = found.mode()?;
    (0..forms.len()).find(|at| found.group(*at) == Some(mode)).and_then(|at| forms[at])
}

/// Place of the first sample with the most frequent form.
pub fn majority(forms: &[Option<&str>]) -> Option<usize> {
    let form = most_frequent(forms)?;
    forms.iter().position(|one| *one == Some(form))
}

impl Consistency {
    /// A program with these prompts by id over `arms`.
    ///
    /// # Errors
    /// If a model is no arm, both are one, a prompt is missing or lacks `{query}`, or a number is out of range.
    pub fn new(
        config: ConsistencyConfig,
        prompts: BTreeMap<String, String>,
        arms: &[Arm],
    ) -> Result<Self, ProgramError> {
        Self::of(config, prompts, arms).map_err(|reason| ProgramError::Config { program: ROW.name, reason })
    }

    fn load(state: ProgramState, arms: &[Arm]) -> Result<Box<dyn Program>, ProgramError> {
        no_parts(ROW.name, &state.parts)?;
        Ok(Box::new(Self::new(config(ROW.name, state.config)?, state.prompts, arms)?))
    }

    fn of(
        config: ConsistencyConfig,
        prompts: BTreeMap<String, String>,
        arms: &[Arm],
    ) -> Result<Self, String> {
        let (n, points) = (config.thoughts.len(), config.points.len());
        if n == 0 || n > SIZE_MAX || points == 0 || points > SIZE_MAX || config.default >= points {
            let default = config.default;
            return Err(format!(
                "it has {n} prompts and {points} points, `default` is `{default}`; expected 1 to {SIZE_MAX}"
            ));
        }
        for (at, Thought { prompt, .. }) in config.thoughts.iter().enumerate() {
            if config.thoughts[..at].iter().any(|other| other.prompt == *prompt) {
                return Err(format!(
                    "the prompt `{}` is sampled twice",
                    prompt.as_deref().unwrap_or("query")
                ));
            }
            let Some(id) = prompt else { continue };
            if !prompts.get(id).is_some_and(|text| text.contains("{query}")) {
                return Err(format!("the prompt `{id}` is missing or has no slot `{{query}}`"));
            }
        }
        let samples = config.thoughts.iter().map(|thought| thought.samples).chain([config.strong_samples]);
        if let Some(samples) = samples.into_iter().find(|samples| !(1..=SIZE_MAX as u32).contains(samples)) {
            return Err(format!("it takes `{samples}` samples, expected 1 to {SIZE_MAX}"));
        }
        let numbers = config.points.iter().flat_map(|point| [point.threshold, point.score, point.cost_usd]);
        if let Some(number) = numbers.into_iter().find(|number| !number.is_finite()) {
            return Err(format!("a point has the number `{number}`, expected a finite one"));
        }
        if let Some(value) = config.temperature.filter(|value| !(value.is_finite() && *value >= 0.0)) {
            return Err(format!("`temperature` is `{value}`, expected a number of at least 0"));
        }
        let arm = |model: &String| {
            let at = arms.iter().position(|arm| arm.model == *model);
            at.ok_or_else(|| format!("it calls `{model}`, which is no arm of the policy"))
        };
        let (weak, strong) = (arm(&config.weak)?, arm(&config.strong)?);
        if weak == strong {
            return Err(format!("`{}` is both models, expected two", config.weak));
        }
        let normalizer = Normalizer::named(&config.answers)?;
        Ok(Self { config, prompts, weak, strong, normalizer })
    }

    fn points(&self) -> Vec<(f64, f64)> {
        self.config.points.iter().map(|point| (point.score, point.cost_usd)).collect()
    }

    /// Places of the answers of an arm in the episode, call by call.
    fn places(episode: &Episode<'_>, arm: usize) -> Vec<Vec<usize>> {
        let of_call = |call: usize| {
            (0..episode.answers.len()).filter(|at| episode.answers[*at].call == call).collect::<Vec<_>>()
        };
        let calls = (0..episode.calls.len()).filter(|call| episode.calls[*call].arm_index() == Some(arm));
        calls.map(of_call).filter(|places| !places.is_empty()).collect()
    }

    fn start(&self, episode: &Episode<'_>) -> Step {
        let samples = self.config.thoughts.iter().map(|thought| thought.samples).sum();
        if !episode.affords(&[self.weak], samples) {
            return self.pass_on(episode, None, StepReason::Start);
        }
        let call = |thought: &Thought| Call {
            prompt: match &thought.prompt {
                Some(id) => Prompt::Template { id: id.clone(), slots: BTreeMap::new() },
                None => Prompt::Query,
            },
            samples: thought.samples,
            temperature: self.config.temperature,
            ..Call::arm(self.weak)
        };
        let calls: Vec<Call> = self.config.thoughts.iter().map(call).collect();
        let cost_usd = episode.arms[self.weak].price.mean_cost_usd;
        let estimates = vec![Estimate { score: None, cost_usd }; calls.len()];
        Step { estimates, ..Step::call(calls, StepReason::Start) }
    }

    /// Samples the second model, or returns what is in hand.
    fn pass_on(&self, episode: &Episode<'_>, in_hand: Option<usize>, reason: StepReason) -> Step {
        let fits = (1..=self.config.strong_samples).rev().find(|n| episode.affords(&[self.strong], *n));
        let Some(samples) = fits else {
            let reply = in_hand.map_or(Reply::Abstain, Reply::Answer);
            return Step::sure(Action::Return(reply), StepReason::Limit);
        };
        let temperature = if samples > 1 { self.config.temperature } else { None };
        let call = Call { samples, temperature, ..Call::arm(self.strong) };
        let cost_usd = episode.arms[self.strong].price.mean_cost_usd;
        let step = Step::call(vec![call], reason);
        Step { estimates: vec![Estimate { score: None, cost_usd }], certain: samples == 1, ..step }
    }
}

impl Program for Consistency {
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
        let samples: u32 = self.config.thoughts.iter().map(|thought| thought.samples).sum();
        Bounds { steps: 3, calls: samples + self.config.strong_samples }
    }

    fn next(&self, episode: &Episode<'_>) -> Result<Step, StepError> {
        if episode.step == 0 {
            return Ok(self.start(episode));
        }
        let forms: Vec<Option<String>> =
            episode.answers.iter().map(|answer| self.config.reads.of(self.normalizer, answer)).collect();
        let form = |at: &usize| forms[*at].as_deref();
        let first_ok = |places: &[usize]| places.iter().copied().find(|at| episode.answers[*at].is_ok());
        let most = |places: &[usize]| {
            let own: Vec<Option<&str>> = places.iter().map(form).collect();
            majority(&own).map(|at| places[at]).or_else(|| first_ok(places))
        };
        let weak = Self::places(episode, self.weak);
        let all: Vec<usize> = weak.iter().flatten().copied().collect();
        let strong: Vec<usize> = Self::places(episode, self.strong).into_iter().flatten().collect();
        if !strong.is_empty() {
            let (reply, reason) = match most(&strong) {
                Some(at) => (Some(at), StepReason::Exhausted),
                None => (most(&all), StepReason::Failed),
            };
            return Ok(Step::sure(Action::Return(reply.map_or(Reply::Abstain, Reply::Answer)), reason));
        }
        let samples: Vec<Vec<Option<&str>>> =
            weak.iter().map(|places| places.iter().map(form).collect()).collect();
        let point = objective::chosen(&self.points(), self.config.default, episode.request);
        if let Some(at) = self.config.agreed(&samples, self.config.points[point].threshold) {
            return Ok(Step::sure(Action::Return(Reply::Answer(all[at])), StepReason::Agreement));
        }
        let answered = episode.answers.iter().any(Answer::is_ok);
        let reason = if answered { StepReason::Disagreement } else { StepReason::Failed };
        Ok(self.pass_on(episode, most(&all), reason))
    }

    fn parts(&self) -> Vec<Part<'_>> {
        Vec::new()
    }

    fn config(&self) -> Value {
        json!(self.config)
    }

    fn prompts(&self) -> Vec<(&str, &str)> {
        self.prompts.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect()
    }

    fn lambdas(&self) -> Vec<f64> {
        super::breakpoints(self.points().into_iter().map(|(score, usd)| (usd, score)))
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
        [("weak", 1.0), ("strong", 20.0)].map(arm).to_vec()
    }

    fn config(rule: AgreementRule) -> ConsistencyConfig {
        let thought = |prompt: &str| Thought { prompt: Some(prompt.to_owned()), samples: 2 };
        ConsistencyConfig {
            weak: "weak".to_owned(),
            strong: "strong".to_owned(),
            thoughts: vec![thought("cot"), thought("pot")],
            strong_samples: 3,
            rule,
            temperature: Some(0.4),
            answers: "exact".to_owned(),
            reads: Reading::Text,
            points: vec![SharePoint { threshold: 0.75, score: 0.8, cost_usd: 10.0 }],
            default: 0,
        }
    }

    fn prompts() -> BTreeMap<String, String> {
        ["cot", "pot"].map(|id| (id.to_owned(), format!("{id}: {{query}}"))).into()
    }

    /// Samples asked of each arm in turn, and the last step; an empty text is a failed sample.
    fn run(
        config: ConsistencyConfig,
        budget: Option<f64>,
        weak: &[&str],
        strong: &[&str],
    ) -> (Vec<(usize, u32)>, Step) {
        let program = Box::new(Consistency::new(config, prompts(), &arms()).unwrap());
        let policy = Policy { manifest: Default::default(), digest: String::new(), arms: arms(), program };
        let mut machine =
            Machine::new(&policy, Request::default(), Budget { usd: budget, deadline_ms: None });
        let mut step = machine.start().unwrap();
        while let Action::Call(calls) = &step.action {
            let mut texts = if calls[0].arm_index() == Some(0) { weak } else { strong }.iter();
            let first = machine.first_pending();
            let mut answers = Vec::new();
            for (at, call) in calls.iter().enumerate() {
                for sample in 0..call.samples {
                    let text = texts.next().unwrap().to_string();
                    let failed = text.is_empty().then(|| "no".to_owned());
                    answers.push(Answer {
                        call: first + at,
                        arm: call.arm_index(),
                        sample,
                        text,
                        failed,
                        ..Answer::default()
                    });
                }
            }
            step = machine.supply(answers).unwrap();
        }
        (machine.calls().iter().map(|call| (call.arm_index().unwrap(), call.samples)).collect(), step)
    }

    #[test]
    fn samples_that_agree_are_kept_by_vote_or_by_prompt() {
        let returned = |at| Action::Return(Reply::Answer(at));
        let vote = |weak: &[&str]| run(config(AgreementRule::Vote), None, weak, &["9", "8", "8"]);
        let verify = |weak: &[&str]| run(config(AgreementRule::Verify), None, weak, &["9", "8", "8"]);
        let (called, step) = vote(&["5", "4", "4", "4"]);
        assert_eq!(
            (called, step.action, step.reason),
            (vec![(0, 2), (0, 2)], returned(1), StepReason::Agreement)
        );
        let (called, step) = vote(&["5", "4", "4", "7"]);
        // The majority of the second model.
        assert_eq!((called.len(), step.action), (3, returned(5)));
        // A failed sample counts in the denominator: 2 of 4.
        assert_eq!(vote(&["4", "4", "", ""]).0.len(), 3);
        // The most frequent of each prompt, the earliest of equals: 5 and 4, then 4 and 4.
        assert_eq!(verify(&["5", "4", "4", "4"]).0.len(), 3);
        let (called, step) = verify(&["4", "5", "4", "7"]);
        assert_eq!((called.len(), step.action), (2, returned(0)));
        assert_eq!(verify(&["4", "4", "", ""]).0.len(), 3);
    }

    #[test]
    fn failures_and_budgets_end_with_what_is_in_hand() {
        let returned = |at| Action::Return(Reply::Answer(at));
        let run =
            |budget, weak: &[&str], strong: &[&str]| run(config(AgreementRule::Vote), budget, weak, strong);
        let (_, step) = run(None, &["5", "4", "4", "7"], &["", "", ""]);
        assert_eq!((step.action, step.reason), (returned(1), StepReason::Failed));
        assert_eq!(run(None, &[""; 4], &["", "", ""]).1.action, Action::Return(Reply::Abstain));
        // 4 for the samples, and one of 20 more; then none.
        assert_eq!(run(Some(30.0), &["5", "4", "4", "7"], &["9"]).0, [(0, 2), (0, 2), (1, 1)]);
        let (called, step) = run(Some(10.0), &["5", "4", "4", "7"], &[]);
        assert_eq!((called.len(), step.action, step.reason), (2, returned(1), StepReason::Limit));
        assert_eq!(run(Some(2.0), &[], &[]).1.reason, StepReason::Limit);
    }

    #[test]
    fn what_has_no_samples_is_refused() {
        let says = |edit: fn(&mut ConsistencyConfig)| {
            let mut config = config(AgreementRule::Vote);
            edit(&mut config);
            Consistency::new(config, prompts(), &arms()).unwrap_err().to_string()
        };
        assert!(says(|c| c.thoughts.clear()).contains("0 prompts"));
        assert!(says(|c| c.thoughts[1].prompt = Some("cot".to_owned())).contains("`cot` is sampled twice"));
        assert!(says(|c| c.thoughts[1].prompt = Some("tot".to_owned())).contains("`tot` is missing"));
        assert!(says(|c| c.thoughts[1].samples = 0).contains("`0` samples"));
        assert!(says(|c| c.points[0].threshold = f64::NAN).contains("`NaN`"));
        assert!(says(|c| c.strong = "weak".to_owned()).contains("`weak` is both"));
        assert!(says(|c| c.weak = "none".to_owned()).contains("`none`, which is no arm"));
        assert!(says(|c| c.temperature = Some(-1.0)).contains("`temperature` is `-1`"));
    }
}
