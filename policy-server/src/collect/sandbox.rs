//! Runs Python that a model wrote: limits of time, memory, output and processes, a folder of its own, and no network
//! where the system has namespaces to give.
//!
//! The interpreter sets its own limits (`RLIMIT_CPU`, `RLIMIT_AS`, `RLIMIT_FSIZE`, `RLIMIT_NOFILE`, `RLIMIT_NPROC`,
//! no core files) before it becomes the program; it runs isolated (`-I`), with an empty environment, in a process group
//! that is killed whole when its time is over or its output too long. The file system is that of the caller: read-only
//! under `bubblewrap`, otherwise as its user may read and write it.

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(5);
/// How long the output of a program that has ended may still be read.
const DRAIN: Duration = Duration::from_secs(1);

/// Sets the limits and becomes the program.
const BOOT: &str = "\
import os, resource as r, sys
cpu, memory, size = (int(value) for value in sys.argv[1:4])
code = sys.argv[4]
for kind, value in [(r.RLIMIT_CPU, cpu), (r.RLIMIT_AS, memory), (r.RLIMIT_FSIZE, size), (r.RLIMIT_NOFILE, 64),
                    (r.RLIMIT_NPROC, 64), (r.RLIMIT_CORE, 0)]:
    hard = r.getrlimit(kind)[1]
    value = value if hard == r.RLIM_INFINITY else min(value, hard)
    r.setrlimit(kind, (value, value))
os.execv(sys.executable, [sys.executable, '-I', '-B', code])
";

/// What a program may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeLimits {
    /// Processor time, seconds.
    pub cpu_s: u64,
    /// Time from start to end, milliseconds.
    pub wall_ms: u64,
    /// Address space, bytes.
    pub memory: u64,
    /// What it may print, and the largest file it may write, bytes.
    pub output: u64,
}

impl Default for CodeLimits {
    fn default() -> Self {
        Self { cpu_s: 5, wall_ms: 10_000, memory: 1 << 30, output: 1 << 20 }
    }
}

/// How far a program is kept from the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// `bwrap`: no network, processes of its own, files read-only but for its folder.
    Bubblewrap,
    /// `unshare`: no network, processes of its own.
    Namespaces,
    /// Limits alone.
    Limits,
}

/// A way to run programs.
#[derive(Debug, Clone)]
pub(super) struct Sandbox {
    python: PathBuf,
    limits: CodeLimits,
    pub(super) isolation: Isolation,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself or by a signal, which has no status.
    Exited { status: Option<i32>, stdout: String },
    /// Its time was over.
    TimedOut,
    /// It printed too much.
    TooLong,
}

impl Ended {
    pub(super) fn is_success(&self) -> bool {
        matches!(self, Self::Exited { status: Some(0), .. })
    }
}

impl Sandbox {
    /// Finds the interpreter and the strongest isolation there is.
    ///
    /// # Errors
    /// If there is no such interpreter; why.
    pub(super) fn find(python: &Path, limits: CodeLimits) -> Result<Self, String> {
        let shown = python.display();
        let asked = Command::new(python).args(["-I", "-c", "import sys; print(sys.executable)"]).output();
        let asked = asked.map_err(|error| format!("cannot run `{shown}`: {error}; expected a Python 3"))?;
        let found = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        if !asked.status.success() || found.is_empty() {
            return Err(format!("`{shown}` is no Python 3, expected one to run the code of answers"));
        }
        let mut sandbox = Self { python: found.into(), limits, isolation: Isolation::Limits };
        for isolation in [Isolation::Bubblewrap, Isolation::Namespaces] {
            let tried = Self { isolation, ..sandbox.clone() };
            if tried.run("print(1)", "").is_ok_and(|ended| ended.is_success()) {
                return Ok(tried);
            }
        }
        match sandbox.run("print(1)", "")? {
            ended if ended.is_success() => {
                sandbox.isolation = Isolation::Limits;
                Ok(sandbox)
            }
            ended => Err(format!("`{shown}` cannot run a program under its limits: {ended:?}")),
        }
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// If it cannot be started; why.
    pub(super) fn run(&self, code: &str, stdin: &str) -> Result<Ended, String> {
        let fail = |error: std::io::Error| format!("cannot run the code of an answer: {error}");
        let folder = tempfile::Builder::new().prefix("routewright-code-").tempdir().map_err(fail)?;
        let file = folder.path().join("main.py");
        std::fs::write(&file, code).map_err(fail)?;
        let mut child = self.command(folder.path(), &file).spawn().map_err(fail)?;
        if let Some(mut pipe) = child.stdin.take() {
            let stdin = stdin.to_owned();
            // A program need not read what it is given.
            std::thread::spawn(move || drop(pipe.write_all(stdin.as_bytes())));
        }
        let (tell, told) = channel();
        let most = self.limits.output;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        std::thread::spawn({
            let tell = tell.clone();
            move || read(out, most, &tell, true)
        });
        std::thread::spawn(move || read(err, most, &tell, false));
        let ended = self.wait(&mut child, &told);
        end_group(&mut child);
        ended.map_err(fail)
    }

    fn wait(&self, child: &mut Child, told: &Receiver<Said>) -> std::io::Result<Ended> {
        let end = Instant::now() + Duration::from_millis(self.limits.wall_ms);
        let mut stdout = None;
        loop {
            match told.try_recv() {
                Ok(Said::TooLong) => return Ok(Ended::TooLong),
                Ok(Said::Out(text)) => stdout = Some(text),
                Ok(Said::Err) | Err(_) => {}
            }
            if let Some(status) = child.try_wait()? {
                let status = status.code();
                let by = Instant::now() + DRAIN;
                while stdout.is_none() {
                    match told.recv_timeout(by.saturating_duration_since(Instant::now())) {
                        Ok(Said::Out(text)) => stdout = Some(text),
                        Ok(Said::TooLong) => return Ok(Ended::TooLong),
                        Ok(Said::Err) => {}
                        Err(_) => break,
                    }
                }
                return Ok(Ended::Exited { status, stdout: stdout.unwrap_or_default() });
            }
            if Instant::now() >= end {
                return Ok(Ended::TimedOut);
            }
            std::thread::sleep(POLL);
        }
    }

    fn command(&self, folder: &Path, file: &Path) -> Command {
        let mut words: Vec<std::ffi::OsString> = Vec::new();
        let mut add = |all: &[&str]| words.extend(all.iter().map(std::ffi::OsString::from));
        let shown = folder.to_string_lossy();
        match self.isolation {
            Isolation::Bubblewrap => add(&[
                "bwrap",
                "--ro-bind",
                "/",
                "/",
                "--dev",
                "/dev",
                "--proc",
                "/proc",
                "--bind",
                &shown,
                &shown,
                "--unshare-all",
                "--die-with-parent",
                "--chdir",
                &shown,
            ]),
            Isolation::Namespaces => {
                add(&["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"]);
            }
            Isolation::Limits => {}
        }
        words.push(self.python.clone().into());
        let CodeLimits { cpu_s, memory, output, .. } = self.limits;
        let numbers = [cpu_s, memory, output].map(|n| n.to_string());
        words.extend(["-I", "-S", "-c", BOOT].map(Into::into));
        words.extend(numbers.map(Into::into));
        words.push(file.into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(folder).env_clear();
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env("PATH", path).env("HOME", folder).env("TMPDIR", folder).env("LC_ALL", "C.UTF-8");
        command.env("OPENBLAS_NUM_THREADS", "1").env("OMP_NUM_THREADS", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command
    }
}

/// What a reader of an output found.
enum Said {
    Out(String),
    Err,
    TooLong,
}

fn read(pipe: Option<impl Read>, most: u64, tell: &Sender<Said>, is_out: bool) {
    let Some(pipe) = pipe else { return };
    let mut bytes = Vec::new();
    // What was printed before a failure counts.
    let _failed = pipe.take(most + 1).read_to_end(&mut bytes);
    let said = match (bytes.len() as u64 > most, is_out) {
        (true, _) => Said::TooLong,
        (false, true) => Said::Out(String::from_utf8_lossy(&bytes).into_owned()),
        (false, false) => Said::Err,
    };
    // The one who runs the program may have given up.
    let _gone = tell.send(said);
}

/// Kills whatever is left of a program.
fn end_group(child: &mut Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended by itself.
        let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _gone = child.kill();
    let _waited = child.wait();
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn sandbox(limits: CodeLimits) -> Option<Sandbox> {
        match Sandbox::find(Path::new("python3"), limits) {
            Ok(sandbox) => Some(sandbox),
            Err(why) => {
                routewright_data::testing::skip("python3", &why);
                None
            }
        }
    }

    fn exited(status: i32, stdout: &str) -> Ended {
        Ended::Exited { status: Some(status), stdout: stdout.to_owned() }
    }

    #[test]
    fn programs_run_with_their_input_and_hostile_ones_end() {
        let limits = CodeLimits { cpu_s: 1, wall_ms: 3000, memory: 256 << 20, output: 4096 };
        let Some(sandbox) = sandbox(limits) else { return };
        assert_eq!(sandbox.run("print(int(input()) + 1)", "41\n").unwrap(), exited(0, "42\n"));
        assert_eq!(sandbox.run("assert 1 == 2", "").unwrap(), exited(1, ""));
        assert_eq!(sandbox.run("import sys; sys.exit(3)", "").unwrap(), exited(3, ""));
        assert_eq!(sandbox.run("import time; time.sleep(60)", "").unwrap(), Ended::TimedOut);
        assert_eq!(sandbox.run("while True: print('x' * 1000)", "").unwrap(), Ended::TooLong);
        assert!(!sandbox.run("while True: pass", "").unwrap().is_success(), "processor time");
        assert!(!sandbox.run("x = bytearray(1 << 30)", "").unwrap().is_success(), "memory");
        let write = "open('big', 'wb').write(b'x' * 100000)";
        assert!(!sandbox.run(write, "").unwrap().is_success(), "size of a file");
        assert_eq!(
            sandbox
                .run("import os; print(os.environ.get('SECRET'), os.getcwd() == os.environ['HOME'])", "")
                .unwrap(),
            exited(0, "None True\n")
        );
        // A program that never reads what it is given.
        assert_eq!(sandbox.run("pass", &"x".repeat(1 << 20)).unwrap(), exited(0, ""));
    }

    #[test]
    fn what_a_program_leaves_behind_is_killed() {
        let limits = CodeLimits { wall_ms: 5000, ..CodeLimits::default() };
        let Some(sandbox) = sandbox(limits) else { return };
        let marker = tempfile::tempdir().unwrap();
        let alive = marker.path().join("alive");
        let code = format!(
            "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1.5)\n    open({:?}, 'w').close()\n\
             \x20   os._exit(0)\n",
            alive.to_str().unwrap()
        );
        if sandbox.isolation == Isolation::Limits {
            return routewright_data::testing::skip("namespaces", "a process that leaves its group lives on");
        }
        let began = Instant::now();
        assert!(sandbox.run(&code, "").unwrap().is_success());
        assert!(began.elapsed() < Duration::from_millis(1400), "{:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(2000));
        assert!(!alive.exists(), "a process outlived its program");
    }

    #[test]
    fn there_is_no_network_where_namespaces_are_to_be_had() {
        let Some(sandbox) = sandbox(CodeLimits::default()) else { return };
        if sandbox.isolation == Isolation::Limits {
            return routewright_data::testing::skip("namespaces", "there is a network");
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let code = format!("import socket; socket.create_connection(('127.0.0.1', {port}), 2)");
        assert!(!sandbox.run(&code, "").unwrap().is_success());
    }
}
