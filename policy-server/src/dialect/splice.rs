//! The body of a request, changed where a rule says so and the same byte for byte elsewhere.
//!
//! Parsing and printing a body changes the order of keys (and with it the prefix that providers cache), numbers beyond
//! 64 bits and the bytes that signatures cover. So a body is scanned once into the ranges of its top-level fields, and
//! what is sent is pieces of the original with pieces of ours between them.
//!
//! 1. [`Body::read`] scans. It refuses what is not a JSON object, and a body that has a field twice which a server acts
//!    upon ([`ACTED_UPON`]), also where one of the two is spelled with escapes: readers differ in which of the two
//!    counts, so that we might check and price another model than the one that answers. Other fields may repeat and
//!    survive.
//! 2. [`Body::get`], [`Body::model`], [`Body::streams`] and [`Body::asks_for_usage`] look into it.
//! 3. [`Body::edit`] collects rules; [`Edit::parts`] gives ranges of the original and texts of ours, for a body chained
//!    without copying; [`Edit::bytes`] copies. Without rules the result is the original.
//!
//! ```
//! use routewright_policy_server::dialect::splice::Body;
//!
//! let bytes = br#"{"model": "routewright/quick", "x": 1e400, "stream": true}"#;
//! let body = Body::read(bytes)?;
//! assert!(body.streams() && !body.asks_for_usage());
//! let sent = body.edit().model("gpt-5").include_usage().bytes();
//! let expected = br#"{"model": "gpt-5", "x": 1e400, "stream": true,"stream_options":{"include_usage":true}}"#;
//! assert_eq!(sent, expected);
//! # Ok::<(), routewright_policy_server::dialect::splice::BodyError>(())
//! ```

use super::json::{JsonError, Kind, Value, quoted};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Fields that decide who answers, what it costs and what is sent back; a body has each at most once.
pub const ACTED_UPON: [&str; 20] = [
    "model",
    "stream",
    "stream_options",
    "messages",
    "input",
    "prompt",
    "contents",
    "system",
    "instructions",
    "tools",
    "tool_choice",
    "response_format",
    "n",
    "logprobs",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "previous_response_id",
    "conversation",
    "service_tier",
];

/// Why a body cannot be acted upon; all of them are the caller's, status 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyError {
    /// It is not JSON.
    Json(JsonError),
    /// It is JSON but no object.
    NotAnObject,
    /// It has one of [`ACTED_UPON`] twice.
    Twice(&'static str),
}

impl BodyError {
    /// The field to blame; None for the whole body.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Twice(field) => Some(field),
            _ => None,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "the body of the request is {error}"),
            Self::NotAnObject => {
                f.write_str("the body of the request is JSON but no object; an object is accepted")
            }
            Self::Twice(field) => {
                write!(
                    f,
                    "the body of the request has the field `{field}` twice; it is accepted once, since \
                           readers differ in which of the two counts"
                )
            }
        }
    }
}

impl std::error::Error for BodyError {}

/// A top-level field.
#[derive(Debug, Clone)]
struct Field<'a> {
    name: Cow<'a, str>,
    value: Value<'a>,
    name_at: Range<usize>,
    value_at: Range<usize>,
}

/// A scanned body.
#[derive(Debug, Clone)]
pub struct Body<'a> {
    bytes: &'a [u8],
    object: Value<'a>,
    /// Offset of the object's `{`.
    start: usize,
    fields: Vec<Field<'a>>,
}

impl<'a> Body<'a> {
    /// Scans a body.
    ///
    /// # Errors
    /// If it is no JSON object, or has a field of [`ACTED_UPON`] twice.
    pub fn read(bytes: &'a [u8]) -> Result<Self, BodyError> {
        let object = Value::read(bytes).map_err(BodyError::Json)?;
        if object.kind() != Kind::Object {
            return Err(BodyError::NotAnObject);
        }
        let body = Self::of(bytes, object);
        let twice = |name: &&&str| body.fields.iter().filter(|field| field.name == **name).nth(1).is_some();
        match ACTED_UPON.iter().find(twice) {
            Some(name) => Err(BodyError::Twice(name)),
            None => Ok(body),
        }
    }

    fn of(bytes: &'a [u8], object: Value<'a>) -> Self {
        let start = bytes.iter().position(|byte| *byte == b'{').unwrap_or_default();
        let shift = |at: Range<usize>| at.start + start..at.end + start;
        let fields = object.entries().map(|entry| Field {
            name: entry.name,
            value: entry.value,
            name_at: shift(entry.name_at),
            value_at: shift(entry.value_at),
        });
        Self { bytes, object, start, fields: fields.collect() }
    }

    /// The body as a value.
    pub fn object(&self) -> Value<'a> {
        self.object
    }

    /// Names of its fields, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_ref())
    }

    /// The value of a field; None where it is missing or `null`.
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        let found = self.fields.iter().rev().find(|field| field.name == name);
        found.map(|field| field.value).filter(|value| !value.is_null())
    }

    /// Where the value of a field is in the body; None where it is missing.
    pub fn range(&self, name: &str) -> Option<Range<usize>> {
        self.fields.iter().rev().find(|field| field.name == name).map(|field| field.value_at.clone())
    }

    /// The model asked for; None where it is missing or no text.
    pub fn model(&self) -> Option<Cow<'a, str>> {
        self.get("model")?.text()
    }

    /// Whether a stream is asked for. What is neither `true` nor `false` is left to the upstream to refuse.
    pub fn streams(&self) -> bool {
        self.get("stream").and_then(Value::bool) == Some(true)
    }

    /// Whether the caller asked for the usage of a stream, so that it has to see it.
    pub fn asks_for_usage(&self) -> bool {
        let asked = self.get("stream_options").and_then(|options| options.get("include_usage"));
        asked.and_then(Value::bool) == Some(true)
    }

    /// Begins a list of changes.
    pub fn edit<'b>(&'b self) -> Edit<'a, 'b> {
        Edit { body: self, removed: Vec::new(), renamed: Vec::new(), set: Vec::new() }
    }
}

/// A piece of a body to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Bytes of the original.
    Kept(Range<usize>),
    /// Ours.
    Put(String),
}

/// Changes to a body. Where two rules name one field, the later counts.
#[derive(Debug, Clone)]
pub struct Edit<'a, 'b> {
    body: &'b Body<'a>,
    removed: Vec<String>,
    renamed: Vec<(String, String)>,
    /// Names and JSON.
    set: Vec<(String, String)>,
}

impl Edit<'_, '_> {
    /// Sets the value of a field to JSON, in its place where it is there, else at the end.
    #[must_use]
    pub fn set(mut self, name: &str, json: &str) -> Self {
        self.set.retain(|(other, _)| other != name);
        self.set.push((name.to_owned(), json.to_owned()));
        self
    }

    /// Sets the model, which is what every request forwarded needs.
    #[must_use]
    pub fn model(self, name: &str) -> Self {
        self.set("model", &quoted(name))
    }

    /// Asks for the usage of the stream, whatever else `stream_options` has. One that is no object is left to the
    /// upstream to refuse; a body that asks already is not changed.
    #[must_use]
    pub fn include_usage(self) -> Self {
        if self.body.asks_for_usage() {
            return self;
        }
        match self.body.get("stream_options") {
            None => self.set("stream_options", r#"{"include_usage":true}"#),
            Some(options) if options.kind() == Kind::Object => {
                let changed = Body::of(options.raw().as_bytes(), options);
                let changed = changed.edit().set("include_usage", "true").text();
                self.set("stream_options", &changed)
            }
            Some(_) => self,
        }
    }

    /// Gives a field another name and keeps its value, for dialects that spell it differently. Nothing happens where
    /// there is a field of the new name already.
    #[must_use]
    pub fn rename(mut self, from: &str, to: &str) -> Self {
        if self.body.range(to).is_none() {
            self.renamed.push((from.to_owned(), to.to_owned()));
        }
        self
    }

    /// Takes a field out.
    #[must_use]
    pub fn remove(mut self, name: &str) -> Self {
        self.removed.push(name.to_owned());
        self
    }

    /// The pieces of the changed body, in order, none empty.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = Parts::default();
        let body = self.body;
        let first = body.fields.first().map_or(body.start + 1, |field| field.name_at.start);
        parts.keep(0..first);
        let mut before = first;
        let mut any = false;
        for field in &body.fields {
            // Blanks and the comma that separate it from the field before.
            let separator = before..field.name_at.start;
            before = field.value_at.end;
            if self.removed.iter().any(|name| field.name == *name) {
                continue;
            }
            if any {
                parts.keep(separator);
            }
            any = true;
            match self.renamed.iter().rev().find(|(from, _)| field.name == *from) {
                Some((_, to)) => parts.put(&quoted(to)),
                None => parts.keep(field.name_at.clone()),
            }
            parts.keep(field.name_at.end..field.value_at.start);
            match self.set.iter().find(|(name, _)| field.name == *name) {
                Some((_, json)) => parts.put(json),
                None => parts.keep(field.value_at.clone()),
            }
        }
        for (name, json) in self.set.iter().filter(|(name, _)| !self.is_there(name)) {
            parts.put(&format!("{}{}:{json}", if any { "," } else { "" }, quoted(name)));
            any = true;
        }
        parts.keep(before..body.bytes.len());
        parts.0
    }

    fn is_there(&self, name: &str) -> bool {
        let is_removed = self.removed.iter().any(|removed| removed == name);
        !is_removed && self.body.range(name).is_some()
    }

    /// Length of the changed body in bytes.
    pub fn length(&self) -> usize {
        let length = |part: &Part| match part {
            Part::Kept(range) => range.len(),
            Part::Put(text) => text.len(),
        };
        self.parts().iter().map(length).sum()
    }

    /// The changed body.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.bytes.len() + 64);
        for part in self.parts() {
            match part {
                Part::Kept(range) => out.extend_from_slice(&self.body.bytes[range]),
                Part::Put(text) => out.extend_from_slice(text.as_bytes()),
            }
        }
        out
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap_or_default()
    }
}

/// Pieces, neighbors joined.
#[derive(Debug, Default)]
struct Parts(Vec<Part>);

impl Parts {
    fn keep(&mut self, range: Range<usize>) {
        match self.0.last_mut() {
            _ if range.is_empty() => {}
            Some(Part::Kept(last)) if last.end == range.start => last.end = range.end,
            _ => self.0.push(Part::Kept(range)),
        }
    }

    fn put(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Put(last)) => last.push_str(text),
            _ => self.0.push(Part::Put(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests;
