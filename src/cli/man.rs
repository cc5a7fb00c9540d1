//! `routewright man DIR`: manual pages, one for each command.

use super::{Cli, output};
use anyhow::Context;
use clap::{Args, CommandFactory as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(crate) struct ManCommand {
    /// Folder that the pages `routewright*.1` are written to, such as `~/.local/share/man/man1`; made where missing.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl ManCommand {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let folder = self.folder.display();
        std::fs::create_dir_all(&self.folder).with_context(|| format!("cannot make folder `{folder}`"))?;
        clap_mangen::generate_to(Cli::command(), &self.folder)
            .with_context(|| format!("cannot write manual pages to `{folder}`"))?;
        output::say(&format!("wrote manual pages to {folder}\n"));
        Ok(ExitCode::SUCCESS)
    }
}
