//! The one binary of routewright: every subcommand is in `cli/`, one file each.

mod cli;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = match cli::Cli::try_parse() {
        Ok(command) => command,
        Err(error) => return cli::failure::report_usage(&error),
    };
    let json = command.json;
    // A result that did not reach stdout makes a success a failure.
    match command.run().and_then(|code| cli::output::unprinted().map_or(Ok(code), Err)) {
        Ok(code) => code,
        Err(error) => cli::failure::report(&error, json),
    }
}
