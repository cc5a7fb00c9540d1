//! Self-verification: a model answers, checks its own answer several times, and a table says whether another is asked.
//!
//! The checks are samples of one call with the prompt `verify`, which is a text of the artifact with the slots
//! `{query}` and `{answer}`. Their rate `v` is the share of right among those that name a verdict, 0 where none does;
//! its bin is `v bins`, rounded, and a table of the bins says which answers are passed on. The program has several
//! tables, of which the objective of a request chooses one as it does among the strategies of `cascade`.
//!
//! A failed answer is passed on without a check. Where the checks do not fit budget and deadline, or the request
//! excludes the first arm, the second is asked; where it does not fit, the answer in hand is returned.

use super::{ProgramError, ProgramRow, ProgramState, config, no_parts, objective};
use crate::Arm;
use crate::program::{
    Action, Answer, AnswerNeed, Bounds, Call, Episode, Estimate, Part, Program, Prompt, Reply, Step,
    StepError, StepReason,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) const ROW: ProgramRow = ProgramRow {
    name: "verify",
    version: 1,
    title: "lets a model check its own answer, and asks another by a table of how often it is found right",
    load: Verify::load,
    example: |arms| {
        let (small, large) = (&arms[0].model, &arms[arms.len() - 1].model);
        let tables = json!([
            { "escalate": [true, true, false], "score": 0.8, "cost_usd": 0.05 },
            { "escalate": [false, false, false], "score": 0.5, "cost_usd": 0.005 },
        ]);
        let config = json!({
            "small": small, "large": large, "samples": 3, "temperature": 1.0, "max_tokens": 250, "tables": tables,
            "default": 0,
        });
        let prompts = [(VERIFY.to_owned(), "{query} {answer} correct?".to_owned())].into();
        ProgramState { config, prompts, ..ProgramState::default() }
    },
};

/// Id of its prompt.
pub const VERIFY: &str = "verify";
/// The prompt unless another is given: after AutoMix, without its examples.
pub const VERIFY_PROMPT: &str = "\
Question:
{query}

Proposed answer:
{answer}

Is the proposed answer correct? Evaluate it in a sentence or two. Then end with one line:
\"The answer is correct.\" or \"The answer is incorrect.\"
";
/// Most samples, bins and tables.
const SIZE_MAX: usize = 256;

/// Which bins are passed on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinTable {
    /// Whether an answer is passed on, for each bin, the least rate first; at least two.
    pub escalate: Vec<bool>,
    /// Mean score on other queries.
    pub score: f64,
    /// Mean price of an episode on them, US dollars, checks included.
    pub cost_usd: f64,
}

impl BinTable {
    /// Whether an answer with this rate is passed on.
    pub fn escalates(&self, rate: f64) -> bool {
        let last = self.escalate.len().saturating_sub(1);
        let bin = (rate.clamp(0.0, 1.0) * last as f64).round() as usize;
        self.escalate.get(bin).copied().unwrap_or(true)
    }
}

/// What the program is restored from, beside its prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyConfig {
    /// Model that answers first and checks itself.
    pub small: String,
    /// Model that is asked where the check fails.
    pub large: String,
    /// Checks of an answer, at least 1.
    pub samples: u32,
    /// Temperature of the checks; the host's where `None`.
    pub temperature: Option<f32>,
    /// Longest check, tokens.
    pub max_tokens: Option<u32>,
    /// The tables, all with the same number of bins.
    pub tables: Vec<BinTable>,
    /// The table of a request without an objective.
    pub default: usize,
}

/// The program of this module.
#[derive(Debug)]
pub struct Verify {
    config: VerifyConfig,
    prompt: String,
    small: usize,
    large: usize,
}

/// Share of checks that found the answer right, among those that name a verdict; 0 where none does.
pub fn verified<'a>(checks: impl Iterator<Item = &'a str>) -> f64 {
    let (mut right, mut named) = (0.0_f64, 0.0_f64);
    for check in checks {
        if let Some(verdict) = verdict(check) {
            named += 1.0;
            right += f64::from(u8::from(verdict));
        }
    }
    if named > 0.0 { right / named } else { 0.0 }
}

/// Whether a check ends in "correct"; `None` where it names no verdict. The last verdict counts.
fn verdict(check: &str) -> Option<bool> {
    let text = check.to_lowercase();
    let at = text.rfind("correct")?;
    let before = text[..at].trim_end();
    let is_negated = text[..at].ends_with("in") || before.ends_with("not") || before.ends_with("n't");
    Some(!is_negated)
}

impl Verify {
    /// A program of these tables and this prompt over `arms`.
    ///
    /// # Errors
    /// If a model is no arm, both are one, the prompt lacks a slot, or a table has no bins or other ones.
    pub fn new(config: VerifyConfig, prompt: String, arms: &[Arm]) -> Result<Self, ProgramError> {
        Self::of(config, prompt, arms).map_err(|reason| ProgramError::Config { program: ROW.name, reason })
    }

    fn load(mut state: ProgramState, arms: &[Arm]) -> Result<Box<dyn Program>, ProgramError> {
        no_parts(ROW.name, &state.parts)?;
        let prompt = state.prompts.remove(VERIFY).unwrap_or_default();
        Ok(Box::new(Self::new(config(ROW.name, state.config)?, prompt, arms)?))
    }

    fn of(config: VerifyConfig, prompt: String, arms: &[Arm]) -> Result<Self, String> {
        for slot in ["{query}", "{answer}"] {
            if !prompt.contains(slot) {
                return Err(format!(
                    "the prompt `{VERIFY}` has no slot `{slot}`, expected `{{query}}` and `{{answer}}`"
                ));
            }
        }
        let (n, samples) = (config.tables.len(), config.samples as usize);
        if n == 0 || n > SIZE_MAX || config.default >= n || samples == 0 || samples > SIZE_MAX {
            let default = config.default;
            return Err(format!(
                "it has {n} tables, `default` is `{default}`, `samples` is `{samples}`; expected 1 to {SIZE_MAX}"
            ));
        }
        if let Some(value) = config.temperature.filter(|value| !(value.is_finite() && *value >= 0.0)) {
            return Err(format!("`temperature` is `{value}`, expected a number of at least 0"));
        }
        let bins = config.tables[0].escalate.len();
        for BinTable { escalate, score, cost_usd } in &config.tables {
            if escalate.len() != bins || !(2..=SIZE_MAX).contains(&bins) {
                return Err(format!(
                    "a table has {} bins, expected {bins} and 2 to {SIZE_MAX}",
                    escalate.len()
                ));
            }
            if let Some(number) = [score, cost_usd].into_iter().find(|number| !number.is_finite()) {
                return Err(format!("a table has the number `{number}`, expected a finite one"));
            }
        }
        let arm = |model: &String| {
            let at = arms.iter().position(|arm| arm.model == *model);
            at.ok_or_else(|| format!("it calls `{model}`, which is no arm of the policy"))
        };
        let (small, large) = (arm(&config.small)?, arm(&config.large)?);
        if small == large {
            return Err(format!("`{}` is both models, expected two", config.small));
        }
        Ok(Self { config, prompt, small, large })
    }

    fn points(&self) -> Vec<(f64, f64)> {
        self.config.tables.iter().map(|table| (table.score, table.cost_usd)).collect()
    }

    /// Calls the second model, or returns what is in hand.
    fn pass_on(&self, episode: &Episode<'_>, in_hand: Option<usize>, reason: StepReason) -> Step {
        if episode.affords(&[self.large], 1) {
            let step = Step::call(vec![Call::arm(self.large)], reason);
            return Step { estimates: vec![price(episode, self.large)], certain: true, ..step };
        }
        let reply = in_hand.map_or(Reply::Abstain, Reply::Answer);
        Step::sure(Action::Return(reply), StepReason::Limit)
    }
}

fn price(episode: &Episode<'_>, arm: usize) -> Estimate {
    Estimate { score: None, cost_usd: episode.arms[arm].price.mean_cost_usd }
}

impl Program for Verify {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn needs(&self) -> &'static [AnswerNeed] {
        &[AnswerNeed::Samples]
    }

    fn bounds(&self) -> Bounds {
        Bounds { steps: 4, calls: self.config.samples + 2 }
    }

    fn next(&self, episode: &Episode<'_>) -> Result<Step, StepError> {
        let is_query = |answer: &Answer| episode.calls[answer.call].prompt == Prompt::Query;
        let of = |arm: usize| episode.answers.iter().position(|one| one.arm == Some(arm) && is_query(one));
        let is_ok = |at: &usize| episode.answers[*at].is_ok();
        let (small, large) = (of(self.small), of(self.large));
        if let Some(large) = large {
            let reply = Some(large).filter(is_ok).or(small.filter(is_ok));
            let reason = if is_ok(&large) { StepReason::Exhausted } else { StepReason::Failed };
            return Ok(Step::sure(Action::Return(reply.map_or(Reply::Abstain, Reply::Answer)), reason));
        }
        let Some(small) = small else {
            if episode.affords(&[self.small], 1) {
                let step = Step::call(vec![Call::arm(self.small)], StepReason::Start);
                return Ok(Step { estimates: vec![price(episode, self.small)], ..step });
            }
            return Ok(self.pass_on(episode, None, StepReason::Start));
        };
        if !is_ok(&small) {
            return Ok(self.pass_on(episode, None, StepReason::Failed));
        }
        let checks: Vec<&Answer> = episode.answers.iter().filter(|answer| !is_query(answer)).collect();
        if checks.is_empty() {
            let samples = self.config.samples;
            if !episode.affords(&[self.small], samples) {
                return Ok(self.pass_on(episode, Some(small), StepReason::Escalated));
            }
            let slots = [("answer".to_owned(), episode.answers[small].text.clone())].into();
            let call = Call {
                prompt: Prompt::Template { id: VERIFY.to_owned(), slots },
                samples,
                temperature: self.config.temperature,
                max_tokens: self.config.max_tokens,
                ..Call::arm(self.small)
            };
            let step = Step::call(vec![call], StepReason::Check);
            return Ok(Step { estimates: vec![price(episode, self.small)], ..step });
        }
        let said = checks.iter().filter(|check| check.is_ok()).map(|check| check.text.as_str());
        let at = objective::chosen(&self.points(), self.config.default, episode.request);
        if self.config.tables[at].escalates(verified(said)) {
            return Ok(self.pass_on(episode, Some(small), StepReason::Escalated));
        }
        Ok(Step::sure(Action::Return(Reply::Answer(small)), StepReason::Accepted))
    }

    fn parts(&self) -> Vec<Part<'_>> {
        Vec::new()
    }

    fn config(&self) -> Value {
        json!(self.config)
    }

    fn prompts(&self) -> Vec<(&str, &str)> {
        vec![(VERIFY, &self.prompt)]
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
        [("small", 1.0), ("large", 50.0)].map(arm).to_vec()
    }

    fn config() -> VerifyConfig {
        let table =
            |escalate: &[bool], score, cost_usd| BinTable { escalate: escalate.to_vec(), score, cost_usd };
        VerifyConfig {
            small: "small".to_owned(),
            large: "large".to_owned(),
            samples: 4,
            temperature: Some(1.0),
            max_tokens: None,
            tables: vec![table(&[true, true, false, false, true], 0.8, 20.0), table(&[false; 5], 0.5, 5.0)],
            default: 0,
        }
    }

    fn policy() -> Policy {
        let program = Box::new(Verify::new(config(), VERIFY_PROMPT.to_owned(), &arms()).unwrap());
        Policy { manifest: Default::default(), digest: String::new(), arms: arms(), program }
    }

    /// Arms and samples called, and the last step; an answer is `None` where the call fails.
    fn run(budget: Option<f64>, answers: [Option<&str>; 2], checks: &[&str]) -> (Vec<(usize, u32)>, Step) {
        let policy = policy();
        let budget = Budget { usd: budget, deadline_ms: None };
        let mut machine =
            Machine::new(&policy, Request { input: "2+2?".into(), ..Request::default() }, budget);
        let mut step = machine.start().unwrap();
        while let Action::Call(calls) = &step.action {
            let (call, arm) = (machine.first_pending(), calls[0].arm_index().unwrap());
            let is_check =
                matches!(&calls[0].prompt, Prompt::Template { slots, .. } if slots["answer"] == "4");
            let answer = |sample: u32| {
                let text = if is_check { Some(checks[sample as usize]) } else { answers[arm] };
                let failed = text.is_none().then(|| "no".to_owned());
                Answer {
                    call,
                    arm: Some(arm),
                    sample,
                    text: text.unwrap_or_default().to_owned(),
                    failed,
                    ..Answer::default()
                }
            };
            step = machine.supply((0..calls[0].samples).map(answer).collect()).unwrap();
        }
        let called = machine.calls().iter().map(|call| (call.arm_index().unwrap(), call.samples)).collect();
        (called, step)
    }

    #[test]
    fn the_table_says_which_rates_are_passed_on() {
        let (yes, no) = ("Fine. The answer is correct.", "The answer is incorrect.");
        let replied = |checks: &[&str]| run(None, [Some("4"), Some("5")], checks).1.action;
        let returned = |at| Action::Return(Reply::Answer(at));
        // Bins of 0, 1/4, 1/2, 3/4, 1; the last is passed on, as a double threshold may have it.
        assert_eq!(replied(&[no, no, no, no]), returned(5));
        assert_eq!(replied(&[yes, no, yes, no]), returned(0));
        assert_eq!(replied(&[yes, yes, yes, no]), returned(0));
        assert_eq!(replied(&[yes, yes, yes, yes]), returned(5));
        // Checks without a verdict do not count: 1 of 2.
        assert_eq!(replied(&[yes, "hm", no, "who knows"]), returned(0));
        let (called, step) = run(None, [Some("4"), Some("5")], &["hm"; 4]);
        assert_eq!((called, step.action), (vec![(0, 1), (0, 4), (1, 1)], returned(5)));
        assert_eq!(
            verified(
                ["it is not correct", "isn't correct", "CORRECT", "incorrect, then: correct"].into_iter()
            ),
            0.5
        );
    }

    #[test]
    fn failures_and_budgets_end_with_what_is_in_hand() {
        let yes = "The answer is incorrect.";
        let returned = |at| Action::Return(Reply::Answer(at));
        let (called, step) = run(None, [None, Some("5")], &[yes; 4]);
        assert_eq!((called, step.action), (vec![(0, 1), (1, 1)], returned(1)));
        let (_, step) = run(None, [Some("4"), None], &[yes; 4]);
        assert_eq!((step.action, step.reason), (returned(0), StepReason::Failed));
        assert_eq!(run(None, [None, None], &[]).1.action, Action::Return(Reply::Abstain));
        // 1 and 4 checks fit, the large one does not; 3 fit the answer alone; 0.5 nothing.
        let (called, step) = run(Some(20.0), [Some("4"), Some("5")], &[yes; 4]);
        assert_eq!((called.len(), step.action, step.reason), (2, returned(0), StepReason::Limit));
        assert_eq!(run(Some(3.0), [Some("4"), Some("5")], &[]).0, [(0, 1)]);
        assert_eq!(run(Some(0.5), [Some("4"), Some("5")], &[]).1.action, Action::Return(Reply::Abstain));
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let says = |edit: fn(&mut VerifyConfig), prompt: &str| {
            let mut config = config();
            edit(&mut config);
            Verify::new(config, prompt.to_owned(), &arms()).unwrap_err().to_string()
        };
        assert!(says(|_| {}, "is it right?").contains("no slot `{query}`"));
        assert!(says(|_| {}, "{query}").contains("no slot `{answer}`"));
        assert!(says(|c| c.tables.clear(), VERIFY_PROMPT).contains("0 tables"));
        assert!(says(|c| c.tables[1].escalate.truncate(3), VERIFY_PROMPT).contains("3 bins"));
        assert!(says(|c| c.large = "huge".to_owned(), VERIFY_PROMPT).contains("`huge`, which is no arm"));
        assert!(says(|c| c.large = "small".to_owned(), VERIFY_PROMPT).contains("`small` is both"));
        assert!(says(|c| c.samples = 0, VERIFY_PROMPT).contains("`samples` is `0`"));
        assert!(says(|c| c.temperature = Some(-1.0), VERIFY_PROMPT).contains("`temperature` is `-1`"));
    }
}
