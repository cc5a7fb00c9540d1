//! Requests, replies and streams of one dialect said in another, for models that do not speak the caller's.
//!
//! Every field is carried over exactly, or dropped and named ([`Dropped`], for `x-router-dropped`), or refused
//! ([`Refused`]) before a model is called. What is carried is carried as it was written: the order of keys of a schema,
//! numbers, escapes and the arguments of calls stay byte for byte.
//!
//! | from | to | request | reply | stream |
//! |---|---|---|---|---|
//! | chat | messages | yes | yes | yes |
//! | messages | chat | yes | yes | yes |
//!
//! 1. [`request`] turns the caller's body into the arm's.
//! 2. [`reply`] turns the arm's body of status 200 into the caller's. Look for failures first
//!    ([`super::failure::of_reply`]).
//! 3. [`Stream`] turns events of the arm into bytes for the caller.
//!
//! ```
//! use routewright_policy_server::dialect::{Dialect, splice::Body, translate::{self, Target}};
//!
//! let body = Body::read(br#"{"model":"routewright/quick","messages":[{"role":"system","content":"Be brief."},
//!     {"role":"user","content":"Hi"}],"seed":7}"#)?;
//! let target = Target { model: "claude".into(), max_tokens: 1024, ..Target::default() };
//! let made = translate::request(Dialect::Chat, Dialect::Messages, &body, &target)?;
//! assert_eq!(made.body, concat!(
//!     r#"{"model":"claude","max_tokens":1024,"system":"Be brief.","#,
//!     r#""messages":[{"role":"user","content":"Hi"}]}"#,
//! ));
//! assert_eq!(made.dropped[0].field, "seed");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chat_to_messages;
mod chat_turns;
mod frame;
mod ids;
mod messages_to_chat;
mod messages_turns;
mod nesting;
mod notes;
mod replies;
mod stream_to_chat;
mod stream_to_messages;
mod target;

pub use frame::Frame;
pub use notes::{Dropped, Refused};
pub use target::{Effort, LateSystem, Target};

use super::Dialect;
use super::failure::{Failure, Kind};
use super::json::Value;
use super::splice::Body;
use super::sse::Event;
use super::usage::Counts;
use notes::{Notes, unfit};
use stream_to_chat::ToChat;
use stream_to_messages::ToMessages;

/// A body in the other dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// The body.
    pub body: String,
    /// Fields that were left out or changed.
    pub dropped: Vec<Dropped>,
}

/// Whether requests, replies and streams can be translated for a caller of `caller` to a model of `arm`. Embeddings and
/// completions have no counterpart.
pub fn is_possible(caller: Dialect, arm: Dialect) -> bool {
    use Dialect::{Chat, Messages};
    matches!((caller, arm), (Chat, Messages) | (Messages, Chat))
}

/// Translates the body of a request.
///
/// # Errors
/// If the body is wrong or says something that the other dialect cannot; the field is named.
pub fn request(from: Dialect, to: Dialect, body: &Body<'_>, target: &Target) -> Result<Translated, Refused> {
    let mut notes = Notes::new(target.strict);
    let body = match (from, to) {
        (Dialect::Chat, Dialect::Messages) => chat_to_messages::request(body, target, &mut notes)?,
        (Dialect::Messages, Dialect::Chat) => messages_to_chat::request(body, target, &mut notes)?,
        _ => {
            return Err(unfit(
                "model",
                format!("speaks {to:?}, into which a request of {from:?} is not translated"),
            ));
        }
    };
    Ok(Translated { body, dropped: notes.finish() })
}

/// Translates a reply of status 200, from the arm's dialect to the caller's.
///
/// # Errors
/// If there is no answer in it that the caller's dialect can have: another model may be asked.
pub fn reply(arm: Dialect, caller: Dialect, body: &[u8], frame: &Frame) -> Result<Translated, Failure> {
    let malformed = |why: String| Failure::without_reply(Kind::Malformed, why);
    let value = Value::read(body).map_err(|error| malformed(format!("the reply is {error}")))?;
    let mut notes = Notes::new(false);
    let body = match (arm, caller) {
        (Dialect::Messages, Dialect::Chat) => replies::to_chat(value, frame, &mut notes),
        (Dialect::Chat, Dialect::Messages) => replies::to_messages(value, frame, &mut notes),
        _ => return Err(malformed(format!("a reply of {arm:?} is not translated into {caller:?}"))),
    };
    let body = body.map_err(|refused| malformed(format!("the reply's {refused}")))?;
    Ok(Translated { body, dropped: notes.finish() })
}

/// Translates a stream, event by event. What it returns is to be sent to the caller, in order.
///
/// A stream that ends before the model said why it ended becomes an error of the caller's dialect, never an end that
/// looks whole.
#[derive(Debug)]
pub struct Stream {
    machine: Machine,
    is_over: bool,
}

#[derive(Debug)]
enum Machine {
    ToChat(Box<ToChat>),
    ToMessages(Box<ToMessages>),
}

impl Stream {
    /// A stream from the arm's dialect to the caller's; None where there is no translation.
    pub fn new(arm: Dialect, caller: Dialect, frame: Frame) -> Option<Self> {
        let machine = match (arm, caller) {
            (Dialect::Messages, Dialect::Chat) => Machine::ToChat(Box::new(ToChat::new(frame))),
            (Dialect::Chat, Dialect::Messages) => Machine::ToMessages(Box::new(ToMessages::new(frame))),
            _ => return None,
        };
        Some(Self { machine, is_over: false })
    }

    /// Takes an event of the arm; the bytes to send, which may be none. After the end nothing more is sent.
    pub fn event(&mut self, event: &Event<'_>) -> String {
        let mut out = String::new();
        if !self.is_over {
            self.is_over = match &mut self.machine {
                Machine::ToChat(machine) => machine.event(event, &mut out),
                Machine::ToMessages(machine) => machine.event(event, &mut out),
            };
        }
        out
    }

    /// The arm's stream is over: the rest to send, an error where it was cut off.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        if !std::mem::replace(&mut self.is_over, true) {
            match &mut self.machine {
                Machine::ToChat(machine) => machine.finish(&mut out),
                Machine::ToMessages(machine) => machine.finish(&mut out),
            }
        }
        out
    }

    /// Whether the end or an error was sent.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Counts of tokens as the arm said them.
    pub fn counts(&self) -> Option<&Counts> {
        match &self.machine {
            Machine::ToChat(machine) => machine.counts(),
            Machine::ToMessages(machine) => machine.counts(),
        }
    }
}

#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;
