//! `routewright data from-store --store FILE | --config server.toml --out DIR`: the log of a server as Parquet.

use super::{date, output};
use clap::Args;
use routewright_policy_server::ServerConfig;
use routewright_policy_server::ledger::{self, ExportOptions, SqliteStore, Store, export};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `data from-store`.
#[derive(Debug, Args)]
pub(crate) struct FromStoreCommand {
    /// Store of a server, its `store.path`; the server may run meanwhile.
    #[arg(long, value_name = "FILE", required_unless_present = "config")]
    store: Option<PathBuf>,
    /// Configuration of the server: names the store, and the default values of metrics.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder to write `decisions`, `feedback` and `pairs` into.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Rows of a file at most.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    rows_per_file: u64,
}

impl FromStoreCommand {
    /// Writes the logs.
    ///
    /// # Errors
    /// If the store cannot be read or a file cannot be written.
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        if self.rows_per_file == 0 {
            anyhow::bail!("rows per file is `0`, expected at least 1");
        }
        let config = self.config.as_deref().map(ServerConfig::load).transpose()?;
        let config = config.and_then(|config| config.store);
        let mut store: Box<dyn Store> = match (&self.store, &config) {
            (Some(file), _) => Box::new(SqliteStore::open_existing(file)?),
            (None, Some(config)) => ledger::open(config)?,
            (None, None) => {
                anyhow::bail!("the configuration has no section [store]; expected one, or `--store FILE`")
            }
        };
        let options = ExportOptions { config, rows_per_file: self.rows_per_file, now_ms: date::now_ms() };
        let summary = export(&mut *store, &self.out, &options)?;
        if json {
            output::say_json(&serde_json::json!({
                "out": self.out, "decisions": summary.decisions, "feedback": summary.feedback,
                "defaults": summary.defaults, "pairs": summary.pairs, "inactive": summary.inactive,
                "unreadable": summary.unreadable,
                "files": summary.files,
            }))?;
            return Ok(ExitCode::SUCCESS);
        }
        for file in &summary.files {
            output::say(&format!("wrote `{}`", file.display()));
        }
        let (decisions, feedback, defaults) = (summary.decisions, summary.feedback, summary.defaults);
        output::say(&format!("{decisions} decisions, {feedback} rows of feedback ({defaults} by default)"));
        if summary.inactive > 0 {
            output::say(&format!("left out {} deferred decisions nobody acted upon", summary.inactive));
        }
        if summary.unreadable > 0 {
            let hint = "`routewright store check` lists them";
            output::tell(&format!("left out {} records that cannot be read; {hint}", summary.unreadable));
        }
        Ok(ExitCode::SUCCESS)
    }
}
