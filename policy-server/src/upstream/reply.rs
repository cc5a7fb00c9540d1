//! The reply of an arm: its head, and its body in pieces, within deadlines.
//!
//! The body is read only as fast as it is asked for. Read to its end, its connection goes back to the pool; dropped
//! before, the connection is closed, so that the arm's server hears of it.

use super::breaker::Leave;
use super::error::{CallError, reason};
use super::pool::Connection;
use super::{Upstream, Verdict};
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

/// How long a body may take, and how long it may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    pub(super) began: Instant,
    pub(super) first_by: Instant,
    pub(super) idle: Duration,
    pub(super) end: Instant,
    pub(super) bytes_max: usize,
}

/// What a call holds until its body was read or dropped.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) upstream: Arc<Upstream>,
    pub(super) connection: Option<Connection>,
    pub(super) _slot: OwnedSemaphorePermit,
}

/// The head of a reply, and its body to come.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// What of the arm's headers the caller gets.
    pub(crate) headers: HeaderMap,
    /// Whether the body is compressed although the request forbade it.
    pub(crate) is_encoded: bool,
    pub(crate) chunks: Chunks,
}

/// The body of a reply.
#[derive(Debug)]
pub(crate) struct Chunks {
    body: Incoming,
    limits: BodyLimits,
    held: Option<Held>,
    leave: Leave,
    is_whole: bool,
    timer: Pin<Box<Sleep>>,
    /// When the body must have brought something.
    by: Instant,
    read: usize,
}

impl Reply {
    pub(super) fn new(
        status: StatusCode,
        headers: HeaderMap,
        is_encoded: bool,
        body: Incoming,
        limits: BodyLimits,
        held: Held,
        leave: Leave,
    ) -> Self {
        let by = limits.first_by;
        let timer = Box::pin(tokio::time::sleep_until(by.into()));
        let chunks = Chunks { body, limits, held: Some(held), leave, is_whole: false, timer, by, read: 0 };
        Self { status, headers, is_encoded, chunks }
    }
}

impl Chunks {
    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// As [`Chunks::next`]. After an error or the end there is nothing more.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>> {
        loop {
            if self.held.is_none() {
                return Poll::Ready(None);
            }
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    if self.timer.deadline() != self.by.into() {
                        self.timer.as_mut().reset(self.by.into());
                    }
                    ready!(self.timer.as_mut().poll(context));
                    return Poll::Ready(Some(Err(self.late())));
                }
            };
            match frame {
                None => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    return Poll::Ready(Some(Err(self.fail(CallError::Broken { reason: reason(&error) }))));
                }
                // Trailers say nothing that is passed on.
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.read = self.read.saturating_add(data.len());
                    if self.read > self.limits.bytes_max {
                        let max = self.limits.bytes_max;
                        return Poll::Ready(Some(Err(self.fail(CallError::TooLong { max }))));
                    }
                    let now = Instant::now();
                    // An endless answer brings a piece whenever it is asked.
                    if now >= self.limits.end {
                        return Poll::Ready(Some(Err(self.late())));
                    }
                    let idle = now.checked_add(self.limits.idle);
                    self.by = idle.map_or(self.limits.end, |by| by.min(self.limits.end));
                    return Poll::Ready(Some(Ok(data)));
                }
            }
        }
    }

    /// What is left has this long to come.
    pub(crate) fn hurry(&mut self, within: Duration) {
        if let Some(end) = Instant::now().checked_add(within) {
            self.limits.end = self.limits.end.min(end);
            self.by = self.by.min(end);
        }
    }

    /// Bytes read so far.
    pub(crate) fn n_bytes(&self) -> usize {
        self.read
    }

    /// Says how the call went, as far as the arm's server is concerned; the first verdict counts. Without one a body
    /// that is read to its end is good, one that fails is a failure, one that is dropped is neither.
    pub(crate) fn judge(&mut self, verdict: Verdict) {
        self.leave.settle(verdict);
    }

    fn late(&mut self) -> CallError {
        let BodyLimits { began, first_by, idle, end, .. } = self.limits;
        let (what, limit) = if Instant::now() >= end {
            ("the answer", end.saturating_duration_since(began))
        } else if self.read == 0 {
            ("the first byte of the answer", first_by.saturating_duration_since(began))
        } else {
            ("the next piece of the answer", idle)
        };
        self.fail(CallError::TimedOut { what, limit })
    }

    fn fail(&mut self, error: CallError) -> CallError {
        // The connection ends with what is dropped here.
        drop(self.held.take());
        self.leave.settle(Verdict::Failed);
        error
    }

    fn finish(&mut self) {
        self.is_whole = true;
        if let Some(mut held) = self.held.take()
            && let Some(connection) = held.connection.take()
        {
            held.upstream.pool.put(connection);
        }
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        if self.is_whole {
            self.leave.settle(Verdict::Good);
        }
    }
}
