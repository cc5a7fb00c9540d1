//! Reading the body of a request: within a length, a time, and the memory all bodies share.

use crate::error::{ApiError, Code};
use crate::settings::Limits;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body::Body as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies are counted in pieces of so many bytes; the first one is free.
const PIECE: usize = 64 << 10;
/// Memory of all bodies together, where it holds at least four of the longest.
const BYTES_MAX: usize = 256 << 20;

/// The memory that bodies share.
#[derive(Debug)]
pub(crate) struct Room(Arc<Semaphore>);

/// A body and its part of the memory, given back when the request is over.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    _room: Vec<OwnedSemaphorePermit>,
}

impl Room {
    pub(crate) fn new(limits: &Limits) -> Self {
        let bytes = BYTES_MAX.max(limits.body_bytes_max.max(limits.answer_body_bytes_max).saturating_mul(4));
        Self(Arc::new(Semaphore::new((bytes / PIECE).min(Semaphore::MAX_PERMITS))))
    }

    /// Reads a body to its end.
    ///
    /// # Errors
    /// If it is too long, too slow, or breaks off.
    pub(crate) async fn receive(
        &self,
        body: Body,
        max: usize,
        ms: u64,
        began: Instant,
    ) -> Result<Received, ApiError> {
        let end = began.checked_add(Duration::from_millis(ms)).unwrap_or(began);
        match tokio::time::timeout_at(end.into(), self.collect(body, max)).await {
            Ok(received) => received,
            Err(_) => Err(too_slow(ms)),
        }
    }

    async fn collect(&self, mut body: Body, max: usize) -> Result<Received, ApiError> {
        if body.size_hint().lower() > max as u64 {
            return Err(Self::discard(body, max).await);
        }
        let mut first = Bytes::new();
        let mut all: Vec<u8> = Vec::new();
        let mut room = Vec::new();
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
        {
            let broken = |_| ApiError::new(Code::InvalidRequest, "the body could not be read to its end");
            // Trailers say nothing that is asked for.
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            let length = first.len().max(all.len()) + data.len();
            if length > max {
                return Err(too_long(max));
            }
            while length / PIECE > room.len() {
                let piece = Arc::clone(&self.0).acquire_owned().await;
                room.push(piece.map_err(|_| ApiError::internal("the memory of bodies was closed"))?);
            }
            if first.is_empty() && all.is_empty() {
                first = data;
                continue;
            }
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
        Ok(Received { bytes: if all.is_empty() { first } else { all.into() }, _room: room })
    }

    /// Reads what may be read of a body that says it is too long, and keeps none: many clients look for a reply only
    /// after they have sent.
    async fn discard(mut body: Body, max: usize) -> ApiError {
        let mut read = 0;
        while read <= max
            && let Some(Ok(frame)) =
                std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
        {
            read += frame.data_ref().map_or(0, Bytes::len);
        }
        too_long(max)
    }
}

/// Whether a request brings a body at all.
pub(crate) fn has_body(headers: &HeaderMap, body: &Body) -> bool {
    !body.is_end_stream() || headers.contains_key(header::TRANSFER_ENCODING)
}

fn too_long(max: usize) -> ApiError {
    ApiError::new(Code::BodyTooLarge, format!("the body is longer than {max} bytes"))
}

pub(crate) fn too_slow(ms: u64) -> ApiError {
    ApiError::new(Code::RequestTimeout, format!("the request was not complete within {ms} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(chunks: Vec<usize>, max: usize) -> Result<Received, ApiError> {
        let limits = Limits { body_bytes_max: max, ..Limits::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Room::new(&limits).receive(
            Body::new(Chunks(chunks)),
            max,
            limits.request_timeout_ms,
            Instant::now(),
        ))
    }

    /// Chunks of these lengths.
    struct Chunks(Vec<usize>);

    impl http_body::Body for Chunks {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            let chunks = &mut self.get_mut().0;
            let next = (!chunks.is_empty()).then(|| Bytes::from(vec![b'x'; chunks.remove(0)]));
            std::task::Poll::Ready(next.map(|bytes| Ok(http_body::Frame::data(bytes))))
        }
    }

    #[test]
    fn a_body_is_whole_whatever_its_chunks_and_takes_its_part_of_the_memory() {
        for (chunks, pieces) in
            [(vec![], 0), (vec![5], 0), (vec![0, 3, 0, 4], 0), (vec![PIECE, 1], 1), (vec![1; 20], 0)]
        {
            let received = receive(chunks.clone(), 1 << 20).unwrap();
            assert_eq!(received.bytes.len(), chunks.iter().sum::<usize>(), "{chunks:?}");
            assert_eq!(received._room.len(), pieces, "{chunks:?}");
        }
        assert_eq!(receive(vec![600, 401], 1000).unwrap_err().code, Code::BodyTooLarge);
        assert_eq!(receive(vec![600, 400], 1000).unwrap().bytes.len(), 1000);
    }
}
