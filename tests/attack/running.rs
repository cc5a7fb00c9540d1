//! Which case runs at the moment: kept where it survives the process, since an overflown stack or an abort leaves no
//! time to say it.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A case that runs for so long hangs: the process says which and ends. Cases of a loaded machine take milliseconds.
const HANGS_AFTER: Duration = Duration::from_secs(120);
/// How often the watchdog looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What a thread attacks with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Running {
    pub(crate) target: &'static str,
    pub(crate) seed: u64,
    pub(crate) case: u64,
    since: Instant,
    thread: std::thread::ThreadId,
}

static ALL: Mutex<Vec<Running>> = Mutex::new(Vec::new());
static WATCHDOG: OnceLock<()> = OnceLock::new();

/// A target's mark on disk: `SEED CASE` of what is running.
#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
    path: PathBuf,
    target: &'static str,
    seed: u64,
}

impl Mark {
    /// Begins a run; says so where an earlier one ended in the middle of a case.
    pub(crate) fn begin(folder: &Path, target: &'static str, seed: u64) -> Self {
        let path = folder.join(format!("{target}.running"));
        if let Ok(left) = std::fs::read_to_string(&path) {
            let mut numbers = left.split_whitespace();
            if let (Some(seed), Some(case)) = (numbers.next(), numbers.next()) {
                say(&format!(
                    "{target}: an earlier run was cut off in case {case} of seed {seed}; if nobody ended it, run:\n\
                     {}",
                    replay(target, seed, case)
                ));
            }
        }
        WATCHDOG.get_or_init(|| {
            std::thread::spawn(watch);
        });
        Self { file: File::create(&path).unwrap(), path, target, seed }
    }

    /// A case begins on this thread.
    pub(crate) fn enter(&self, case: u64) {
        let thread = std::thread::current().id();
        let now = Running { target: self.target, seed: self.seed, case, since: Instant::now(), thread };
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|running| running.thread == thread) {
            Some(running) => *running = now,
            None => all.push(now),
        }
        drop(all);
        self.file.write_at(format!("{:<20} {case:<20}\n", self.seed).as_bytes(), 0).unwrap();
    }

    /// The run is over, as it should be.
    pub(crate) fn end(self) {
        leave();
        std::fs::remove_file(self.path).unwrap();
    }
}

/// This thread attacks no more.
pub(crate) fn leave() {
    let thread = std::thread::current().id();
    ALL.lock().unwrap_or_else(PoisonError::into_inner).retain(|running| running.thread != thread);
}

fn watch() {
    loop {
        std::thread::sleep(LOOK_EVERY);
        let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hung) = all.iter().find(|running| running.since.elapsed() > HANGS_AFTER) {
            say(&format!(
                "{}: case {} of seed {} has run for more than {} s; look:\n    {}",
                hung.target,
                hung.case,
                hung.seed,
                HANGS_AFTER.as_secs(),
                replay(hung.target, hung.seed, hung.case)
            ));
            std::process::abort();
        }
    }
}

/// The command that runs one case again.
pub(crate) fn replay(target: &str, seed: impl std::fmt::Display, case: impl std::fmt::Display) -> String {
    format!(
        "ROUTEWRIGHT_ATTACK_TARGET={target} ROUTEWRIGHT_ATTACK_SEED={seed} ROUTEWRIGHT_ATTACK_CASE={case} \
         cargo test --test attack"
    )
}

/// Says something past the test harness, which keeps what tests print to itself.
pub(crate) fn say(text: &str) {
    let _closed = writeln!(std::io::stderr(), "attack: {text}");
}

/// Ends the process from within the allocator: nothing may be allocated any more, and the mark on disk says the case.
pub(crate) fn die(why: &str) -> ! {
    let mut stderr = std::io::stderr();
    for part in ["attack: a case ", why, "; the case is in the file TARGET.running, see CONTRIBUTING.md\n"] {
        let _closed = stderr.write_all(part.as_bytes());
    }
    std::process::abort()
}
