//! From a query to its answer: inline or on a worker, within the deadline, as the JSON of a decision.

use super::{ApiError, Decided};
use crate::clock::{now_ms, now_seconds};
use crate::deadline::default_decision;
use crate::error::Code;
use crate::guard::Caller;
use crate::metrics::{Stage, reason_name};
use crate::query::Query;
use crate::registry::turn::Turn;
use crate::stages::{self, Staged};
use crate::state::{App, Served};
use crate::store::DecisionRecord;
use crate::wire::{
    ActionBody, CandidateBody, DecisionBody, Explain, ExplorationBody, FlipBody, NeighborBody, PolicyBody,
    SessionBody, TimingsBody,
};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use routewright_policy::{Candidate, Constraints, Decision, Exclusion, Reason};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use tokio::sync::oneshot;

/// Half width of a 95 % interval in standard errors of a normal distribution.
const Z_95: f32 = 1.959_964;

/// Id and seed of a decision yet to be made.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) id: String,
    pub(super) seed: u64,
}

impl Ticket {
    /// A fresh id, and a seed of 53 bits (JSON numbers are exact up to there) from its random part.
    pub(super) fn draw() -> Self {
        let uuid = crate::ids::fresh();
        let mut buffer = [0_u8; uuid::fmt::Simple::LENGTH];
        let id = format!("dec_{}", uuid.simple().encode_lower(&mut buffer));
        Self { id, seed: uuid.as_u64_pair().1 & ((1 << 53) - 1) }
    }
}

/// A decision under way: made already, or with a worker.
#[derive(Debug)]
pub(super) enum Pending {
    Done(Box<Result<Staged, ApiError>>),
    Queued(oneshot::Receiver<Result<Staged, ApiError>>),
}

/// Starts a decision; `alone` is false for the entries of a batch, which always go to the workers.
pub(super) fn begin(app: &App, served: &Served, query: &Arc<Query>, alone: bool, caller: &Caller) -> Pending {
    if query.has_no_text {
        let decided = default_decision(&served.policy, served.default_arm, query, Reason::NoTextDefault);
        return Pending::Done(Box::new(decided));
    }
    let short = query.text.len() <= app.config.limits.inline_text_bytes_max;
    if alone && served.inline && short {
        let decided = stages::decide(&served.policy, std::slice::from_ref(query)).pop();
        let missing = || Err(ApiError::internal("a decision of one query gave no result"));
        return Pending::Done(Box::new(decided.unwrap_or_else(missing)));
    }
    match app.batcher.submit(Arc::clone(&served.policy), Arc::clone(query), &caller.share) {
        Ok(receiver) => Pending::Queued(receiver),
        Err(_) => Pending::Done(Box::new(overloaded(app, served, query))),
    }
}

/// A full queue would miss the deadline: the default arm answers where there is one, else nobody does.
fn overloaded(app: &App, served: &Served, query: &Query) -> Result<Staged, ApiError> {
    if app.config.limits.decision_deadline().is_some() {
        return late(served, query);
    }
    let waiting = app.config.limits.queue_max;
    Err(ApiError::new(Code::Overloaded, format!("{waiting} decisions are waiting already; try again")))
}

/// Waits for a decision, at most until the deadline; then the default arm answers.
pub(super) async fn finish(
    served: &Served,
    query: &Query,
    pending: Pending,
    deadline: Option<Instant>,
) -> Result<Staged, ApiError> {
    let receiver = match pending {
        Pending::Done(result) => return *result,
        Pending::Queued(receiver) => receiver,
    };
    let lost = |_| Err(ApiError::internal("a worker ended without an answer"));
    let Some(deadline) = deadline else {
        return receiver.await.unwrap_or_else(lost);
    };
    match tokio::time::timeout_at(deadline.into(), receiver).await {
        // It made room for the query of another caller.
        Ok(Ok(Err(error))) if error.code == Code::Overloaded => late(served, query),
        Ok(result) => result.unwrap_or_else(lost),
        Err(_) => late(served, query),
    }
}

fn late(served: &Served, query: &Query) -> Result<Staged, ApiError> {
    served.metrics.timed_out();
    default_decision(&served.policy, served.default_arm, query, Reason::DeadlineDefault)
}

/// Lets the shadows look at what was answered; it is too late for them to change it.
pub(super) fn shadow(app: &App, turn: &Turn, query: &Arc<Query>, staged: &Staged) {
    if query.dry_run || query.has_no_text {
        return;
    }
    for shadow in &turn.shadows {
        if let Some(arm) = turn.served.policy.arms.get(staged.decision.arm) {
            app.desk.shadows.submit(shadow, query, &arm.model);
        }
    }
}

/// Counts a decision: stages always, the choice unless it is a dry run.
pub(super) fn count(turn: &Turn, query: &Query, staged: &Staged) {
    let served = &turn.served;
    if let Some(turns) = turn.turns.as_ref().filter(|_| !query.dry_run) {
        turns.fetch_add(1, Relaxed);
    }
    let stages = &staged.stages;
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
    if let Some(counter) = served.decided.get(staged.decision.arm).filter(|_| !query.dry_run) {
        counter.decided(staged.decision.reason);
    }
}

/// The JSON of a decision.
pub(super) fn describe<'a>(
    turn: &'a Turn,
    query: &'a Query,
    staged: &'a Staged,
    id: &'a str,
) -> DecisionBody<'a> {
    let served = &turn.served;
    let decision = &staged.decision;
    let model = |arm: usize| served.policy.arms.get(arm).map_or("", |arm| arm.model.as_str());
    let late = decision.reason.is_default_arm();
    let selector = || served.policy.manifest.selector.name.as_str();
    let strategy = match (late, query.objective) {
        (true, _) => "default_arm",
        (false, Some(_)) => "utility",
        (false, None) => selector(),
    };
    let explained = query.explain != Explain::None;
    let describe_candidate = |(arm, candidate)| candidate_body(model(arm), candidate);
    let candidates = || decision.candidates.iter().enumerate().map(describe_candidate).collect();
    let neighborhood = decision.neighborhood.as_ref().filter(|_| query.explain == Explain::Full);
    let neighbors = neighborhood.map(|near| {
        let rows = near.query_ids.iter().zip(&near.similarities);
        rows.map(|(id, &similarity)| NeighborBody { id, similarity }).collect()
    });
    DecisionBody {
        object: "routing.decision",
        notice: query.notice,
        id,
        created: now_seconds(),
        policy: PolicyBody {
            name: &served.name,
            version: &served.version,
            digest: &served.policy.digest,
            state: turn.state,
        },
        action: ActionBody { kind: "model", model: model(decision.arm) },
        fallbacks: fallbacks(served, query, decision).into_iter().map(model).collect(),
        candidates: explained.then(candidates),
        propensity: decision.propensity,
        exploration: ExplorationBody { strategy, exact: true },
        seed: query.seed,
        reason: reason_name(decision.reason),
        flip: decision
            .flip
            .filter(|_| explained)
            .map(|flip| FlipBody { lambda: flip.lambda, model: model(flip.arm) }),
        neighbors,
        session: query.session_id.as_deref().map(|id| SessionBody { id }),
        dry_run: query.dry_run,
        timings: timings(staged),
    }
}

/// The record of a decision, as it is replied.
pub(super) fn record(
    app: &App,
    turn: &Turn,
    query: &Query,
    staged: &Staged,
    id: &str,
    caller: &Caller,
) -> DecisionRecord {
    let served = &turn.served;
    let decision = &staged.decision;
    let manifest = &served.policy.manifest;
    let keep_prompt = app.ledger.as_ref().is_some_and(|ledger| ledger.config().keep_prompt);
    let mut record = DecisionRecord {
        decision_id: id.to_owned(),
        timestamp_ms: now_ms(),
        policy: served.name.clone(),
        policy_version: served.version.clone(),
        policy_digest: served.policy.digest.clone(),
        featurizer_digest: manifest.featurizer.digest.clone(),
        propensity: decision.propensity,
        pass_probability: 1.0,
        seed: query.seed,
        reason: reason_name(decision.reason).to_owned(),
        source: query.source.clone(),
        prompt: keep_prompt.then(|| query.text.clone()),
        query_text: query.rule.filter(|_| keep_prompt),
        features: staged.features.clone(),
        objective: query.objective,
        constraints: Some(query.constraints.clone()).filter(|asked| *asked != Constraints::default()),
        deferred: query.deferred,
        tenant: caller.key.as_deref().map(str::to_owned),
        trial: turn.trial.clone(),
        ..DecisionRecord::default()
    };
    for (arm, candidate) in served.policy.arms.iter().zip(&decision.candidates) {
        if candidate.excluded_by.is_none() {
            record.candidates.push(arm.model.clone());
            record.propensities.push(candidate.propensity);
            record.predicted_score.push(candidate.score.is_finite().then_some(candidate.score));
            record.predicted_cost_usd.push(candidate.cost_usd.filter(|usd| usd.is_finite()));
        }
    }
    record.model = served.policy.arms.get(decision.arm).map_or_else(String::new, |arm| arm.model.clone());
    record
}

/// Whether a decision on the query goes to the log.
pub(super) fn is_logged(app: &App, query: &Query) -> bool {
    app.ledger.is_some() && !query.dry_run
}

/// Makes the text the policy reads, sets what the log wants to be kept and what money is worth to the caller.
///
/// # Errors
/// If the policy does not read what the request gives.
pub(super) fn prepare(
    app: &App,
    served: &Served,
    query: &mut Query,
    caller: &Caller,
) -> Result<(), ApiError> {
    query.read_by(&served.name, &served.policy)?;
    let price = caller.key.as_deref().and_then(|key| served.prices.get(key));
    query.price = price.copied().unwrap_or(0.0);
    // A learner needs the features its decision was made on.
    query.keep_features = served.learning.is_some() && !query.dry_run
        || app.ledger.as_ref().is_some_and(|ledger| ledger.config().keep_features);
    Ok(())
}

fn candidate_body<'a>(model: &'a str, candidate: &Candidate) -> CandidateBody<'a> {
    let score = candidate.score.is_finite().then_some(candidate.score);
    let interval = |se: f32| [candidate.score - Z_95 * se, candidate.score + Z_95 * se];
    CandidateBody {
        model,
        score,
        score_interval: candidate.score_se.filter(|se| se.is_finite()).map(interval),
        cost_usd: candidate.cost_usd,
        latency_ms: candidate.latency_ms,
        propensity: candidate.propensity,
        eligible: candidate.excluded_by.is_none(),
        excluded_by: candidate.excluded_by.map(|exclusion| match exclusion {
            Exclusion::NotCandidate => "not_candidate",
            Exclusion::MaxCost => "max_cost_usd",
            Exclusion::MaxLatency => "max_latency_ms",
            Exclusion::Tags => "tags",
            Exclusion::Removed => "removed",
        }),
    }
}

/// The other eligible arms by descending utility; where scores are unknown, by ascending price.
fn fallbacks(served: &Served, query: &Query, decision: &Decision) -> Vec<usize> {
    let (quality, cost, latency) = match query.objective {
        _ if decision.reason.is_default_arm() => (0.0, 1.0, 0.0),
        Some(objective) => (objective.quality, objective.cost, objective.latency),
        None => (1.0, served.policy.selector.lambda() + query.price, 0.0),
    };
    let utility = |candidate: &Candidate| {
        let price = candidate.cost_usd.map_or(f64::INFINITY, f64::from);
        // A weight of 0 leaves an unknown value out of the sum.
        let weigh = |weight: f64, value: f64| if weight > 0.0 { weight * value } else { 0.0 };
        weigh(quality, f64::from(candidate.score))
            - weigh(cost, price)
            - weigh(latency, candidate.latency_ms.unwrap_or(0.0) / 1000.0)
    };
    let others = decision.candidates.iter().enumerate();
    let others = others.filter(|(arm, c)| *arm != decision.arm && c.excluded_by.is_none());
    let mut ranked: Vec<(f64, usize)> = others.map(|(arm, c)| (utility(c), arm)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranked.into_iter().map(|(_, arm)| arm).collect()
}

fn timings(staged: &Staged) -> TimingsBody {
    let us = |duration: std::time::Duration| duration.as_nanos() as f64 / 1000.0;
    let stages = &staged.stages;
    TimingsBody {
        queue_us: us(stages.queue),
        features_us: us(stages.features),
        score_us: us(stages.score),
        constraints_us: us(stages.constraints),
        batch: stages.batch,
    }
}

/// Adds what a proxy in front wants to know without reading the body.
pub(super) fn mark(response: &mut Response, served: &Served, staged: &Staged, id: &str) {
    let model = served.policy.arms.get(staged.decision.arm).map_or("", |arm| arm.model.as_str());
    let headers = response.headers_mut();
    for (name, value) in [
        ("x-router-policy", served.name.as_str()),
        ("x-router-model", model),
        ("x-router-decision-id", id),
        ("x-router-reason", reason_name(staged.decision.reason)),
    ] {
        // A model whose name no header can carry is left to the body.
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let cost_usd = staged.decision.candidates.get(staged.decision.arm).and_then(|c| c.cost_usd);
    if let Some(value) = cost_usd.and_then(|usd| HeaderValue::try_from(usd.to_string()).ok()) {
        headers.insert(HeaderName::from_static("x-router-cost-usd"), value);
    }
    let policy = Arc::clone(&served.metrics);
    let (decision_id, model) = (Some(id.to_owned()), Some(model.to_owned()));
    response.extensions_mut().insert(Decided { policy, decision_id, model });
}

/// Books a response on a policy.
pub(super) fn belongs_to(response: &mut Response, served: &Served) {
    let policy = Arc::clone(&served.metrics);
    response.extensions_mut().insert(Decided { policy, decision_id: None, model: None });
}
