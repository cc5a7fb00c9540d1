//! `POST /v1/responses`, `/v1/messages` and `/v1/embeddings`: answers of models that the server calls, whole or
//! streamed.

use crate::decide::answer::Gateway;
use crate::dialect::Dialect;
use crate::error::{ApiError, Code};
use crate::http::answer;
use crate::http::endpoint::{Endpoint, Kind};
use crate::http::extract::{From, Raw};
use crate::http::offload::Offload;
use crate::http::wire::{AnswerOfModel, Body, EmbeddingsRequest, PlainMessages, PlainResponses};
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use std::sync::Arc;

pub(crate) const RESPONSES: Endpoint = Endpoint {
    kind: Kind::Answer,
    shape: Dialect::Responses,
    request: Some(Body::of::<PlainResponses>()),
    reply: Some(Body::of::<AnswerOfModel>()),
    errors: &[Code::NoEligibleCandidate],
    ..Endpoint::post(
        "/v1/responses",
        "Answer a request of the OpenAI Responses API; streams where asked to",
        || post(responses),
    )
};

pub(crate) const MESSAGES: Endpoint = Endpoint {
    kind: Kind::Answer,
    shape: Dialect::Messages,
    request: Some(Body::of::<PlainMessages>()),
    reply: Some(Body::of::<AnswerOfModel>()),
    errors: &[Code::NoEligibleCandidate],
    ..Endpoint::post(
        "/v1/messages",
        "Answer a request of the Anthropic Messages API; streams where asked to",
        || post(messages),
    )
};

pub(crate) const EMBEDDINGS: Endpoint = Endpoint {
    kind: Kind::Answer,
    shape: Dialect::Embeddings,
    request: Some(Body::of::<EmbeddingsRequest>()),
    reply: Some(Body::of::<AnswerOfModel>()),
    errors: &[Code::NoEligibleCandidate],
    ..Endpoint::post("/v1/embeddings", "Embed texts with a model", || post(embeddings))
};

async fn responses(
    State(gateway): State<Arc<Gateway>>,
    State(offload): State<Offload>,
    from: From,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    answer_in(Dialect::Responses, &gateway, &offload, body, from).await
}

async fn messages(
    State(gateway): State<Arc<Gateway>>,
    State(offload): State<Offload>,
    from: From,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    answer_in(Dialect::Messages, &gateway, &offload, body, from).await
}

async fn embeddings(
    State(gateway): State<Arc<Gateway>>,
    State(offload): State<Offload>,
    from: From,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    answer_in(Dialect::Embeddings, &gateway, &offload, body, from).await
}

async fn answer_in(
    api: Dialect,
    gateway: &Arc<Gateway>,
    offload: &Offload,
    body: Bytes,
    from: From,
) -> Result<Response, ApiError> {
    let answered = answer::by_models(gateway, offload, api, &body, from).await?;
    answered.ok_or_else(|| {
        let message = match gateway.upstreams.is_empty() {
            true => "this server calls no models: it has no section [models.NAME]; POST to /route/v1/... to decide",
            false => "fused models answer /v1/chat/completions and /v1/completions",
        };
        ApiError::new(Code::NoEligibleCandidate, message).param("model")
    })
}
