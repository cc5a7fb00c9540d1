//! The body that an arm gets: the caller's, byte for byte but for the model, or its translation into the arm's dialect.

use super::question::{Question, spoken};
use crate::clock::now_seconds;
use crate::dialect::Dialect;
use crate::dialect::splice::{Body, Part};
use crate::dialect::translate::{self, Frame, Refused, Target};
use crate::upstream::Upstream;
use axum::body::Bytes;

/// A request as an arm gets it.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The API that the arm is asked in.
    pub(super) api: Dialect,
    pub(super) body: Vec<Bytes>,
    /// Whether usage was asked for that the caller did not ask for, so that its frame is left out.
    pub(super) hides: bool,
    /// What a translation of the reply needs to know; `None` where nothing is translated.
    pub(super) frame: Option<Frame>,
    /// Fields that a translation left out or changed.
    pub(super) dropped: Vec<String>,
}

/// Makes the request of an arm. Of a stream of chat whose price is wanted the usage is asked for, too.
///
/// # Errors
/// If the body is none, or cannot be said in the arm's dialect.
pub(super) fn prepare(upstream: &Upstream, question: &Question) -> Result<Prepared, Refused> {
    let refuse = |reason: String, is_invalid| Refused { field: "body".to_owned(), reason, is_invalid };
    let bytes = &question.body;
    let body = Body::read(bytes).map_err(|error| refuse(error.to_string(), true))?;
    let Some(api) = spoken(upstream, question.api) else {
        return Err(refuse("is of an API that its server does not have".to_owned(), false));
    };
    if api != question.api {
        let target = Target { model: upstream.model().to_owned(), image_urls: true, ..Target::default() };
        let made = translate::request(question.api, api, &body, &target)?;
        let frame = Frame {
            id: None,
            model: None,
            created: now_seconds(),
            usage: body.asks_for_usage(),
            custom_tools: match question.api {
                Dialect::Responses => translate::custom_tools(&body),
                _ => Vec::new(),
            },
            input_estimate: question.needs.size.tokens(),
        };
        let dropped = made.dropped.into_iter().map(|dropped| dropped.field).collect();
        return Ok(Prepared {
            api,
            body: vec![Bytes::from(made.body)],
            hides: false,
            frame: Some(frame),
            dropped,
        });
    }
    let has_usage = matches!(api, Dialect::Chat | Dialect::Completions);
    let hides = has_usage && question.streams && upstream.tariff().is_some() && !body.asks_for_usage();
    let edit = body.edit().model(upstream.model());
    let edit = if hides { edit.include_usage() } else { edit };
    let piece = |part: Part| match part {
        Part::Kept(range) => bytes.slice(range),
        Part::Put(text) => Bytes::from(text),
    };
    let body = edit.parts().into_iter().map(piece).collect();
    Ok(Prepared { api, body, hides, frame: None, dropped: Vec::new() })
}
