//! One call: leave, a place, a connection, the request, the head of the reply.

use super::error::{CallError, reason};
use super::headers::back;
use super::pool::Connection;
use super::request::{Outgoing, Pieces};
use super::{Reply, Upstream, Verdict};
use axum::http::{HeaderMap, Method, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest head of a reply, bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most headers of a reply.
const HEADERS_MAX: usize = 128;

/// A connection and the reply that begins on it.
type Answered = (Connection, Response<Incoming>);

impl Upstream {
    /// Sends a request and waits for the head of its reply, whatever its status. Dropped, the call is given up and its
    /// connection ends. The deadline bounds the whole call, the body of the reply included.
    ///
    /// # Errors
    /// If it is left alone, is busy, or no head came; that counts against it where its server is to blame.
    pub(crate) async fn send(
        self: &Arc<Self>,
        outgoing: &Outgoing<'_>,
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        let began = Instant::now();
        let mut leave = self.breaker.admit(began).map_err(|until| CallError::Resting { until })?;
        let max = self.config.concurrent_max;
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| CallError::Busy { max })?;
        self.retries.earn();
        let total = Duration::from_millis(self.config.timeout_ms);
        let end = began.checked_add(total).map_or(deadline, |end| end.min(deadline));
        let headers = self.headers(outgoing.caller, outgoing.streams);
        let answered = self.answered(outgoing, &headers, began, end).await;
        let (connection, response) = answered.inspect_err(|error| {
            if error.counts() {
                leave.settle(Verdict::Failed);
            }
        })?;
        let (parts, body) = response.into_parts();
        let is_encoded = parts.headers.contains_key("content-encoding");
        let headers = back(&parts.headers);
        let limits = super::reply::BodyLimits {
            began,
            first_by: self.first_by(began, end),
            idle: Duration::from_millis(self.config.idle_timeout_ms),
            end,
            bytes_max: self.config.answer_bytes_max,
        };
        let held =
            super::reply::Held { upstream: Arc::clone(self), connection: Some(connection), _slot: slot };
        Ok(Reply::new(parts.status, headers, is_encoded, body, limits, held, leave))
    }

    fn first_by(&self, began: Instant, end: Instant) -> Instant {
        let first = Duration::from_millis(self.config.first_byte_timeout_ms);
        began.checked_add(first).map_or(end, |by| by.min(end))
    }

    /// The head of the reply. A kept connection may have been closed by the other side meanwhile: then the request goes
    /// out once more on a fresh one.
    async fn answered(
        &self,
        outgoing: &Outgoing<'_>,
        headers: &HeaderMap,
        began: Instant,
        end: Instant,
    ) -> Result<Answered, CallError> {
        let by = self.first_by(began, end);
        let mut kept = self.pool.take();
        loop {
            let (mut connection, is_kept) = match kept.take() {
                Some(connection) => (connection, true),
                None => (self.open(end).await?, false),
            };
            let request = self.request(outgoing, headers)?;
            let sending = async {
                if is_kept && connection.sender.ready().await.is_err() {
                    return None;
                }
                Some(connection.sender.try_send_request(request).await)
            };
            let Some(sent) = tokio::time::timeout_at(by.into(), sending).await.transpose() else { continue };
            match sent {
                Ok(Ok(response)) => return Ok((connection, response)),
                Ok(Err(failed)) => {
                    let (is_unsent, error) = (failed.message().is_some(), failed.into_error());
                    let is_stale =
                        is_kept && (is_unsent || error.is_incomplete_message() || error.is_closed());
                    if !is_stale {
                        return Err(CallError::Broken { reason: reason(&error) });
                    }
                }
                Err(_) => {
                    let limit = by.saturating_duration_since(began);
                    return Err(CallError::TimedOut { what: "the first byte of the answer", limit });
                }
            }
        }
    }

    async fn open(&self, end: Instant) -> Result<Connection, CallError> {
        let limit = Duration::from_millis(self.config.connect_timeout_ms);
        let limit = limit.min(end.saturating_duration_since(Instant::now()));
        let io = self.connector.connect(limit).await?;
        let mut builder = http1::Builder::new();
        builder.max_header_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
        let (sender, connection) = builder
            .handshake::<_, Pieces>(TokioIo::new(io))
            .await
            .map_err(|error| CallError::Connect { reason: reason(&error) })?;
        let task = tokio::spawn(async move {
            // Whoever waits for the reply hears of an error too.
            let _heard = connection.await;
        });
        Ok(Connection::new(sender, task))
    }

    fn request(&self, outgoing: &Outgoing<'_>, headers: &HeaderMap) -> Result<Request<Pieces>, CallError> {
        let refuse = |error: axum::http::Error| CallError::Request { reason: reason(&error) };
        let path = format!("{}{}", self.url.path, outgoing.path);
        let uri = Uri::try_from(path).map_err(|error| refuse(error.into()))?;
        let request = Request::builder().method(Method::POST).uri(uri).body(Pieces::new(&outgoing.body));
        let mut request = request.map_err(refuse)?;
        *request.headers_mut() = headers.clone();
        Ok(request)
    }
}
