//! Programs as answers: a policy of several steps is driven to its reply, each of its calls made by the server.
//!
//! Each step is in the log before its calls are made, and its answers with the step that follows. Calls of one step run
//! at the same time, whole; what they say is kept until the program returns one of them. Only a call that will be the
//! reply for sure is streamed as it comes.

use super::attempt::Given;
use super::episode::{Run, Told};
use super::question::{Question, unfit};
use super::report::Tally;
use super::say::{Whole, confidence, saying, short};
use super::{Answered, By, Chosen, Gateway, Said};
use crate::caller::Caller;
use crate::decide::{Ask, DecisionId, Failure, Progress};
use crate::dialect::Dialect;
use crate::dialect::splice::Body;
use crate::error::{ApiError, Code};
use crate::live::query::Query;
use crate::upstream::Outcome;
use axum::body::Bytes;
use routewright_data::answers::normalize::Normalizer;
use routewright_policy::Policy;
use routewright_policy::program::{
    Action, Answer, AnswerNeed, Call, Callee, Prompt, Reply, Step, Usage, render,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;

/// Nano-dollars in a dollar.
const NANO: f64 = 1e9;

/// What a call has come to: the answer for the program, and what is passed on where the program returns it.
type Came = (Answer, Option<Whole>);

impl Gateway {
    /// Drives a policy of several steps to its reply.
    ///
    /// # Errors
    /// If no arm can answer, the program abstains, or a step cannot be taken.
    pub(super) async fn by_program(
        self: &Arc<Self>,
        mut question: Question,
        (name, policy): (Option<String>, &Policy),
        caller: &Caller,
        deadline: Instant,
    ) -> Result<Answered, Failure> {
        let asked = std::mem::replace(&mut question.query, Err(ApiError::internal("taken")))
            .map_err(Failure::from)?;
        unfit(&question, policy)?;
        let needs_logprobs = policy.program.needs().contains(&AnswerNeed::Logprobs);
        if needs_logprobs && question.needs.logprobs.is_none() {
            question.needs.logprobs = Some(0);
        }
        let mut reachable = self.reachable(&question)?;
        if let Some(narrowed) = question.tab.narrow(&mut reachable, &self.upstreams).await? {
            if !policy.arms.iter().any(|arm| !arm.retired && reachable.has(&arm.model))
                && policy.arms.iter().any(|arm| narrowed.dear.contains(&arm.model))
            {
                return Err(Failure::from(narrowed.error));
            }
            let room = narrowed.room as f64 / NANO;
            question.budget.usd = Some(question.budget.usd.map_or(room, |usd| usd.min(room)));
        }
        let reachable = Some(Arc::new(reachable));
        let id = DecisionId::draw();
        let query = Query { seed: id.seed, reachable, ..asked };
        let progress = Progress { episode_id: None, answers: Vec::new(), budget: question.budget };
        let ask = Ask { policy: name, query: Ok(query), id };
        let stepped = self.service.step(ask, progress, caller, Instant::now()).await?;
        let question = Arc::new(question);
        let mut run = Run::new(stepped, needs_logprobs);
        let mut kept: BTreeMap<(usize, u32), Whole> = BTreeMap::new();
        loop {
            let step = run.stepped.taken.step.clone();
            let calls = match &step.action {
                Action::Return(reply) => return self.replied(&question, &run, reply, &mut kept),
                Action::Call(calls) => calls,
            };
            if let Some(call) = live(&question, &step, calls) {
                match self.streamed(&question, &run, call, caller, deadline).await {
                    Ok(answered) => return Ok(answered),
                    Err(failed) => run = self.went(run, vec![*failed], caller).await?,
                }
                continue;
            }
            let came = self.called_all(&question, &run, calls, deadline).await?;
            let mut answers = Vec::with_capacity(came.len());
            for (answer, whole) in came {
                kept.extend(whole.map(|whole| ((answer.call, answer.sample), whole)));
                answers.push(answer);
            }
            run = self.went(run, answers, caller).await?;
        }
    }

    /// The step after these answers.
    async fn went(&self, run: Run, answers: Vec<Answer>, caller: &Caller) -> Result<Run, Failure> {
        run.note(&answers, self.service.ledger.as_deref(), caller);
        run.go_on(&self.service, answers, caller).await
    }

    /// Makes the calls of a step at the same time. Dropped, all of them are given up.
    async fn called_all(
        self: &Arc<Self>,
        question: &Arc<Question>,
        run: &Run,
        calls: &[Call],
        deadline: Instant,
    ) -> Result<Vec<Came>, ApiError> {
        let mut tasks = JoinSet::new();
        let rule = run.rule();
        for (at, call) in calls.iter().enumerate() {
            let number = run.stepped.taken.first_call + at;
            for sample in 0..call.samples {
                let blank = Answer { call: number, sample, arm: call.arm_index(), ..Answer::default() };
                let asked = self.question_of(question, run, call, sample)?;
                let (gateway, arm) = (Arc::clone(self), run.model(call));
                tasks.spawn(async move { gateway.called_one(asked, arm, blank, rule, deadline).await });
            }
        }
        let mut came = Vec::with_capacity(tasks.len());
        while let Some(done) = tasks.join_next().await {
            came.push(done.map_err(|error| ApiError::internal(format!("a call ended early: {error}")))?);
        }
        Ok(came)
    }

    /// One call, whole; a failure is an answer, too.
    async fn called_one(
        &self,
        asked: Question,
        arm: String,
        blank: Answer,
        rule: Option<&'static Normalizer>,
        deadline: Instant,
    ) -> Came {
        let began = Instant::now();
        let failed = |why: String| (Answer { failed: Some(why), ..blank.clone() }, None);
        let Some(upstream) = self.upstreams.find(&arm) else {
            return failed("it is not called by this server".to_owned());
        };
        let given = match self.attempt(upstream, &asked, &None, deadline).await {
            Ok(given) => given,
            Err(error) => return failed(error.why),
        };
        let Given { headers, body: Said::Whole(bytes), nano_usd, .. } = given else {
            return failed("it streamed although the request forbade it".to_owned());
        };
        let latency_ms = began.elapsed().as_secs_f64() * 1000.0;
        let whole = Whole { model: arm, headers, bytes };
        let read = saying(&whole.bytes);
        let answer = Answer {
            short: short(&read.text, rule),
            finish: read.finish,
            usage: Usage { input_tokens: read.input, output_tokens: read.output },
            cost_usd: nano_usd.map(|nano| nano as f64 / NANO),
            latency_ms: Some(latency_ms),
            confidence: confidence(&read.logprobs),
            text: read.text,
            ..blank
        };
        (answer, Some(whole))
    }

    /// The request of one call of a program, whole.
    fn question_of(
        &self,
        question: &Question,
        run: &Run,
        call: &Call,
        sample: u32,
    ) -> Result<Question, ApiError> {
        let body = Body::read(&question.body).map_err(|error| ApiError::internal(error.to_string()))?;
        let mut edit = body.edit().remove("stream").remove("stream_options");
        if let Some(most) = call.max_tokens {
            let field = if body.get("max_completion_tokens").is_some() {
                "max_completion_tokens"
            } else {
                "max_tokens"
            };
            edit = edit.set(field, &most.to_string());
        }
        if let Some(temperature) = call.temperature {
            edit = edit.set("temperature", &temperature.to_string());
        }
        // Samples of one seed are the same answer.
        if sample > 0 {
            edit = edit.remove("seed");
        }
        if run.needs_logprobs {
            edit = edit.set("logprobs", "true");
        }
        if let template @ Prompt::Template { .. } = &call.prompt {
            let policy = &run.stepped.served().policy;
            let text = render(template, &run.stepped.query.text, &policy.program.prompts())
                .map_err(|error| ApiError::internal(error.to_string()))?;
            let messages = serde_json::json!([{ "role": "user", "content": text }]);
            edit = edit.set("messages", &messages.to_string());
            edit = edit.remove("tools").remove("tool_choice").remove("response_format");
        }
        Ok(Question {
            api: question.api,
            body: Bytes::from(edit.bytes()),
            streams: false,
            needs: question.needs.clone(),
            headers: question.headers.clone(),
            tab: Arc::clone(&question.tab),
            query: Err(ApiError::internal("a call of a program has no query")),
            budget: question.budget,
            explains: false,
        })
    }

    /// Streams the call whose answer is the reply; an error is the answer of a call that failed before anything was
    /// passed on.
    async fn streamed(
        self: &Arc<Self>,
        question: &Question,
        run: &Run,
        call: &Call,
        caller: &Caller,
        deadline: Instant,
    ) -> Result<Answered, Box<Answer>> {
        let number = run.stepped.taken.first_call;
        let blank = Answer { call: number, arm: call.arm_index(), ..Answer::default() };
        let began = Instant::now();
        let failed = |why: String| Box::new(Answer { failed: Some(why), ..blank.clone() });
        let model = run.model(call);
        let upstream = self.upstreams.find(&model);
        let upstream = upstream.ok_or_else(|| failed("it is not called by this server".to_owned()))?;
        let given =
            self.attempt(upstream, question, &None, deadline).await.map_err(|error| failed(error.why))?;
        let Given { status, headers, mut body, nano_usd, dropped } = given;
        let mut told = Told::new(Arc::clone(&self.service), run.clone(), caller.clone(), blank);
        match &mut body {
            Said::Stream(flow) => flow.then(told),
            // A call is answered by its arm.
            Said::Kept(_) => {}
            Said::Whole(bytes) => {
                let read = saying(bytes);
                told.says(&read.text);
                let (finish, input, output) = (read.finish, read.input, read.output);
                let tally = Tally { finish, input, output, nano_usd, ..Tally::default() };
                told.end(Outcome::Ok, &tally, began.elapsed());
            }
        }
        let by = By { nano_usd, dropped, ..by(run, model) };
        Ok(Answered { status, headers, body, by })
    }

    /// What the caller gets where the program has come to its end.
    fn replied(
        &self,
        question: &Question,
        run: &Run,
        reply: &Reply,
        kept: &mut BTreeMap<(usize, u32), Whole>,
    ) -> Result<Answered, Failure> {
        let booked = |error| Failure { error, policy: Some(Arc::clone(&run.stepped.served().metrics)) };
        let taken = &run.stepped.taken;
        let whole = match reply {
            Reply::Answer(at) => {
                let answer = taken.answers.get(*at);
                let whole = answer.and_then(|answer| kept.remove(&(answer.call, answer.sample)));
                whole.ok_or_else(|| booked(ApiError::internal("the answer returned was not kept")))?
            }
            Reply::Text(text) => Whole::of_text(text, &run.stepped.episode_id),
            Reply::Abstain => {
                if let Some(error) = question.tab.refusal() {
                    return Err(booked(error));
                }
                let message =
                    "the policy gives no answer: its calls failed, or none fits budget and deadline";
                let failures = taken.answers.iter().filter_map(|answer| answer.failed.as_deref());
                let inside = Some(failures.collect::<Vec<_>>().join("; "));
                return Err(booked(ApiError { inside, ..ApiError::new(Code::UpstreamFailed, message) }));
            }
        };
        let nano = taken.answers.iter().map(|answer| answer.cost_usd.filter(|_| answer.is_ok()));
        let known =
            taken.answers.iter().filter(|answer| answer.is_ok()).all(|answer| answer.cost_usd.is_some());
        let nano_usd = known.then(|| (nano.flatten().sum::<f64>() * NANO).round() as u64);
        let by = By { nano_usd, detail: Some(run.detail()), ..by(run, whole.model.clone()) };
        whole.answered(question, by).map_err(booked)
    }
}

/// Who answers, as far as a run has come.
fn by(run: &Run, model: String) -> By {
    let served = run.stepped.served();
    By {
        model,
        decision: Some(Chosen {
            policy: served.name.clone(),
            id: run.stepped.episode_id.clone(),
            reason: run.stepped.taken.step.reason.name(),
            metrics: Arc::clone(&served.metrics),
        }),
        called: run.called(),
        ..By::default()
    }
}

/// The one call of a step that is streamed as it comes: the caller asks for a stream, and its answer will be the reply.
fn live<'a>(question: &Question, step: &Step, calls: &'a [Call]) -> Option<&'a Call> {
    match calls {
        [call] if question.streams && question.api == Dialect::Chat && step.certain && call.samples == 1 => {
            let is_plain =
                call.prompt == Prompt::Query && call.max_tokens.is_none() && call.temperature.is_none();
            Some(call).filter(|_| is_plain && matches!(call.callee, Callee::Arm(_)))
        }
        _ => None,
    }
}
