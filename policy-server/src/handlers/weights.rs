//! `POST /v1/weights`: how much each member of an ensemble counts for what follows a state.

use super::answer;
use super::{ApiError, Bytes, BytesRejection, json};
use crate::state::App;
use crate::wire::{self, WeightsReply, WeightsRequest};
use axum::extract::State;
use axum::response::Response;
use routewright_policy::env::{self, PolicyWeights};
use std::sync::Arc;

pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = super::body(&app, body)?;
    let request: WeightsRequest = wire::parse(&body)?;
    let live = app.live.load();
    let served = live.find(request.policy.as_deref())?;
    let state = env::State { prompt: &request.prompt, text: &request.text, span: request.span };
    let weights = PolicyWeights(Arc::clone(&served.policy)).weights(&state)?;
    let reply = WeightsReply {
        policy: served.name.clone(),
        version: served.version.clone(),
        models: served.policy.arms.iter().map(|arm| arm.model.clone()).collect(),
        weights,
        span: served.policy.manifest.params.get("span").cloned(),
    };
    let mut response = json(&reply)?;
    answer::belongs_to(&mut response, served);
    Ok(response)
}
