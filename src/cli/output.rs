//! The only place that prints: results to stdout, everything else to stderr.

#![expect(clippy::print_stderr, reason = "the one module that talks to the terminal")]

use indicatif::{ProgressBar, ProgressStyle};
use routewright_trainer::progress::Progress;
use serde::Serialize;
use serde_json::{Number, Value};
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::{Mutex, OnceLock};

/// The first failure to print a result.
static UNPRINTED: OnceLock<std::io::Error> = OnceLock::new();

/// Prints a result; [`unprinted`] knows whether that worked.
pub(crate) fn say(text: &str) {
    let ended = if text.ends_with('\n') { "" } else { "\n" };
    stream(&format!("{text}{ended}"));
}

/// Prints a piece of a result as it comes.
pub(crate) fn stream(piece: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout.write_all(piece.as_bytes()).and_then(|()| stdout.flush()) {
        // Only the first one says why.
        let _later = UNPRINTED.set(error);
    }
}

/// Why a result is not, or not whole, on stdout. A reader that went away (a closed pipe) is no failure.
pub(crate) fn unprinted() -> Option<anyhow::Error> {
    let error = UNPRINTED.get().filter(|error| error.kind() != ErrorKind::BrokenPipe)?;
    Some(anyhow::anyhow!("cannot write the result to stdout: {error}"))
}

/// Prints a result as one JSON document.
pub(crate) fn say_json(value: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints numbers that were stored in 32 bits with the digits they have: `0.1`, not `0.10000000149011612`.
pub(crate) fn short_floats(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(short_float(number)),
        Value::Array(values) => values.into_iter().map(short_floats).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, short_floats(value))).collect(),
        other => other,
    }
}

fn short_float(number: Number) -> Number {
    let wide = number.as_f64().filter(|_| number.is_f64());
    let narrow = wide.map(|wide| wide as f32).filter(|narrow| Some(f64::from(*narrow)) == wide);
    let short = narrow.and_then(|narrow| Number::from_f64(narrow.to_string().parse().ok()?));
    short.unwrap_or(number)
}

/// Tells the user what happens, on stderr.
pub(crate) fn tell(text: &str) {
    eprintln!("{text}");
}

/// An error and its causes.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.join(": ")
}

/// Prints an error and its causes on one line.
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("error: {}", one_line(error));
}

/// Draws the progress of a fit as a bar on a terminal; silent elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Bars {
    title: String,
    lines: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Bars {
    /// Bars that begin with `title`, e.g. the method fitted.
    pub(crate) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), lines: false, bar: Mutex::new(None) }
    }

    /// The same, with a line a step where there is no terminal: for few, long steps.
    pub(crate) fn with_lines(title: &str) -> Self {
        Self { title: title.to_owned(), lines: true, bar: Mutex::new(None) }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.lock().ok().and_then(|mut bar| bar.take()) {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Bars {
    fn start(&self, phase: &str, total: u64) {
        let Ok(mut slot) = self.bar.lock() else { return };
        if let Some(old) = slot.take() {
            old.finish_and_clear();
        }
        if !std::io::stderr().is_terminal() {
            return;
        }
        let bar = ProgressBar::new(total);
        if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} eta {eta} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(format!("{} {phase}", self.title));
        *slot = Some(bar);
    }

    fn step(&self, done: u64, note: &str) {
        if let Some(bar) = self.bar.lock().ok().as_ref().and_then(|slot| slot.as_ref()) {
            bar.set_position(done);
            bar.set_message(note.to_owned());
        } else if self.lines {
            tell(&format!("{}: {note}", self.title));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_of_32_bits_are_short_and_others_are_as_they_were() {
        let wide =
            json!({"a": 0.1_f32, "b": [5e-5_f32, 0.1, 1, -2], "c": "0.1", "d": null, "e": 1e300, "f": 0.0});
        assert!(wide.to_string().contains("0.10000000149011612"), "{wide}");
        let short = json!({"a": 0.1, "b": [5e-5, 0.1, 1, -2], "c": "0.1", "d": null, "e": 1e300, "f": 0.0});
        assert_eq!(short_floats(wide), short);
    }
}
