//! From the raw body of a request to what is asked of whom. The body itself is never parsed to be printed again.

use crate::caller::Allowance;
use crate::decide::answer::{Gateway, Question, Target};
use crate::dialect::Dialect;
use crate::dialect::needs::Needs;
use crate::dialect::splice::{Body, BodyError};
use crate::error::{ApiError, Code};
use crate::http::conversation::{self, InputFormat};
use crate::http::{session, wire};
use crate::live::query::Query;
use crate::settings::FUSION_PREFIX;
use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use routewright_policy::program::Budget;
use serde_json::Value;
use std::sync::Arc;

/// Headers that bound what all calls for a request may use, and the one that asks for the steps and their bill.
const MAX_COST: &str = "x-router-max-cost-usd";
const DEADLINE: &str = "x-router-deadline-ms";
const EXPLAIN: &str = "x-router-explain";

/// Reads a request; `None` where it is for a fused model, which has a reader of its own.
///
/// # Errors
/// If the body is no JSON object, names no model, or one that there is not.
pub(crate) fn read(
    gateway: &Gateway,
    api: Dialect,
    bytes: Bytes,
    headers: HeaderMap,
    key: &Allowance,
) -> Result<Option<(Question, Target)>, ApiError> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        let encoding = String::from_utf8_lossy(encoding.as_bytes());
        let message =
            format!("the body is encoded as `{}`, expected one that is not", encoding.escape_debug());
        return Err(ApiError::new(Code::MediaType, message));
    }
    let body = Body::read(&bytes).map_err(|error| refused(&error))?;
    let Some(model) = body.model() else {
        let message = "`model` is missing, expected `routewright/POLICY`, a model of /v1/models, or `auto`";
        return Err(ApiError::new(Code::InvalidRequest, message).param("model"));
    };
    // Whose tokens are counted asks a fused model as an arm, which has prices and counts.
    if model.starts_with(FUSION_PREFIX) && key.allows(&model) && !key.counts_tokens() {
        return Ok(None);
    }
    let (budget, explains) = (budget(&headers)?, headers.get(EXPLAIN).is_some_and(|value| value == "true"));
    let target = gateway.target(&model, key)?;
    let (streams, needs) = (body.streams(), Needs::of(api, &body));
    let query = match target {
        Target::Policy(_) => query(api, &bytes, &headers),
        // Nothing is decided.
        Target::Arm(_) => Ok(Query::default()),
    };
    let tab = Arc::default();
    Ok(Some((Question { api, body: bytes, streams, needs, headers, budget, explains, tab, query }, target)))
}

/// What all calls may use, as the headers say.
fn budget(headers: &HeaderMap) -> Result<Budget, ApiError> {
    let read = |name: &str, most: f64| {
        let Some(value) = headers.get(name) else { return Ok(None) };
        let number = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
        match number.filter(|number| (0.0..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let message = format!("the header `{name}` is no number in [0, {most}]");
                Err(ApiError::new(Code::InvalidRequest, message).param(name))
            }
        }
    };
    Ok(Budget { usd: read(MAX_COST, 1e6)?, deadline_ms: read(DEADLINE, 1e9)? })
}

fn refused(error: &BodyError) -> ApiError {
    let code = if matches!(error, BodyError::Json(_)) { Code::InvalidJson } else { Code::InvalidRequest };
    let refused = ApiError::new(code, error.to_string());
    match error.field() {
        Some(field) => refused.param(field),
        None => refused,
    }
}

/// What a policy reads of the request.
fn query(api: Dialect, bytes: &Bytes, headers: &HeaderMap) -> Result<Query, ApiError> {
    let value: Value = wire::parse(bytes)?;
    let session_id = session::of_headers(headers).or_else(|| session::of_body(&value));
    let format = match api {
        Dialect::Chat | Dialect::Gemini => InputFormat::OpenaiChat,
        Dialect::Responses => InputFormat::OpenaiResponses,
        Dialect::Messages => InputFormat::AnthropicMessages,
        Dialect::Completions => {
            return Ok(Query { text: text(&value, "prompt")?, session_id, ..Query::default() });
        }
        Dialect::Embeddings => {
            return Ok(Query { text: text(&value, "input")?, session_id, ..Query::default() });
        }
    };
    let conversation = conversation::read(format, &value).map_err(conversation::of_the_body)?;
    Ok(Query { conversation: Some(conversation), session_id, ..Query::default() })
}

/// The text of a field, or its texts joined.
fn text(body: &Value, field: &str) -> Result<String, ApiError> {
    let refuse = || {
        let message =
            format!("`{field}` is no text, expected one to decide on; name a model to send it as it is");
        ApiError::new(Code::InvalidRequest, message).param(field)
    };
    match &body[field] {
        Value::String(text) => Ok(text.clone()),
        Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            texts.filter(|texts| !texts.is_empty()).map(|texts| texts.join("\n\n")).ok_or_else(refuse)
        }
        _ => Err(refuse()),
    }
}
