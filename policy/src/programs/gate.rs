//! A gate: ask a bundle of cheap arms at the same time, and the fallback where their best answer is predicted to lose.
//!
//! The best answer of the bundle is that of the most weight, as in program `vote`; its gain over the fallback is a
//! linear function of how far the bundle agrees, what part `before` predicts of the query, how good the arms are on its
//! task and how long the answer is ([`read_hand`]). It is returned where the gain is at least the threshold. A *blind*
//! gate reads the query alone and calls either its one arm or the fallback, never both.
//!
//! The program has several gates with the score and the price they had on other queries; the objective of a request
//! chooses among them as it does among the strategies of `cascade`. Arms that the request excludes or that do not fit
//! budget and deadline are left out of the bundle; where the fallback does not fit, the best answer in hand is
//! returned.

use super::tally::{Ballot, Reading, winners};
use super::{ProgramError, ProgramRow, ProgramState, config, constant_router, objective, only_part};
use crate::program::{
    Action, Answer, AnswerNeed, Bounds, Call, Episode, Estimate, Part, Program, Reply, Step, StepError,
    StepReason,
};
use crate::{Arm, DecideError, Prediction, Request, Router};
use routewright_data::answers::normalize::Normalizer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) const ROW: ProgramRow = ProgramRow {
    name: "gate",
    version: 1,
    title: "asks cheap arms at the same time, and another where their best answer is predicted to lose",
    load: Gates::load,
    example: |arms| {
        let n = arms.len();
        let models: Vec<&str> = arms.iter().map(|arm| arm.model.as_str()).collect();
        let strengths: Vec<f64> = (0..n).map(|arm| 0.5 + 0.1 * arm as f64).collect();
        // The bundle is kept where it is of one mind.
        let weights = |n_bundle: usize| {
            let mut weights = vec![0.0; Hand::width(n_bundle, 0) + 1];
            weights[3] = 1.0;
            weights
        };
        let bundle = &models[..n - 1];
        let gates = json!([
            {
                "bundle": bundle, "fallback": models[n - 1], "is_blind": false, "weights": weights(n - 1),
                "threshold": 0.5, "score": 0.8, "cost_usd": 0.1,
            },
            {
                "bundle": models[..1], "fallback": models[n - 1], "is_blind": true, "weights": weights(1),
                "threshold": 0.5, "score": 0.4, "cost_usd": 0.001,
            },
        ]);
        let voters = json!({ "weights": vec![1.0; n], "strengths": strengths });
        let config = json!({
            "gates": gates, "default": 0, "answers": "exact", "reads": "short", "overall": voters, "tasks": {},
            "marked": [],
        });
        let parts = [(BEFORE.to_owned(), constant_router(vec![0.5; n], arms))].into();
        ProgramState { config, parts, ..ProgramState::default() }
    },
};

/// Name of its part.
const BEFORE: &str = "before";
/// Most gates, arms of a bundle, and tasks.
const SIZE_MAX: usize = 4096;
/// Numbers of a hand beside those of its arms and tasks.
const FIXED: usize = 10;

/// How good every arm of the policy is, and what its vote counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voters {
    /// Weight of the vote of each arm, finite.
    pub weights: Vec<f64>,
    /// How good each arm is, finite.
    pub strengths: Vec<f64>,
}

/// A bundle with a fallback and the rule between them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Models asked at the same time, at least one, each once.
    pub bundle: Vec<String>,
    /// Model asked where the bundle is not kept; none of the bundle.
    pub fallback: String,
    /// Whether the query alone decides: then the bundle is one model, and one of the two is called.
    pub is_blind: bool,
    /// Weights of the hand, the intercept last.
    pub weights: Vec<f64>,
    /// Least predicted gain over the fallback at which the bundle is kept.
    pub threshold: f64,
    /// Mean score on other queries.
    pub score: f64,
    /// Mean price of an episode on them, US dollars.
    pub cost_usd: f64,
}

/// What the program is restored from, beside its part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateConfig {
    /// The gates, at least one.
    pub gates: Vec<Gate>,
    /// The gate of a request without an objective.
    pub default: usize,
    /// Rule that makes equal answers equal texts, by name.
    pub answers: String,
    /// What of an answer the rule reads.
    pub reads: Reading,
    /// Where the task of a request is unknown or was not seen in training.
    pub overall: Voters,
    /// By task, the `source` of a request.
    pub tasks: BTreeMap<String, Voters>,
    /// Tasks that hands have numbers of, in their order.
    pub marked: Vec<String>,
}

/// The program of this module.
#[derive(Debug)]
pub struct Gates {
    config: GateConfig,
    /// Arms of the bundle of each gate, and its fallback.
    arms: Vec<(Vec<usize>, usize)>,
    rule: &'static Normalizer,
    before: Router,
}

/// What a bundle holds of one query.
#[derive(Debug)]
pub struct Hand<'a> {
    /// Form of each answer of the bundle; `None` where it has none or the call failed.
    pub forms: Vec<Option<&'a str>>,
    /// Whether each member answered.
    pub answered: Vec<bool>,
    /// `ln(1 + characters)` of each answer.
    pub lengths: Vec<f64>,
    /// What each vote counts.
    pub weights: Vec<f64>,
    /// How good each member is on the task.
    pub strengths: Vec<f64>,
    /// Predicted score of each member on the query.
    pub predicted: Vec<f64>,
    /// How good the fallback is on the task, and its predicted score.
    pub fallback: (f64, f64),
    /// Place of the task among those that have numbers of their own, and how many there are.
    pub task: (Option<usize>, usize),
}

impl Hand<'_> {
    /// Numbers of a hand.
    pub fn width(n_bundle: usize, n_tasks: usize) -> usize {
        FIXED + n_bundle + 3 * n_tasks
    }
}

/// Place in the bundle of the best answer, `None` where no member answered, and the numbers that the gain is read off:
/// margin and share of its weight, share of the members that gave it, whether they are of one mind, predicted score of
/// its giver, of the fallback and their difference, how good both are on the task, its length; who gave it; and, for
/// each task, 1, the margin and the share of members where it is the task of the query, else 0.
pub fn read_hand(hand: &Hand<'_>) -> (Option<usize>, Vec<f64>) {
    let n = hand.forms.len();
    let members = hand.forms.iter().zip(&hand.weights).zip(&hand.strengths);
    let ballots: Vec<Ballot<'_>> = members
        .map(|((form, weight), strength)| Ballot { form: *form, weight: *weight, strength: *strength })
        .collect();
    let stronger = |a: &usize, b: &usize| hand.strengths[*a].total_cmp(&hand.strengths[*b]).then(b.cmp(a));
    let first = winners(&ballots).first().copied();
    let top = first.or_else(|| (0..n).filter(|at| hand.answered[*at]).max_by(stronger));
    let form = first.and_then(|at| hand.forms[at]);
    let is_giver = |at: usize| form.is_some() && hand.forms[at] == form || Some(at) == top;
    let mass: f64 = hand.weights.iter().map(|weight| weight.abs()).sum::<f64>().max(1e-9);
    let mut totals = BTreeMap::<&str, f64>::new();
    for ballot in &ballots {
        if let Some(form) = ballot.form {
            *totals.entry(form).or_default() += ballot.weight;
        }
    }
    let own = form.and_then(|form| totals.get(form)).copied().unwrap_or(0.0);
    let others = totals.iter().filter(|(other, _)| Some(**other) != form).map(|(_, total)| *total);
    let margin = (own - others.fold(0.0, f64::max)) / mass;
    let count = (0..n).filter(|at| is_giver(*at)).count() as f64 / n.max(1) as f64;
    let of = |values: &[f64]| top.map_or(0.0, |at| values[at]);
    let (predicted, strength) = (of(&hand.predicted), of(&hand.strengths));
    let flag = |is: bool| f64::from(u8::from(is));
    let mut numbers = vec![
        margin,
        own / mass,
        count,
        flag(count >= 1.0),
        predicted,
        hand.fallback.1,
        predicted - hand.fallback.1,
        strength,
        hand.fallback.0,
        of(&hand.lengths),
    ];
    numbers.extend((0..n).map(|at| flag(is_giver(at))));
    for task in 0..hand.task.1 {
        let is = flag(hand.task.0 == Some(task));
        numbers.extend([is, is * margin, is * count]);
    }
    (top, numbers)
}

impl Gates {
    /// A program of these gates over `arms`; part `before` predicts the score of every arm on a query.
    ///
    /// # Errors
    /// If a gate names no arm or one twice, or a number is missing or not finite.
    pub fn new(config: GateConfig, before: Router, arms: &[Arm]) -> Result<Self, ProgramError> {
        Self::of(config, before, arms).map_err(|reason| ProgramError::Config { program: ROW.name, reason })
    }

    fn load(state: ProgramState, arms: &[Arm]) -> Result<Box<dyn Program>, ProgramError> {
        let before = only_part(ROW.name, BEFORE, state.parts)?;
        let program = Self::of(config(ROW.name, state.config)?, before, arms);
        Ok(Box::new(program.map_err(|reason| ProgramError::Config { program: ROW.name, reason })?))
    }

    fn of(config: GateConfig, before: Router, arms: &[Arm]) -> Result<Self, String> {
        let n = config.gates.len();
        if n == 0 || n > SIZE_MAX || config.tasks.len() > SIZE_MAX || config.marked.len() > SIZE_MAX {
            return Err(format!("it has {n} gates, expected 1 to {SIZE_MAX}, and as many tasks at most"));
        }
        if config.default >= n {
            return Err(format!("`default` is `{}`, expected one of its {n} gates", config.default));
        }
        for Voters { weights, strengths } in config.tasks.values().chain([&config.overall]) {
            if weights.len() != arms.len() || strengths.len() != arms.len() {
                let (weights, strengths, n) = (weights.len(), strengths.len(), arms.len());
                return Err(format!(
                    "{weights} weights and {strengths} strengths, expected {n} each, one an arm"
                ));
            }
            if let Some(number) = weights.iter().chain(strengths).find(|number| !number.is_finite()) {
                return Err(format!("a weight or strength is `{number}`, expected a finite number"));
            }
        }
        let members = config.gates.iter().map(|gate| members(gate, config.marked.len(), arms));
        let members = members.collect::<Result<Vec<_>, _>>()?;
        let rule = Normalizer::named(&config.answers)?;
        Ok(Self { config, arms: members, rule, before })
    }

    /// The gates, in the order of the configuration.
    pub fn gates(&self) -> &[Gate] {
        &self.config.gates
    }

    fn points(&self) -> Vec<(f64, f64)> {
        self.config.gates.iter().map(|gate| (gate.score, gate.cost_usd)).collect()
    }

    fn voters(&self, source: Option<&str>) -> &Voters {
        source.and_then(|task| self.config.tasks.get(task)).unwrap_or(&self.config.overall)
    }

    /// Predicted gain of what the bundle of a gate has over its fallback, and the answer of it.
    fn gain(&self, at: usize, episode: &Episode<'_>) -> Result<(Option<usize>, f64), DecideError> {
        let request = episode.request;
        let asked = Request { input: request.input, source: request.source, ..Request::default() };
        let prediction: Prediction = self.before.predict(std::slice::from_ref(&asked))?;
        let (gate, (bundle, fallback)) = (&self.config.gates[at], &self.arms[at]);
        let answer =
            |arm: &usize| episode.answers.iter().position(|one| one.arm == Some(*arm) && one.is_ok());
        let places: Vec<Option<usize>> = bundle.iter().map(answer).collect();
        let forms: Vec<Option<String>> = places
            .iter()
            .map(|place| place.and_then(|at| self.config.reads.of(self.rule, &episode.answers[at])))
            .collect();
        let length = |place: &Option<usize>| place.map_or(0.0, |at| log_length(&episode.answers[at].text));
        let voters = self.voters(request.source);
        let of = |values: &[f64]| bundle.iter().map(|arm| values[*arm]).collect::<Vec<f64>>();
        let predicted = |arm: usize| prediction.score.get(arm).map_or(0.0, |score| f64::from(*score));
        let hand = Hand {
            forms: forms.iter().map(Option::as_deref).collect(),
            // A blind gate has no answer yet and reads its one member.
            answered: places.iter().map(|place| gate.is_blind || place.is_some()).collect(),
            lengths: places.iter().map(length).collect(),
            weights: of(&voters.weights),
            strengths: of(&voters.strengths),
            predicted: bundle.iter().map(|arm| predicted(*arm)).collect(),
            fallback: (voters.strengths[*fallback], predicted(*fallback)),
            task: (
                request.source.and_then(|task| self.config.marked.iter().position(|known| known == task)),
                self.config.marked.len(),
            ),
        };
        let (top, numbers) = read_hand(&hand);
        let gain = numbers.iter().zip(&gate.weights).map(|(x, w)| x * w).sum::<f64>();
        let intercept = gate.weights.last().copied().unwrap_or(0.0);
        Ok((top.and_then(|at| places[at]), gain + intercept))
    }

    fn call(&self, arms: &[usize], reason: StepReason, certain: bool, episode: &Episode<'_>) -> Step {
        let estimate = |arm: &usize| {
            let cost_usd = episode.arms[*arm].price.mean_cost_usd;
            Estimate { score: Some(self.voters(episode.request.source).strengths[*arm] as f32), cost_usd }
        };
        let step = Step::call(arms.iter().map(|arm| Call::arm(*arm)).collect(), reason);
        Step { estimates: arms.iter().map(estimate).collect(), certain, ..step }
    }

    fn start(&self, at: usize, episode: &Episode<'_>) -> Result<Step, StepError> {
        let (gate, (bundle, fallback)) = (&self.config.gates[at], &self.arms[at]);
        let mut called = Vec::new();
        for arm in bundle {
            called.push(*arm);
            if !episode.affords(&called, 1) {
                called.pop();
            }
        }
        let is_open = episode.affords(&[*fallback], 1);
        if gate.is_blind && is_open && !called.is_empty() && self.gain(at, episode)?.1 < gate.threshold {
            called.clear();
        }
        match (called.is_empty(), is_open) {
            (true, false) => Ok(Step::sure(Action::Return(Reply::Abstain), StepReason::Limit)),
            (true, true) => Ok(self.call(&[*fallback], StepReason::Start, true, episode)),
            (false, _) => Ok(self.call(&called, StepReason::Start, gate.is_blind, episode)),
        }
    }
}

/// `ln(1 + characters)` of an answer.
fn log_length(text: &str) -> f64 {
    (text.trim().chars().count() as f64).ln_1p()
}

/// Arms of the bundle and the fallback of a gate.
fn members(gate: &Gate, n_marked: usize, arms: &[Arm]) -> Result<(Vec<usize>, usize), String> {
    let n = gate.bundle.len();
    if n == 0 || n > SIZE_MAX || (gate.is_blind && n > 1) {
        return Err(format!("a gate has a bundle of {n}, expected 1 to {SIZE_MAX}, and 1 where it is blind"));
    }
    let width = Hand::width(n, n_marked) + 1;
    if gate.weights.len() != width {
        return Err(format!("a gate has {} weights, expected {width}", gate.weights.len()));
    }
    let numbers = gate.weights.iter().chain([&gate.threshold, &gate.score, &gate.cost_usd]);
    if let Some(number) = numbers.into_iter().find(|number| !number.is_finite()) {
        return Err(format!("a gate has the number `{number}`, expected a finite one"));
    }
    let mut found = Vec::with_capacity(n + 1);
    for model in gate.bundle.iter().chain([&gate.fallback]) {
        let at = arms.iter().position(|arm| arm.model == *model);
        let at = at.ok_or_else(|| format!("a gate calls `{model}`, which is no arm of the policy"))?;
        if found.contains(&at) {
            return Err(format!("a gate calls `{model}` twice, expected each model once"));
        }
        found.push(at);
    }
    let fallback = found.pop().unwrap_or(0);
    Ok((found, fallback))
}

impl Program for Gates {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn needs(&self) -> &'static [AnswerNeed] {
        self.config.reads.needs()
    }

    fn bounds(&self) -> Bounds {
        let most = self.arms.iter().map(|(bundle, _)| bundle.len()).max().unwrap_or(0) as u32;
        Bounds { steps: 3, calls: most + 1 }
    }

    fn next(&self, episode: &Episode<'_>) -> Result<Step, StepError> {
        let at = objective::chosen(&self.points(), self.config.default, episode.request);
        if episode.step == 0 {
            return self.start(at, episode);
        }
        let (gate, (_, fallback)) = (&self.config.gates[at], &self.arms[at]);
        let of_fallback = |answer: &Answer| answer.arm == Some(*fallback);
        let reply = |place: Option<usize>, reason| {
            let reply = place.map_or(Reply::Abstain, Reply::Answer);
            Ok(Step::sure(Action::Return(reply), reason))
        };
        let answered = episode.answers.iter().position(|answer| of_fallback(answer) && answer.is_ok());
        if answered.is_some() {
            return reply(answered, StepReason::Exhausted);
        }
        let (top, gain) = self.gain(at, episode)?;
        if top.is_some() && (gate.is_blind || gain >= gate.threshold) {
            return reply(top, StepReason::Accepted);
        }
        if episode.answers.iter().any(of_fallback) {
            return reply(top, StepReason::Failed);
        }
        if !episode.affords(&[*fallback], 1) {
            return reply(top, StepReason::Limit);
        }
        let reason = if top.is_some() { StepReason::Escalated } else { StepReason::Failed };
        Ok(self.call(&[*fallback], reason, true, episode))
    }

    fn parts(&self) -> Vec<Part<'_>> {
        vec![Part { name: BEFORE, router: &self.before }]
    }

    fn config(&self) -> Value {
        json!(self.config)
    }

    fn lambdas(&self) -> Vec<f64> {
        super::breakpoints(self.points().into_iter().map(|(score, usd)| (usd, score)))
    }
}

#[cfg(test)]
mod tests;
