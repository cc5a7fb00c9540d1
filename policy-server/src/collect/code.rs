//! Answers that are programs: the last fenced block of a text, and the tests it has to pass.

use super::sandbox::{Ended, Sandbox};
use routewright_data::answers::normalize::Normalizer;
use serde_json::Value;

/// What the program of an answer has to pass.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tests {
    /// Python that is run after the program; it passes where it ends with status 0.
    Script(String),
    /// Runs of the program alone: what it reads, and what it must print, spaces at the ends aside.
    Runs(Vec<(String, String)>),
}

impl Tests {
    /// Reads the tests of a gold answer: a script, or `{"stdin", "stdout"}`, or a list of such.
    ///
    /// # Errors
    /// If it is something else.
    pub(super) fn read(gold: &Value) -> Result<Self, String> {
        let refuse = || {
            let expected = "a script of tests, or objects of `stdin` and `stdout`";
            format!("has the gold answer `{gold}`, expected {expected}")
        };
        let run = |run: &Value| {
            let text = |key: &str| run.get(key).and_then(Value::as_str).map(str::to_owned);
            Some((text("stdin").unwrap_or_default(), text("stdout")?))
        };
        match gold {
            Value::String(script) => Ok(Self::Script(script.clone())),
            Value::Array(runs) if !runs.is_empty() => {
                runs.iter().map(run).collect::<Option<Vec<_>>>().map(Self::Runs).ok_or_else(refuse)
            }
            one => run(one).map(|run| Self::Runs(vec![run])).ok_or_else(refuse),
        }
    }
}

/// The program of an answer: its last fenced block, or all of it where it has no block.
pub(super) fn program(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let fences: Vec<usize> =
        (0..lines.len()).filter(|at| lines[*at].trim_start().starts_with("```")).collect();
    match fences[..] {
        [] => text.to_owned(),
        // A block that was cut off has no end.
        [.., last] if fences.len() % 2 == 1 => lines[last + 1..].join("\n"),
        [.., open, close] => lines[open + 1..close].join("\n"),
        [last] => lines[last + 1..].join("\n"),
    }
}

/// Runs the program of an answer: whether it passes, and its normal form.
///
/// # Errors
/// If the sandbox cannot be had; why.
pub(super) fn score(sandbox: &Sandbox, text: &str, tests: &Tests) -> Result<(bool, Option<String>), String> {
    let program = program(text);
    let form = Normalizer::named("code")?.form(&format!("```\n{program}\n```"));
    if program.trim().is_empty() {
        return Ok((false, None));
    }
    let passes = match tests {
        Tests::Script(script) => sandbox.run(&format!("{program}\n\n{script}\n"), "")?.is_success(),
        Tests::Runs(runs) => {
            let mut passes = true;
            for (stdin, stdout) in runs {
                let ended = sandbox.run(&program, stdin)?;
                let says = matches!(&ended, Ended::Exited { status: Some(0), stdout: said }
                    if said.trim_end() == stdout.trim_end());
                passes &= says;
                if !passes {
                    break;
                }
            }
            passes
        }
    };
    Ok((passes, form))
}

/// What the program of an answer prints, spaces at the ends aside; empty where it fails.
///
/// # Errors
/// If the sandbox cannot be had; why.
pub(super) fn output(sandbox: &Sandbox, text: &str) -> Result<String, String> {
    match sandbox.run(&program(text), "")? {
        Ended::Exited { status: Some(0), stdout } => Ok(stdout.trim().to_owned()),
        _ => Ok(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_block_is_the_program() {
        assert_eq!(program("x = 1"), "x = 1");
        assert_eq!(program("first\n```python\na\n```\nthen\n```\nb\nc\n```\nend"), "b\nc");
        assert_eq!(program("```python\ncut"), "cut");
        assert_eq!(program(""), "");
    }
}
