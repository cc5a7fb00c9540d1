//! `routewright completions SHELL`: a script that completes subcommands and options.

use super::{Cli, output};
use clap::{Args, CommandFactory as _};
use std::process::ExitCode;

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsCommand {
    /// Shell the script is for.
    shell: clap_complete::Shell,
}

impl CompletionsCommand {
    pub(crate) fn run(self) -> ExitCode {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "routewright", &mut script);
        output::say(&String::from_utf8_lossy(&script));
        ExitCode::SUCCESS
    }
}
