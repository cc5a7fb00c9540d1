//! A peer: a Python script that answers requests line by line, so that rounds of both sides can alternate.
//!
//! The script first prints `{"ready": "PACKAGE VERSION"}`, then one line of JSON for every line it reads.
//! It is held to one thread. A peer that cannot start or answer is skipped, never an error.

use super::report::Report;
use anyhow::{Context, bail};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A script shipped with the binary.
#[derive(Debug, Clone, Copy)]
pub(super) struct Script {
    /// What is compared with, for notes.
    pub(super) peer: &'static str,
    /// Name of the file.
    pub(super) file: &'static str,
    /// Its text.
    pub(super) text: &'static str,
}

/// What the user gave to run peers with.
#[derive(Debug)]
pub(super) struct Interpreters {
    pythons: Vec<PathBuf>,
    /// Folder of scripts to take instead of ours.
    scripts: Option<PathBuf>,
    /// Temporary folder for our scripts and what they complain of.
    work: PathBuf,
}

/// A script that runs.
#[derive(Debug)]
struct Process {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    complaints: PathBuf,
}

/// The other side of a benchmark, if it can be had.
#[derive(Debug)]
pub(super) struct Peer {
    name: &'static str,
    process: Option<Process>,
}

impl Interpreters {
    /// Interpreters in the order they are tried in; `work` is a temporary folder.
    pub(super) fn new(pythons: Vec<PathBuf>, scripts: Option<PathBuf>, work: PathBuf) -> Self {
        Self { pythons, scripts, work }
    }

    /// Temporary folder shared with the scripts.
    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    /// Starts a script with the first interpreter that can run it; a skip is reported.
    pub(super) fn start(&self, script: Script, arguments: &[&Path], report: &mut Report) -> Peer {
        let mut reasons = Vec::new();
        for python in &self.pythons {
            match self.start_with(python, script, arguments) {
                Ok((process, about)) => {
                    report.note(format!("peer: {about}"));
                    return Peer { name: script.peer, process: Some(process) };
                }
                Err(error) => reasons.push(format!("{error:#}")),
            }
        }
        if reasons.is_empty() {
            reasons.push("no interpreter given, expected --python PY".to_owned());
        }
        report.skip(script.peer, &reasons.join("; "));
        Peer { name: script.peer, process: None }
    }

    fn start_with(
        &self,
        python: &Path,
        script: Script,
        arguments: &[&Path],
    ) -> anyhow::Result<(Process, String)> {
        let path = self.script(script)?;
        let complaints = self.work.join(format!("{}.stderr", script.file));
        let log = File::create(&complaints).context("cannot make a file for the script's complaints")?;
        let mut child = Command::new(python)
            .arg(&path)
            .args(arguments)
            .envs(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"].map(|name| (name, "1")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run `{}`", python.display()))?;
        let (requests, answers) = (child.stdin.take(), child.stdout.take());
        let (Some(requests), Some(answers)) = (requests, answers) else { bail!("the script has no pipes") };
        let mut process = Process { child, requests, answers: BufReader::new(answers), complaints };
        let ready = process.answer().with_context(|| format!("`{}` cannot run it", python.display()))?;
        let about = ready["ready"].as_str().unwrap_or("of unknown version").to_owned();
        Ok((process, about))
    }

    /// Where the script lies: the user's, or ours written out.
    fn script(&self, script: Script) -> anyhow::Result<PathBuf> {
        let given = self.scripts.as_ref().map(|folder| folder.join(script.file));
        if let Some(given) = given.filter(|given| given.is_file()) {
            return Ok(given);
        }
        let path = self.work.join(script.file);
        std::fs::write(&path, script.text).with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(path)
    }
}

impl Process {
    fn answer(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line).context("its answer cannot be read")? == 0 {
            let said = std::fs::read_to_string(&self.complaints).unwrap_or_default();
            bail!("it ended: {}", said.lines().last().unwrap_or("without a word"));
        }
        serde_json::from_str(&line).with_context(|| format!("its answer `{}` is not JSON", line.trim()))
    }

    fn ask(&mut self, request: &str) -> anyhow::Result<Value> {
        // A script that has ended is recognised by its missing answer.
        let _ended = writeln!(self.requests, "{request}").and_then(|()| self.requests.flush());
        self.answer()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Peer {
    /// The answer to a request; a failure is reported and the peer is gone from then on.
    pub(super) fn ask(&mut self, request: &str, report: &mut Report) -> Option<Value> {
        match self.process.as_mut()?.ask(request) {
            Ok(answer) => Some(answer),
            Err(error) => {
                report.skip(self.name, &format!("asked `{request}`, {error:#}"));
                self.process = None;
                None
            }
        }
    }

    /// One number of the answer, positive. A peer that answers without it (a package for this request is missing,
    /// say) is skipped for this request only.
    pub(super) fn figure(&mut self, request: &str, key: &str, report: &mut Report) -> Option<f64> {
        let answer = self.ask(request, report)?;
        let figure = answer[key].as_f64().filter(|figure| *figure > 0.0);
        if figure.is_none() {
            report.skip(self.name, &format!("asked `{request}`, it answered no `{key}`: {answer}"));
        }
        figure
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    /// A shell stands in for Python: it is everywhere.
    fn peer(text: &'static str) -> (tempfile::TempDir, Report, Peer) {
        let dir = tempfile::tempdir().unwrap();
        let pythons = vec![dir.path().join("none"), PathBuf::from("/bin/sh")];
        let interpreters = Interpreters::new(pythons, None, dir.path().to_owned());
        let mut report = Report::start(1);
        let peer = interpreters.start(Script { peer: "shell", file: "a.sh", text }, &[], &mut report);
        (dir, report, peer)
    }

    #[test]
    fn a_peer_answers_until_it_ends() {
        let (_dir, mut report, mut peer) =
            peer("echo '{\"ready\": \"sh\"}'; read a; echo \"{\\\"us\\\": $a}\"; read a; echo oh >&2");
        assert_eq!(peer.figure("7.5", "us", &mut report), Some(7.5));
        assert_eq!(peer.figure("8", "us", &mut report), None);
        assert_eq!(peer.figure("9", "us", &mut report), None);
        let text = report.text();
        assert!(text.contains("peer: sh"), "{text}");
        assert_eq!(text.matches("SKIPPED: peer shell: asked `8`, it ended: oh").count(), 1, "{text}");
    }

    #[test]
    fn a_request_a_peer_cannot_answer_is_skipped_once_and_the_others_are_asked() {
        let script = "echo '{\"ready\": \"sh\"}'; while read a; do \
                      if [ $a = torch ]; then echo '{\"error\": \"no torch\"}'; else echo '{\"ms\": 2}'; fi; done";
        let (_dir, mut report, mut peer) = peer(script);
        for _round in 0..3 {
            assert_eq!(peer.figure("torch", "ms", &mut report), None);
            assert_eq!(peer.figure("scipy", "ms", &mut report), Some(2.0));
        }
        let text = report.text();
        assert_eq!(text.matches("no torch").count(), 1, "{text}");
    }

    #[test]
    fn a_peer_that_cannot_start_is_skipped_with_every_reason() {
        let (dir, report, _peer) = peer("echo missing package >&2; exit 1");
        let text = report.text();
        let none = dir.path().join("none").display().to_string();
        assert!(text.contains(&format!("cannot run `{none}`")), "{text}");
        assert!(text.contains("`/bin/sh` cannot run it: it ended: missing package"), "{text}");
    }
}
