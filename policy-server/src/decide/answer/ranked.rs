//! From a request to the arm that answers it: the one that the caller names, or those that a policy decides on, one after
//! the other.

use super::attempt::Given;
use super::failed::Failed;
use super::question::{Question, Target, speaks};
use super::{Answered, By, Chosen, Gateway};
use crate::caller::Caller;
use crate::decide::{Ask, Decided, DecisionId, Failure};
use crate::error::{ApiError, Code};
use crate::live::metrics::reason_name;
use crate::live::query::{Query, Reachable};
use crate::upstream::Upstream;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Gateway {
    /// Answers a request.
    ///
    /// # Errors
    /// If it names nothing that there is, no arm can answer it, or all that can fail.
    pub(crate) async fn answer(
        &self,
        question: Question,
        target: Target,
        caller: &Caller,
        began: Instant,
    ) -> Result<Answered, Failure> {
        let whole = Duration::from_millis(self.service.limits.answer_timeout_ms);
        let deadline = began.checked_add(whole).unwrap_or(began);
        match target {
            Target::Arm(upstream) => Ok(self.by_name(&question, &upstream, deadline).await?),
            Target::Policy(policy) => self.by_policy(question, policy, caller, deadline).await,
        }
    }

    async fn by_name(
        &self,
        question: &Question,
        upstream: &Arc<Upstream>,
        deadline: Instant,
    ) -> Result<Answered, ApiError> {
        let model = upstream.name();
        if !speaks(upstream, question.api) {
            let message =
                format!("`{model}` does not speak this API; call it through the one of its dialect");
            return Err(ApiError::new(Code::NoEligibleCandidate, message).param("model"));
        }
        let by = By { model: model.to_owned(), ..By::default() };
        match self.attempt(upstream, question, &None, deadline).await {
            Ok(given) => Ok(answered(given, by)),
            Err(failed) => refused(failed, by),
        }
    }

    /// The policy decides; where the arm fails, it decides again without it.
    async fn by_policy(
        &self,
        mut question: Question,
        policy: Option<String>,
        caller: &Caller,
        deadline: Instant,
    ) -> Result<Answered, Failure> {
        let asked = std::mem::replace(&mut question.query, Err(ApiError::internal("taken")))
            .map_err(Failure::from)?;
        let mut reachable = self.reachable(&question);
        let mut passed_over: Vec<String> = Vec::new();
        loop {
            let id = DecisionId::draw();
            let query = Query {
                deferred: true,
                seed: id.seed,
                reachable: Some(Arc::new(reachable.clone())),
                ..asked.clone()
            };
            let ask = Ask { policy: policy.clone(), query: Ok(query), id };
            let decided = self.service.decide(ask, caller, Instant::now()).await?;
            let model = decided.model().to_owned();
            let booked = |error| Failure { error, policy: Some(Arc::clone(&decided.served().metrics)) };
            let Some(upstream) = self.upstreams.find(&model) else {
                return Err(booked(ApiError::internal(format!("`{model}` was chosen and is not called"))));
            };
            let by = By {
                model: model.clone(),
                decision: Some(chosen(&decided)),
                passed_over: passed_over.clone(),
                nano_usd: None,
            };
            let decision = Some((decided.id.clone(), caller.key.clone()));
            let failed = match self.attempt(upstream, &question, &decision, deadline).await {
                Ok(given) => return Ok(answered(given, by)),
                Err(failed) => failed,
            };
            passed_over.push(model.clone());
            reachable.models.remove(&model);
            reachable.resting.remove(&model);
            let candidates = &decided.computed.decision.candidates;
            let others = decided.served().policy.arms.iter().zip(candidates);
            let mut others = others.filter(|(_, candidate)| candidate.excluded_by.is_none());
            let is_last = !others.any(|(arm, _)| reachable.models.contains(&arm.model));
            if !failed.falls_back() || is_last || Instant::now() >= deadline {
                return refused(failed, by).map_err(booked);
            }
        }
    }

    /// The models that a policy may send the request to: they speak its API, can what it needs, and do not rest. Where
    /// all of them rest, those that do are tried all the same.
    fn reachable(&self, question: &Question) -> Reachable {
        let now = Instant::now();
        let speaking = self.upstreams.iter().filter(|upstream| speaks(upstream, question.api));
        let able: Vec<&Arc<Upstream>> = speaking.collect();
        let names = |all: &[&Arc<Upstream>]| -> BTreeSet<String> {
            all.iter().map(|upstream| upstream.name().to_owned()).collect()
        };
        let awake: Vec<&Arc<Upstream>> =
            able.iter().copied().filter(|upstream| upstream.rests_until(now).is_none()).collect();
        let why = "none of its arms has a section [models.NAME] that can answer this request".to_owned();
        Reachable { models: names(&awake), resting: names(&able), why }
    }
}

fn chosen(decided: &Decided) -> Chosen {
    let served = decided.served();
    Chosen {
        policy: served.name.clone(),
        id: decided.id.clone(),
        reason: reason_name(decided.computed.decision.reason),
        metrics: Arc::clone(&served.metrics),
    }
}

fn answered(given: Given, by: By) -> Answered {
    let Given { status, headers, body, nano_usd } = given;
    Answered { status, headers, body, by: By { nano_usd, ..by } }
}

/// What the caller is told of a failure in the end: what the arm said, where the request is to blame.
fn refused(mut failed: Failed, by: By) -> Result<Answered, ApiError> {
    match failed.said.take() {
        Some((status, headers, body)) => {
            Ok(Answered { status, headers, body: super::Said::Whole(body), by })
        }
        None => Err(failed.into_error(&by.model)),
    }
}
