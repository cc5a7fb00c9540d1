//! `POST /v1/chat/completions` and `POST /v1/completions`: answers of models that the server calls, and of fused
//! models, whole or streamed.

use crate::clock::now_seconds;
use crate::decide::answer::Gateway;
use crate::dialect::Dialect;
use crate::error::{ApiError, Code};
use crate::http::answer;
use crate::http::endpoint::{Endpoint, Kind};
use crate::http::extract::{From, Raw};
use crate::http::offload::Offload;
use crate::http::reply::json;
use crate::http::wire::{self, Answering, Body as Schema, CompletionShape, ErrorBody};
use crate::ids;
use crate::live::fusion::{self, Fusions, Progress, Writing};
use crate::live::{InService, Served};
use crate::log::{Level, Log};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_core::Stream;
use routewright_decoder::ensemble::Ensemble;
use serde_json::{Value, json as object};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

const CHAT_TITLE: &str =
    "Answer a chat: routed, by a model named, or by a fused model; streams where asked to";
const TEXT_TITLE: &str =
    "Continue a prompt: routed, by a model named, or by a fused model; streams where asked to";

pub(crate) const CHAT: Endpoint = Endpoint {
    kind: Kind::Answer,
    request: Some(Schema::of::<wire::ChatRequest>()),
    reply: Some(Schema::of::<wire::ChatCompletion>()),
    errors: &[Code::NoEligibleCandidate],
    ..Endpoint::post("/v1/chat/completions", CHAT_TITLE, || post(chat))
};

pub(crate) const TEXT: Endpoint = Endpoint {
    kind: Kind::Answer,
    request: Some(Schema::of::<wire::CompletionRequest>()),
    reply: Some(Schema::of::<wire::Completion>()),
    errors: &[Code::NoEligibleCandidate],
    ..Endpoint::post("/v1/completions", TEXT_TITLE, || post(text))
};

async fn chat(
    State(live): State<Arc<InService>>,
    State(fusions): State<Arc<Fusions>>,
    State(gateway): State<Arc<Gateway>>,
    State(offload): State<Offload>,
    State(log): State<Log>,
    from: From,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    if let Some(response) = answer::by_models(&gateway, &offload, Dialect::Chat, &body, from).await? {
        return Ok(response);
    }
    let length = body.len();
    let read = move || wire::parse::<wire::ChatRequest>(&body);
    let request = offload.run(length, read).await??;
    let ensemble = find(&fusions, &live, request.model(), "/route/v1/chat/completions")?;
    reply(&fusions, ensemble, log, request.into_asked()?, CompletionShape::Chat).await
}

async fn text(
    State(live): State<Arc<InService>>,
    State(fusions): State<Arc<Fusions>>,
    State(gateway): State<Arc<Gateway>>,
    State(offload): State<Offload>,
    State(log): State<Log>,
    from: From,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    if let Some(response) = answer::by_models(&gateway, &offload, Dialect::Completions, &body, from).await? {
        return Ok(response);
    }
    let length = body.len();
    let read = move || wire::parse::<wire::CompletionRequest>(&body);
    let request = offload.run(length, read).await??;
    let ensemble = find(&fusions, &live, request.model(), "/v1/route")?;
    reply(&fusions, ensemble, log, request.into_asked()?, CompletionShape::Text).await
}

/// The fused model of a name. Where the name is one that is decided about, the error says how; before the body is read
/// for fusion, which accepts less.
fn find<'a>(
    fusions: &'a Fusions,
    live: &InService,
    model: &str,
    instead: &str,
) -> Result<&'a Arc<Ensemble>, ApiError> {
    fusions.find(model).map_err(|error| {
        let live = live.load();
        let is_arm = |served: &Arc<Served>| served.policy.arms.iter().any(|arm| arm.model == model);
        let is_decided = model.starts_with("routewright/")
            || model.starts_with("router-")
            || live.policies.values().any(is_arm)
            || fusions.models.is_empty();
        if !is_decided || live.policies.is_empty() {
            return error;
        }
        let message = format!(
            "`{model}` is not answered here: this server decides which model answers, it does not call models. POST \
             the request to {instead} and call the model named in `action.model` yourself (docs/http.md, Clients)"
        );
        ApiError::new(Code::ModelNotFound, message).param("model")
    })
}

pub(crate) async fn reply(
    fusions: &Fusions,
    ensemble: &Arc<Ensemble>,
    log: Log,
    asked: wire::Asked,
    shape: CompletionShape,
) -> Result<Response, ApiError> {
    let ask = asked.ask(ensemble)?;
    let id = format!("{}-{}", shape.id_prefix(), ids::fresh().simple());
    let answering = Answering { id, model: asked.model.clone(), created: now_seconds(), shape };
    let mut writing = fusions.write(ensemble, ask)?;
    if asked.stream {
        let lines = VecDeque::from(answering.first_chunk());
        let with_usage = asked.with_usage;
        let events = Events { log, writing, answering, lines, with_usage, over: false };
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        return Ok((headers, Body::from_stream(events)).into_response());
    }
    loop {
        match writing.progress.recv().await {
            Some(Progress::Piece(_)) => {}
            Some(Progress::Done(answer)) => {
                let answer = answer.as_ref().as_ref().map_err(fusion::refused)?;
                return json(&answering.whole(answer));
            }
            None => {
                return Err(ApiError::new(Code::Internal, "the answer ended without an end"));
            }
        }
    }
}

/// Server-sent events of an answer; dropped with the connection, it cancels the answer.
struct Events {
    log: Log,
    writing: Writing,
    answering: Answering,
    lines: VecDeque<Value>,
    with_usage: bool,
    over: bool,
}

impl Stream for Events {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                let end = if self.over && self.lines.is_empty() { "data: [DONE]\n\n" } else { "" };
                return Poll::Ready(Some(Ok(Bytes::from(format!("data: {line}\n\n{end}")))));
            }
            if self.over {
                return Poll::Ready(None);
            }
            let progress = std::task::ready!(self.writing.progress.poll_recv(context));
            self.take(progress);
        }
    }
}

impl Events {
    fn take(&mut self, progress: Option<Progress>) {
        match progress {
            Some(Progress::Piece(piece)) => self.lines.push_back(self.answering.chunk(&piece)),
            Some(Progress::Done(answer)) => {
                self.over = true;
                match &*answer {
                    Ok(answer) => self.lines.extend(self.answering.last_chunks(answer, self.with_usage)),
                    Err(error) => {
                        // The status has been sent: this line is the only place an account can be given.
                        let fields = object!({ "id": self.answering.id, "inside": error.to_string() });
                        self.log.event(Level::Error, "fusion_failed", fields);
                        let body = ErrorBody::of(&fusion::refused(error));
                        self.lines.push_back(object!(body));
                    }
                }
            }
            None => self.over = true,
        }
    }
}
