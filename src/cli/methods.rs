//! `routewright methods`: the registry, of the trainer and of the decoder alike.

use super::output;
use clap::Args;
use routewright_decoder::fuse;
use routewright_trainer::methods::ALL;
use serde::Serialize;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Arguments of `methods`.
#[derive(Debug, Args)]
pub(crate) struct MethodsCommand {}

#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    title: &'static str,
    paper: Option<&'static str>,
    /// `fusion` for the systems of `fuse`.
    family: Value,
    /// At which grain a system of fusion chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<fuse::Level>,
    needs: Value,
    defaults: Value,
}

/// The methods that `train` knows, then the systems that `fuse` knows.
fn rows() -> Vec<Row> {
    let methods = ALL.iter().map(|row| Row {
        name: row.name,
        title: row.title,
        paper: row.paper,
        family: json!(row.family),
        level: None,
        needs: json!(row.needs),
        defaults: (row.defaults)(),
    });
    let systems = fuse::ALL.iter().map(|row| Row {
        name: row.name,
        title: row.title,
        paper: row.paper,
        family: json!("fusion"),
        level: Some(row.level),
        needs: row.needs.iter().map(|need| need.text()).collect(),
        defaults: (row.params)(),
    });
    methods.chain(systems).collect()
}

impl MethodsCommand {
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        if json {
            output::say_json(&rows())?;
            return Ok(ExitCode::SUCCESS);
        }
        for row in rows() {
            let paper = row.paper.map_or_else(|| "-".to_owned(), |id| format!("arXiv {id}"));
            output::say(&format!("{:<20} {:<17} {}", row.name, paper, row.title));
        }
        Ok(ExitCode::SUCCESS)
    }
}
