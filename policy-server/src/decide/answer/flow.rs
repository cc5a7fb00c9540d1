//! A stream on its way to the caller: bytes pass through as they come, and a copy of them is read for what they mean.
//!
//! Pulled by the caller's connection: a caller who takes nothing holds up the arm, one who goes closes its connection.

use super::commit::Begun;
use super::episode::Told;
use super::recording::Recording;
use super::report::Report;
use crate::dialect::Dialect;
use crate::dialect::failure::Problem;
use crate::dialect::sse::{Event, Events, HideUsage};
use crate::dialect::translate::{self, Frame};
use crate::dialect::watch::Watch;
use crate::upstream::{CallError, Chunks, Outcome, Verdict};
use axum::body::Bytes;
use futures_core::Stream;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How long a stream that is whole may take to end.
const END_WITHIN: Duration = Duration::from_secs(1);

/// From whom to whom a stream goes, and what is done to it on the way.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) caller: Dialect,
    pub(super) arm: Dialect,
    /// Whether the frame of usage is left out.
    pub(super) hides: bool,
    /// What a translation needs to know; `None` where nothing is translated.
    pub(super) frame: Option<Frame>,
}

/// A stream.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Dialects of the caller and of the arm.
    caller: Dialect,
    arm: Dialect,
    translation: Option<translate::Stream>,
    ready: VecDeque<Bytes>,
    chunks: Chunks,
    events: Events,
    watch: Watch,
    /// Leaves out the frame of usage that the caller did not ask for.
    hide: Option<HideUsage>,
    report: Report,
    is_over: bool,
    /// How it ended, once it has.
    ended: Option<Outcome>,
    /// Who hears of its text and its end.
    then: Option<Box<Told>>,
    /// Keeps what goes out for a request that comes again.
    recording: Option<Box<Recording>>,
}

impl Flow {
    pub(super) fn new(way: Way, begun: Begun, chunks: Chunks, report: Report) -> Self {
        let Way { caller, arm, hides, frame } = way;
        let Begun { held, events, watch, is_over } = begun;
        let translation = frame.and_then(|frame| translate::Stream::new(arm, caller, frame));
        let hide = hides.then(HideUsage::default);
        let ready = VecDeque::new();
        let mut flow = Self {
            caller,
            arm,
            translation,
            ready,
            chunks,
            events,
            watch,
            hide,
            report,
            is_over: false,
            ended: None,
            then: None,
            recording: None,
        };
        flow.begin(held);
        if is_over {
            flow.end();
        }
        flow
    }

    /// Passes on what was held back. Its events were read already, so that a translation reads them once more.
    fn begin(&mut self, held: Vec<Bytes>) {
        let Some(translation) = &mut self.translation else {
            return held.into_iter().for_each(|bytes| self.forward(bytes));
        };
        let mut events = Events::default();
        held.iter().for_each(|bytes| events.push(bytes));
        let mut out = String::new();
        while let Some(event) = events.next() {
            event.iter().for_each(|event| out.push_str(&translation.event(event)));
        }
        self.ready.extend((!out.is_empty()).then(|| Bytes::from(out)));
    }

    /// Has somebody hear of its text and its end.
    pub(super) fn then(&mut self, mut told: Told) {
        // What came already.
        hear_all(&mut told, self.ready.make_contiguous());
        match self.ended {
            Some(outcome) => told.end(outcome, &self.report.tally, self.report.elapsed()),
            None => self.then = Some(Box::new(told)),
        }
    }

    /// Has what goes out recorded.
    pub(super) fn record(&mut self, recording: Box<Recording>) {
        self.recording = Some(recording);
    }

    fn forward(&mut self, bytes: Bytes) {
        let Some(hide) = &mut self.hide else {
            self.ready.push_back(bytes);
            return;
        };
        let mut out = Vec::with_capacity(bytes.len());
        hide.push(&bytes, &mut out);
        self.ready.extend((!out.is_empty()).then(|| Bytes::from(out)));
    }

    fn take(&mut self, bytes: Bytes) {
        let was_done = self.watch.is_done();
        self.events.push(&bytes);
        let mut out = String::new();
        while let Some(event) = self.events.next() {
            if let Ok(event) = event {
                self.watch.event(&event);
                match &mut self.translation {
                    Some(to) => out.push_str(&to.event(&event)),
                    None => self.then.iter_mut().for_each(|told| hear(told, &event)),
                }
            }
        }
        match self.translation {
            Some(_) => {
                self.then
                    .iter_mut()
                    .for_each(|told| hear_all(told, &[Bytes::copy_from_slice(out.as_bytes())]));
                self.ready.extend((!out.is_empty()).then(|| Bytes::from(out)));
            }
            None => self.forward(bytes),
        }
        if self.watch.is_done() && !was_done {
            self.chunks.hurry(END_WITHIN);
        }
    }

    fn broke(&mut self, error: &CallError) {
        if self.watch.is_done() {
            return self.end();
        }
        let outcome =
            if matches!(error, CallError::TimedOut { .. }) { Outcome::TimedOut } else { Outcome::Broken };
        self.cut(outcome, "the model's stream broke off");
    }

    /// The arm has closed the stream.
    fn end(&mut self) {
        let mut out = String::new();
        while let Some(event) = self.events.finish() {
            if let Ok(event) = event {
                self.watch.event(&event);
                self.translation.iter_mut().for_each(|to| out.push_str(&to.event(&event)));
            }
        }
        // What a translation has left: the end, or that there is none.
        self.translation.iter_mut().for_each(|to| out.push_str(&to.finish()));
        self.ready.extend((!out.is_empty()).then(|| Bytes::from(out)));
        let is_whole = self.watch.is_done() || self.watch.finish().is_some();
        if self.watch.error().is_some() {
            // The caller has it already.
            self.chunks.judge(Verdict::Failed);
            self.close(Outcome::Failed);
        } else if is_whole {
            self.close(Outcome::Ok);
        } else {
            self.chunks.judge(Verdict::Failed);
            self.cut(Outcome::Broken, "the model's stream ended before it was whole");
        }
    }

    /// Ends the stream with an error of our own.
    fn cut(&mut self, outcome: Outcome, message: &str) {
        let said = match &mut self.translation {
            Some(to) if to.is_over() => Bytes::new(),
            Some(to) => Bytes::from(to.finish()),
            None => error_event(self.caller, message),
        };
        self.close(outcome);
        self.ready.extend((!said.is_empty()).then_some(said));
    }

    fn close(&mut self, outcome: Outcome) {
        if let Some(hide) = &mut self.hide {
            let mut out = Vec::new();
            hide.finish(&mut out);
            self.ready.extend((!out.is_empty()).then(|| Bytes::from(out)));
        }
        self.is_over = true;
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        self.report.watched(&self.watch, self.arm);
        self.report.end(outcome);
        self.ended = Some(outcome);
        if let Some(told) = self.then.take() {
            told.end(outcome, &self.report.tally, self.report.elapsed());
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if !self.is_over {
            self.settle(Outcome::Cancelled);
        }
    }
}

impl Stream for Flow {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.recording = self.recording.take().and_then(|recording| recording.piece(&bytes));
                return Poll::Ready(Some(Ok(bytes)));
            }
            if self.is_over {
                if let Some(recording) = self.recording.take().filter(|_| self.ended == Some(Outcome::Ok)) {
                    recording.end(self.watch.finish());
                }
                return Poll::Ready(None);
            }
            match ready!(self.chunks.poll(context)) {
                Some(Ok(bytes)) => self.take(bytes),
                Some(Err(error)) => self.broke(&error),
                None => self.end(),
            }
        }
    }
}

/// Hands on the text of the events of a chat that are whole.
fn hear_all(told: &mut Told, pieces: &[Bytes]) {
    let mut events = Events::default();
    pieces.iter().for_each(|bytes| events.push(bytes));
    while let Some(event) = events.next() {
        event.iter().for_each(|event| hear(told, event));
    }
}

/// Hands on the text of an event of a chat.
fn hear(told: &mut Told, event: &Event<'_>) {
    let text = event.json().and_then(|value| value.at(&["choices", "0", "delta", "content"])?.text());
    text.iter().for_each(|text| told.says(text));
}

/// An error as an event of a stream.
fn error_event(caller: Dialect, message: &str) -> Bytes {
    Bytes::from(Problem::new(502, "upstream_failed", message).event(caller, 0))
}
