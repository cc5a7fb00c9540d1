//! From a request to the arm that answers it: the one that the caller names, or those that a policy decides on, one
//! after the other.

use super::attempt::Given;
use super::failed::Failed;
use super::kept::{Lookup, replayed};
use super::question::{Question, Target};
use super::tab::{Narrowed, Tab};
use super::{Answered, By, Chosen, Gateway, able};
use crate::caller::Caller;
use crate::decide::{Ask, Decided, DecisionId, Failure, Service};
use crate::error::{ApiError, Code};
use crate::live::metrics::reason_name;
use crate::live::query::Query;
use crate::upstream::Upstream;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Gateway {
    /// Answers a request.
    ///
    /// # Errors
    /// If it names nothing that there is, no arm can answer it, or all that can fail.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        mut question: Question,
        target: Target,
        caller: &Caller,
        began: Instant,
    ) -> Result<Answered, Failure> {
        let whole = Duration::from_millis(self.service.limits.answer_timeout_ms);
        let asked = question.budget.deadline_ms.map(|ms| Duration::from_secs_f64(ms / 1000.0));
        let whole = asked.map_or(whole, |asked| asked.min(whole));
        let deadline = began.checked_add(whole).unwrap_or(began);
        let lookup = self.look_up(&question, &target, &caller.allowance);
        if let Lookup::Hit(kept, age) = &lookup {
            return Ok(replayed(kept, *age));
        }
        let Service { ledger, limits, .. } = &*self.service;
        let asked = (&question.needs, question.api);
        let reserve = limits.reserve_output_tokens;
        question.tab = Tab::open(&caller.allowance, &self.quotas, ledger.as_ref(), asked, reserve)?;
        let api = question.api;
        let answered = match target {
            Target::Arm(upstream) => self.by_name(&question, &upstream, deadline).await?,
            Target::Policy(policy) => {
                let live = self.service.live.snapshot();
                let served = live.find(policy.as_deref()).ok();
                match served.filter(|served| served.policy.router().is_err()) {
                    Some(served) => {
                        let policy = (policy, &*served.policy);
                        self.by_program(question, policy, caller, deadline).await?
                    }
                    None => self.by_policy(question, policy, caller, deadline).await?,
                }
            }
        };
        Ok(self.keep(answered, lookup, api))
    }

    async fn by_name(
        &self,
        question: &Question,
        upstream: &Arc<Upstream>,
        deadline: Instant,
    ) -> Result<Answered, ApiError> {
        able::check(upstream, question)?;
        let model = upstream.name();
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
        let mut reachable = self.reachable(&question)?;
        let narrowed = question.tab.narrow(&mut reachable, &self.upstreams).await?;
        let mut passed_over: Vec<String> = Vec::new();
        let mut last: Option<(Failed, By)> = None;
        loop {
            let id = DecisionId::draw();
            let query = Query {
                deferred: true,
                seed: id.seed,
                reachable: Some(Arc::new(reachable.clone())),
                ..asked.clone()
            };
            let ask = Ask { policy: policy.clone(), query: Ok(query), id };
            let decided = match self.service.decide(ask, caller, Instant::now()).await {
                Ok(decided) => decided,
                // What the policy may choose has failed: the caller is told of that.
                Err(none) if none.error.code == Code::NoEligibleCandidate => match last {
                    Some((failed, by)) => return refused(failed, by).map_err(Failure::from),
                    None => return Err(self.too_dear(policy.as_deref(), narrowed).unwrap_or(none)),
                },
                Err(failure) => return Err(failure),
            };
            let model = decided.model().to_owned();
            let booked = |error| Failure { error, policy: Some(Arc::clone(&decided.served().metrics)) };
            let Some(upstream) = self.upstreams.find(&model) else {
                return Err(booked(ApiError::internal(format!("`{model}` was chosen and is not called"))));
            };
            let by = By {
                model: model.clone(),
                decision: Some(chosen(&decided)),
                passed_over: passed_over.clone(),
                ..By::default()
            };
            let decision = Some((decided.id.clone(), caller.key.clone()));
            let failed = match self.attempt(upstream, &question, &decision, deadline).await {
                Ok(given) => return Ok(answered(given, by)),
                Err(failed) => failed,
            };
            passed_over.push(model.clone());
            self.pass_over(&mut reachable, upstream, failed.is_too_long());
            let arms = &decided.served().policy.arms;
            let is_last = !arms.iter().any(|arm| !arm.retired && reachable.has(&arm.model));
            if !failed.falls_back() || is_last || Instant::now() >= deadline {
                return refused(failed, by).map_err(booked);
            }
            last = Some((failed, by));
        }
    }
}

impl Gateway {
    /// Why a policy has no arm to choose, where that is for want of money.
    fn too_dear(&self, policy: Option<&str>, narrowed: Option<Narrowed>) -> Option<Failure> {
        let Narrowed { dear, error, .. } = narrowed?;
        let live = self.service.live.snapshot();
        let served = live.find(policy).ok()?;
        let is_dear = served.policy.arms.iter().any(|arm| dear.contains(&arm.model));
        is_dear.then(|| Failure { error, policy: Some(Arc::clone(&served.metrics)) })
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
    let Given { status, headers, body, nano_usd, dropped } = given;
    Answered { status, headers, body, by: By { nano_usd, dropped, ..by } }
}

/// What the caller is told of a failure in the end: what the arm said, where the request is to blame.
fn refused(mut failed: Failed, by: By) -> Result<Answered, ApiError> {
    match failed.said.take() {
        Some((status, headers, body)) => Ok(Answered { status, headers, body: super::Said::Whole(body), by }),
        None => Err(failed.into_error(&by.model)),
    }
}
