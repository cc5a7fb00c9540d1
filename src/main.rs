//! The one binary of routewright: every subcommand stands in `cli/`, one file each.

mod cli;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = cli::Cli::parse();
    // A result that did not reach stdout makes a success a failure.
    match command.run().and_then(|code| cli::output::unprinted().map_or(Ok(code), Err)) {
        Ok(code) => code,
        Err(error) => {
            cli::output::complain(&error);
            ExitCode::from(2)
        }
    }
}
