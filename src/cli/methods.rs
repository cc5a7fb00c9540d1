//! `routewright methods`: the registry.

use super::output;
use clap::Args;
use routewright_trainer::methods::ALL;
use serde::Serialize;
use std::process::ExitCode;

/// Arguments of `methods`.
#[derive(Debug, Args)]
pub(crate) struct MethodsCommand {}

#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    title: &'static str,
    paper: Option<&'static str>,
    family: routewright_trainer::method::Family,
    needs: &'static [routewright_trainer::Need],
    defaults: serde_json::Value,
}

impl MethodsCommand {
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let rows: Vec<Row> = ALL
            .iter()
            .map(|row| Row {
                name: row.name,
                title: row.title,
                paper: row.paper,
                family: row.family,
                needs: row.needs,
                defaults: (row.defaults)(),
            })
            .collect();
        if json {
            output::say_json(&rows)?;
            return Ok(ExitCode::SUCCESS);
        }
        for row in rows {
            let paper = row.paper.map_or_else(|| "-".to_owned(), |id| format!("arXiv {id}"));
            output::say(&format!("{:<14} {:<17} {}", row.name, paper, row.title));
        }
        Ok(ExitCode::SUCCESS)
    }
}
