//! `routewright data price`: list prices times tokens, for a log without costs.

use super::output;
use anyhow::Context as _;
use clap::Args;
use routewright_data::price::{ListPrice, price_log};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `data price`.
#[derive(Debug, Args)]
pub(crate) struct PriceCommand {
    /// Outcome log: a Parquet file or a folder of them.
    log: PathBuf,
    /// TOML file with a line a model: `"name" = { input = 0.15, output = 0.6 }`, US dollars per million tokens.
    #[arg(long, value_name = "FILE")]
    prices: PathBuf,
    /// Log to write, a Parquet file.
    #[arg(long, value_name = "LOG")]
    out: PathBuf,
}

impl PriceCommand {
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let path = self.prices.display();
        let text = std::fs::read_to_string(&self.prices).with_context(|| format!("cannot read `{path}`"))?;
        let prices: BTreeMap<String, ListPrice> =
            toml::from_str(&text).with_context(|| format!("cannot read the prices of `{path}`"))?;
        let summary = price_log(&self.log, &self.out, &prices)?;
        if json {
            output::say_json(&summary)?;
            return Ok(ExitCode::SUCCESS);
        }
        output::say(&format!(
            "{} rows: {} priced by billed tokens, {} by an estimate from their texts, {} had a price, {} have none",
            summary.rows, summary.by_tokens, summary.by_texts, summary.kept, summary.unpriced
        ));
        Ok(ExitCode::SUCCESS)
    }
}
