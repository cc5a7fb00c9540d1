//! Asking a server over HTTP: JSON out, JSON or a stream of events in; deadlines, retries, cancellation.
//!
//! Whoever asks waits on a channel, so that a [`Stop`] is heeded at any moment; the request itself runs on a thread
//! of its own. A stream whose reader has gone is closed at its next event; any other request that nobody waits for
//! ends by its time limit.

mod cassette;
mod events;

pub use cassette::{Recorder, Replay};
pub use events::Events;

use crate::backend::{BackendError, Stop};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How often a waiting caller looks at its [`Stop`].
const POLL: Duration = Duration::from_millis(5);
/// Bytes of a reply, or of a line of a stream, at most.
const REPLY_MAX: u64 = 64 << 20;
/// Characters of what a server said that go into an error.
const SAID_MAX: usize = 300;
/// The first pause before a request is tried again; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause a server can ask for.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How patient a [`Client`] is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// Longest wait for the reply, or for the next event of a stream.
    pub timeout: Duration,
    /// Times a request is sent at most, where it fails in a way that may pass.
    pub attempts: u32,
}

/// Where replies come from and go to.
#[derive(Debug, Clone, Default)]
pub enum Tape {
    /// From the server, and nowhere.
    #[default]
    Off,
    /// From the server, and into a file.
    Record(Arc<Recorder>),
    /// From a file; the server is not asked.
    Replay(Arc<Replay>),
}

/// A server that is asked.
#[derive(Debug, Clone)]
pub struct Client {
    name: String,
    agent: ureq::Agent,
    key: Option<Key>,
    patience: Patience,
    tape: Tape,
}

/// A secret, which no debug output shows.
#[derive(Clone)]
struct Key(String);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }
}

/// What became of one try.
struct Failure {
    reason: String,
    /// Whether it may go better the next time, and how long the server wants us to wait.
    again: Option<Option<Duration>>,
    /// The server refused the text for its length.
    is_full: bool,
}

impl Failure {
    fn last(reason: String) -> Self {
        Self { reason, again: None, is_full: false }
    }

    fn passing(reason: String, pause: Option<Duration>) -> Self {
        Self { reason, again: Some(pause), is_full: false }
    }
}

/// What the thread of a request says.
enum Piece {
    /// One line of a stream, or the whole reply.
    Text(String),
    End,
    Failed(Failure),
}

impl Client {
    /// A client for the model or policy `name`, which errors call it by; `key` is sent as a bearer token.
    pub fn new(name: &str, key: Option<String>, patience: Patience, tape: Tape) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // The operator named this host; a reply does not name another one.
            .max_redirects(0)
            .timeout_connect(Some(patience.timeout))
            .user_agent(concat!("routewright/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { name: name.to_owned(), agent: config.into(), key: key.map(Key), patience, tape }
    }

    /// Posts `body` and returns the JSON of the reply.
    ///
    /// # Errors
    /// If the server cannot be reached, refuses, does not answer in time or not in JSON, or `stop` says so.
    pub fn ask(&self, url: &str, body: &Value, stop: &Stop) -> Result<Value, BackendError> {
        if let Some(said) = self.replayed(body)? {
            return said
                .into_iter()
                .next()
                .ok_or_else(|| self.failed("the recording has an empty reply".to_owned()));
        }
        let value = self.retried(stop, || {
            let mut reply = String::new();
            self.pieces(url, body, stop, false, &mut |text| {
                reply.push_str(text);
                Ok(())
            })?;
            serde_json::from_str(&reply).map_err(|error| Failure::last(malformed(&error, &reply)))
        })?;
        self.record(body, std::slice::from_ref(&value))?;
        Ok(value)
    }

    /// Posts `body` and hands every event of the stream to `event`; whether the stream said `[DONE]`. A request that
    /// failed after its first event is not sent again.
    ///
    /// # Errors
    /// As [`Self::ask`], and what `event` fails with.
    pub fn stream(
        &self,
        url: &str,
        body: &Value,
        stop: &Stop,
        event: &mut dyn FnMut(&Value) -> Result<(), String>,
    ) -> Result<bool, BackendError> {
        if let Some(said) = self.replayed(body)? {
            let told = said.iter().try_for_each(event).map_err(|reason| self.failed(reason));
            return told.map(|()| true);
        }
        let mut said = Vec::new();
        let done = self.retried(stop, || {
            let mut events = Events::default();
            let mut each = |line: &str| {
                let Some(value) = events.line(line).map_err(Failure::last)? else { return Ok(()) };
                event(&value).map_err(Failure::last)?;
                if matches!(self.tape, Tape::Record(_)) {
                    said.push(value);
                }
                Ok(())
            };
            let sent = self.pieces(url, body, stop, true, &mut each);
            let began = events.began();
            sent.map_err(|failure| if began { Failure { again: None, ..failure } } else { failure })?;
            events.end().map(|()| events.is_done()).map_err(Failure::last)
        })?;
        self.record(body, &said)?;
        Ok(done)
    }

    fn failed(&self, reason: String) -> BackendError {
        BackendError::Failed { model: self.name.clone(), reason }
    }

    fn replayed(&self, body: &Value) -> Result<Option<Vec<Value>>, BackendError> {
        let Tape::Replay(replay) = &self.tape else { return Ok(None) };
        replay.said(body).map(Some).map_err(|reason| self.failed(reason))
    }

    fn record(&self, body: &Value, said: &[Value]) -> Result<(), BackendError> {
        let Tape::Record(recorder) = &self.tape else { return Ok(()) };
        recorder.note(body, said).map_err(|reason| self.failed(reason))
    }

    /// Tries as often as patience has it.
    fn retried<T>(
        &self,
        stop: &Stop,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, BackendError> {
        let mut tries = 1;
        loop {
            if stop.is_cancelled() {
                return Err(BackendError::Cancelled);
            }
            let failure = match attempt() {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            if stop.is_cancelled() {
                return Err(BackendError::Cancelled);
            }
            let wait = failure.again.filter(|_| tries < self.patience.attempts);
            let pause =
                wait.map(|asked| asked.unwrap_or(PAUSE * 2_u32.saturating_pow(tries - 1)).min(PAUSE_MAX));
            let within = |pause: &Duration| stop.deadline().is_none_or(|end| Instant::now() + *pause < end);
            let Some(pause) = pause.filter(within) else {
                let after = if tries > 1 { format!(" ({tries} tries)") } else { String::new() };
                if failure.is_full {
                    return Err(BackendError::Full { model: self.name.clone(), reason: failure.reason });
                }
                return Err(self.failed(format!("{}{after}", failure.reason)));
            };
            rest(pause, stop);
            tries += 1;
        }
    }

    /// One try: hands what the server says to `take`, piece by piece.
    fn pieces(
        &self,
        url: &str,
        body: &Value,
        stop: &Stop,
        lines: bool,
        take: &mut dyn FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        // A deadline may be long past; a request needs some time to be one at all.
        let left = stop.deadline().map(|end| end.saturating_duration_since(Instant::now()).max(POLL));
        let mut request = self.agent.post(url).header("content-type", "application/json");
        if let Some(Key(key)) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let whole =
            if lines { left } else { Some(left.unwrap_or(self.patience.timeout).min(self.patience.timeout)) };
        let request = request.config().timeout_global(whole).build();
        let bytes = body.to_string();
        let (tell, told) = sync_channel(16);
        std::thread::spawn(move || {
            if let Err(failure) = send(request, &bytes, lines, &tell) {
                // Nobody may be waiting any more.
                let _ = tell.send(Piece::Failed(failure));
            }
        });
        self.wait(url, &told, stop, take)
    }

    fn wait(
        &self,
        url: &str,
        told: &Receiver<Piece>,
        stop: &Stop,
        take: &mut dyn FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut since = Instant::now();
        loop {
            match told.recv_timeout(POLL) {
                Ok(Piece::Text(text)) => {
                    take(&text)?;
                    since = Instant::now();
                }
                Ok(Piece::End) => return Ok(()),
                Ok(Piece::Failed(failure)) => {
                    return Err(Failure { reason: format!("`{url}` {}", failure.reason), ..failure });
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::last(format!("`{url}`: the request ended without a reply")));
                }
                Err(RecvTimeoutError::Timeout) if stop.is_cancelled() => {
                    return Err(Failure::last("cancelled".to_owned()));
                }
                Err(RecvTimeoutError::Timeout) if stop.is_late() => {
                    return Err(Failure::last(format!("`{url}` did not reply before the deadline")));
                }
                Err(RecvTimeoutError::Timeout) if since.elapsed() > self.patience.timeout => {
                    let limit = self.patience.timeout.as_millis();
                    return Err(Failure::passing(format!("`{url}` said nothing for {limit} ms"), None));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// Sends the request and returns the reply.
fn send(
    request: ureq::RequestBuilder<ureq::typestate::WithBody>,
    body: &str,
    lines: bool,
    tell: &SyncSender<Piece>,
) -> Result<(), Failure> {
    // What was sent may have arrived; asking a model again does no harm.
    let mut response =
        request.send(body).map_err(|error| Failure::passing(format!("cannot be reached: {error}"), None))?;
    let status = response.status().as_u16();
    let pause = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let body = response.body_mut().with_config().limit(REPLY_MAX).reader();
    let broken = |error: std::io::Error| Failure::passing(format!("broke off its reply: {error}"), None);
    if !(200..300).contains(&status) {
        let mut said = Vec::new();
        // The readable part of the reason is reported; an unreadable one changes nothing.
        let _ = body.take(1 << 16).read_to_end(&mut said);
        let passing = matches!(status, 408 | 429 | 500 | 502 | 503 | 504);
        let reason = reason(&String::from_utf8_lossy(&said));
        return Err(Failure {
            is_full: matches!(status, 400 | 413 | 422) && is_about_length(&reason),
            reason: format!("replied with status {status}: {reason}"),
            again: passing.then(|| pause.map(Duration::from_secs)),
        });
    }
    let mut body = BufReader::new(body);
    if lines {
        let mut line = Vec::new();
        while body.read_until(b'\n', &mut line).map_err(broken)? > 0 {
            let text = utf8(line.trim_ascii_end().to_vec())?;
            if tell.send(Piece::Text(text)).is_err() {
                return Ok(());
            }
            line.clear();
        }
    } else {
        let mut whole = Vec::new();
        body.read_to_end(&mut whole).map_err(broken)?;
        let text = utf8(whole)?;
        let _ = tell.send(Piece::Text(text));
    }
    let _ = tell.send(Piece::End);
    Ok(())
}

fn utf8(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|_not| Failure::last("replied with what is not UTF-8".to_owned()))
}

/// Whether a server refuses a text for its length: "maximum context length" (vLLM, OpenAI), "exceeds the available
/// context size" (llama.cpp), "requested tokens exceed context window" (llama-cpp-python), "`inputs` must have less
/// than N tokens" (TGI), "longer than the model's context length" (SGLang).
fn is_about_length(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    let context =
        ["context length", "context size", "context window", "max_total_tokens", "context_length_exceeded"];
    context.iter().any(|words| reason.contains(words))
        || (reason.contains("`inputs`") && reason.contains("must have less than"))
}

/// The reason in an error reply, in the OpenAI shape or as it is.
fn reason(said: &str) -> String {
    let json: Option<Value> = serde_json::from_str(said).ok();
    let found = json.as_ref().and_then(|json| {
        let message =
            json.pointer("/error/message").or_else(|| json.get("message")).or_else(|| json.get("error"));
        message.and_then(Value::as_str)
    });
    found.unwrap_or(said).chars().take(SAID_MAX).collect()
}

fn malformed(error: &serde_json::Error, said: &str) -> String {
    let said: String = said.chars().take(SAID_MAX).collect();
    format!("replied with what is not JSON ({error}): `{said}`")
}

/// Sleeps, unless cancelled.
fn rest(pause: Duration, stop: &Stop) {
    let end = Instant::now() + pause;
    while Instant::now() < end && !stop.is_cancelled() {
        std::thread::sleep(POLL.min(end.saturating_duration_since(Instant::now())));
    }
}
