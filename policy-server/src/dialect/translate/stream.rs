//! Streams, by way of chat where neither side speaks it.

use super::gemini_replies::GeminiToChat;
use super::stream_to_chat::ToChat;
use super::stream_to_messages::ToMessages;
use super::stream_to_responses::ToResponses;
use super::{Frame, is_possible};
use crate::dialect::Dialect;
use crate::dialect::sse::{Event, Events};
use crate::dialect::usage::Counts;

/// Translates a stream, event by event. What it returns is to be sent to the caller, in order.
///
/// A stream that ends before the model said why it ended becomes an error of the caller's dialect, never an end that
/// looks whole.
#[derive(Debug)]
pub struct Stream {
    /// From the arm's dialect to chat; None where the arm speaks it.
    first: Option<First>,
    /// From chat to the caller's dialect; None where the caller speaks it.
    second: Option<Second>,
    is_over: bool,
}

#[derive(Debug)]
enum First {
    Messages(Box<ToChat>),
    Gemini(Box<GeminiToChat>),
}

#[derive(Debug)]
enum Second {
    Messages(Box<ToMessages>),
    Responses(Box<ToResponses>),
}

impl First {
    fn event(&mut self, event: &Event<'_>, out: &mut String) -> bool {
        match self {
            Self::Messages(machine) => machine.event(event, out),
            Self::Gemini(machine) => machine.event(event, out),
        }
    }

    fn finish(&mut self, out: &mut String) {
        match self {
            Self::Messages(machine) => machine.finish(out),
            Self::Gemini(machine) => machine.finish(out),
        }
    }
}

impl Second {
    fn event(&mut self, event: &Event<'_>, out: &mut String) -> bool {
        match self {
            Self::Messages(machine) => machine.event(event, out),
            Self::Responses(machine) => machine.event(event, out),
        }
    }

    fn finish(&mut self, out: &mut String) {
        match self {
            Self::Messages(machine) => machine.finish(out),
            Self::Responses(machine) => machine.finish(out),
        }
    }

    /// Takes the events that the first machine wrote; whether there was the last.
    fn events(&mut self, written: &str, out: &mut String) -> bool {
        let mut events = Events::new(usize::MAX);
        events.push(written.as_bytes());
        while let Some(Ok(event)) = events.next() {
            if self.event(&event, out) {
                return true;
            }
        }
        false
    }
}

impl Stream {
    /// A stream from the arm's dialect to the caller's; None where there is no translation.
    pub fn new(arm: Dialect, caller: Dialect, frame: Frame) -> Option<Self> {
        if !is_possible(caller, arm) {
            return None;
        }
        // The second machine asks for the usage whether or not the caller does.
        let usage = frame.usage || caller != Dialect::Chat;
        let between = Frame { usage, ..frame.clone() };
        let first = match arm {
            Dialect::Messages => Some(First::Messages(Box::new(ToChat::new(between)))),
            Dialect::Gemini => Some(First::Gemini(Box::new(GeminiToChat::new(between)))),
            _ => None,
        };
        let second = match caller {
            Dialect::Messages => Some(Second::Messages(Box::new(ToMessages::new(frame)))),
            Dialect::Responses => Some(Second::Responses(Box::new(ToResponses::new(frame)))),
            _ => None,
        };
        Some(Self { first, second, is_over: false })
    }

    /// Takes an event of the arm; the bytes to send, which may be none. After the end nothing more is sent.
    pub fn event(&mut self, event: &Event<'_>) -> String {
        let mut out = String::new();
        if self.is_over {
            return out;
        }
        self.is_over = match (&mut self.first, &mut self.second) {
            (Some(first), None) => first.event(event, &mut out),
            (None, Some(second)) => second.event(event, &mut out),
            (Some(first), Some(second)) => {
                let mut between = String::new();
                let is_over = first.event(event, &mut between);
                second.events(&between, &mut out) || is_over
            }
            (None, None) => true,
        };
        out
    }

    /// The arm's stream is over: the rest to send, an error where it was cut off.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        if std::mem::replace(&mut self.is_over, true) {
            return out;
        }
        match (&mut self.first, &mut self.second) {
            (Some(first), None) => first.finish(&mut out),
            (None, Some(second)) => second.finish(&mut out),
            (Some(first), Some(second)) => {
                let mut between = String::new();
                first.finish(&mut between);
                if !second.events(&between, &mut out) {
                    second.finish(&mut out);
                }
            }
            (None, None) => {}
        }
        out
    }

    /// Whether the end or an error was sent.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Counts of tokens as the arm said them.
    pub fn counts(&self) -> Option<&Counts> {
        match (&self.first, &self.second) {
            (Some(First::Messages(machine)), _) => machine.counts(),
            (Some(First::Gemini(machine)), _) => machine.counts(),
            (None, Some(Second::Messages(machine))) => machine.counts(),
            (None, Some(Second::Responses(machine))) => machine.counts(),
            (None, None) => None,
        }
    }
}
