//! A whole answer: read to its end before anything of it is passed on, so that another arm may still answer.

use super::failed::Failed;
use super::report::Tally;
use crate::dialect::bill::Tariff;
use crate::dialect::json::Value;
use crate::dialect::translate::{self, Frame};
use crate::dialect::usage::Counts;
use crate::dialect::{Dialect, failure};
use crate::upstream::Chunks;
use axum::body::Bytes;

/// Bytes of an error that are read.
const ERROR_BYTES_MAX: usize = 256 << 10;

/// Reads a body to its end.
///
/// # Errors
/// If it breaks off, or is too long.
pub(super) async fn read(chunks: &mut Chunks) -> Result<Bytes, Failed> {
    let mut all: Vec<u8> = Vec::new();
    let mut first: Option<Bytes> = None;
    while let Some(piece) = chunks.next().await {
        let piece = piece.map_err(|error| Failed::of_call(&error))?;
        match first.take() {
            // An answer of one piece is not copied.
            None if all.is_empty() => first = Some(piece),
            before => {
                all.extend_from_slice(before.as_deref().unwrap_or_default());
                all.extend_from_slice(&piece);
            }
        }
    }
    Ok(first.unwrap_or_else(|| all.into()))
}

/// Reads the body of an error, as far as one is read.
pub(super) async fn read_error(chunks: &mut Chunks) -> Bytes {
    let mut all: Vec<u8> = Vec::new();
    while all.len() < ERROR_BYTES_MAX
        && let Some(Ok(piece)) = chunks.next().await
    {
        all.extend_from_slice(&piece);
    }
    all.truncate(ERROR_BYTES_MAX);
    all.into()
}

/// What an answer says of itself.
///
/// # Errors
/// If it is none: no JSON object, an error under a status of 200, nothing where the answer should be.
pub(super) fn check(api: Dialect, body: &Bytes, tariff: Option<&Tariff>) -> Result<Tally, Failed> {
    // A refusal is an answer, if none that helps.
    if let Some(failure) =
        failure::of_reply(api, body).filter(|failure| failure.kind != failure::Kind::Refused)
    {
        return Err(Failed::within(failure, "its reply is no answer"));
    }
    let value = Value::read(body).map_err(|_| Failed::garbled("its reply is no JSON"))?;
    let finish = match api {
        Dialect::Chat | Dialect::Completions => value.at(&["choices", "0", "finish_reason"]),
        Dialect::Messages => value.get("stop_reason"),
        Dialect::Responses => value.get("status"),
        Dialect::Embeddings | Dialect::Gemini => None,
    };
    let finish = finish.and_then(Value::text).map(|text| text.chars().take(64).collect());
    let mut tally = Tally { finish, ..Tally::default() };
    tally.count(Counts::of_reply(value).as_ref(), api, tariff);
    Ok(tally)
}

/// An answer in the dialect of the caller.
///
/// # Errors
/// If it says what that dialect cannot.
pub(super) fn translated(arm: Dialect, caller: Dialect, body: &[u8], frame: &Frame) -> Result<Bytes, Failed> {
    let made = translate::reply(arm, caller, body, frame);
    let made = made.map_err(|failure| Failed::within(failure, "its reply cannot be translated"))?;
    Ok(Bytes::from(made.body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer_is_refused() {
        let check = |api, body: &str| check(api, &Bytes::from(body.to_owned()), None);
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"choices":[]}"#,
            r#"{"choices":null}"#,
            r#"{"error":{"message":"m"}}"#,
            r#"{"type":"error","choices":[{}]}"#,
            "{\"choices\":[{}]",
            "\u{feff}",
        ] {
            assert!(check(Dialect::Chat, body).is_err(), "{body}");
        }
        let message = r#""finish_reason":"stop","message":{"content":"x"}"#;
        let usage = r#"{"prompt_tokens":3,"completion_tokens":4}"#;
        let good = &format!(r#"{{"error":null,"choices":[{{{message}}}],"usage":{usage}}}"#);
        let tally = check(Dialect::Chat, good).unwrap();
        assert_eq!((tally.finish.as_deref(), tally.input, tally.output), (Some("stop"), Some(3), Some(4)));
        assert!(check(Dialect::Embeddings, r#"{"data":[{"embedding":"AAAA"}]}"#).is_ok());
        assert!(check(Dialect::Messages, r#"{"content":[],"stop_reason":"end_turn"}"#).is_ok());
        assert!(check(Dialect::Responses, r#"{"output":[],"status":"completed"}"#).is_ok());
    }
}
