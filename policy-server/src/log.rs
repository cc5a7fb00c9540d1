//! One JSON object a line: what happened, when, with which values. Never a prompt, never a key.

use crate::clock::now_ms;
use serde_json::{Map, Value};
use std::fmt::Debug;
use std::io::Write;
use std::sync::Arc;

/// Where log lines go.
pub trait Sink: Send + Sync + Debug {
    /// Takes one line, without its line break.
    fn line(&self, line: &str);
}

/// Writes lines to standard error.
#[derive(Debug, Clone, Copy)]
pub struct Stderr;

impl Sink for Stderr {
    fn line(&self, line: &str) {
        // A log that cannot be written must not take the server down.
        let _unwritten = writeln!(std::io::stderr().lock(), "{line}");
    }
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Info,
    Warn,
    Error,
}

/// The log of a server.
#[derive(Debug, Clone)]
pub(crate) struct Log(pub(crate) Arc<dyn Sink>);

impl Log {
    /// Writes one event; `fields` is an object.
    pub(crate) fn event(&self, level: Level, event: &str, fields: Value) {
        let level = match level {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        let mut entry = Map::new();
        entry.insert("ts".to_owned(), Value::from(now_ms() as f64 / 1000.0));
        entry.insert("level".to_owned(), Value::from(level));
        entry.insert("event".to_owned(), Value::from(event));
        if let Value::Object(fields) = fields {
            entry.extend(fields);
        }
        self.0.line(&Value::Object(entry).to_string());
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // Some errors print their cause themselves.
        if !out.ends_with(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        next = cause.source();
    }
    out
}
