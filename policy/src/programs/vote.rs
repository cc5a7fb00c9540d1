//! A vote: call several arms at the same time, return the answer of the most weight.
//!
//! Answers are equal where their forms are ([`routewright_data::answers::normalize`]). Each voter has a weight for
//! the task of the request (its `source`), and one for tasks that training did not see; the score of an answer is
//! the sum of the weights of those that gave it. Ties go to the answer whose strongest giver is stronger; where
//! these are equal too, one is drawn. The answer of the strongest giver is returned.
//!
//! Voters that the request excludes or that do not fit budget and deadline are left out, the heaviest being called
//! first. A failed call, and an answer without a form, count for nothing; where no answer has a form, that of the
//! strongest voter is returned. One step of calls costs their sum and takes as long as the slowest.

use super::tally::{Ballot, Reading, winners};
use super::{ProgramError, ProgramRow, ProgramState, config, crowd, no_parts};
use crate::Arm;
use crate::program::{Answer, AnswerNeed, Bounds, Episode, Part, Program, Step, StepError, StepReason};
use routewright_data::answers::normalize::Normalizer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) const ROW: ProgramRow = ProgramRow {
    name: "vote",
    version: 1,
    title: "calls several arms at the same time and returns the answer of the most weight",
    load: Vote::load,
    example: |arms| {
        let n = arms.len();
        let voters: Vec<&str> = arms.iter().map(|arm| arm.model.as_str()).collect();
        let strengths: Vec<f64> = (0..n).map(|arm| 0.5 + 0.1 * arm as f64).collect();
        let weighting = json!({ "weights": vec![1.0; n], "strengths": strengths });
        let config = json!({
            "voters": voters, "answers": "exact", "reads": "short", "default": weighting, "tasks": {},
        });
        ProgramState { config, ..ProgramState::default() }
    },
};

/// Most voters, and most tasks.
const SIZE_MAX: usize = 4096;

/// What votes count, voter by voter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weighting {
    /// Weight of each voter, finite.
    pub weights: Vec<f64>,
    /// How good each voter is, finite: decides ties.
    pub strengths: Vec<f64>,
}

/// Who votes, and what each vote counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Electorate {
    /// Models that vote, each once.
    pub voters: Vec<String>,
    /// Rule that makes equal answers equal texts, by name.
    pub answers: String,
    /// What of an answer the rule reads.
    pub reads: Reading,
    /// Where the task of a request is unknown or was not seen in training.
    pub default: Weighting,
    /// By task, the `source` of a request.
    pub tasks: BTreeMap<String, Weighting>,
}

/// The program of this module.
#[derive(Debug)]
pub struct Vote {
    electorate: Electorate,
    /// Arm of each voter.
    arms: Vec<usize>,
    rule: &'static Normalizer,
}

impl Vote {
    /// A vote of these voters among `arms`.
    ///
    /// # Errors
    /// If there is no voter, one is no arm or named twice, a weight is missing or not finite, or the rule is unknown.
    pub fn new(electorate: Electorate, arms: &[Arm]) -> Result<Self, ProgramError> {
        Self::of(electorate, arms).map_err(|reason| ProgramError::Config { program: ROW.name, reason })
    }

    fn load(state: ProgramState, arms: &[Arm]) -> Result<Box<dyn Program>, ProgramError> {
        no_parts(ROW.name, &state.parts)?;
        Ok(Box::new(Self::new(config(ROW.name, state.config)?, arms)?))
    }

    fn of(electorate: Electorate, all: &[Arm]) -> Result<Self, String> {
        let n = electorate.voters.len();
        if n == 0 || n > SIZE_MAX || electorate.tasks.len() > SIZE_MAX {
            let tasks = electorate.tasks.len();
            return Err(format!("it has {n} voters and {tasks} tasks, expected 1 to {SIZE_MAX} voters"));
        }
        let arms = crowd::members(&electorate.voters, all, "votes")?;
        for Weighting { weights, strengths } in electorate.tasks.values().chain([&electorate.default]) {
            if weights.len() != n || strengths.len() != n {
                let (weights, strengths) = (weights.len(), strengths.len());
                return Err(format!(
                    "{weights} weights and {strengths} strengths, expected {n} each, one a voter"
                ));
            }
            if let Some(number) = weights.iter().chain(strengths).find(|number| !number.is_finite()) {
                return Err(format!("a weight or strength is `{number}`, expected a finite number"));
            }
        }
        let rule = Normalizer::named(&electorate.answers)?;
        Ok(Self { electorate, arms, rule })
    }

    /// Who votes, and what each vote counts.
    pub fn electorate(&self) -> &Electorate {
        &self.electorate
    }

    fn weighting(&self, source: Option<&str>) -> &Weighting {
        source.and_then(|task| self.electorate.tasks.get(task)).unwrap_or(&self.electorate.default)
    }

    /// The voters that are called: as many as fit, the heaviest first, in the order of the configuration.
    fn called(&self, episode: &Episode<'_>) -> Vec<usize> {
        let Weighting { weights, strengths } = self.weighting(episode.request.source);
        let mut order: Vec<usize> = (0..self.arms.len()).collect();
        order.sort_by(|a, b| {
            weights[*b].total_cmp(&weights[*a]).then(strengths[*b].total_cmp(&strengths[*a])).then(a.cmp(b))
        });
        crowd::fitting(episode, &self.arms, &order)
    }

    fn call(&self, episode: &Episode<'_>) -> Step {
        let strengths = &self.weighting(episode.request.source).strengths;
        crowd::call(episode, &self.arms, &self.called(episode), strengths)
    }

    fn count(&self, episode: &Episode<'_>) -> Step {
        let Weighting { weights, strengths } = self.weighting(episode.request.source);
        let voter = |answer: &Answer| self.arms.iter().position(|arm| Some(*arm) == answer.arm);
        let forms: Vec<Option<String>> =
            episode.answers.iter().map(|answer| self.electorate.reads.of(self.rule, answer)).collect();
        let ballots: Vec<Ballot<'_>> = episode
            .answers
            .iter()
            .zip(&forms)
            .map(|(answer, form)| {
                let at = voter(answer);
                let of = |numbers: &[f64]| at.map_or(0.0, |at| numbers[at]);
                Ballot { form: form.as_deref(), weight: of(weights), strength: of(strengths) }
            })
            .collect();
        let found = winners(&ballots);
        match found.len().checked_sub(1) {
            Some(last) => crowd::drawn(&found, last, episode, StepReason::Vote),
            None => crowd::strongest(episode.answers, |answer| voter(answer).map_or(0.0, |at| strengths[at])),
        }
    }
}

impl Program for Vote {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn needs(&self) -> &'static [AnswerNeed] {
        self.electorate.reads.needs()
    }

    fn bounds(&self) -> Bounds {
        Bounds { steps: 2, calls: self.arms.len() as u32 }
    }

    fn next(&self, episode: &Episode<'_>) -> Result<Step, StepError> {
        Ok(if episode.step == 0 { self.call(episode) } else { self.count(episode) })
    }

    fn parts(&self) -> Vec<Part<'_>> {
        Vec::new()
    }

    fn config(&self) -> Value {
        serde_json::to_value(&self.electorate).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Action, Budget, Call, Machine, Reply};
    use crate::{Policy, Price, Request};

    fn arms() -> Vec<Arm> {
        let arm = |(model, usd): (&str, f64)| Arm {
            model: model.to_owned(),
            price: Price { mean_cost_usd: Some(usd), ..Price::default() },
            ..Arm::default()
        };
        [("a", 1.0), ("b", 2.0), ("c", 4.0)].map(arm).to_vec()
    }

    fn weighting(weights: [f64; 3], strengths: [f64; 3]) -> Weighting {
        Weighting { weights: weights.to_vec(), strengths: strengths.to_vec() }
    }

    fn electorate() -> Electorate {
        Electorate {
            voters: ["a", "b", "c"].map(str::to_owned).to_vec(),
            answers: "number".to_owned(),
            reads: Reading::Text,
            default: weighting([1.0, 1.0, 1.0], [0.5, 0.6, 0.6]),
            tasks: [("math".to_owned(), weighting([1.0, 1.0, 2.5], [0.5, 0.6, 0.9]))].into(),
        }
    }

    /// Models called, the last step, and its reason, where each model gives the text named; none fails.
    fn run(request: Request<'_>, budget: Budget, texts: [Option<&str>; 3]) -> (Vec<usize>, Step) {
        let program = Box::new(Vote::new(electorate(), &arms()).unwrap());
        let policy = Policy { manifest: Default::default(), digest: String::new(), arms: arms(), program };
        let mut machine = Machine::new(&policy, request, budget);
        let mut step = machine.start().unwrap();
        if let Action::Call(calls) = &step.action {
            let answer = |(call, arm): (usize, usize)| Answer {
                call,
                arm: Some(arm),
                text: texts[arm].unwrap_or_default().to_owned(),
                failed: texts[arm].is_none().then(|| "no".to_owned()),
                ..Answer::default()
            };
            let answers = calls.iter().filter_map(Call::arm_index).enumerate().map(answer).collect();
            step = machine.supply(answers).unwrap();
        }
        (machine.calls().iter().filter_map(Call::arm_index).collect(), step)
    }

    fn reply(found: (Vec<usize>, Step)) -> Action {
        found.1.action
    }

    #[test]
    fn the_most_weight_of_the_task_wins_and_the_strongest_giver_answers() {
        let ask =
            |source, texts| reply(run(Request { source, ..Request::default() }, Budget::default(), texts));
        let answer = |at| Action::Return(Reply::Answer(at));
        let texts = [Some("it is 4"), Some("4.0"), Some("5")];
        // Two against one; of the two, `b` is stronger. On math the weight of `c` is more than both.
        assert_eq!(
            (ask(None, texts), ask(Some("math"), texts), ask(Some("law"), texts)),
            (answer(1), answer(2), answer(1))
        );
        // Three answers: on math the heaviest, else a tie of strengths 0.6 that is drawn.
        let (_, step) = run(Request::default(), Budget::default(), [Some("1"), Some("2"), Some("3")]);
        assert_eq!(step.alternatives, [(answer(1), 0.5), (answer(2), 0.5)]);
        let drawn: std::collections::BTreeSet<String> = (0..20)
            .map(|seed| {
                let request = Request { seed, ..Request::default() };
                format!("{:?}", reply(run(request, Budget::default(), [Some("1"), Some("2"), Some("3")])))
            })
            .collect();
        assert_eq!(drawn.len(), 2, "{drawn:?}");
    }

    #[test]
    fn failures_and_texts_without_an_answer_count_for_nothing() {
        let ask = |texts| run(Request::default(), Budget::default(), texts).1;
        assert_eq!(ask([Some("4"), None, Some("none")]).action, Action::Return(Reply::Answer(0)));
        let step = ask([Some("no"), Some("none"), None]);
        assert_eq!((step.action, step.reason), (Action::Return(Reply::Answer(1)), StepReason::Exhausted));
        let step = ask([None, None, None]);
        assert_eq!((step.action, step.reason), (Action::Return(Reply::Abstain), StepReason::Failed));
    }

    #[test]
    fn voters_that_do_not_fit_are_left_out_the_heaviest_being_called_first() {
        let within = |usd, source| {
            let budget = Budget { usd: Some(usd), deadline_ms: None };
            run(Request { source, ..Request::default() }, budget, [Some("1"), Some("1"), Some("1")]).0
        };
        assert_eq!((within(7.0, None), within(5.0, Some("math"))), (vec![0, 1, 2], vec![0, 2]));
        assert_eq!((within(3.5, None), within(1.5, None)), (vec![0, 1], vec![0]));
        let (called, step) = run(Request::default(), Budget { usd: Some(0.5), deadline_ms: None }, [None; 3]);
        assert_eq!(
            (called, step.action, step.reason),
            (vec![], Action::Return(Reply::Abstain), StepReason::Limit)
        );
    }

    #[test]
    fn what_is_no_electorate_is_refused() {
        let says = |edit: fn(&mut Electorate)| {
            let mut electorate = electorate();
            edit(&mut electorate);
            Vote::new(electorate, &arms()).unwrap_err().to_string()
        };
        assert!(says(|e| e.voters.clear()).contains("0 voters"));
        assert!(says(|e| e.voters[0] = "d".to_owned()).contains("`d` votes, which is no arm"));
        assert!(says(|e| e.voters[0] = "b".to_owned()).contains("`b` votes twice"));
        assert!(says(|e| e.default.weights.truncate(2)).contains("2 weights and 3 strengths"));
        assert!(says(|e| e.default.strengths[0] = f64::NAN).contains("`NaN`"));
        assert!(says(|e| e.answers = "nubmer".to_owned()).contains("did you mean `number`"));
    }
}
