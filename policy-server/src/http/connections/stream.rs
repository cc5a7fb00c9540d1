//! One connection: bytes in and out, with a limit on every wait for the client.
//!
//! The clocks count the client's silence only. While a request is answered there is none, so an answer may take as
//! long as the guard lets it, and a reply that is taken slowly is cut only where nothing of it is taken at all.

use crate::error::Code;
use crate::http::connections::Place;
use crate::http::connections::peer::{Peer, Wait};
use crate::http::connections::refusal;
use crate::live::metrics::Metrics;
use crate::settings::Limits;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Longest waits for a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    idle: Duration,
    head: Duration,
    write: Duration,
}

impl Timeouts {
    pub(super) fn of(limits: &Limits) -> Self {
        let [idle, head, write] = [limits.idle_timeout_ms, limits.head_timeout_ms, limits.write_timeout_ms]
            .map(Duration::from_millis);
        Self { idle, head, write }
    }

    fn end_of(&self, wait: Wait) -> Option<Instant> {
        match wait {
            Wait::Idle(since) => since.checked_add(self.idle),
            Wait::Head(since) => since.checked_add(self.head),
            Wait::Write(since) => since.checked_add(self.write),
            Wait::Unlimited => None,
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    peer: Arc<Peer>,
    timeouts: Timeouts,
    timer: Pin<Box<Sleep>>,
    /// Whether the client was last seen to take nothing.
    stalled: bool,
    /// A reply of our own that takes the place of one of the HTTP library.
    substitute: Option<Substitute>,
    metrics: Arc<Metrics>,
    _place: Place,
}

/// What is written instead of what was asked to be written.
#[derive(Debug)]
struct Substitute {
    bytes: Vec<u8>,
    written: usize,
    /// Length of what it stands for.
    stands_for: usize,
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        peer: Arc<Peer>,
        timeouts: Timeouts,
        metrics: Arc<Metrics>,
        place: Place,
    ) -> Self {
        let timer = Box::pin(sleep(timeouts.idle));
        Self { stream, peer, timeouts, timer, stalled: false, substitute: None, metrics, _place: place }
    }

    pub(super) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// The error that ends a wait which has lasted too long, or which is to make room.
    fn overdue(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if self.peer.listen(context) {
            return Poll::Ready(io::ErrorKind::ConnectionAborted.into());
        }
        let wait = self.peer.wait();
        let Some(end) = self.timeouts.end_of(wait) else { return Poll::Pending };
        if self.timer.deadline() != end.into() {
            self.timer.as_mut().reset(end.into());
        }
        std::task::ready!(self.timer.as_mut().poll(context));
        if let Wait::Head(_) = wait {
            let ms = self.timeouts.head.as_millis();
            let message = format!("the head of the request was not complete within {ms} ms");
            self.metrics.request(None, None, Some(Code::RequestTimeout));
            // What does not fit into the buffer of the system is not sent.
            let _unsent = self.stream.try_write(&refusal::reply(Code::RequestTimeout, &message));
        }
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// What a try to write came to, with the clock that runs where it came to nothing.
    fn wrote(
        &mut self,
        tried: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match tried {
            Poll::Pending => {
                self.stalled = true;
                self.peer.stalls();
                self.overdue(context).map(Err)
            }
            ready => {
                if std::mem::take(&mut self.stalled) {
                    self.peer.moves();
                    // Whatever is waited for next has another clock, which the next read starts.
                    context.waker().wake_by_ref();
                }
                ready
            }
        }
    }

    /// Writes our own reply instead of one that the HTTP library made.
    fn write_substitute(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some(own) = &mut self.substitute {
            let rest = &own.bytes[own.written..];
            if rest.is_empty() {
                let stands_for = own.stands_for;
                self.substitute = None;
                return Poll::Ready(Ok(stands_for));
            }
            let tried = Pin::new(&mut self.stream).poll_write(context, rest);
            let n = std::task::ready!(self.wrote(tried, context))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if let Some(own) = &mut self.substitute {
                own.written += n;
            }
        }
        Poll::Ready(Ok(0))
    }

    /// Takes note of a reply that the HTTP library made.
    fn substitute(&mut self, first: &[u8], stands_for: usize) {
        if let Some((code, message)) = refusal::translate(first).filter(|_| first.len() == stands_for) {
            self.metrics.request(None, None, Some(code));
            self.substitute =
                Some(Substitute { bytes: refusal::reply(code, message), written: 0, stands_for });
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buf) {
            Poll::Ready(result) => {
                if buf.filled().len() > before {
                    this.peer.received();
                }
                Poll::Ready(result)
            }
            Poll::Pending => this.overdue(context).map(Err),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.substitute.is_none() {
            this.substitute(buf, buf.len());
        }
        if this.substitute.is_some() {
            return this.write_substitute(context);
        }
        let tried = Pin::new(&mut this.stream).poll_write(context, buf);
        this.wrote(tried, context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.substitute.is_none() {
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
            this.substitute(first, bufs.iter().map(|buf| buf.len()).sum());
        }
        if this.substitute.is_some() {
            return this.write_substitute(context);
        }
        let tried = Pin::new(&mut this.stream).poll_write_vectored(context, bufs);
        this.wrote(tried, context)
    }
}
