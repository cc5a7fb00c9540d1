//! A program under way: its last step, and what was called for it.

use super::report::Tally;
use crate::caller::Caller;
use crate::clock::now_ms;
use crate::decide::{Failure, Service, Stepped};
use crate::ledger::{CallRecord, FeedbackRecord, Ledger};
use crate::upstream::Outcome;
use routewright_data::answers::normalize::Normalizer;
use routewright_policy::program::{Answer, Call, Callee, Usage};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A program under way.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) stepped: Arc<Stepped>,
    /// Whether the program reads log-probabilities, so that they are asked for.
    pub(super) needs_logprobs: bool,
    /// The steps so far, for the caller who asks.
    steps: Vec<Value>,
    began: Instant,
}

impl Run {
    pub(super) fn new(stepped: Stepped, needs_logprobs: bool) -> Self {
        Self { stepped: Arc::new(stepped), needs_logprobs, steps: Vec::new(), began: Instant::now() }
    }

    /// The model of a call.
    pub(super) fn model(&self, call: &Call) -> String {
        match &call.callee {
            Callee::Arm(arm) => {
                self.stepped.served().policy.arms.get(*arm).map_or("", |arm| arm.model.as_str()).to_owned()
            }
            Callee::Fusion(name) => name.clone(),
            Callee::Tool(name) => (*name).to_owned(),
        }
    }

    /// The rule that the program makes equal answers equal by, where it has one.
    pub(super) fn rule(&self) -> Option<&'static Normalizer> {
        let config = self.stepped.served().policy.program.config();
        config["answers"].as_str().and_then(|name| Normalizer::named(name).ok())
    }

    fn name_of(&self, answer: &Answer) -> &str {
        let arms = &self.stepped.served().policy.arms;
        answer.arm.and_then(|arm| arms.get(arm)).map_or("", |arm| arm.model.as_str())
    }

    /// Models called so far, in order, each as often as it was.
    pub(super) fn called(&self) -> Vec<String> {
        self.stepped.taken.answers.iter().map(|answer| self.name_of(answer).to_owned()).collect()
    }

    /// Takes the next step.
    ///
    /// # Errors
    /// If it cannot be taken, or must be logged and cannot be.
    pub(super) async fn go_on(
        mut self,
        service: &Service,
        answers: Vec<Answer>,
        caller: &Caller,
    ) -> Result<Self, Failure> {
        let step = self.step(&answers);
        self.steps.push(step);
        let before = &self.stepped;
        let all: Vec<Answer> = before.taken.answers.iter().cloned().chain(answers).collect();
        let next = service.advance(
            before.assignment.clone(),
            Arc::clone(&before.query),
            before.episode_id.clone(),
            (all, before.budget),
            caller,
            Instant::now(),
        );
        let next = next.await?;
        Ok(Self { stepped: Arc::new(next), ..self })
    }

    /// Bills a step: what its answers cost takes the place of what was predicted.
    pub(super) fn note(&self, answers: &[Answer], ledger: Option<&Ledger>, caller: &Caller) {
        let Some(ledger) = ledger else { return };
        let ok = || answers.iter().filter(|answer| answer.is_ok());
        let costs: Option<Vec<f64>> = ok().map(|answer| answer.cost_usd).collect();
        let sum = |of: fn(&Usage) -> Option<u64>| ok().filter_map(|answer| of(&answer.usage)).sum::<u64>();
        let call = CallRecord {
            outcome: if ok().next().is_some() { Outcome::Ok } else { Outcome::Failed }.name().to_owned(),
            finish: None,
            input_tokens: Some(sum(|usage| usage.input_tokens)),
            output_tokens: Some(sum(|usage| usage.output_tokens)),
            first_ms: None,
        };
        let slowest = ok().filter_map(|answer| answer.latency_ms).reduce(f64::max);
        let record = FeedbackRecord::of_call(&self.stepped.id, caller.key.as_deref(), call, now_ms());
        let cost_usd = costs.map(|costs| costs.iter().sum());
        ledger.note(FeedbackRecord { cost_usd, latency_ms: slowest, ..record });
    }

    fn step(&self, answers: &[Answer]) -> Value {
        let taken = &self.stepped.taken;
        let calls: Vec<Value> = answers
            .iter()
            .map(|answer| {
                json!({
                    "model": self.name_of(answer),
                    "sample": answer.sample,
                    "cost_usd": answer.cost_usd,
                    "latency_ms": answer.latency_ms,
                    "input_tokens": answer.usage.input_tokens,
                    "output_tokens": answer.usage.output_tokens,
                    "finish": answer.finish,
                    "failed": answer.failed,
                })
            })
            .collect();
        json!({ "step": taken.number, "reason": taken.step.reason.name(), "calls": calls })
    }

    /// The steps and their bill, for the caller who asks.
    pub(super) fn detail(&self) -> String {
        let (served, taken) = (self.stepped.served(), &self.stepped.taken);
        let detail = json!({
            "policy": served.name,
            "version": served.version,
            "decision_id": self.stepped.episode_id,
            "program": served.policy.program.name(),
            "reason": taken.step.reason.name(),
            "steps": self.steps,
            "cost_usd": taken.spent_usd,
            "latency_ms": self.began.elapsed().as_secs_f64() * 1000.0,
        });
        detail.to_string()
    }
}

/// What is to be done once the stream that is the reply has ended: its answer goes to the program, and with it into the
/// log.
#[derive(Debug)]
pub(super) struct Told {
    service: Arc<Service>,
    run: Run,
    caller: Caller,
    answer: Answer,
}

/// Longest text of a stream that is kept for the log, bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;

impl Told {
    pub(super) fn new(service: Arc<Service>, run: Run, caller: Caller, answer: Answer) -> Self {
        Self { service, run, caller, answer }
    }

    /// Another piece of the text.
    pub(super) fn says(&mut self, text: &str) {
        if self.answer.text.len() + text.len() <= TEXT_BYTES_MAX {
            self.answer.text.push_str(text);
        }
    }

    /// The stream has ended so.
    pub(super) fn end(self, outcome: Outcome, tally: &Tally, took: Duration) {
        let Self { service, run, caller, answer } = self;
        let is_ok = outcome == Outcome::Ok;
        let cached = tally.cache_read + tally.cache_write;
        let answer = Answer {
            finish: tally.finish.clone(),
            usage: Usage {
                input_tokens: tally.input.map(|input| input + cached),
                output_tokens: tally.output,
            },
            cost_usd: tally.nano_usd.map(|nano| nano as f64 / 1e9),
            latency_ms: Some(took.as_secs_f64() * 1000.0),
            failed: (!is_ok).then(|| outcome.name().to_owned()),
            text: if is_ok { answer.text } else { String::new() },
            ..answer
        };
        run.note(std::slice::from_ref(&answer), service.ledger.as_deref(), &caller);
        // A stream may end with its connection, outside of any task.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // An error is the log's own, and counted there.
                let _logged = run.go_on(&service, vec![answer], &caller).await;
            });
        }
    }
}
