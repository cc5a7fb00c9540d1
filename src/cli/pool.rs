//! `routewright data pool`: models that complement each other, by greedy cover.

use super::output;
use clap::Args;
use routewright_data::{LoadOptions, OutcomeTable};
use routewright_trainer::evaluate::Average;
use routewright_trainer::pool::{self, Pooled};
use routewright_trainer::validation::source_balance;
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `data pool`.
#[derive(Debug, Args)]
pub(crate) struct PoolCommand {
    /// Outcome log: a Parquet file or a folder of them.
    log: PathBuf,
    /// Split to choose on.
    #[arg(long, value_name = "NAME", default_value = "train")]
    split: String,
    /// Models to choose, at most; all by default, in the order they are taken.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    size: Option<u64>,
    /// How queries are averaged: micro (over queries) or macro (over sources).
    #[arg(long, value_name = "NAME", default_value_t)]
    average: Average,
}

impl PoolCommand {
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let table = OutcomeTable::load(&self.log, &LoadOptions::split(&self.split))?;
        let weights = match self.average {
            Average::Macro => source_balance(&table),
            Average::Micro => vec![1.0; table.n_queries()],
        };
        let size = self.size.and_then(|size| usize::try_from(size).ok()).unwrap_or(table.n_arms());
        let pool = pool::greedy(&table.score, &weights, size);
        if json {
            let models: Vec<_> = pool.iter().map(|pooled| row(&table, pooled)).collect();
            output::say_json(&json!({ "split": self.split, "queries": table.n_queries(), "pool": models }))?;
        } else {
            output::say(&text(&table, &pool));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(table: &OutcomeTable, pooled: &Pooled) -> serde_json::Value {
    json!({
        "model": table.models[pooled.arm],
        "score": table.score.column_mean(pooled.arm),
        "cost_usd": table.cost_usd.column_mean(pooled.arm),
        "best": pooled.best,
        "gain": pooled.gain,
        "gain_se": pooled.gain_se,
    })
}

fn text(table: &OutcomeTable, pool: &[Pooled]) -> String {
    let names = pool.iter().map(|pooled| table.models[pooled.arm].chars().count());
    let width = names.max().unwrap_or(0).max(5);
    let mut out = format!(
        "{} queries; mean best score of the models so far, what a perfect choice among them earns\n\n\
         {:<width$}  alone %   best %  gain (s.e.)  mean cost usd\n",
        table.n_queries(),
        "model",
    );
    for pooled in pool {
        let alone = table.score.column_mean(pooled.arm).map_or(f64::NAN, |mean| 100.0 * mean);
        let cost = table.cost_usd.column_mean(pooled.arm).map_or("-".to_owned(), |usd| format!("{usd:.6}"));
        let gain = format!("{:.2} ({:.2})", 100.0 * pooled.gain, 100.0 * pooled.gain_se);
        let _ = writeln!(
            out,
            "{:<width$}  {alone:>7.2}  {:>7.2}  {gain:>11}  {cost:>13}",
            table.models[pooled.arm],
            100.0 * pooled.best
        );
    }
    out
}
