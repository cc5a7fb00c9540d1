//! The command line: one file a subcommand.

mod date;
mod evaluate;
mod out;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Decide which language model answers, and how several answer together.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Evaluate(evaluate::Evaluate),
}

/// Runs the subcommand: 0 when it succeeded, 2 on an error, which is told on stderr with its causes.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let result = match &arguments.command {
        Command::Evaluate(evaluate) => evaluate.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::note(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}
