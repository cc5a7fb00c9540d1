//! Each system's defining property, on models made of a function.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bytes;
mod context;
mod model;
mod pages;
mod prompts;
mod router;
mod spans;
mod traces;
mod tree;

use routewright_decoder::backend::{Backend, Draft, Stop};
use routewright_decoder::fuse::{answer, find};
use routewright_decoder::generation::{Answer, Ask, FuseError};
use serde_json::Value;
use std::sync::Arc;

/// An answer of at most so many steps.
pub(crate) fn fused(
    system: &str,
    params: &Value,
    backends: &[Arc<dyn Backend>],
    prompt: &str,
    steps: usize,
) -> Result<Answer, FuseError> {
    let mut ask = Ask::new(prompt.as_bytes());
    ask.limits.steps = steps;
    asked(system, params, backends, ask)
}

pub(crate) fn asked(
    system: &str,
    params: &Value,
    backends: &[Arc<dyn Backend>],
    ask: Ask,
) -> Result<Answer, FuseError> {
    let fuser = find(system)?.build(params, backends)?;
    let mut told = String::new();
    let answer = answer(&*fuser, backends, ask, Box::new(|piece| told.push_str(piece)))?;
    assert_eq!(told, answer.text);
    Ok(answer)
}

/// What a model writes alone, the most probable token each time.
pub(crate) fn alone(backend: &Arc<dyn Backend>, prompt: &str, tokens: usize) -> String {
    let mut session = backend.open(prompt.as_bytes(), &Stop::default()).unwrap();
    let draft = Draft { tokens, stop: Vec::new(), temperature: 0.0, top_p: 1.0 };
    let text = session.write(&draft, &mut routewright_data::rng::stream(0, "none")).unwrap().text;
    let text = if prompt.is_empty() { text.strip_prefix(b" ").unwrap_or(&text) } else { &text };
    String::from_utf8(text.to_vec()).unwrap()
}
