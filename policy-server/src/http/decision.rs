//! A decision on its way out: the JSON of it, the headers beside it, and the policy the reply is booked on.

use crate::clock::now_seconds;
use crate::decide::{Decided, Failure};
use crate::http::wire::{
    ActionBody, CandidateBody, DecisionBody, EvidenceBody, ExplorationBody, FlipBody, NeighborBody,
    SessionBody, TimingsBody, VersionOfPolicy,
};
use crate::live::Served;
use crate::live::metrics::{PolicyMetrics, reason_name};
use crate::live::query::{Explain, Query};
use crate::live::stages::Computed;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use routewright_policy::evidence::{Basis, UNOBSERVED};
use routewright_policy::{Candidate, Decision, Evidence, Exclusion};
use std::sync::Arc;

/// Half width of a 95 % interval in standard errors of a normal distribution.
const Z_95: f32 = 1.959_964;

/// Extension of a response: the policy it is booked on, for the counts and the log of requests.
#[derive(Debug, Clone)]
pub(crate) struct Attribution {
    pub(crate) policy: Arc<PolicyMetrics>,
    /// Id of the decision; `None` where the reply is not one decision.
    pub(crate) decision_id: Option<String>,
    /// The model it chose.
    pub(crate) model: Option<String>,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.error.into_response();
        if let Some(policy) = self.policy {
            response.extensions_mut().insert(Attribution { policy, decision_id: None, model: None });
        }
        response
    }
}

/// Books a response on the policy of a decision.
pub(crate) fn attribute(response: &mut Response, decided: &Decided) {
    let policy = Arc::clone(&decided.served().metrics);
    response.extensions_mut().insert(Attribution { policy, decision_id: None, model: None });
}

/// Adds what a proxy in front wants to know without reading the body, and books the response.
pub(crate) fn mark(response: &mut Response, decided: &Decided) {
    let (served, decision) = (decided.served(), &decided.computed.decision);
    let headers = response.headers_mut();
    for (name, value) in [
        ("x-router-policy", served.name.as_str()),
        ("x-router-model", decided.model()),
        ("x-router-decision-id", &decided.id),
        ("x-router-reason", reason_name(decision.reason)),
    ] {
        // A model whose name no header can carry is left to the body.
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let cost_usd = decision.candidates.get(decision.arm).and_then(|candidate| candidate.cost_usd);
    if let Some(value) = cost_usd.and_then(|usd| HeaderValue::try_from(usd.to_string()).ok()) {
        headers.insert(HeaderName::from_static("x-router-cost-usd"), value);
    }
    let policy = Arc::clone(&served.metrics);
    let (decision_id, model) = (Some(decided.id.clone()), Some(decided.model().to_owned()));
    response.extensions_mut().insert(Attribution { policy, decision_id, model });
}

/// The JSON of a decision.
pub(crate) fn describe(decided: &Decided) -> DecisionBody<'_> {
    let Decided { assignment, query, id, computed } = decided;
    let (served, decision) = (decided.served(), &computed.decision);
    let model = |arm: usize| served.policy.arms.get(arm).map_or("", |arm| arm.model.as_str());
    let selector = || served.policy.manifest.selector.name.as_str();
    let strategy = match (decision.reason.is_default_arm(), query.objective) {
        (true, _) => "default_arm",
        (false, Some(_)) => "utility",
        (false, None) => selector(),
    };
    let explained = query.explain != Explain::None;
    let describe_candidate = |(arm, candidate)| candidate_body(model(arm), candidate);
    let candidates = || decision.candidates.iter().enumerate().map(describe_candidate).collect();
    let neighborhood = decision.neighborhood.as_ref().filter(|_| query.explain == Explain::Full);
    let evidence = decision.neighborhood.as_ref().and_then(|near| near.evidence.as_ref());
    let evidence = evidence.filter(|_| explained);
    let neighborhood = neighborhood.filter(|near| evidence.is_none() || !near.query_ids.is_empty());
    let neighbors = neighborhood.map(|near| {
        let rows = near.query_ids.iter().zip(&near.similarities);
        rows.map(|(id, &similarity)| NeighborBody { id, similarity }).collect()
    });
    let flip = decision.flip.filter(|_| explained);
    DecisionBody {
        object: "routing.decision",
        notice: query.notice,
        id,
        created: now_seconds(),
        policy: VersionOfPolicy {
            name: &served.name,
            version: &served.version,
            digest: &served.policy.digest,
            state: assignment.state,
        },
        action: ActionBody { kind: "model", model: decided.model() },
        fallbacks: fallbacks(served, query, decision).into_iter().map(model).collect(),
        candidates: explained.then(candidates),
        propensity: decision.propensity,
        exploration: ExplorationBody { strategy, exact: true },
        seed: query.seed,
        reason: reason_name(decision.reason),
        explanation: evidence.map(|evidence| evidence.explain(decision, &served.policy.arms)),
        evidence: evidence.map(|evidence| evidence_body(evidence, decision, model)),
        flip: flip.map(|flip| FlipBody { lambda: flip.lambda, model: model(flip.arm) }),
        neighbors,
        session: query.session_id.as_deref().map(|id| SessionBody { id }),
        dry_run: query.dry_run,
        timings: timings(computed),
    }
}

/// The evidence for the arm taken, or where the baseline was kept, for the one that came nearest to replacing it.
fn evidence_body<'a>(
    evidence: &'a Evidence,
    decision: &Decision,
    model: impl Fn(usize) -> &'a str,
) -> EvidenceBody<'a> {
    let other = match decision.arm == evidence.baseline {
        true => evidence.challenger(decision),
        false => Some(decision.arm).filter(|arm| evidence.sd[*arm] < UNOBSERVED),
    };
    let (source, probability) = match &evidence.basis {
        Basis::Given(source) => (Some(source.as_str()), None),
        Basis::Predicted { source, probability } => (Some(source.as_str()), Some(*probability)),
        Basis::Nothing(source) => (source.as_deref(), None),
        Basis::Neighbors { .. } => (None, None),
    };
    EvidenceBody {
        baseline: model(evidence.baseline),
        source,
        source_probability: probability,
        model: other.map(&model),
        gain: other.map(|arm| evidence.gain[arm]),
        standard_error: other.map(|arm| evidence.sd[arm]),
        needed: other.map(|arm| evidence.z[arm]),
    }
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
        None => {
            let lambda = served.policy.router().map_or(0.0, |router| router.selector.lambda());
            (1.0, lambda + query.price, 0.0)
        }
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

fn timings(computed: &Computed) -> TimingsBody {
    let us = |duration: std::time::Duration| duration.as_nanos() as f64 / 1000.0;
    let stages = &computed.stages;
    TimingsBody {
        queue_us: us(stages.queue),
        features_us: us(stages.features),
        score_us: us(stages.score),
        constraints_us: us(stages.constraints),
        batch: stages.batch,
    }
}
