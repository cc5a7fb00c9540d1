//! The command line: one file a subcommand, each a thin caller of the crates.
//!
//! `--json` prints one JSON document on stdout, on failure as well (`failure.rs`); everything else goes to stderr. Exit
//! codes: 0 ok, 1 a negative result (a log with complaints, a policy that does not verify, a benchmark that misses a
//! target), 2 an error.

mod answers;
mod ask;
mod assign;
mod bench;
mod benchmarks;
mod calibrate;
mod collect;
mod compare;
mod compare_pairs;
mod completions;
mod data;
mod date;
mod evaluate;
mod expert_rows;
mod export;
pub(crate) mod failure;
mod fitting;
mod from_store;
mod fuse;
mod fuse_demo;
mod man;
mod methods;
mod ope;
pub(crate) mod output;
mod pair_log;
mod policy;
mod pool;
mod predictions;
mod price;
mod promotion;
mod query_text;
mod quickstart;
mod route;
mod saving;
mod serve;
mod simulate;
mod store;
mod token_labels;
mod train;
mod train_fusion;
mod train_weights;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

const TRAIN: &str = "\
Examples:
  routewright train knn --log split.parquet --out policy
  routewright train ridge --log split.parquet --out policy --set alpha=[10,100] --selector 'utility:{\"lambda\":10}'
  routewright train knn --decisions decisions.parquet --feedback feedback.parquet --out policy
Methods and their parameters: `routewright methods`, docs/methods";

const COMPARE: &str = "\
Examples:
  routewright compare --log split.parquet --report report
  routewright compare --log split.parquet --methods knn,ridge --set knn.k=[20] --average macro --seeds 5
Reading the table: docs/compare.md";

const OPE: &str = "\
Example:
  routewright ope --log decisions.parquet --feedback feedback.parquet --policy policy
`--log` is a decision log here; `compare` and `evaluate` read outcome logs (docs/formats.md). Estimators: docs/ope.md";

const FUSE: &str = "\
Examples:
  routewright fuse --ensemble ensemble.toml --prompt 'Once upon a time'
  routewright fuse --ensemble ensemble.toml --system unite --tasks tasks.parquet --trace fusion.parquet
Systems: `routewright methods`, docs/fusion; members: docs/backends.md";

const SERVE: &str = "\
Examples:
  routewright serve --policy policy
  routewright serve --config server.toml --validate-and-exit
Requests, replies and the configuration file: docs/http.md";

const ROUTE: &str = "\
Examples:
  routewright route --policy policy 'What is 2+2?' --explain
  routewright route --policy policy --lambda 10 - < prompt.txt
  routewright route --policy policy --request body.json";

const ASK: &str = "\
Examples:
  routewright ask --policy cascade --log split.parquet --query q17
  routewright ask --policy cascade --answers answers.json 'What is 2+2?' --budget 0.01
Exit code 1: the policy abstained. Steps: docs/programs.md";

const ASSIGN: &str = "\
Examples:
  routewright assign prompts.jsonl --policy policy --budget-usd 20 --out choices.jsonl
  routewright assign prompts.jsonl --policy policy --rule threshold --least 0.5 --out choices.jsonl
The rules: docs/methods/forc.md";

/// Decide which language model answers: train routers on your own logs, prove them, serve them.
#[derive(Debug, Parser)]
#[command(name = "routewright", version = env!("ROUTEWRIGHT_VERSION"), about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON document on stdout instead of text; on failure it is `{"error": {"code", "message"}}`.
    // Last but for the help.
    #[arg(long, global = true, display_order = 998)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, made once")]
enum Command {
    /// Run everything once on a simulated log: train, judge, report, serve, learn from feedback.
    Quickstart(quickstart::QuickstartCommand),
    /// Import, validate, split, summarize or simulate logs.
    Data(data::DataCommand),
    /// List every method by family: name, paper, title, needs.
    Methods(methods::MethodsCommand),
    /// Train one method on a log and export the policy.
    #[command(after_help = TRAIN)]
    Train(train::TrainCommand),
    /// Train several methods on a log and judge them side by side.
    #[command(after_help = COMPARE)]
    Compare(compare::CompareCommand),
    /// Run bandits on a replayed log or a simulated world, in the scenarios of production.
    Simulate(simulate::SimulateCommand),
    /// Judge exported policies on a log, beside the five baselines.
    Evaluate(evaluate::EvaluateCommand),
    /// Estimate a policy's value from logged decisions and feedback.
    #[command(after_help = OPE)]
    Ope(ope::OpeCommand),
    /// Write one answer with several models.
    #[command(after_help = FUSE)]
    Fuse(fuse::FuseCommand),
    /// Serve decisions over HTTP.
    #[command(after_help = SERVE)]
    Serve(serve::ServeCommand),
    /// Check the log of a server for records that cannot be read, and set them aside.
    Store(store::StoreCommand),
    /// Ask a policy which arm should answer a prompt.
    #[command(after_help = ROUTE)]
    Route(route::RouteCommand),
    /// Choose the models of a whole batch of prompts within a budget.
    #[command(after_help = ASSIGN)]
    Assign(assign::AssignCommand),
    /// Drive a policy step by step on recorded or scripted answers.
    #[command(after_help = ASK)]
    Ask(ask::AskCommand),
    /// Show, verify, promote or roll back an exported policy.
    Policy(policy::PolicyCommand),
    /// Measure our processor time beside a named peer's, in one run.
    Bench(bench::BenchCommand),
    /// Print a script that completes commands and options in a shell.
    Completions(completions::CompletionsCommand),
    /// Write manual pages.
    Man(man::ManCommand),
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
            Command::Assign(command) => command.run(self.json),
            Command::Ask(command) => command.run(self.json),
            Command::Policy(command) => command.run(self.json),
            Command::Bench(command) => command.run(self.json),
            Command::Completions(command) => Ok(command.run()),
            Command::Man(command) => command.run(),
        }
    }
}
