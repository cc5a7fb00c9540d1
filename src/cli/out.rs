//! What goes to stdout (results) and to stderr (everything else).

use anyhow::Context as _;
use std::io::{self, ErrorKind, Write as _};

/// Prints a result. A reader that went away is no error.
pub(super) fn result(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

/// Tells a person something; nothing can be done where stderr is closed.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
