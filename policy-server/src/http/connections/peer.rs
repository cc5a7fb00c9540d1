//! What a connection is doing: known to its stream, to the guard around its requests, and to the listener.

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A client keeps a place that is wanted while the server waits no longer than so for it to send, and to take a reply.
const PATIENCE: Duration = Duration::from_millis(100);
const WRITE_PATIENCE: Duration = Duration::from_secs(1);

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between requests, or before the first.
    Idle,
    /// The head of a request is being received.
    Head,
    /// The body of a request is being received.
    Body,
    /// A request is being answered.
    Answering,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// When the phase began.
    since: Instant,
    /// Since when the client takes nothing of what is written.
    stalled: Option<Instant>,
    evicted: bool,
    /// Wakes the task of the connection.
    waker: Option<Waker>,
}

/// The client of one connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    state: Mutex<State>,
}

/// For what a connection waits, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// For the client, between requests.
    Idle(Instant),
    /// For the rest of a head.
    Head(Instant),
    /// For the client to take what is written.
    Write(Instant),
    /// For nothing that has a limit here: the body and the answer have theirs in the guard.
    Unlimited,
}

impl Peer {
    pub(super) fn new(address: IpAddr) -> Self {
        let state =
            State { phase: Phase::Idle, since: Instant::now(), stalled: None, evicted: false, waker: None };
        Self { address, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing foreign runs under the lock, so a poisoned one is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a phase.
    pub(crate) fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        (state.phase, state.since) = (phase, Instant::now());
    }

    /// Bytes have arrived: the first of them begin a head.
    pub(super) fn received(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Idle {
            (state.phase, state.since) = (Phase::Head, Instant::now());
        }
    }

    /// The client takes nothing.
    pub(super) fn stalls(&self) {
        self.lock().stalled.get_or_insert_with(Instant::now);
    }

    /// The client has taken something again.
    pub(super) fn moves(&self) {
        let mut state = self.lock();
        state.stalled = None;
        if state.phase == Phase::Idle {
            // Until now the server was busy with it.
            state.since = Instant::now();
        }
    }

    /// For what it waits.
    pub(super) fn wait(&self) -> Wait {
        let state = self.lock();
        match (state.stalled, state.phase) {
            (Some(since), _) => Wait::Write(since),
            (None, Phase::Idle) => Wait::Idle(state.since),
            (None, Phase::Head) => Wait::Head(state.since),
            (None, Phase::Body | Phase::Answering) => Wait::Unlimited,
        }
    }

    /// Since when the server has waited for the client, where that is too long for one whose place is wanted; `None`
    /// too where the client waits for the server.
    pub(super) fn waited_for_since(&self, now: Instant) -> Option<Instant> {
        let state = self.lock();
        let (since, patience) = match (state.stalled, state.phase) {
            (Some(since), _) => (since, WRITE_PATIENCE),
            (None, Phase::Answering) => return None,
            (None, _) => (state.since, PATIENCE),
        };
        (!state.evicted && now.saturating_duration_since(since) >= patience).then_some(since)
    }

    /// Asks the connection to end.
    pub(super) fn evict(&self) {
        let mut state = self.lock();
        state.evicted = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.lock().evicted
    }

    /// Remembers whom to wake for an eviction; whether it is too late.
    pub(super) fn listen(&self, context: &Context<'_>) -> bool {
        let mut state = self.lock();
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            state.waker = Some(context.waker().clone());
        }
        state.evicted
    }

    #[cfg(test)]
    pub(super) fn waits_since(&self, since: Instant) {
        self.lock().since = since;
    }
}

/// The body of a reply; with its end the connection is idle again.
#[derive(Debug)]
pub(crate) struct Tracked {
    body: Body,
    peer: Arc<Peer>,
}

impl Tracked {
    pub(crate) fn new(body: Body, peer: Arc<Peer>) -> Self {
        Self { body, peer }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.peer.enter(Phase::Idle);
    }
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
