//! Requests, replies and streams of one dialect said in another, for models that do not speak the caller's.
//!
//! Every field is carried over exactly, or dropped and named ([`Dropped`], for `x-router-dropped`), or refused
//! ([`Refused`]) before a model is called. What is carried is carried as it was written: the order of keys of a schema,
//! numbers, escapes and the arguments of calls stay byte for byte.
//!
//! Callers may speak chat, messages or responses, arms chat, messages or Gemini ([`is_possible`]). There is one
//! translation between chat and each of the others; what is neither way chat goes by way of it, and what chat cannot
//! say is lost there.
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

mod calls;
mod chat_to_gemini;
mod chat_to_messages;
mod chat_turns;
mod frame;
mod gemini_replies;
mod gemini_turns;
mod ids;
mod messages_to_chat;
mod messages_turns;
mod nesting;
mod notes;
mod replies;
mod reply_to_responses;
mod response_shape;
mod responses_items;
mod responses_to_chat;
mod stream;
mod stream_to_chat;
mod stream_to_messages;
mod stream_to_responses;
mod target;

pub use frame::Frame;
pub use notes::{Dropped, Refused};
pub use stream::Stream;
pub use target::{Effort, LateSystem, Target};

use super::Dialect;
use super::failure::{Failure, Kind};
use super::json::Value;
use super::splice::Body;
use notes::{Notes, invalid, unfit};

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
    use Dialect::{Chat, Gemini, Messages, Responses};
    caller != arm && matches!(caller, Chat | Messages | Responses) && matches!(arm, Chat | Messages | Gemini)
}

/// Translates the body of a request.
///
/// # Errors
/// If the body is wrong or says something that the other dialect cannot; the field is named.
pub fn request(from: Dialect, to: Dialect, body: &Body<'_>, target: &Target) -> Result<Translated, Refused> {
    let mut notes = Notes::new(target.strict);
    if !is_possible(from, to) {
        let reason = format!("speaks {to:?}, into which a request of {from:?} is not translated");
        return Err(unfit("model", reason));
    }
    // What lies between is for no arm: limits are kept and spelled at the end.
    let between = Target { max_output: u64::MAX, old_max_tokens: false, ..target.clone() };
    let first = if to == Dialect::Chat { target } else { &between };
    let chat = match from {
        Dialect::Messages => Some(messages_to_chat::request(body, first, &mut notes)?),
        Dialect::Responses => Some(responses_to_chat::request(body, first, &mut notes)?),
        _ => None,
    };
    let made = match (chat, to) {
        (Some(chat), Dialect::Chat) => chat,
        (chat, to) => {
            let read = chat.as_ref().map(|chat| Body::read(chat.as_bytes())).transpose();
            let read = read.map_err(|error| invalid("messages", error.to_string()))?;
            let body = read.as_ref().unwrap_or(body);
            match to {
                Dialect::Gemini => chat_to_gemini::request(body, target, &mut notes)?,
                _ => chat_to_messages::request(body, target, &mut notes)?,
            }
        }
    };
    // What lies as deep as may be is deeper in another body.
    Value::read(made.as_bytes()).map_err(|error| invalid("messages", format!("are, translated, {error}")))?;
    Ok(Translated { body: made, dropped: notes.finish() })
}

/// Names of the tools with free text of a request of responses, which become functions of one text. The reply gives
/// their calls the caller's shape again ([`Frame::custom_tools`]).
pub fn custom_tools(body: &Body<'_>) -> Vec<String> {
    responses_to_chat::custom_tools(body)
}

/// Translates a reply of status 200, from the arm's dialect to the caller's.
///
/// # Errors
/// If there is no answer in it that the caller's dialect can have: another model may be asked.
pub fn reply(arm: Dialect, caller: Dialect, body: &[u8], frame: &Frame) -> Result<Translated, Failure> {
    let malformed = |why: String| Failure::without_reply(Kind::Malformed, why);
    let value = Value::read(body).map_err(|error| malformed(format!("the reply is {error}")))?;
    let mut notes = Notes::new(false);
    if !is_possible(caller, arm) {
        return Err(malformed(format!("a reply of {arm:?} is not translated into {caller:?}")));
    }
    let mut translated = || {
        let chat = match arm {
            Dialect::Messages => Some(replies::to_chat(value, frame, &mut notes)?),
            Dialect::Gemini => Some(gemini_replies::to_chat(value, frame, &mut notes)?),
            _ => None,
        };
        let (Some(chat), Dialect::Chat) = (&chat, caller) else {
            let read = chat.as_ref().map(|chat| Value::read(chat.as_bytes())).transpose();
            let value = read.map_err(|error| invalid("content", error.to_string()))?.unwrap_or(value);
            return match caller {
                Dialect::Responses => reply_to_responses::to_response(value, frame, &mut notes),
                _ => replies::to_messages(value, frame, &mut notes),
            };
        };
        Ok(chat.clone())
    };
    let body = translated();
    let body = body.map_err(|refused| malformed(format!("the reply's {refused}")))?;
    Value::read(body.as_bytes()).map_err(|error| malformed(format!("the reply is, translated, {error}")))?;
    Ok(Translated { body, dropped: notes.finish() })
}

#[cfg(test)]
mod gemini_tests;
#[cfg(test)]
mod responses_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;
