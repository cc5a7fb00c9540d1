//! Fused models as arms: the two APIs of a server of models, which the gateway calls within this process.

use crate::error::ApiError;
use crate::http::handlers::completions::reply;
use crate::http::wire::{self, CompletionShape};
use crate::live::fusion::Fusions;
use crate::log::{Level, Log};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::post;
use serde_json::json;
use std::sync::Arc;

#[derive(Debug, Clone)]
struct Fused {
    fusions: Arc<Fusions>,
    log: Log,
}

/// The routes; the body was bounded when it came in.
pub(crate) fn routes(fusions: &Arc<Fusions>, log: &Log) -> Router {
    Router::new()
        .route("/chat/completions", post(chat))
        .route("/completions", post(text))
        .layer(DefaultBodyLimit::disable())
        .with_state(Fused { fusions: Arc::clone(fusions), log: log.clone() })
}

async fn chat(State(fused): State<Fused>, body: Bytes) -> Result<Response, ApiError> {
    let request = wire::parse::<wire::ChatRequest>(&body)?;
    let name = request.model().to_owned();
    fused.answer(&name, request.into_asked()?, CompletionShape::Chat).await
}

async fn text(State(fused): State<Fused>, body: Bytes) -> Result<Response, ApiError> {
    let request = wire::parse::<wire::CompletionRequest>(&body)?;
    let name = request.model().to_owned();
    fused.answer(&name, request.into_asked()?, CompletionShape::Text).await
}

impl Fused {
    async fn answer(
        &self,
        name: &str,
        asked: wire::Asked,
        shape: CompletionShape,
    ) -> Result<Response, ApiError> {
        let ensemble = self.fusions.find(name)?;
        let answered = reply(&self.fusions, ensemble, self.log.clone(), asked, shape).await;
        answered.inspect_err(|error| {
            // The arm's caller gets the status alone, so the reason is given here.
            if let Some(inside) = &error.inside {
                self.log.event(Level::Error, "fusion_failed", json!({ "model": name, "inside": inside }));
            }
        })
    }
}
