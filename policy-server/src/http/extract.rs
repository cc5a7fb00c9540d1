//! What handlers take out of a request: its body as bytes or JSON, and the log where there must be one.

use crate::caller::Caller;
use crate::error::{ApiError, Code};
use crate::http::offload::Offload;
use crate::http::parts::Parts;
use crate::http::wire;
use crate::ledger::Ledger;
use crate::settings::Limits;
use axum::body::Bytes;
use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, StatusCode, request};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Instant;

/// When a request began; handlers measure their deadline from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Began(pub(crate) Instant);

/// From whom a request is and when it began, with its headers.
#[derive(Debug)]
pub(crate) struct From {
    pub(crate) began: Began,
    pub(crate) caller: Caller,
    pub(crate) headers: HeaderMap,
}

/// The body as it came.
#[derive(Debug)]
pub(crate) struct Raw(pub(crate) Bytes);

/// The body, read as JSON.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

/// The log; a server without one refuses the request.
#[derive(Debug)]
pub(crate) struct Logged(pub(crate) Arc<Ledger>);

impl FromRequestParts<Parts> for From {
    type Rejection = ApiError;

    async fn from_request_parts(request: &mut request::Parts, _: &Parts) -> Result<Self, ApiError> {
        let missing = || ApiError::internal("the guard did not say from whom a request is");
        let began = request.extensions.get::<Began>().copied().ok_or_else(missing)?;
        let caller = request.extensions.get::<Caller>().cloned().ok_or_else(missing)?;
        Ok(Self { began, caller, headers: request.headers.clone() })
    }
}

impl FromRequest<Parts> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, parts: &Parts) -> Result<Self, ApiError> {
        let body = Bytes::from_request(request, parts).await;
        body.map(Self).map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let max = Limits::from_ref(parts).body_bytes_max;
                ApiError::new(Code::BodyTooLarge, format!("the body is longer than {max} bytes"))
            }
            _ => ApiError::new(Code::InvalidRequest, "the body could not be read to its end"),
        })
    }
}

impl<T: DeserializeOwned + Send + 'static> FromRequest<Parts> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, parts: &Parts) -> Result<Self, ApiError> {
        let Raw(body) = Raw::from_request(request, parts).await?;
        Offload::from_ref(parts).run(body.len(), move || wire::parse(&body)).await?.map(Self)
    }
}

impl FromRequestParts<Parts> for Logged {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut request::Parts, parts: &Parts) -> Result<Self, ApiError> {
        Option::<Arc<Ledger>>::from_ref(parts).map(Self).ok_or_else(|| {
            let message = "this server logs nothing: no section [store] is configured";
            ApiError::new(Code::NoStore, message)
        })
    }
}
