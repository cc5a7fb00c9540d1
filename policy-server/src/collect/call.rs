//! One call of a model over HTTP, and what a failure means: once more, later, or not at all.

use super::reply::Reply;
use crate::clock::{now_ms, now_seconds};
use crate::dialect::Dialect;
use crate::dialect::failure::{self, Failure, Kind};
use crate::dialect::json::Value as Scanned;
use crate::dialect::splice::Body;
use crate::dialect::translate::{self, Frame, Target};
use crate::settings::ModelDialect;
use crate::upstream::{CallError, Chunks, Outgoing, Upstream, Verdict};
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of an error that are read.
const ERROR_BYTES_MAX: usize = 256 << 10;
/// Longest wait a server can ask for; a longer one fails the call.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// Characters of what a server said that are kept.
const SAID_MAX: usize = 300;
/// Wait for a place among the calls of a model.
const BUSY: Duration = Duration::from_millis(50);

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing was sent: the same try, later.
    Later(Duration),
    /// Another try, after as long as the server asks where it does.
    Again(Option<Duration>),
    /// Nothing: another try would end the same way.
    Never,
}

/// A try that brought no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) why: String,
    pub(super) then: Then,
    /// Whether the server may have written an answer and count it.
    pub(super) is_paid_maybe: bool,
}

/// Sends a request of chat and reads the answer.
///
/// # Errors
/// If there is none.
pub(super) async fn call(
    upstream: &Arc<Upstream>,
    body: &serde_json::Value,
    max_tokens: u64,
) -> Result<Reply, Trouble> {
    let never = |why: String| Trouble { why, then: Then::Never, is_paid_maybe: false };
    let (dialect, path) = match upstream.config().dialect {
        ModelDialect::Openai => (Dialect::Chat, "/chat/completions"),
        ModelDialect::Anthropic => (Dialect::Messages, "/messages"),
    };
    let mut sent = body.to_string();
    if dialect != Dialect::Chat {
        let body = Body::read(sent.as_bytes()).map_err(|error| never(error.to_string()))?;
        let target = Target { model: upstream.model().to_owned(), max_tokens, ..Target::default() };
        let made = translate::request(Dialect::Chat, dialect, &body, &target);
        let made = made.map_err(|refused| never(format!("the request cannot be translated: {refused}")))?;
        sent = made.body;
    }
    let headers = HeaderMap::new();
    let outgoing = Outgoing { path, body: vec![Bytes::from(sent)], caller: &headers, streams: false };
    let (began, at_ms) = (Instant::now(), now_ms());
    let deadline = began + Duration::from_millis(upstream.config().timeout_ms);
    let reply = upstream.send(&outgoing, deadline).await.map_err(|error| of_call(&error))?;
    let mut chunks = reply.chunks;
    if reply.status != StatusCode::OK {
        let said = read(&mut chunks, ERROR_BYTES_MAX).await.unwrap_or_default();
        let header = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok());
        let now = u64::try_from(now_ms()).unwrap_or_default();
        let mut failure = failure::of_status(reply.status.as_u16(), &header, &said, now);
        if reply.status.as_u16() < 400 {
            failure.kind = Kind::Invalid;
        }
        // Pauses and the count of failures are the collection's own.
        chunks.judge(Verdict::Neutral);
        let status = reply.status.as_u16();
        return Err(of_failure(&failure, &format!("it replied with status {status}")));
    }
    let said = read(&mut chunks, usize::MAX).await;
    let said = said.map_err(|error| of_call(&error))?;
    let latency_ms = began.elapsed().as_secs_f64() * 1000.0;
    let reply = answer(dialect, &said, upstream)?;
    Ok(Reply { latency_ms, at_ms, ..reply })
}

/// The answer in a body of status 200.
fn answer(dialect: Dialect, said: &[u8], upstream: &Upstream) -> Result<Reply, Trouble> {
    let failure = failure::of_reply(dialect, said);
    // A refusal is an answer, if none that helps.
    if let Some(failure) = failure.filter(|failure| failure.kind != Kind::Refused) {
        return Err(of_failure(&failure, "its reply under status 200 is no answer"));
    }
    let garbled = |why: String| {
        let failure = Failure::without_reply(Kind::Malformed, why);
        of_failure(&failure, "its reply under status 200 is no answer")
    };
    let scanned = Scanned::read(said).map_err(|error| garbled(error.to_string()))?;
    let chat = match dialect {
        Dialect::Chat => serde_json::from_slice(said).map_err(|error| garbled(error.to_string()))?,
        _ => {
            let frame = Frame { created: now_seconds(), ..Frame::default() };
            let made = translate::reply(dialect, Dialect::Chat, said, &frame);
            let made = made.map_err(|failure| garbled(failure.message))?;
            serde_json::from_str(&made.body).map_err(|error| garbled(error.to_string()))?
        }
    };
    let mut reply = Reply::of_chat(&chat);
    reply.count(scanned, dialect, upstream.tariff());
    Ok(reply)
}

async fn read(chunks: &mut Chunks, bytes_max: usize) -> Result<Vec<u8>, CallError> {
    let mut all = Vec::new();
    while all.len() < bytes_max
        && let Some(piece) = chunks.next().await
    {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}

/// A call that brought no reply, or whose reply broke off.
fn of_call(error: &CallError) -> Trouble {
    let (then, is_paid_maybe) = match error {
        CallError::Resting { until } => {
            (Then::Later(until.saturating_duration_since(Instant::now()).max(BUSY)), false)
        }
        CallError::Busy { .. } => (Then::Later(BUSY), false),
        CallError::Connect { .. } => (Then::Again(None), false),
        CallError::TimedOut { .. } | CallError::Broken { .. } => (Then::Again(None), true),
        CallError::TooLong { .. } => (Then::Never, true),
        CallError::Forbidden | CallError::Request { .. } => (Then::Never, false),
    };
    Trouble { why: error.to_string(), then, is_paid_maybe }
}

fn of_failure(failure: &Failure, what: &str) -> Trouble {
    let wait = failure.wait_ms.map(Duration::from_millis);
    let then = match failure.kind {
        Kind::RateLimit | Kind::Overloaded | Kind::Server | Kind::Unreachable | Kind::Timeout => {
            if wait.is_some_and(|wait| wait > WAIT_MAX) { Then::Never } else { Then::Again(wait) }
        }
        Kind::Malformed => Then::Again(None),
        _ => Then::Never,
    };
    let said: String = failure.message.chars().take(SAID_MAX).collect();
    let said = if said.trim().is_empty() { String::new() } else { format!(": {}", said.trim()) };
    let why = format!("{what} ({}){said}", failure.kind.name());
    Trouble { why, then, is_paid_maybe: failure.kind == Kind::Malformed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_whether_to_try_again_and_whether_they_may_be_billed() {
        let of = |status: u16, body: &str, after: Option<&'static str>| {
            let header = move |name: &str| after.filter(|_| name == "retry-after");
            of_failure(&failure::of_status(status, &header, body.as_bytes(), 0), "it replied")
        };
        assert_eq!(of(429, "{}", Some("2")).then, Then::Again(Some(Duration::from_secs(2))));
        assert_eq!(of(429, "{}", Some("3000")).then, Then::Never, "longer than a collection waits");
        assert_eq!(of(500, "oops", None).then, Then::Again(None));
        assert_eq!(of(401, "{}", None).then, Then::Never);
        assert_eq!(of(402, "{}", None).then, Then::Never);
        assert!(of(400, "{\"error\":{\"message\":\"no such field\"}}", None).why.contains("no such field"));
        let garbled = failure::of_reply(Dialect::Chat, b"<html>").unwrap();
        let trouble = of_failure(&garbled, "x");
        assert_eq!((trouble.then, trouble.is_paid_maybe), (Then::Again(None), true));
        assert!(of_call(&CallError::TooLong { max: 1 }).is_paid_maybe);
        assert_eq!(of_call(&CallError::Busy { max: 1 }).then, Then::Later(BUSY));
    }
}
