//! Portkey's log exports: request, response, cost, response time and feedback.
//!
//! Feedback values lie between -10 and 10: `--score-min -10 --score-max 10`, or what is given. Failed requests are left
//! out and counted; costs in cents become dollars, other currencies are refused.

use super::chat::{PLAIN, Shape, import, prompt};
use super::record::Record;
use super::{ImportError, ImportOptions, ImportSummary, Importer};
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "portkey",
    title: "Portkey log exports: ai_model, request, response, cost, cost_currency, response_time, feedback",
    log: "outcome log",
    run,
};

const SHAPE: Shape = Shape {
    model: &["ai_model", "request.body.model", "request.model"],
    score: &["score", "feedback.value", "feedback.0.value", "weighted_feedback"],
    cost_usd: &["cost"],
    input_tokens: &["req_units", "response.body.usage.prompt_tokens", "response.usage.prompt_tokens"],
    output_tokens: &[
        "res_units",
        "response.body.usage.completion_tokens",
        "response.usage.completion_tokens",
    ],
    latency: &["response_time"],
    timestamp_ms: &["created_at", "time_of_generation"],
    response: &["response.body", "response"],
    ..PLAIN
};

/// Whether the request failed.
fn failed(record: &Record) -> Result<bool, ImportError> {
    let status = record.number("response_status_code")?.is_some_and(|status| status >= 400.0);
    let success = record.number("is_success")?.unwrap_or(1.0);
    Ok(status || success == 0.0)
}

/// Dollars of one unit of `cost`.
fn currency(record: &Record) -> Result<f64, ImportError> {
    let Some(name) = record.text("cost_currency")? else { return Ok(1.0) };
    match name.to_lowercase().as_str() {
        "" | "usd" | "dollar" | "dollars" => Ok(1.0),
        "cent" | "cents" | "usd cents" | "usd cent" => Ok(0.01),
        _ => Err(record.error(format!("`cost_currency` is `{name}`, expected `USD` or `USD cents`"))),
    }
}

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    import(inputs, out, options, |record, mapping, sink| {
        if failed(record)? {
            sink.skip("failed");
            return Ok(());
        }
        let Some(prompt) = prompt(record, options, sink)? else {
            sink.skip("without text of a user in `request`");
            return Ok(());
        };
        let mut row = SHAPE.row(record, mapping, prompt)?;
        if !mapping.maps("cost_usd") {
            let dollars = currency(record)?;
            row.cost_usd = row.cost_usd.map(|cost| cost * dollars);
        }
        sink.push(record, row)
    })
}
