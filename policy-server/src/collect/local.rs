//! One call of a model in this process, or of a server that the decoder speaks to.

use super::call::{Then, Trouble};
use super::reply::Reply;
use crate::clock::now_ms;
use crate::dialect::bill::Tariff;
use crate::dialect::usage::Usage;
use routewright_data::rng;
use routewright_decoder::backend::{Backend, BackendError, Draft, Stop};
use routewright_decoder::chat::Message;
use serde_json::Value;
use std::time::Instant;

/// How an answer is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawing {
    pub(super) tokens: u64,
    pub(super) temperature: f64,
    pub(super) top_p: f64,
    pub(super) seed: u64,
}

/// Has the model write an answer, on this thread.
///
/// # Errors
/// If it cannot.
pub(super) fn call(
    backend: &dyn Backend,
    messages: &[Value],
    drawing: Drawing,
    tariff: Option<&Tariff>,
) -> Result<Reply, Trouble> {
    let fail = |error: &BackendError| Trouble {
        why: error.to_string(),
        then: Then::Never,
        is_paid_maybe: tariff.is_some(),
    };
    let chat: Vec<Message> = messages
        .iter()
        .map(|turn| Message { role: text(&turn["role"]), content: text(&turn["content"]) })
        .collect();
    let draft = Draft {
        tokens: usize::try_from(drawing.tokens).unwrap_or(usize::MAX),
        stop: Vec::new(),
        temperature: drawing.temperature as f32,
        top_p: drawing.top_p as f32,
    };
    let (began, at_ms) = (Instant::now(), now_ms());
    let mut rng = rng::stream(drawing.seed, "collect");
    let mut session = backend.open_chat(&chat, &Stop::default()).map_err(|error| fail(&error))?;
    let read = session.ids().len() as u64;
    let written = session.write(&draft, &mut rng).map_err(|error| fail(&error))?;
    let usage = Usage { uncached: read, output: written.tokens as u64, ..Usage::default() };
    let mean = written.log_prob.filter(|sum| sum.is_finite() && written.tokens > 0);
    Ok(Reply {
        text: String::from_utf8_lossy(&written.text).into_owned(),
        finish: Some(if written.ended { "stop" } else { "length" }.to_owned()),
        input_tokens: Some(read),
        output_tokens: Some(written.tokens as u64),
        nano_usd: tariff.map(|tariff| tariff.bill(&usage)),
        latency_ms: began.elapsed().as_secs_f64() * 1000.0,
        at_ms,
        logprob_mean: mean.map(|sum| (sum / written.tokens as f64).min(0.0) as f32),
        ..Reply::default()
    })
}

/// A text, or the texts among parts.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}
