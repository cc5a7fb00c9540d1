//! Runs a target: makes input after input, feeds each to what reads it, and judges what became of it.

use crate::memory;
use crate::random::Rng;
use crate::running::{self, Mark, say};
use cpu_time::ThreadTime;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Processor time one case may take. Inputs are some thousand bytes; a case takes a millisecond or less.
const TIME_MAX: Duration = Duration::from_secs(4);
/// Words of an error: at least so many bytes, and no more than four times the input (escapes) and this.
const WORDS_MIN: usize = 12;
const WORDS_MORE: usize = 4096;
/// Time between two lines about a long run.
const SAY_EVERY: Duration = Duration::from_secs(20);

/// What one case consists of: files with their names.
pub(crate) type Parts = Vec<(String, Vec<u8>)>;

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was read, and what was made of it is sound.
    Accepted,
    /// It was refused in words.
    Refused,
}

/// Something that reads what others wrote.
pub(crate) trait Target {
    /// Its name on the command line.
    const NAME: &'static str;
    /// Cases of an ordinary test run.
    const CASES: u64;
    /// Bytes a case may take at once, whatever its input: what the reader's buffers and fixed tables need.
    const MEMORY: usize = 8 << 20;
    /// Bytes it may take for each byte of input.
    const MEMORY_PER_BYTE: usize = 100;

    /// The input of a case: a valid one, then damaged.
    fn input(&mut self, rng: &mut Rng) -> Parts;

    /// Has it read; `Err` is a fault of the reader, in words.
    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String>;
}

/// What the environment says of a run.
#[derive(Debug)]
struct Settings {
    cases: Option<u64>,
    target: Option<String>,
    seed: u64,
    case: Option<u64>,
    replay: Option<PathBuf>,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(format!("ROUTEWRIGHT_ATTACK_{name}")).ok().filter(|value| !value.is_empty())
}

impl Settings {
    fn read() -> Self {
        let number = |name: &str| {
            variable(name).map(|value| match value.parse::<u64>() {
                Ok(number) => number,
                Err(error) => panic!("ROUTEWRIGHT_ATTACK_{name} is `{value}`: {error}; a number is accepted"),
            })
        };
        Self {
            cases: number("CASES"),
            target: variable("TARGET"),
            seed: number("SEED").unwrap_or(1),
            case: number("CASE"),
            replay: variable("REPLAY").map(PathBuf::from),
        }
    }
}

/// The folder of marks and of inputs that failed.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("attack");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The name of every error of a chain.
pub(crate) fn words(error: &dyn Error) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// An input was refused; `Err` where it is not said why, or at a length that is an attack of its own.
pub(crate) fn refused(error: &dyn Error, parts: &Parts) -> Result<Verdict, String> {
    refused_in(&words(error), parts)
}

/// The same of the words.
pub(crate) fn refused_in(words: &str, parts: &Parts) -> Result<Verdict, String> {
    let length: usize = parts.iter().map(|(_, bytes)| bytes.len()).sum();
    if words.trim().len() < WORDS_MIN {
        return Err(format!("it was refused with the words `{words}`, which say nothing"));
    }
    if words.len() > 4 * length + WORDS_MORE {
        let begin: String = words.chars().take(200).collect();
        return Err(format!("{length} bytes were refused in {} bytes of words: `{begin}`...", words.len()));
    }
    Ok(Verdict::Refused)
}

/// Feeds one case and judges it; `Err` is a fault.
fn judge<T: Target>(target: &mut T, parts: &Parts) -> Result<Verdict, String> {
    let length: usize = parts.iter().map(|(_, bytes)| bytes.len()).sum();
    memory::reset();
    let began = ThreadTime::now();
    let fed = catch_unwind(AssertUnwindSafe(|| target.feed(parts)));
    let (took, peak) = (began.elapsed(), memory::peak());
    let verdict = fed.map_err(|panicked| {
        let text = panicked.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panicked.downcast_ref::<&str>().copied()).unwrap_or("no message");
        format!("it panicked: {text}")
    })??;
    if took > TIME_MAX {
        return Err(format!("{length} bytes took {} ms of processor time", took.as_millis()));
    }
    let allowed = T::MEMORY + T::MEMORY_PER_BYTE * length;
    if peak > allowed {
        return Err(format!("{length} bytes took {peak} bytes of memory, {allowed} are allowed"));
    }
    Ok(verdict)
}

fn of_case<T: Target>(target: &mut T, seed: u64, case: u64) -> Parts {
    // Any two cases of any two seeds have streams of their own.
    let mut rng = routewright_data::rng::stream(seed, &format!("attack {} {case}", T::NAME));
    target.input(&mut rng)
}

/// Keeps the input of a failed case as a folder and returns it.
fn keep(target: &str, seed: u64, case: u64, parts: &Parts) -> PathBuf {
    let folder = folder().join(format!("{target}-{seed}-{case}"));
    let _new = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in parts {
        std::fs::write(folder.join(name.replace('/', "\u{2215}")), bytes).unwrap();
    }
    folder
}

/// The parts that [`keep`] wrote.
fn kept(folder: &Path) -> Parts {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let part = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().replace('\u{2215}', "/");
        (name, std::fs::read(&path).unwrap())
    };
    let mut parts: Parts = entries.map(part).collect();
    parts.sort();
    parts
}

/// Figures of a run.
#[derive(Debug, Default)]
struct Tally {
    cases: u64,
    accepted: u64,
}

impl Tally {
    fn line(&self, name: &str, of: u64, began: Instant, cpu: ThreadTime) -> String {
        let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu.elapsed().as_secs_f64());
        let rate = self.cases as f64 / wall.max(1e-9);
        let share = 100.0 * self.accepted as f64 / self.cases.max(1) as f64;
        let each = 1e6 * cpu / self.cases.max(1) as f64;
        format!(
            "{name}: {} of {of} cases, {share:.1} % accepted, {rate:.0} a second, {each:.1} us of processor time each",
            self.cases
        )
    }
}

/// Attacks with as many cases as the environment asks for, else with the budget of the target.
pub(crate) fn attack<T: Target>(mut target: T) {
    let settings = Settings::read();
    if settings.target.as_ref().is_some_and(|wanted| wanted != T::NAME) {
        return;
    }
    if let Some(folder) = &settings.replay {
        let verdict = judge(&mut target, &kept(folder));
        say(&format!("{}: {verdict:?}", T::NAME));
        verdict.unwrap();
        return;
    }
    let seed = settings.seed;
    let is_long = settings.cases.is_some();
    let (first, cases) = match settings.case {
        Some(case) => (case, 1),
        None => (0, settings.cases.unwrap_or(T::CASES)),
    };
    let mark = Mark::begin(&folder(), T::NAME, seed);
    let (began, cpu, mut said) = (Instant::now(), ThreadTime::now(), Instant::now());
    let mut tally = Tally::default();
    for case in first..first + cases {
        mark.enter(case);
        let parts = of_case(&mut target, seed, case);
        match judge(&mut target, &parts) {
            Ok(verdict) => tally.accepted += u64::from(verdict == Verdict::Accepted),
            Err(fault) => {
                let kept = keep(T::NAME, seed, case, &parts);
                mark.end();
                panic!(
                    "{}: case {case} of seed {seed}: {fault}\nits input is in {}\nrun it again:\n    {}",
                    T::NAME,
                    kept.display(),
                    running::replay(T::NAME, seed, case)
                );
            }
        }
        tally.cases += 1;
        if is_long && said.elapsed() > SAY_EVERY {
            said = Instant::now();
            say(&tally.line(T::NAME, cases, began, cpu));
        }
    }
    mark.end();
    if is_long || settings.case.is_some() {
        say(&tally.line(T::NAME, cases, began, cpu));
    }
    // Damage that is always or never noticed tests one path alone.
    let share = tally.accepted as f64 / tally.cases as f64;
    assert!(
        settings.case.is_some() || (0.01..=0.99).contains(&share),
        "{}: {share} of the cases are accepted",
        T::NAME
    );
}
