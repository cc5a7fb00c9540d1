//! What is sent: a path under the base URL, and a body of one or more pieces that are not joined.

use axum::body::Bytes;
use axum::http::HeaderMap;
use http_body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A request to an arm, before it is known which one. Cheap to send again: the pieces are shared.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing<'a> {
    /// Path under the base URL, such as `/chat/completions`.
    pub(crate) path: &'static str,
    /// Pieces of the body, in order.
    pub(crate) body: Vec<Bytes>,
    /// Headers of the caller; those of a list go out.
    pub(crate) caller: &'a HeaderMap,
    /// Whether a stream of events is asked for.
    pub(crate) streams: bool,
}

/// A body of pieces.
#[derive(Debug, Clone)]
pub(super) struct Pieces(VecDeque<Bytes>);

impl Pieces {
    pub(super) fn new(pieces: &[Bytes]) -> Self {
        Self(pieces.iter().filter(|piece| !piece.is_empty()).cloned().collect())
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}
