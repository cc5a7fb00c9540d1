//! `POST /v1/chat/completions` and `POST /v1/completions`: answers of fused models, whole or streamed.

use super::{ApiError, Bytes, BytesRejection};
use crate::clock::now_seconds;
use crate::error::Code;
use crate::fusion::{self, Told, Writing};
use crate::log::Level;
use crate::state::{App, Served};
use crate::wire::{self, Answering, CompletionShape};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use routewright_decoder::ensemble::Ensemble;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pub(crate) async fn chat(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = super::body(&app, body)?;
    let request: wire::ChatRequest = super::parse(&app, body).await?;
    find(&app, request.model(), "/route/v1/chat/completions")?;
    let asked = request.into_asked()?;
    reply(&app, asked, CompletionShape::Chat).await
}

pub(crate) async fn text(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = super::body(&app, body)?;
    let request: wire::CompletionRequest = super::parse(&app, body).await?;
    find(&app, request.model(), "/v1/route")?;
    let asked = request.into_asked()?;
    reply(&app, asked, CompletionShape::Text).await
}

/// The fused model of a name. Where the name is one that is decided about, the error says how; before the body is read
/// for fusion, which accepts less.
fn find<'a>(app: &'a App, model: &str, instead: &str) -> Result<&'a Arc<Ensemble>, ApiError> {
    app.fusions.find(model).map_err(|error| {
        let live = app.live.load();
        let is_arm = |served: &Arc<Served>| served.policy.arms.iter().any(|arm| arm.model == model);
        let is_decided = model.starts_with("routewright/")
            || model.starts_with("router-")
            || live.policies.values().any(is_arm)
            || app.fusions.models.is_empty();
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

async fn reply(app: &Arc<App>, asked: wire::Asked, shape: CompletionShape) -> Result<Response, ApiError> {
    let ensemble = find(app, &asked.model, "/v1/route")?;
    let ask = asked.ask(ensemble)?;
    let created = now_seconds();
    let id = format!("{}-{}", shape.id_prefix(), crate::ids::fresh().simple());
    let answering = Answering { id, model: asked.model.clone(), created, shape };
    let mut writing = app.fusions.write(ensemble, ask)?;
    if asked.stream {
        let lines = VecDeque::from(answering.first_chunk());
        let (app, with_usage) = (Arc::clone(app), asked.with_usage);
        let events = Events { app, writing, answering, lines, with_usage, over: false };
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        return Ok((headers, Body::from_stream(events)).into_response());
    }
    loop {
        match writing.told.recv().await {
            Some(Told::Piece(_)) => {}
            Some(Told::Done(answer)) => {
                let answer = answer.as_ref().as_ref().map_err(fusion::refused)?;
                return super::json(&answering.whole(answer));
            }
            None => {
                return Err(ApiError::new(Code::Internal, "the answer ended without an end"));
            }
        }
    }
}

/// Server-sent events of an answer; dropped with the connection, it cancels the answer.
struct Events {
    app: Arc<App>,
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
            let told = std::task::ready!(self.writing.told.poll_recv(context));
            self.take(told);
        }
    }
}

impl Events {
    fn take(&mut self, told: Option<Told>) {
        match told {
            Some(Told::Piece(piece)) => self.lines.push_back(self.answering.chunk(&piece)),
            Some(Told::Done(answer)) => {
                self.over = true;
                match &*answer {
                    Ok(answer) => self.lines.extend(self.answering.last_chunks(answer, self.with_usage)),
                    Err(error) => {
                        // The status has been sent: this line is the only place an account can be given.
                        let fields = json!({ "id": self.answering.id, "inside": error.to_string() });
                        self.app.log.event(Level::Error, "fusion_failed", fields);
                        self.lines.push_back(fusion::refused(error).body());
                    }
                }
            }
            None => self.over = true,
        }
    }
}
