//! The command line: one file a subcommand, each a thin caller of the crates.
//!
//! `--json` prints one JSON document on stdout; everything else goes to stderr. Exit codes: 0 ok, 1 a
//! negative result (a log with complaints, a policy that does not verify, a benchmark that misses a target),
//! 2 an error.

mod bench;
mod compare;
mod data;
mod date;
mod evaluate;
mod expert_rows;
mod export;
mod fitting;
mod from_store;
mod fuse;
mod methods;
mod ope;
pub(crate) mod output;
mod policy;
mod promotion;
mod query_text;
mod quickstart;
mod route;
mod serve;
mod simulate;
mod store;
mod token_labels;
mod train;
mod train_weights;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Decide which language model answers: train routers on your own logs, prove them, serve them.
#[derive(Debug, Parser)]
#[command(name = "routewright", version, about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON document on stdout instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// From a self-made log to a served decision, with a table and a report.
    Quickstart(quickstart::QuickstartCommand),
    /// Import, validate, split, sum up or simulate logs.
    Data(data::DataCommand),
    /// List every method: name, title, paper, family, needs.
    Methods(methods::MethodsCommand),
    /// Train one method on a log and export the policy.
    Train(train::TrainCommand),
    /// Train several methods on a log and judge them side by side.
    Compare(compare::CompareCommand),
    /// Play bandits on a replayed log or a simulated world, undisturbed or under what production does.
    Simulate(simulate::SimulateCommand),
    /// Judge exported policies on a log, beside the five baselines.
    Evaluate(evaluate::EvaluateCommand),
    /// Estimate a policy's value from logged decisions and feedback.
    Ope(ope::OpeCommand),
    /// Write one answer with several models.
    Fuse(fuse::FuseCommand),
    /// Serve decisions over HTTP.
    Serve(serve::ServeCommand),
    /// Check the log of a server for records that cannot be read, and set them aside.
    Store(store::StoreCommand),
    /// Ask a policy which arm should answer a prompt.
    Route(route::RouteCommand),
    /// Show, verify, promote or roll back an exported policy.
    Policy(policy::PolicyCommand),
    /// Measure our processor time beside a named peer's, in one run.
    Bench(bench::BenchCommand),
}

impl Cli {
    /// Runs the subcommand.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Quickstart(command) => command.run(self.json),
            Command::Data(command) => command.run(self.json),
            Command::Methods(command) => command.run(self.json),
            Command::Train(command) => command.run(self.json),
            Command::Compare(command) => command.run(self.json),
            Command::Simulate(command) => command.run(self.json),
            Command::Evaluate(command) => command.run(self.json),
            Command::Ope(command) => command.run(self.json),
            Command::Fuse(command) => command.run(self.json),
            Command::Serve(command) => command.run(),
            Command::Store(command) => command.run(self.json),
            Command::Route(command) => command.run(self.json),
            Command::Policy(command) => command.run(self.json),
            Command::Bench(command) => command.run(self.json),
        }
    }
}
