//! The one binary of routewright: every subcommand stands in `cli/`, one file each.

mod cli;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = cli::Cli::parse();
    match command.run() {
        Ok(code) => code,
        Err(error) => {
            cli::output::complain(&error);
            ExitCode::from(2)
        }
    }
}
