//! The one way a decision is made: assign, run, log, count, shadow. One query, a batch and weights go through the same
//! steps in the same order, so that nothing is counted or shown to a shadow before it is in the log.

use super::DecisionId;
use super::pending::{Pending, late};
use super::record::record;
use crate::caller::Caller;
use crate::error::{ApiError, Code};
use crate::ledger::Ledger;
use crate::live::assignment::Assignment;
use crate::live::batcher::Batcher;
use crate::live::deadline::default_decision;
use crate::live::metrics::{PolicyMetrics, Stage};
use crate::live::query::Query;
use crate::live::rollouts::Rollouts;
use crate::live::stages::{self, Computed};
use crate::live::{InService, Live, Served};
use crate::settings::Limits;
use routewright_policy::Reason;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Decides for every caller there is.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) live: Arc<InService>,
    pub(crate) batcher: Batcher,
    pub(crate) rollouts: Arc<Rollouts>,
    /// The log of decisions, where one is configured.
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) limits: Limits,
}

/// A query to be decided.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Name of the policy, or `name@version`; `None` takes the default one.
    pub(crate) policy: Option<String>,
    /// The query, or why it could not be read: an error is booked on the policy it was meant for.
    pub(crate) query: Result<Query, ApiError>,
    pub(crate) id: DecisionId,
}

/// A decision that was made, logged and counted.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) assignment: Assignment,
    pub(crate) query: Arc<Query>,
    pub(crate) id: String,
    pub(crate) computed: Computed,
}

/// Why there is no decision, and what the failure is booked on.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: ApiError,
    /// The policy the query was meant for; `None` where it named none that there is.
    pub(crate) policy: Option<Arc<PolicyMetrics>>,
}

/// A query that is with its policy.
#[derive(Debug)]
struct Started {
    assignment: Assignment,
    query: Arc<Query>,
    id: String,
    pending: Pending,
}

type Outcomes = Vec<Result<Decided, Failure>>;

impl Decided {
    /// The version that decided.
    pub(crate) fn served(&self) -> &Served {
        &self.assignment.served
    }

    /// The model that was chosen.
    pub(crate) fn model(&self) -> &str {
        self.served().policy.arms.get(self.computed.decision.arm).map_or("", |arm| arm.model.as_str())
    }

    /// Whether the default arm answered because the decision was not made in time.
    pub(crate) fn is_late(&self) -> bool {
        self.computed.decision.reason == Reason::DeadlineDefault
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self { error, policy: None }
    }
}

impl Service {
    /// Decides one query.
    ///
    /// # Errors
    /// If the query is not valid, no arm is eligible, or the decision must be logged and cannot be.
    pub(crate) async fn decide(&self, ask: Ask, caller: &Caller, began: Instant) -> Result<Decided, Failure> {
        self.decide_one(ask, caller, began, |_| Ok(())).await
    }

    /// As [`Service::decide`], for the distribution and not the draw: there is no default in place of one.
    ///
    /// # Errors
    /// As [`Service::decide`], or if the deadline has passed.
    pub(crate) async fn weigh(&self, ask: Ask, caller: &Caller, began: Instant) -> Result<Decided, Failure> {
        let in_time = |outcomes: &[Result<Decided, Failure>]| {
            if outcomes.iter().flatten().any(Decided::is_late) {
                let message =
                    "the weights were not computed in time, and there are no default ones; try again";
                return Err(ApiError::new(Code::Overloaded, message));
            }
            Ok(())
        };
        self.decide_one(ask, caller, began, in_time).await
    }

    /// Decides queries together; outcome `i` is that of ask `i`. The batch has the time of its queries together.
    ///
    /// # Errors
    /// If `accept` refuses the batch, or its decisions must be logged and cannot be: then nothing of it is kept.
    pub(crate) async fn decide_batch(
        &self,
        asks: Vec<Ask>,
        caller: &Caller,
        began: Instant,
        accept: impl Fn(&[Result<Decided, Failure>]) -> Result<(), ApiError>,
    ) -> Result<Outcomes, Failure> {
        let deadline = self.limits.batch_deadline(asks.len()).map(|deadline| began + deadline);
        self.settle(asks, caller, deadline, accept).await
    }

    async fn decide_one(
        &self,
        ask: Ask,
        caller: &Caller,
        began: Instant,
        accept: impl Fn(&[Result<Decided, Failure>]) -> Result<(), ApiError>,
    ) -> Result<Decided, Failure> {
        let deadline = self.limits.decision_deadline().map(|deadline| began + deadline);
        let outcome = self.settle(vec![ask], caller, deadline, accept).await?.pop();
        outcome.unwrap_or_else(|| Err(ApiError::internal("a decision of one query gave no result").into()))
    }

    async fn settle(
        &self,
        asks: Vec<Ask>,
        caller: &Caller,
        deadline: Option<Instant>,
        accept: impl Fn(&[Result<Decided, Failure>]) -> Result<(), ApiError>,
    ) -> Result<Outcomes, Failure> {
        // One look: every query sees one version of each policy, whatever is swapped meanwhile.
        let live = self.live.snapshot();
        let alone = asks.len() == 1;
        // Everything is started before anything is waited for, so that it is decided together.
        let started: Vec<_> = asks.into_iter().map(|ask| self.start(&live, ask, alone, caller)).collect();
        let mut outcomes = Vec::with_capacity(started.len());
        for started in started {
            outcomes.push(match started {
                Ok(started) => started.finish(deadline).await,
                Err(failure) => Err(failure),
            });
        }
        let logged = match accept(&outcomes) {
            Ok(()) => self.log(&outcomes, caller).await,
            Err(error) => Err(error),
        };
        logged.map_err(|error| Failure { error, policy: first_policy(&outcomes) })?;
        for decided in outcomes.iter().flatten() {
            count(decided);
            self.shadow(decided);
        }
        Ok(outcomes)
    }

    /// Assigns a query to a version and has it run there.
    fn start(&self, live: &Live, ask: Ask, alone: bool, caller: &Caller) -> Result<Started, Failure> {
        let Ask { policy, query, id } = ask;
        let assignment = Assignment::of(live, policy.as_deref(), query.as_ref().ok())?;
        let booked = |error| Failure { error, policy: Some(Arc::clone(&assignment.served.metrics)) };
        let mut query = query.map_err(booked)?;
        self.prepare(&assignment.served, &mut query, caller).map_err(booked)?;
        let query = Arc::new(query);
        let pending = self.run(&assignment.served, &query, alone, caller);
        Ok(Started { assignment, query, id: id.id, pending })
    }

    /// Makes the text the policy reads, sets what the log wants to be kept and what money is worth to the caller.
    pub(super) fn prepare(
        &self,
        served: &Served,
        query: &mut Query,
        caller: &Caller,
    ) -> Result<(), ApiError> {
        query.read_by(&served.name, &served.policy)?;
        let price = caller.key.as_deref().and_then(|key| served.prices.get(key));
        query.price = price.copied().unwrap_or(0.0);
        // A learner needs the features its decision was made on.
        query.keep_features = served.learning.is_some() && !query.dry_run
            || self.ledger.as_ref().is_some_and(|ledger| ledger.config().keep_features);
        Ok(())
    }

    /// Decides at once where that is cheap and the query is `alone`, else on the workers.
    fn run(&self, served: &Served, query: &Arc<Query>, alone: bool, caller: &Caller) -> Pending {
        if query.has_no_text {
            let decided = default_decision(&served.policy, served.default_arm, query, Reason::NoTextDefault);
            return Pending::Done(Box::new(decided));
        }
        let short = query.text.len() <= self.limits.inline_text_bytes_max;
        if alone && served.inline && short {
            let decided = stages::decide(&served.policy, std::slice::from_ref(query)).pop();
            let missing = || Err(ApiError::internal("a decision of one query gave no result"));
            return Pending::Done(Box::new(decided.unwrap_or_else(missing)));
        }
        match self.batcher.submit(Arc::clone(&served.policy), Arc::clone(query), &caller.share) {
            Ok(receiver) => Pending::Queued(receiver),
            Err(_) => Pending::Done(Box::new(self.overloaded(served, query))),
        }
    }

    /// A full queue would miss the deadline: the default arm answers where there is a deadline, else nobody does.
    fn overloaded(&self, served: &Served, query: &Query) -> Result<Computed, ApiError> {
        if self.limits.decision_deadline().is_some() {
            return late(served, query);
        }
        let waiting = self.limits.queue_max;
        Err(ApiError::new(Code::Overloaded, format!("{waiting} decisions are waiting already; try again")))
    }

    /// Appends the decisions as one group, all but dry runs.
    async fn log(&self, outcomes: &[Result<Decided, Failure>], caller: &Caller) -> Result<(), ApiError> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let keep_prompt = ledger.config().keep_prompt;
        let logged = outcomes.iter().flatten().filter(|decided| !decided.query.dry_run);
        let records: Vec<_> = logged.map(|decided| record(decided, caller, keep_prompt)).collect();
        ledger.decided(records).await
    }

    /// Hands the query to the shadows of its version, which cannot change the decision any more.
    fn shadow(&self, decided: &Decided) {
        if decided.query.dry_run || decided.query.has_no_text {
            return;
        }
        for shadow in &decided.assignment.shadows {
            self.rollouts.shadows.submit(shadow, &decided.query, decided.model());
        }
    }
}

impl Started {
    async fn finish(self, deadline: Option<Instant>) -> Result<Decided, Failure> {
        let Self { assignment, query, id, pending } = self;
        match pending.finish(&assignment.served, &query, deadline).await {
            Ok(computed) => Ok(Decided { assignment, query, id, computed }),
            Err(error) => Err(Failure { error, policy: Some(Arc::clone(&assignment.served.metrics)) }),
        }
    }
}

/// The policy that what befalls all of them together is booked on.
fn first_policy(outcomes: &[Result<Decided, Failure>]) -> Option<Arc<PolicyMetrics>> {
    outcomes.iter().flatten().next().map(|decided| Arc::clone(&decided.served().metrics))
}

/// Counts a decision: stages always, the choice unless it is a dry run.
fn count(decided: &Decided) {
    let Decided { assignment, query, computed, .. } = decided;
    let served = &assignment.served;
    if let Some(decisions) = assignment.canary_decisions.as_ref().filter(|_| !query.dry_run) {
        decisions.fetch_add(1, Relaxed);
    }
    let stages = &computed.stages;
    if stages.batch > 0 {
        for (stage, took) in [
            (Stage::Queue, stages.queue),
            (Stage::Features, stages.features),
            (Stage::Score, stages.score),
            (Stage::Constraints, stages.constraints),
        ] {
            served.metrics.stage(stage, took);
        }
    }
    if let Some(counter) = served.decided.get(computed.decision.arm).filter(|_| !query.dry_run) {
        counter.decided(computed.decision.reason);
    }
}

#[cfg(test)]
mod tests;
