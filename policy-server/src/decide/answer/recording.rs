//! An answer that is kept for requests that come again: a stream is recorded while it goes out, and kept once all of it
//! did and it ended by itself.

use crate::live::cache::{Cache, Fingerprint, Kept};
use axum::body::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Reasons of an answer to end that say it is whole.
const WHOLE: [&str; 4] = ["stop", "end_turn", "stop_sequence", "completed"];

/// Bytes that a piece takes beside its text.
const PIECE_BYTES: usize = 64;

/// What the cache has to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// It is from the cache.
    Hit,
    /// It was looked for in vain.
    Miss,
    /// It was not looked for.
    Bypass,
}

/// A stream that is recorded while it is passed on.
#[derive(Debug)]
pub(super) struct Recording {
    cache: Arc<Cache>,
    request: Fingerprint,
    lifetime: Duration,
    kept: Kept,
    bytes: usize,
}

impl Recording {
    /// Keeps a stream under this fingerprint for so long, once it has gone out.
    pub(super) fn new(
        cache: Arc<Cache>,
        (request, lifetime): (Fingerprint, Duration),
        kept: Kept,
    ) -> Box<Self> {
        Box::new(Self { cache, request, lifetime, kept, bytes: 0 })
    }

    /// Another piece went out; a stream that grows too long is recorded no further.
    pub(super) fn piece(mut self: Box<Self>, piece: &Bytes) -> Option<Box<Self>> {
        let more = piece.len().saturating_add(PIECE_BYTES);
        if self.bytes.saturating_add(more) > self.cache.answer_bytes_max() || !self.cache.reserve(more) {
            return None;
        }
        self.bytes += more;
        // A copy: the piece may be part of a buffer that is larger.
        self.kept.pieces.push(Bytes::copy_from_slice(piece));
        Some(self)
    }

    /// All of it went out, and it ended for that reason.
    pub(super) fn end(mut self, finish: Option<&str>) {
        let kept = std::mem::take(&mut self.kept);
        if is_whole(finish) && !kept.pieces.iter().any(|piece| says_refusal(piece)) {
            self.cache.put(self.request, kept, self.lifetime, Instant::now());
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.cache.release(self.bytes);
    }
}

/// Whether an answer that ended for this reason ended by itself.
pub(super) fn is_whole(finish: Option<&str>) -> bool {
    finish.is_some_and(|finish| WHOLE.contains(&finish))
}

/// Whether it contains a refusal; OpenAI sends one as a field beside the content.
pub(super) fn says_refusal(bytes: &[u8]) -> bool {
    let spelled = [&b"\"refusal\":\""[..], b"\"refusal\": \""];
    spelled.iter().any(|word| bytes.windows(word.len()).any(|window| window == *word))
}
