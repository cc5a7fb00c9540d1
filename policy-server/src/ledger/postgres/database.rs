//! A PostgreSQL database of a test's own; the end-to-end tests use this file too.
//!
//! `ROUTEWRIGHT_POSTGRES_URL` names one to use: its tables must be empty. Without it a private cluster is made in a
//! temporary folder and reached through a socket in it, where PostgreSQL is installed. The cluster itself is
//! never killed, so it may leave out the sync of the disk.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where Debian puts every version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A database, ended with this value where it was made by it.
#[derive(Debug)]
pub(crate) struct Database {
    url: String,
    /// Ended with this value.
    made: Option<Cluster>,
}

/// A cluster in a folder.
#[derive(Debug)]
struct Cluster {
    bin: PathBuf,
    dir: PathBuf,
}

impl Database {
    /// The database that is named, or one of a new cluster.
    ///
    /// # Errors
    /// If there is none to be had, in words.
    pub(crate) fn start(name: &str) -> Result<Self, String> {
        if let Ok(url) = std::env::var("ROUTEWRIGHT_POSTGRES_URL") {
            return Ok(Self { url, made: None });
        }
        let versions = std::fs::read_dir(VERSIONS).into_iter().flatten();
        let bins = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
        let bin = bins.filter(|bin| bin.join("initdb").is_file()).max();
        let bin = bin.ok_or_else(|| {
            format!("no PostgreSQL in `{VERSIONS}`: install it, or set ROUTEWRIGHT_POSTGRES_URL")
        })?;
        let dir = std::env::temp_dir().join(format!("routewright-{name}-{}", std::process::id()));
        let at = dir.to_str().ok_or("the temporary folder has no name in UTF-8")?.to_owned();
        let cluster = Cluster { bin, dir };
        cluster.run("initdb", &["-D", &at, "-U", "tester", "--auth=trust", "-N", "-E", "UTF8"])?;
        cluster.up()?;
        Ok(Self { url: format!("host={at} user=tester dbname=postgres"), made: Some(cluster) })
    }

    /// Stops the cluster at once, and starts it again when what is returned is called; `None` where another made it.
    pub(crate) fn interrupt(&self) -> Option<impl FnOnce() -> Result<(), String> + '_> {
        let cluster = self.made.as_ref()?;
        cluster.down().ok()?;
        Some(|| cluster.up())
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Cluster {
    fn up(&self) -> Result<(), String> {
        let at = self.dir.display().to_string();
        let options = format!("-c listen_addresses='' -k {at} -c fsync=off");
        self.run("pg_ctl", &["-D", &at, "-o", &options, "-w", "start"])
    }

    fn down(&self) -> Result<(), String> {
        self.run("pg_ctl", &["-D", &self.dir.display().to_string(), "-m", "immediate", "-w", "stop"])
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        let mut command = command(&self.bin.join(program));
        // A file: the server writes where `pg_ctl` does, so a pipe would never end.
        let log = self.dir.with_extension("log");
        let told = |error: std::io::Error| format!("cannot run `{program}`: {error}");
        let file = std::fs::File::create(&log).map_err(told)?;
        let error = file.try_clone().map_err(told)?;
        let status = command.args(arguments).stdin(Stdio::null()).stdout(file).stderr(error).status();
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let _removed = std::fs::remove_file(&log);
        if status.map_err(told)?.success() { Ok(()) } else { Err(format!("`{program}` failed: {said}")) }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may never have started.
        let _stopped = self.down();
        let _removed = std::fs::remove_dir_all(&self.dir);
    }
}

/// A command as a user who may run a database: PostgreSQL refuses to run as root.
fn command(program: &Path) -> Command {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !is_root {
        return Command::new(program);
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = if users.lines().any(|line| line.starts_with("postgres:")) { "postgres" } else { "nobody" };
    let mut command = Command::new("runuser");
    command.args(["-u", user, "--"]).arg(program).current_dir("/");
    command
}

/// Reports that a test of the store in PostgreSQL did not run.
pub(crate) fn skipped(why: &str) {
    routewright_data::testing::skip("PostgreSQL", why);
}
