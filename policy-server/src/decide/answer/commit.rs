//! The beginning of a stream: held back until its first content, since until then another arm may still answer.

use super::failed::Failed;
use crate::dialect::sse::Events;
use crate::dialect::watch::Watch;
use crate::dialect::{Dialect, failure};
use crate::upstream::Chunks;
use axum::body::Bytes;

/// Bytes that are held back at most.
const HELD_BYTES_MAX: usize = 1 << 20;

/// A stream whose first content has come.
#[derive(Debug)]
pub(super) struct Begun {
    /// What came so far, in order.
    pub(super) held: Vec<Bytes>,
    pub(super) events: Events,
    pub(super) watch: Watch,
    /// Whether it has ended already.
    pub(super) is_over: bool,
}

/// Reads a stream up to its first content.
///
/// # Errors
/// If it fails, says that it failed, or ends before.
pub(super) async fn begin(chunks: &mut Chunks, api: Dialect) -> Result<Begun, Failed> {
    let mut begun =
        Begun { held: Vec::new(), events: Events::default(), watch: Watch::new(api), is_over: false };
    loop {
        match chunks.next().await {
            Some(Ok(bytes)) => {
                begun.events.push(&bytes);
                begun.held.push(bytes);
                while let Some(event) = begun.events.next() {
                    if let Ok(event) = event {
                        begun.watch.event(&event);
                    }
                }
            }
            Some(Err(error)) => return Err(Failed::of_call(&error)),
            None => {
                while let Some(event) = begun.events.finish() {
                    if let Ok(event) = event {
                        begun.watch.event(&event);
                    }
                }
                begun.is_over = true;
            }
        }
        if let Some(error) = begun.watch.error().filter(|_| !begun.watch.has_content()) {
            return Err(Failed::within(failure::of_event(error), "its stream began with an error"));
        }
        if begun.watch.has_content() || chunks.n_bytes() > HELD_BYTES_MAX {
            return Ok(begun);
        }
        if begun.is_over {
            return Err(Failed::garbled("its stream ended before any content"));
        }
    }
}
