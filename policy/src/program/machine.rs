//! Runs a program: hands out steps, takes answers, holds the program to its contract. Sans-IO.

use super::episode::{is_open, within};
use super::{Action, Answer, Budget, Call, Callee, Episode, Prompt, Reply, Step, StepError};
use crate::distribution::SUM_TOLERANCE;
use crate::router::{check_candidates, check_numbers};
use crate::{Policy, Request};

/// One episode of a policy. A host calls [`Machine::start`], carries the calls out, hands every answer to
/// [`Machine::supply`], and goes on until the action is [`Action::Return`].
///
/// The same policy, request, budget and answers give the same steps, bit for bit.
#[derive(Debug)]
pub struct Machine<'a> {
    policy: &'a Policy,
    request: Request<'a>,
    budget: Budget,
    calls: Vec<Call>,
    answers: Vec<Answer>,
    /// First call that waits for answers.
    pending: usize,
    spent_usd: f64,
    elapsed_ms: f64,
    /// Steps handed out.
    step: u32,
    done: bool,
}

impl<'a> Machine<'a> {
    /// An episode about to start.
    pub fn new(policy: &'a Policy, request: Request<'a>, budget: Budget) -> Self {
        Self {
            policy,
            request,
            budget,
            calls: Vec::new(),
            answers: Vec::new(),
            pending: 0,
            spent_usd: 0.0,
            elapsed_ms: 0.0,
            step: 0,
            done: false,
        }
    }

    /// Answers so far, in the order of calls and samples; [`Reply::Answer`] counts in it.
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// Every call handed out so far.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// Place of the first call of the step last handed out; [`Answer::call`] of its answers counts from it.
    pub fn first_pending(&self) -> usize {
        self.pending
    }

    /// Price of the answers so far, US dollars.
    pub fn spent_usd(&self) -> f64 {
        self.spent_usd
    }

    /// Latency so far, milliseconds.
    pub fn elapsed_ms(&self) -> f64 {
        self.elapsed_ms
    }

    /// Whether the reply was handed out.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The first step.
    ///
    /// # Errors
    /// If the request or the budget is not valid, the machine was started before, or the program took no valid step.
    pub fn start(&mut self) -> Result<Step, StepError> {
        if self.step > 0 {
            let reason = "the episode was started before; expected answers to its calls".to_owned();
            return Err(StepError::Answers { reason });
        }
        check_numbers(&self.request)?;
        check_candidates(&self.policy.arms, &self.request)?;
        let limits = [("budget.usd", self.budget.usd), ("budget.deadline_ms", self.budget.deadline_ms)];
        for (field, value) in limits {
            if let Some(value) = value.filter(|value| !value.is_finite() || *value < 0.0) {
                return Err(StepError::Budget { field, value });
            }
        }
        self.advance()
    }

    /// Takes the answers to the calls of the last step, in any order, and gives the next step.
    ///
    /// # Errors
    /// If an answer is missing, doubled or belongs to no open call, a number is out of range, or the program took no
    /// valid step. Nothing is taken then.
    pub fn supply(&mut self, mut answers: Vec<Answer>) -> Result<Step, StepError> {
        answers.sort_by_key(|answer| (answer.call, answer.sample));
        self.check_answers(&answers).map_err(|reason| StepError::Answers { reason })?;
        let arm = |answer: &Answer| answer.arm.and_then(|arm| self.policy.arms.get(arm));
        let price = |answer: &Answer| match answer.cost_usd {
            Some(cost) => cost,
            None if answer.is_ok() => arm(answer).and_then(|arm| arm.price.mean_cost_usd).unwrap_or(0.0),
            None => 0.0,
        };
        let latency = |answer: &Answer| {
            answer.latency_ms.or_else(|| arm(answer).and_then(|arm| arm.mean_latency_ms)).unwrap_or(0.0)
        };
        let spent: f64 = answers.iter().map(price).sum();
        let elapsed = answers.iter().map(latency).fold(0.0, f64::max);
        let (spent_before, elapsed_before, n_before) = (self.spent_usd, self.elapsed_ms, self.answers.len());
        self.spent_usd += spent;
        self.elapsed_ms += elapsed;
        self.answers.extend(answers);
        let step = self.advance();
        if step.is_err() {
            (self.spent_usd, self.elapsed_ms) = (spent_before, elapsed_before);
            self.answers.truncate(n_before);
        }
        step
    }

    fn check_answers(&self, answers: &[Answer]) -> Result<(), String> {
        if self.done || self.step == 0 {
            let state = if self.done { "has ended" } else { "has not started" };
            return Err(format!("the episode {state}; no call is open"));
        }
        let open = self.calls.iter().enumerate().skip(self.pending);
        let expected: Vec<(usize, u32)> =
            open.flat_map(|(at, call)| (0..call.samples).map(move |sample| (at, sample))).collect();
        let found: Vec<(usize, u32)> = answers.iter().map(|answer| (answer.call, answer.sample)).collect();
        if found != expected {
            let show = |keys: &[(usize, u32)]| {
                keys.iter().map(|(call, sample)| format!("{call}.{sample}")).collect::<Vec<_>>().join(", ")
            };
            return Err(format!(
                "they are of the calls and samples [{}], expected each of [{}] once",
                show(&found),
                show(&expected)
            ));
        }
        for answer in answers {
            let (at, arm) = (answer.call, self.calls[answer.call].arm_index());
            if answer.arm != arm {
                return Err(format!("the answer to call {at} is of arm {:?}, expected {arm:?}", answer.arm));
            }
            for (field, value) in [("cost_usd", answer.cost_usd), ("latency_ms", answer.latency_ms)] {
                if let Some(value) = value.filter(|value| !value.is_finite() || *value < 0.0) {
                    let expected = "expected a finite number of at least 0";
                    return Err(format!("`{field}` of the answer to call {at} is `{value}`, {expected}"));
                }
            }
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<Step, StepError> {
        let episode = Episode {
            request: &self.request,
            arms: &self.policy.arms,
            calls: &self.calls,
            answers: &self.answers,
            spent_usd: self.spent_usd,
            elapsed_ms: self.elapsed_ms,
            step: self.step,
            budget: self.budget,
        };
        let step = self.policy.program.next(&episode)?;
        self.check_step(&episode, &step).map_err(|reason| StepError::Program {
            program: self.policy.program.name(),
            step: self.step,
            reason,
        })?;
        self.pending = self.calls.len();
        match &step.action {
            Action::Call(calls) => self.calls.extend(calls.iter().cloned()),
            Action::Return(_) => self.done = true,
        }
        self.step += 1;
        Ok(step)
    }

    /// Holds a step to the contract of programs.
    fn check_step(&self, episode: &Episode<'_>, step: &Step) -> Result<(), String> {
        check_alternatives(step)?;
        let bounds = self.policy.program.bounds();
        let calls = match &step.action {
            Action::Call(calls) => calls,
            Action::Return(Reply::Answer(at)) => {
                return match self.answers.get(*at) {
                    Some(answer) if answer.is_ok() => Ok(()),
                    Some(_) => Err(format!("it returns answer {at}, whose call failed")),
                    None => Err(format!("it returns answer {at} of {}", self.answers.len())),
                };
            }
            Action::Return(_) => return Ok(()),
        };
        if self.step + 1 >= bounds.steps {
            return Err(format!("it calls at the last of its {} steps, expected the reply", bounds.steps));
        }
        if calls.is_empty() || calls.iter().any(|call| call.samples == 0) {
            return Err("it calls nothing, expected at least one sample of one callee".to_owned());
        }
        let samples = |calls: &[Call]| calls.iter().map(|call| u64::from(call.samples)).sum::<u64>();
        let n = samples(&self.calls) + samples(calls);
        if n > u64::from(bounds.calls) {
            return Err(format!("it asks for {n} answers in all, expected at most {}", bounds.calls));
        }
        if step.estimates.len() != calls.len() {
            return Err(format!("it has {} estimates for {} calls", step.estimates.len(), calls.len()));
        }
        calls.iter().try_for_each(|call| self.check_call(call))?;
        self.check_limits(episode, step, calls)
    }

    fn check_call(&self, call: &Call) -> Result<(), String> {
        if let Prompt::Template { id, .. } = &call.prompt {
            let prompts = self.policy.program.prompts();
            if prompts.iter().all(|(known, _)| known != id) {
                return Err(format!("it sends the prompt `{id}`, which the policy does not have"));
            }
        }
        match call.callee {
            Callee::Arm(arm) => match self.policy.arms.get(arm) {
                Some(arm) if is_open(arm, &self.request) => Ok(()),
                Some(arm) => Err(format!("it calls `{}`, which the request excludes", arm.model)),
                None => Err(format!("it calls arm {arm} of {}", self.policy.arms.len())),
            },
            Callee::Fusion(_) | Callee::Tool(_) => Ok(()),
        }
    }

    /// Price and latency of the calls by the program's estimates, else by the means of the arms.
    fn check_limits(&self, episode: &Episode<'_>, step: &Step, calls: &[Call]) -> Result<(), String> {
        let arm = |call: &Call| call.arm_index().map(|arm| &self.policy.arms[arm]);
        let cost = |(call, estimated): (&Call, Option<f64>)| {
            let one = estimated.or_else(|| arm(call)?.price.mean_cost_usd)?;
            Some(one * f64::from(call.samples))
        };
        let estimated = step.estimates.iter().map(|estimate| estimate.cost_usd);
        let price: Option<f64> = calls.iter().zip(estimated).map(cost).sum();
        if !within(price, episode.left_usd()) {
            let left = episode.left_usd().unwrap_or_default();
            let price = price.map_or_else(|| "an unknown price".to_owned(), |usd| format!("{usd} USD"));
            return Err(format!("its calls are expected to cost {price}, and {left} USD are left"));
        }
        let latency = |call: &Call| arm(call)?.mean_latency_ms;
        let slowest = calls.iter().map(latency).try_fold(0.0, |most: f64, ms| Some(most.max(ms?)));
        if !within(slowest, episode.left_ms()) {
            let left = episode.left_ms().unwrap_or_default();
            let slowest = slowest.map_or_else(|| "an unknown time".to_owned(), |ms| format!("{ms} ms"));
            return Err(format!("its calls are expected to take {slowest}, and {left} ms are left"));
        }
        Ok(())
    }
}

/// Checks that the alternatives are a distribution with mass on the action.
fn check_alternatives(step: &Step) -> Result<(), String> {
    let most = 1.0 + SUM_TOLERANCE as f32;
    // NaN is in no range.
    if let Some((_, p)) = step.alternatives.iter().find(|(_, p)| !(0.0..=most).contains(p)) {
        return Err(format!("an alternative has probability `{p}`, expected a number in [0, 1]"));
    }
    let sum: f64 = step.alternatives.iter().map(|(_, p)| f64::from(*p)).sum();
    if (sum - 1.0).abs() > SUM_TOLERANCE {
        return Err(format!("its alternatives have probabilities that sum to `{sum}`, expected 1"));
    }
    if step.propensity() <= 0.0 {
        return Err("its action has no probability among its alternatives".to_owned());
    }
    Ok(())
}
