//! `routewright methods`: the registry, of the trainer and of the decoder alike; and names looked up in both.

use super::{output, train_fusion};
use anyhow::bail;
use clap::Args;
use routewright_decoder::fuse;
use routewright_trainer::method::Family;
use routewright_trainer::methods::{self, ALL};
use routewright_trainer::{Device, MethodRow};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write as _;
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
    level: Option<fuse::Grain>,
    needs: Value,
    /// What it learns from; nothing where it is not trained.
    reads: Value,
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
        reads: json!(row.reads),
        defaults: output::short_floats((row.defaults)()),
    });
    let systems = fuse::ALL.iter().map(|row| Row {
        name: row.name,
        title: row.title,
        paper: row.paper,
        family: json!("fusion"),
        level: Some(row.level),
        needs: row.needs.iter().map(|need| need.text()).collect(),
        reads: json!(train_fusion::reads(row.name)),
        defaults: output::short_floats((row.params)()),
    });
    methods.chain(systems).collect()
}

/// A heading of the list, with the command for what is below it.
const BASELINES: &str = "Baselines: `train NAME`; `compare` and `evaluate` print five of them in every table";
const ROUTERS: &str = "Routers trained on an outcome log: `train NAME`, `compare --methods NAME`";
const BANDITS: &str = "Bandits, which learn from rewards: `train NAME`, `compare`, `simulate --methods NAME`";
const AFTER: &str =
    "Methods that look at answers: `train NAME`, `compare --methods NAME`; `ask` drives what they make";
const TRAINED: &str = "Systems of fusion that are trained: `train NAME`, then `fuse --system NAME`";
const FUSION: &str = "Systems of fusion, one answer by several models: `fuse --system NAME`";

impl MethodsCommand {
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        if json {
            output::say_json(&rows())?;
        } else {
            output::say(&table(&rows()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn heading(row: &Row) -> &'static str {
    match methods::find(row.name) {
        _ if row.level.is_some() && train_fusion::find(row.name).is_some() => TRAINED,
        _ if row.level.is_some() => FUSION,
        Ok(found) if found.family == Family::After => AFTER,
        Ok(found) if found.start.is_some() => BANDITS,
        Ok(found) if found.family == Family::Baseline => BASELINES,
        _ => ROUTERS,
    }
}

/// The rows under their headings: name, paper, title, needs.
fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    for group in [BASELINES, ROUTERS, AFTER, BANDITS, TRAINED, FUSION] {
        let gap = if text.is_empty() { "" } else { "\n" };
        let _infallible = writeln!(text, "{gap}{group}");
        for row in rows.iter().filter(|row| heading(row) == group) {
            let paper = row.paper.map_or_else(|| "-".to_owned(), |id| format!("arXiv {id}"));
            let needs: Vec<&str> =
                row.needs.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let needs =
                if needs.is_empty() { String::new() } else { format!("; needs {}", needs.join(", ")) };
            let _infallible = writeln!(text, "  {:<20} {paper:<17} {}{needs}", row.name, row.title);
        }
    }
    text
}

/// The method of a name. A system of fusion is refused with the command that runs it.
pub(crate) fn find(name: &str) -> anyhow::Result<&'static MethodRow> {
    match methods::find(name) {
        Err(_) if fuse::find(name).is_ok() => bail!(
            "`{name}` is a system of fusion, which `routewright fuse --system {name}` runs; whether it is trained, and \
             how, is in docs/fusion/{name}.md"
        ),
        found => Ok(found?),
    }
}

/// Refuses a method where a system of fusion is expected, with the command that trains it.
pub(crate) fn check_system(name: &str) -> anyhow::Result<()> {
    if fuse::find(name).is_err() && methods::find(name).is_ok() {
        bail!(
            "`{name}` chooses one model for a query, it fuses none; train it by `routewright train {name}`"
        );
    }
    Ok(())
}

/// Refuses a GPU or an engine for a method that would not use it.
pub(crate) fn check_device(method: &MethodRow, device: Device) -> anyhow::Result<()> {
    if device != Device::Cpu && !method.uses_device {
        let known = ALL.iter().filter(|row| row.uses_device).map(|row| format!("`{}`", row.name));
        let known: Vec<String> = known.collect();
        bail!(
            "method `{}` trains no network that another engine or a GPU could train, so `--engine` and \
             `--device cuda` are not for it; these methods can: {}",
            method.name,
            known.join(", ")
        );
    }
    Ok(())
}
