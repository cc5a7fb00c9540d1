//! Server-sent events: the same events whatever the bytes are split into.
//!
//! [`Frames`] cuts a stream at its blank lines and keeps the bytes, for those who forward them; [`Events`] reads the
//! frames; [`HideUsage`] forwards a stream without the frame of usage that we asked for and the caller did not. None
//! of them stops a stream: what is too long to look into is passed on or passed over.
//!
//! The rules are those of the HTML standard: lines end with CR, LF or CRLF (a CR at the end of what came waits for
//! the next byte), a byte order mark may begin the stream, several lines of `data` are joined by LF, one blank behind
//! the colon is dropped, lines that begin with a colon are comments. One deviation: an event that the end of the
//! stream cuts off before its blank line is handed out, by [`Events::finish`], since some servers leave the last blank
//! line out and their last event has the usage.
//!
//! ```
//! use routewright_policy_server::dialect::sse::Events;
//!
//! let mut events = Events::default();
//! for byte in b": hello\r\n\r\nevent: ping\ndata: {\"a\":\ndata: 1}\n\n" {
//!     events.push(&[*byte]);
//!     while let Some(event) = events.next() {
//!         let event = event?;
//!         assert_eq!((&*event.name, &*event.data), ("ping", "{\"a\":\n1}"));
//!     }
//! }
//! assert!(events.finish().is_none());
//! # Ok::<(), routewright_policy_server::dialect::sse::TooLong>(())
//! ```

use super::json::Value;
use std::borrow::Cow;
use std::fmt;

/// Bytes of a frame at most, as long as nothing else is said.
pub const FRAME_MAX: usize = 16 << 20;
/// Bytes that [`HideUsage`] holds back at most: frames of usage have some hundred.
const HELD_MAX: usize = 64 << 10;

/// Something of a stream, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A frame with the blank line that ends it.
    Whole(&'a [u8]),
    /// A part of a frame that is longer than may be held; `bool` tells whether it is its first.
    Part(&'a [u8], bool),
}

/// Cuts a stream at its blank lines. Joined, the pieces are the stream.
#[derive(Debug)]
pub struct Frames {
    held: Vec<u8>,
    /// Where the frame begins that is not over, or what is left of it.
    start: usize,
    /// Up to where was looked for its end.
    seen: usize,
    /// Whether the line before `seen` is empty so far.
    empty_line: bool,
    /// Parts of the frame were handed out.
    is_long: bool,
    max: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self::new(FRAME_MAX)
    }
}

impl Frames {
    /// Frames of at most `max` bytes; longer ones are handed out in parts.
    pub fn new(max: usize) -> Self {
        Self { held: Vec::new(), start: 0, seen: 0, empty_line: true, is_long: false, max: max.max(1) }
    }

    /// Takes bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.held.drain(..self.start);
            self.seen -= self.start;
            self.start = 0;
        }
        self.held.extend_from_slice(bytes);
    }

    /// The next piece that is complete; None until more bytes come.
    #[expect(
        clippy::should_implement_trait,
        reason = "a piece borrows from the reader, which iterators cannot"
    )]
    pub fn next(&mut self) -> Option<Piece<'_>> {
        self.advance(false)
    }

    /// After the last byte: what is left, piece by piece.
    pub fn finish(&mut self) -> Option<Piece<'_>> {
        self.advance(true)
    }

    fn advance(&mut self, is_over: bool) -> Option<Piece<'_>> {
        let from = self.start;
        while let Some(byte) = self.held.get(self.seen) {
            let width = match (byte, self.held.get(self.seen + 1)) {
                (b'\n', _) => 1,
                (b'\r', Some(b'\n')) => 2,
                (b'\r', None) if !is_over => break,
                (b'\r', _) => 1,
                _ => {
                    self.seen += 1;
                    self.empty_line = false;
                    continue;
                }
            };
            self.seen += width;
            if std::mem::replace(&mut self.empty_line, true) {
                self.start = self.seen;
                let is_first = !std::mem::replace(&mut self.is_long, false);
                let bytes = &self.held[from..self.seen];
                let is_whole = is_first && bytes.len() <= self.max;
                return Some(if is_whole { Piece::Whole(bytes) } else { Piece::Part(bytes, is_first) });
            }
        }
        let bytes = &self.held[from..self.seen];
        if bytes.len() > self.max || (is_over && !bytes.is_empty()) {
            self.start = self.seen;
            let is_whole = !self.is_long && bytes.len() <= self.max;
            let is_first = !std::mem::replace(&mut self.is_long, !is_whole);
            return Some(if is_whole { Piece::Whole(bytes) } else { Piece::Part(bytes, is_first) });
        }
        None
    }
}

/// An event is longer than may be held; it is passed over, and the next ones are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// Bytes that an event may have.
    pub max: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an event of the stream is longer than the {} bytes accepted", self.max)
    }
}

impl std::error::Error for TooLong {}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// What `event:` says; empty where it is not said.
    pub name: Cow<'a, str>,
    /// Its lines of data, joined by LF. What is not UTF-8 is U+FFFD.
    pub data: Cow<'a, str>,
}

impl<'a> Event<'a> {
    /// Reads a frame; None where it has no data.
    pub fn read(frame: &'a [u8]) -> Option<Self> {
        let (mut name, mut data): (Cow<'a, [u8]>, Option<Cow<'a, [u8]>>) = (Cow::default(), None);
        for line in frame.split(|byte| matches!(byte, b'\n' | b'\r')) {
            let colon = line.iter().position(|byte| *byte == b':');
            let (field, value) = line.split_at(colon.unwrap_or(line.len()));
            let value = value.strip_prefix(b":").unwrap_or(value);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match (field, &mut data) {
                (b"event", _) => name = Cow::Borrowed(value),
                (b"data", None) => data = Some(Cow::Borrowed(value)),
                (b"data", Some(lines)) => {
                    lines.to_mut().push(b'\n');
                    lines.to_mut().extend_from_slice(value);
                }
                _ => {}
            }
        }
        Some(Self { name: lossy(name), data: lossy(data?) })
    }

    /// Its data as JSON; None where it is none, as `[DONE]`.
    pub fn json(&self) -> Option<Value<'_>> {
        Value::read(self.data.as_bytes()).ok()
    }

    /// Whether it is the `[DONE]` that ends streams of OpenAI.
    pub fn is_done(&self) -> bool {
        self.data.trim() == "[DONE]"
    }

    /// Whether its data has the name somewhere with a value other than `null`, without a parse. A name written with
    /// escapes is not seen.
    pub fn mentions(&self, name: &str) -> bool {
        self.data.match_indices(name).any(|(at, _)| {
            let rest = self.data[at + name.len()..].strip_prefix('"').map(str::trim_start);
            let value = rest.and_then(|rest| rest.strip_prefix(':')).map(str::trim_start);
            self.data[..at].ends_with('"') && value.is_some_and(|value| !value.starts_with("null"))
        })
    }
}

fn lossy(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// An event as bytes to send; `name` is left out where it is empty.
pub fn written(name: &str, data: &str) -> String {
    let mut out = String::with_capacity(name.len() + data.len() + 24);
    if !name.is_empty() {
        out.push_str("event: ");
        out.push_str(name);
        out.push('\n');
    }
    for line in data.split('\n') {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
    out
}

/// Reads the events of a stream.
#[derive(Debug, Default)]
pub struct Events {
    frames: Frames,
    began: bool,
}

impl Events {
    /// Events of at most `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { frames: Frames::new(max), began: false }
    }

    /// Takes bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.frames.push(bytes);
    }

    /// The next event that is complete; None until more bytes come. A frame without data is no event.
    #[expect(
        clippy::should_implement_trait,
        reason = "an event borrows from the reader, which iterators cannot"
    )]
    pub fn next(&mut self) -> Option<Result<Event<'_>, TooLong>> {
        self.advance(false)
    }

    /// After the last byte: an event that the end cut off before its blank line.
    pub fn finish(&mut self) -> Option<Result<Event<'_>, TooLong>> {
        self.advance(true)
    }

    fn advance(&mut self, is_over: bool) -> Option<Result<Event<'_>, TooLong>> {
        let max = self.frames.max;
        loop {
            // The borrow of what is returned would last over the loop: so the place is kept instead.
            let (range, is_part, is_first) = match self.frames.advance(is_over)? {
                Piece::Whole(bytes) => (bytes.len(), false, true),
                Piece::Part(bytes, is_first) => (bytes.len(), true, is_first),
            };
            let end = self.frames.start;
            let range = end - range..end;
            let begins = !std::mem::replace(&mut self.began, true);
            if is_part && is_first {
                return Some(Err(TooLong { max }));
            }
            if !is_part && has_data(&self.frames.held[range.clone()]) {
                let frame = &self.frames.held[range];
                let frame = if begins { frame.strip_prefix(b"\xef\xbb\xbf").unwrap_or(frame) } else { frame };
                return Event::read(frame).map(Ok);
            }
        }
    }
}

fn has_data(frame: &[u8]) -> bool {
    let frame = frame.strip_prefix(b"\xef\xbb\xbf").unwrap_or(frame);
    let mut lines = frame.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.any(|line| line.strip_prefix(b"data").is_some_and(|rest| rest.is_empty() || rest.starts_with(b":")))
}

/// Forwards a stream of chat chunks without the frame of usage: the one with `"choices": []` and a `usage`.
///
/// For requests into which [`super::splice::Edit::include_usage`] put the question: a caller who did not ask may not
/// be able to read a chunk without choices. Every other byte is forwarded; frames are forwarded whole, as soon as
/// they are complete.
#[derive(Debug)]
pub struct HideUsage {
    frames: Frames,
}

impl Default for HideUsage {
    fn default() -> Self {
        Self { frames: Frames::new(HELD_MAX) }
    }
}

impl HideUsage {
    /// Takes bytes of the stream; what of it may be sent is appended to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.frames.push(bytes);
        self.drain(false, out);
    }

    /// After the last byte.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.drain(true, out);
    }

    fn drain(&mut self, is_over: bool, out: &mut Vec<u8>) {
        while let Some(piece) = self.frames.advance(is_over) {
            match piece {
                Piece::Whole(frame) if is_usage_alone(frame) => {}
                Piece::Whole(bytes) | Piece::Part(bytes, _) => out.extend_from_slice(bytes),
            }
        }
    }
}

/// Whether a frame is a chat chunk of usage and no choice.
fn is_usage_alone(frame: &[u8]) -> bool {
    let Some(event) = Event::read(frame).filter(|event| event.mentions("usage")) else { return false };
    let Some(chunk) = event.json() else { return false };
    let has_no_choice = chunk
        .has("choices")
        .is_some_and(|choices| choices.raw().starts_with('[') && choices.items().next().is_none());
    has_no_choice && chunk.has("usage").is_some() && chunk.has("error").is_none()
}

#[cfg(test)]
mod tests;
