//! `routewright data export --to routerarena`: the choices of a policy as RouterArena's prediction file.
//!
//! A list of `{"global index", "prompt", "prediction", "generated_result", "cost", "accuracy"}`; cost and accuracy are
//! those of the chosen model in the log, null where it has none there.

use super::{output, query_text};
use anyhow::ensure;
use routewright_data::{LoadOptions, OutcomeTable, files};
use routewright_policy::{Policy, Request, artifact};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

/// Decides every query of the log and writes the file.
pub(crate) fn write(
    policy: &Path,
    log: &Path,
    split: Option<&str>,
    out: &Path,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let policy = artifact::load(policy)?;
    let method = &policy.manifest.method;
    ensure!(
        policy.program.router().is_some(),
        "`{method}` decides in several steps, expected a policy that chooses one model a query"
    );
    query_text::check(&policy, log)?;
    let column = policy.manifest.featurizer.spec.settings.get("column").and_then(|name| name.as_str());
    let vector_column = column.map(str::to_owned);
    ensure!(
        vector_column.is_none(),
        "`{method}` reads vectors, expected a policy that reads the text of a query"
    );
    let options = LoadOptions { split: split.map(str::to_owned), ..LoadOptions::default() };
    let table = OutcomeTable::load(log, &options)?;
    let entries =
        (0..table.n_queries()).map(|row| entry(&policy, &table, row)).collect::<Result<Vec<_>, _>>()?;
    let known = entries.iter().filter(|entry| !entry["accuracy"].is_null()).count();
    files::write_file(out, (serde_json::to_string_pretty(&entries)? + "\n").as_bytes())?;
    if json {
        let summary = json!({ "out": out, "predictions": entries.len(), "with_accuracy": known });
        output::say_json(&summary)?;
    } else {
        let (n, out) = (entries.len(), out.display());
        output::say(&format!(
            "wrote {n} predictions to `{out}`, {known} of them with score and cost of the log"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn entry(policy: &Policy, table: &OutcomeTable, row: usize) -> anyhow::Result<Value> {
    let query = &table.queries[row];
    let request = Request {
        input: query.prompt.as_str().into(),
        source: query.source.as_deref(),
        seed: row as u64,
        ..Request::default()
    };
    let decision = policy.decide(&request)?;
    let model = policy.arms[decision.arm].model.as_str();
    let arm = table.models.iter().position(|name| name == model);
    let cell = |cells: &routewright_data::Cells| arm.and_then(|arm| cells.get(row, arm));
    Ok(json!({
        "global index": query.id,
        "prompt": query.prompt,
        "prediction": model,
        "generated_result": null,
        "cost": cell(&table.cost_usd),
        "accuracy": cell(&table.score),
    }))
}
