//! Episodes: a policy driven step by step over the answers its caller gives. Nothing is kept between calls, so that any
//! replica with the same artifact gives the same steps, bit for bit.

use super::record::step_record;
use super::service::{Ask, Failure, Service};
use crate::caller::Caller;
use crate::error::{ApiError, Code};
use crate::live::Served;
use crate::live::assignment::Assignment;
use crate::live::query::Query;
use crate::live::stages::panic_text;
use routewright_policy::Policy;
use routewright_policy::program::{Action, Answer, Budget, Machine, Step, StepError};
use std::sync::Arc;
use std::time::Instant;

/// A step that was taken, logged and counted.
#[derive(Debug)]
pub(crate) struct Stepped {
    pub(crate) assignment: Assignment,
    pub(crate) query: Arc<Query>,
    /// Id of the episode: that of its first step.
    pub(crate) episode_id: String,
    /// Id of the step in the log.
    pub(crate) id: String,
    /// What all calls may use.
    pub(crate) budget: Budget,
    pub(crate) taken: Taken,
}

/// The last step of an episode so far.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) step: Step,
    /// Number of the step, from 0.
    pub(crate) number: u32,
    /// Number of its first call.
    pub(crate) first_call: usize,
    /// Answers so far, in the order of calls and samples.
    pub(crate) answers: Vec<Answer>,
    /// How many of them earlier steps had already.
    known: usize,
    pub(crate) spent_usd: f64,
    pub(crate) elapsed_ms: f64,
}

impl Taken {
    /// The answers that this step was taken on and no earlier one.
    pub(crate) fn fresh(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter().skip(self.known)
    }
}

impl Stepped {
    /// The version that decided.
    pub(crate) fn served(&self) -> &Served {
        &self.assignment.served
    }
}

/// The answers a caller gives, and what all calls may use.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Id of the episode; `None` at its first step.
    pub(crate) episode_id: Option<String>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) budget: Budget,
}

impl Service {
    /// The step that follows the answers given: the first one where there are none.
    ///
    /// # Errors
    /// If the query or the answers are not valid, no arm is eligible, the deadline has passed, or the step must be
    /// logged and cannot be.
    pub(crate) async fn step(
        &self,
        ask: Ask,
        progress: Progress,
        caller: &Caller,
        began: Instant,
    ) -> Result<Stepped, Failure> {
        let Ask { policy, query, id } = ask;
        let live = self.live.snapshot();
        let assignment = Assignment::of(&live, policy.as_deref(), query.as_ref().ok())?;
        let booked = |error| Failure { error, policy: Some(Arc::clone(&assignment.served.metrics)) };
        let mut query = query.map_err(booked)?;
        self.prepare(&assignment.served, &mut query, caller).map_err(booked)?;
        let Progress { episode_id, answers, budget } = progress;
        let episode_id = episode_id.unwrap_or(id.id);
        self.advance(assignment, Arc::new(query), episode_id, (answers, budget), caller, began).await
    }

    /// The step of an episode that follows the answers, by the version and of the query it began with.
    ///
    /// # Errors
    /// As [`Service::step`], but for the query, which was read already.
    pub(crate) async fn advance(
        &self,
        assignment: Assignment,
        query: Arc<Query>,
        episode_id: String,
        (answers, budget): (Vec<Answer>, Budget),
        caller: &Caller,
        began: Instant,
    ) -> Result<Stepped, Failure> {
        let booked = |error| Failure { error, policy: Some(Arc::clone(&assignment.served.metrics)) };
        let (policy, asked) = (Arc::clone(&assignment.served.policy), Arc::clone(&query));
        let run = tokio::task::spawn_blocking(move || drive(&policy, &asked, budget, answers));
        let deadline = self.limits.decision_deadline().map(|deadline| began + deadline);
        let taken = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline.into(), run).await.map_err(|_| {
                booked(ApiError::new(Code::Overloaded, "the step was not taken in time; try again"))
            })?,
            None => run.await,
        };
        let taken = taken.map_err(|error| {
            let panic = error.try_into_panic().ok();
            let text = panic.as_ref().map_or("it was cancelled", |panic| panic_text(&**panic));
            booked(ApiError::internal(format!("a step ended early: {text}")))
        })?;
        let taken = taken.map_err(|error| booked(refused(error)))?;
        let id =
            if taken.number == 0 { episode_id.clone() } else { format!("{episode_id}.{}", taken.number) };
        let stepped = Stepped { assignment, query, episode_id, id, budget, taken };
        if let Some(ledger) = self.ledger.as_ref().filter(|_| !stepped.query.dry_run) {
            let record = step_record(&stepped, caller, ledger.config().keep_prompt);
            ledger
                .decided(vec![record])
                .await
                .map_err(|error| Failure { error, policy: Some(Arc::clone(&stepped.served().metrics)) })?;
        }
        Ok(stepped)
    }
}

/// Replays the answers from the first step on.
fn drive(
    policy: &Policy,
    query: &Query,
    budget: Budget,
    mut answers: Vec<Answer>,
) -> Result<Taken, StepError> {
    let mut machine = Machine::new(policy, query.request(), budget);
    let mut step = machine.start()?;
    let (mut number, mut known) = (0, 0);
    while !answers.is_empty() {
        let open = machine.first_pending()..machine.calls().len();
        let (given, rest): (Vec<Answer>, Vec<Answer>) =
            answers.into_iter().partition(|answer| !machine.is_done() && open.contains(&answer.call));
        // Answers that no call asked for are refused by the machine, in words.
        let given = if given.is_empty() { rest.clone() } else { given };
        let arm = |answer: &Answer| machine.calls().get(answer.call).and_then(|call| call.arm_index());
        let given: Vec<Answer> =
            given.into_iter().map(|answer| Answer { arm: arm(&answer), ..answer }).collect();
        answers = rest;
        known = machine.answers().len();
        step = machine.supply(given)?;
        number += 1;
    }
    let first_call = match &step.action {
        Action::Call(_) => machine.first_pending(),
        Action::Return(_) => machine.calls().len(),
    };
    Ok(Taken {
        step,
        number,
        first_call,
        spent_usd: machine.spent_usd(),
        elapsed_ms: machine.elapsed_ms(),
        answers: machine.answers().to_vec(),
        known,
    })
}

fn refused(error: StepError) -> ApiError {
    let message = error.to_string();
    match error {
        StepError::Decide(error) => ApiError::from(error),
        StepError::Budget { field, .. } => ApiError::new(Code::InvalidRequest, message).param(field),
        StepError::Answers { .. } => ApiError::new(Code::InvalidRequest, message).param("answers"),
        _ => ApiError::internal(message),
    }
}
