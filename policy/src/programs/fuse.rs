//! Fusion by prompt: call several arms at the same time, rank their answers, have one arm write the reply from the
//! best.
//!
//! Who is asked and how answers are ranked is a selection ([`super::select`]). Where fewer than `quorum` answers came
//! back, members not asked before are called once, as many as are missing. The best `keep` candidates go to the arm
//! `fuser` in the prompt `fuse` of the artifact, as `{answers}` behind the `{query}`; its answer is the reply. The
//! fuser is not asked, and the best answer is returned, where there are fewer than two candidates, where at least the
//! share `agreed` of the answers says the same, or where its call does not fit; and where its call fails.

use super::select::{Judges, Select, Selection};
use super::{ProgramError, ProgramRow, ProgramState, config, crowd};
use crate::Arm;
use crate::program::{
    Action, AnswerNeed, Bounds, Call, Callee, Episode, Estimate, Part, Program, Prompt, Reply, Step,
    StepError, StepReason,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) const ROW: ProgramRow = ProgramRow {
    name: "fuse",
    version: 1,
    title: "calls several arms, ranks their answers, and has one arm write the reply from the best of them",
    load: Fuse::load,
    example: |arms| {
        let ProgramState { config, parts, .. } = super::select::example(arms);
        let fuser = &arms[arms.len() - 1].model;
        let config = json!({ "selection": config, "keep": 2, "fuser": fuser, "quorum": 2, "agreed": 1.0 });
        let prompts = [(PROMPT.to_owned(), "{query}\n{answers}".to_owned())].into();
        ProgramState { config, parts, prompts }
    },
};

/// Id of its prompt.
const PROMPT: &str = "fuse";
/// Most characters of an answer that are shown to the fuser.
const SHOWN_MAX: usize = 8_000;

/// Who is asked, and who writes the reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fusion {
    /// Who is asked, and what ranks the answers.
    pub selection: Selection,
    /// Answers shown to the fuser, at least 1.
    pub keep: usize,
    /// Model that writes the reply.
    pub fuser: String,
    /// Answers below which further members are called, once.
    pub quorum: usize,
    /// Share of the answers that must say the same for the fuser not to be asked; `None` where all must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreed: Option<f64>,
}

/// The program of this module.
#[derive(Debug)]
pub struct Fuse {
    fusion: Fusion,
    select: Select,
    /// Arm of the fuser.
    fuser: usize,
    prompt: String,
}

impl Fuse {
    /// A fusion among `arms`; `prompt` has the slots `{query}` and `{answers}`.
    ///
    /// # Errors
    /// If the selection is not valid, the fuser is no arm, a number is out of range, or the prompt shows no answers.
    pub fn new(fusion: Fusion, judges: Judges, prompt: String, arms: &[Arm]) -> Result<Self, ProgramError> {
        let refuse = |reason: String| ProgramError::Config { program: ROW.name, reason };
        let select = Select::new(fusion.selection.clone(), judges, arms)?;
        if fusion.selection.least.is_some() {
            return Err(refuse(
                "its selection has `least`, expected none: the fuser writes a reply".to_owned(),
            ));
        }
        let fuser = crowd::members(std::slice::from_ref(&fusion.fuser), arms, "fuses").map_err(refuse)?[0];
        if fusion.keep == 0 || fusion.agreed.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
            let (keep, agreed) = (fusion.keep, fusion.agreed);
            return Err(refuse(format!(
                "`keep` is `{keep}` and `agreed` {agreed:?}, expected at least 1 and (0, 1]"
            )));
        }
        if !prompt.contains("{answers}") {
            return Err(refuse(format!("the prompt `{PROMPT}` has no slot `{{answers}}`")));
        }
        Ok(Self { fusion, select, fuser, prompt })
    }

    fn load(mut state: ProgramState, arms: &[Arm]) -> Result<Box<dyn Program>, ProgramError> {
        let judges = Judges::of_parts(ROW.name, state.parts)?;
        let prompt = state.prompts.remove(PROMPT).ok_or_else(|| ProgramError::Config {
            program: ROW.name,
            reason: format!("it has no prompt `{PROMPT}`"),
        })?;
        Ok(Box::new(Self::new(config(ROW.name, state.config)?, judges, prompt, arms)?))
    }

    /// Members not asked before, as many as are missing and fit.
    fn refill(&self, episode: &Episode<'_>, missing: usize) -> Option<Step> {
        let arms = self.select.arms();
        let was_asked = |arm: usize| episode.calls.iter().any(|call| call.arm_index() == Some(arm));
        let order: Vec<usize> =
            self.select.by_strength(episode).into_iter().filter(|member| !was_asked(arms[*member])).collect();
        let mut called: Vec<usize> = Vec::new();
        for member in order {
            let with = [&called[..], &[member]].concat();
            if called.len() < missing && crowd::fitting(episode, arms, &with).len() == with.len() {
                called = with;
            }
        }
        let strengths = self.select.strengths(episode);
        let step = (!called.is_empty()).then(|| crowd::call(episode, arms, &called, strengths))?;
        Some(Step { reason: StepReason::Failed, certain: false, ..step })
    }

    /// The call of the fuser with these answers, where it is due and fits.
    fn fuse(&self, episode: &Episode<'_>, ranked: &[usize], share: f64) -> Option<Step> {
        let is_agreed = self.fusion.agreed.is_some_and(|agreed| share >= agreed - 1e-9);
        if ranked.len() < 2 || is_agreed || !episode.affords(&[self.fuser], 1) {
            return None;
        }
        let show = |(number, place): (usize, &usize)| {
            let text: String = episode.answers[*place].text.trim().chars().take(SHOWN_MAX).collect();
            format!("Answer {}:\n{text}", number + 1)
        };
        let shown: Vec<String> = ranked.iter().take(self.fusion.keep).enumerate().map(show).collect();
        let slots = [("answers".to_owned(), shown.join("\n\n"))].into();
        let call = Call {
            callee: Callee::Arm(self.fuser),
            prompt: Prompt::Template { id: PROMPT.to_owned(), slots },
            samples: 1,
            max_tokens: None,
            temperature: None,
        };
        let cost_usd = episode.arms[self.fuser].price.mean_cost_usd;
        let estimates = vec![Estimate { score: None, cost_usd }];
        Some(Step { estimates, ..Step::call(vec![call], StepReason::Fuse) })
    }
}

impl Program for Fuse {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn needs(&self) -> &'static [AnswerNeed] {
        self.select.needs()
    }

    fn bounds(&self) -> Bounds {
        Bounds { steps: 4, calls: self.select.bounds().calls + 1 }
    }

    fn next(&self, episode: &Episode<'_>) -> Result<Step, StepError> {
        if episode.step == 0 {
            return Ok(Step { certain: false, ..self.select.next(episode)? });
        }
        let fused = episode.calls.iter().position(|call| call.prompt != Prompt::Query);
        let is_fused = |at: &usize| Some(episode.answers[*at].call) == fused;
        let (of_fuser, given): (Vec<usize>, Vec<usize>) = (0..episode.answers.len()).partition(is_fused);
        if let Some(at) = of_fuser.into_iter().find(|at| episode.answers[*at].is_ok()) {
            return Ok(Step::sure(Action::Return(Reply::Answer(at)), StepReason::Fuse));
        }
        // Answers of the fuser come last, so that places among the others are places among all.
        let answers = &episode.answers[..given.len()];
        let n_ok = answers.iter().filter(|answer| answer.is_ok()).count();
        if episode.step == 1
            && n_ok < self.fusion.quorum
            && let Some(step) = self.refill(episode, self.fusion.quorum - n_ok)
        {
            return Ok(step);
        }
        if fused.is_none() {
            let (ranked, share) = self.select.ranked(episode.request, answers)?;
            if let Some(step) = self.fuse(episode, &ranked, share) {
                return Ok(step);
            }
        }
        Ok(self.select.choose(episode, answers)?)
    }

    fn parts(&self) -> Vec<Part<'_>> {
        self.select.parts()
    }

    fn config(&self) -> Value {
        serde_json::to_value(&self.fusion).unwrap_or_default()
    }

    fn prompts(&self) -> Vec<(&str, &str)> {
        vec![(PROMPT, &self.prompt)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Answer, Budget, Machine, render};
    use crate::{Policy, Price, Request};

    fn arms() -> Vec<Arm> {
        let arm = |(model, usd): (&str, f64)| Arm {
            model: model.to_owned(),
            price: Price { mean_cost_usd: Some(usd), ..Price::default() },
            ..Arm::default()
        };
        [("a", 1.0), ("b", 2.0), ("c", 4.0)].map(arm).to_vec()
    }

    /// `a` and `b` are asked, `c` is called where one fails, and fuses.
    fn policy(edit: fn(&mut Fusion)) -> Policy {
        let ProgramState { config, parts, mut prompts } = (ROW.example)(&arms());
        let mut fusion: Fusion = serde_json::from_value(config).unwrap();
        fusion.selection.asked = Some(vec![0, 1]);
        edit(&mut fusion);
        let judges = Judges::of_parts(ROW.name, parts).unwrap();
        let program = Fuse::new(fusion, judges, prompts.remove(PROMPT).unwrap(), &arms()).unwrap();
        Policy {
            manifest: Default::default(),
            digest: String::new(),
            arms: arms(),
            program: Box::new(program),
        }
    }

    /// Arms called step by step, the prompts of the last calls, and the last step; `None` is a failure.
    fn run(
        policy: &Policy,
        usd: Option<f64>,
        mut lines: Vec<Option<&str>>,
    ) -> (Vec<Vec<usize>>, String, Step) {
        let request = Request { input: "how many?".into(), ..Request::default() };
        let mut machine = Machine::new(policy, request, Budget { usd, deadline_ms: None });
        let mut step = machine.start().unwrap();
        let (mut called, mut prompt) = (Vec::new(), String::new());
        while let Action::Call(calls) = step.action.clone() {
            called.push(calls.iter().filter_map(Call::arm_index).collect());
            prompt = render(&calls[0].prompt, "how many?", &policy.program.prompts()).unwrap();
            let answer = |(at, call): (usize, &Call)| {
                let line = lines.remove(0);
                Answer {
                    call: machine.first_pending() + at,
                    arm: call.arm_index(),
                    text: line.unwrap_or_default().to_owned(),
                    short: line.map(str::to_owned),
                    failed: line.is_none().then(|| "no".to_owned()),
                    ..Answer::default()
                }
            };
            let answers = calls.iter().enumerate().map(answer).collect();
            step = machine.supply(answers).unwrap();
        }
        (called, prompt, step)
    }

    fn answer(at: usize) -> Action {
        Action::Return(Reply::Answer(at))
    }

    #[test]
    fn answers_that_differ_are_fused_and_those_that_agree_are_not() {
        let fused = run(&policy(|_| ()), None, vec![Some("4"), Some("5"), Some("it is 4")]);
        assert_eq!(
            (fused.0, fused.2.action, fused.2.reason),
            (vec![vec![0, 1], vec![2]], answer(2), StepReason::Fuse)
        );
        // `b` is stronger, so that its answer comes first of equally frequent ones.
        assert_eq!(fused.1, "how many?\nAnswer 1:\n5\n\nAnswer 2:\n4");
        let agreed = run(&policy(|_| ()), None, vec![Some("4"), Some("4")]);
        assert_eq!((agreed.0, agreed.2.action), (vec![vec![0, 1]], answer(1)));
        let always = run(&policy(|fusion| fusion.agreed = None), None, vec![Some("4"), Some("4")]);
        assert_eq!(always.0.len(), 1, "one candidate is no choice");
    }

    #[test]
    fn failures_are_refilled_once_and_a_fuser_that_fails_leaves_the_best() {
        let refilled = run(&policy(|_| ()), None, vec![None, Some("4"), Some("5"), Some("6")]);
        assert_eq!((refilled.0, refilled.2.action), (vec![vec![0, 1], vec![2], vec![2]], answer(3)));
        let failed = run(&policy(|_| ()), None, vec![Some("4"), Some("5"), None]);
        assert_eq!((failed.2.action, failed.2.reason), (answer(1), StepReason::Best));
        let none = run(&policy(|_| ()), None, vec![None, None, None]);
        assert_eq!((none.0.len(), none.2.action), (2, Action::Return(Reply::Abstain)));
        // 1 + 2 are spent of 5: 4 more do not fit.
        let poor = run(&policy(|_| ()), Some(5.0), vec![Some("4"), Some("5")]);
        assert_eq!((poor.0, poor.2.action), (vec![vec![0, 1]], answer(1)));
    }

    #[test]
    fn what_is_no_fusion_is_refused() {
        let says = |edit: fn(&mut Fusion), prompt: &str| {
            let ProgramState { config, parts, .. } = (ROW.example)(&arms());
            let mut fusion: Fusion = serde_json::from_value(config).unwrap();
            edit(&mut fusion);
            let judges = Judges::of_parts(ROW.name, parts).unwrap();
            Fuse::new(fusion, judges, prompt.to_owned(), &arms()).unwrap_err().to_string()
        };
        assert!(says(|_| (), "{query}").contains("`{answers}`"));
        assert!(says(|f| f.fuser = "d".to_owned(), "{answers}").contains("`d` fuses, which is no arm"));
        assert!(says(|f| f.keep = 0, "{answers}").contains("`keep` is `0`"));
        assert!(says(|f| f.agreed = Some(1.5), "{answers}").contains("1.5"));
        assert!(says(|f| f.selection.least = Some(0.5), "{answers}").contains("`least`"));
    }
}
