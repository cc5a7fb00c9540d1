//! `POST /v1/step`: the next step of a query that takes several.

use crate::caller::Caller;
use crate::clock::now_seconds;
use crate::decide::{Ask, DecisionId, Progress, Service, Stepped};
use crate::error::{ApiError, Code};
use crate::http::decision::Attribution;
use crate::http::endpoint::{Endpoint, Kind};
use crate::http::extract::{Began, Json};
use crate::http::reply::json;
use crate::http::session;
use crate::http::wire::{Body, StepAction, StepBody, StepRequest, VersionOfPolicy};
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use routewright_data::names;
use std::sync::Arc;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    kind: Kind::Decision,
    request: Some(Body::of::<StepRequest>()),
    reply: Some(Body::of::<StepBody<'static>>()),
    errors: &[Code::UnknownCandidate, Code::NoEligibleCandidate, Code::DecisionConflict],
    ..Endpoint::post("/v1/step", "Take the next step of a query, given the answers so far", || post(handle))
};

async fn handle(
    State(service): State<Arc<Service>>,
    Extension(began): Extension<Began>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Json(request): Json<StepRequest>,
) -> Result<Response, ApiError> {
    let StepRequest { mut route, episode_id, answers, budget } = request;
    let answers = answers.unwrap_or_default();
    if let Some(Err(why)) = episode_id.as_deref().map(names::check) {
        return Err(ApiError::new(Code::InvalidRequest, format!("`episode_id` {why}")).param("episode_id"));
    }
    if !answers.is_empty() && (episode_id.is_none() || route.seed.is_none()) {
        let message = "answers belong to an episode: give the `episode_id` and the `seed` of its first reply";
        return Err(ApiError::new(Code::InvalidRequest, message).param("episode_id"));
    }
    let named = route.request.as_ref().and_then(session::of_body);
    route.session_id = route.session_id.or_else(|| session::of_headers(&headers)).or(named);
    let id = DecisionId::draw();
    let ask = Ask { policy: route.policy.take(), query: route.into_query(id.seed), id };
    let progress = Progress {
        episode_id,
        answers: answers.into_iter().map(|answer| answer.into_answer()).collect(),
        budget: budget.map(Into::into).unwrap_or_default(),
    };
    match service.step(ask, progress, &caller, began.0).await {
        Ok(stepped) => reply(&stepped),
        Err(failure) => Ok(failure.into_response()),
    }
}

fn reply(stepped: &Stepped) -> Result<Response, ApiError> {
    let (served, query, taken) = (stepped.served(), &stepped.query, &stepped.taken);
    let step = &taken.step;
    let action = StepAction::of(&step.action, &served.policy, &query.text, taken.first_call, &taken.answers)?;
    let mut response = json(&StepBody {
        object: "routing.step",
        episode_id: &stepped.episode_id,
        id: &stepped.id,
        step: taken.number,
        created: now_seconds(),
        policy: VersionOfPolicy {
            name: &served.name,
            version: &served.version,
            digest: &served.policy.digest,
            state: stepped.assignment.state,
        },
        program: served.policy.program.name(),
        action,
        propensity: step.propensity(),
        reason: step.reason.name(),
        certain: step.certain,
        seed: query.seed,
        spent_usd: taken.spent_usd,
        elapsed_ms: taken.elapsed_ms,
        dry_run: query.dry_run,
    })?;
    let policy = Arc::clone(&served.metrics);
    let decision_id = Some(stepped.id.clone());
    response.extensions_mut().insert(Attribution { policy, decision_id, model: None });
    Ok(response)
}
