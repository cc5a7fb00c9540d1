//! Runs the binary and keeps what it said.

use std::path::Path;
use std::process::{Command, Output};

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_routewright");

/// Runs `routewright` with the arguments, in folder `dir`.
pub(crate) fn run(dir: &Path, arguments: &[&str]) -> Ran {
    Command::new(BINARY).args(arguments).current_dir(dir).output().unwrap().into()
}

/// Runs and demands success.
pub(crate) fn ok(dir: &Path, arguments: &[&str]) -> Ran {
    let ran = run(dir, arguments);
    assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
    ran
}

/// Runs with `--json` and reads the document; nothing else may stand on stdout.
pub(crate) fn json(dir: &Path, arguments: &[&str]) -> serde_json::Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&ok(dir, &arguments).stdout).unwrap()
}
