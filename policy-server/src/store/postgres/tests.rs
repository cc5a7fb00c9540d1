//! Two servers on one log: nothing is skipped, nothing counts twice, both end where one alone would.
//!
//! Runs on the database of `ROUTEWRIGHT_POSTGRES_URL`, or on one made for the test where PostgreSQL is installed.

use super::super::tests::{Dice, WINDOW_MS, clean, decision, random_feedback};
use super::{PostgresStore, Secret};
use crate::store::{Checkpoint, Entry, Fold, Statistics, Store};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A database of the test's own, ended with it.
struct Database {
    url: String,
    made: Option<(PathBuf, PathBuf)>,
}

/// A command as the user who may run the database: it refuses to run as root.
fn command(program: &std::path::Path) -> Command {
    let is_root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program).current_dir("/tmp");
    command
}

impl Database {
    fn start() -> Option<Self> {
        if let Ok(url) = std::env::var("ROUTEWRIGHT_POSTGRES_URL") {
            return Some(Self { url, made: None });
        }
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let bins = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
        let bin = bins.filter(|bin| bin.join("initdb").is_file()).max()?;
        let dir = std::env::temp_dir().join(format!("routewright-postgres-{}", std::process::id()));
        let run = |program: &str, arguments: &[&str]| {
            let mut command = command(&bin.join(program));
            let output = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
            output.is_ok_and(|status| status.success())
        };
        let at = dir.to_str()?;
        let options = format!("-c listen_addresses='' -k {at} -c fsync=off");
        let made = run("initdb", &["-D", at, "-U", "tester", "--auth=trust", "-N"])
            && run("pg_ctl", &["-D", at, "-o", &options, "-w", "start"]);
        let database = Self { url: format!("host={at} user=tester dbname=postgres"), made: Some((bin, dir)) };
        made.then_some(database)
    }

    fn open(&self) -> PostgresStore {
        PostgresStore::open(Secret::new(&self.url)).unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some((bin, dir)) = &self.made {
            let mut stop = command(&bin.join("pg_ctl"));
            let _stopped = stop.arg("-D").arg(dir).args(["-m", "immediate", "-w", "stop"]).status();
            let _removed = std::fs::remove_dir_all(dir);
        }
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn two_servers_on_one_log_end_with_the_statistics_of_one() {
    let Some(database) = Database::start() else {
        println!(
            "SKIPPED: no PostgreSQL: set ROUTEWRIGHT_POSTGRES_URL, or install it in /usr/lib/postgresql"
        );
        return;
    };
    let mut dice = Dice(7);
    let n = 40;
    let decisions: Vec<_> = (0..n).map(|id| decision(id, &mut dice)).collect();
    let outcomes: Vec<_> = (0..4 * n)
        .map(|key| {
            let of = dice.roll(n);
            random_feedback(key, of, &mut dice)
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let expected = clean(&dir.path().join("clean.db"), &decisions, &outcomes);
    let mut first = database.open();
    // Every decision is known before its feedback; both servers get all of both, in orders of their own.
    let entries: Vec<_> = decisions.iter().map(|d| Entry::Decision(Box::new(d.clone()))).collect();
    first.append(&entries).unwrap();
    let last = (decisions.len() + outcomes.len()) as u64;
    let folds: Vec<Fold<Statistics>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|server| {
                let mut entries: Vec<_> =
                    outcomes.iter().map(|f| Entry::Feedback(Box::new(f.clone()), WINDOW_MS)).collect();
                Dice(server).shuffle(&mut entries);
                let (mut store, mut fold) = (database.open(), Fold::new("two", Statistics::default()));
                scope.spawn(move || {
                    for group in entries.chunks(3) {
                        store.append(group).unwrap();
                        fold.catch_up(&mut store).unwrap();
                    }
                    fold.catch_up(&mut store).unwrap();
                    fold
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    for mut fold in folds {
        fold.catch_up(&mut first).unwrap();
        assert_eq!(fold.high_water(), last, "each exactly once");
        assert_eq!(fold.consumer, expected, "a fold that ran beside the writers skipped nothing");
    }
    let found = first.find("d1").unwrap().unwrap();
    assert_eq!(found.decision, decisions[1]);
    let days = first.days().unwrap();
    assert_eq!((days.as_slice(), first.of_day(0, 0, n).unwrap().len()), (&[0][..], n));
    let checkpoint = Checkpoint { high_water: last, state: b"state".to_vec() };
    first.save_checkpoint("x", &checkpoint).unwrap();
    assert_eq!(first.checkpoint("x").unwrap(), Some(checkpoint));
    assert_eq!(first.expire(i64::MAX).unwrap(), n as u64);
    assert_eq!(first.last().unwrap(), last);
}
