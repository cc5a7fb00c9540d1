//! Langfuse's observations of type `GENERATION`, as its API and its exports have them.
//!
//! A score is taken where the observation has exactly one; of several, map one (`score=scores.1.value`). Other types
//! and failed observations are left out and counted.

use super::chat::{PLAIN, Shape, import, prompt};
use super::record::Record;
use super::{ImportError, ImportOptions, ImportSummary, Importer};
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "langfuse",
    title: "Langfuse observations: model, input, output, usage, cost, latency (seconds), scores",
    log: "outcome log",
    run,
};

const SHAPE: Shape = Shape {
    model: &["model", "providedModelName", "internalModel"],
    score: &["score", "scores.0.value"],
    cost_usd: &["calculatedTotalCost", "costDetails.total", "totalCost"],
    input_tokens: &["usage.input", "usageDetails.input", "promptTokens"],
    output_tokens: &["usage.output", "usageDetails.output", "completionTokens"],
    latency: &["latency"],
    latency_unit_ms: 1000.0,
    timestamp_ms: &["startTime", "timestamp"],
    end: &["endTime"],
    response: &["output"],
    ..PLAIN
};

/// Why an observation is left out.
fn unwanted(record: &Record) -> Result<Option<String>, ImportError> {
    let kind = record.text("type")?.filter(|kind| !kind.eq_ignore_ascii_case("generation"));
    if let Some(kind) = kind {
        return Ok(Some(format!("of type `{kind}`")));
    }
    let failed = record.text("level")?.is_some_and(|level| level.eq_ignore_ascii_case("error"));
    Ok(failed.then(|| "failed".to_owned()))
}

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    import(inputs, out, options, |record, mapping, sink| {
        if let Some(reason) = unwanted(record)? {
            sink.skip(reason);
            return Ok(());
        }
        let Some(prompt) = prompt(record, options, sink)? else {
            sink.skip("without text of a user in `input`");
            return Ok(());
        };
        let mut row = SHAPE.row(record, mapping, prompt)?;
        let n_scores = record.value("scores").and_then(|scores| scores.as_array().map(Vec::len));
        let is_own = mapping.maps("score") || record.value("score").is_some();
        if n_scores.is_some_and(|n| n > 1) && !is_own {
            row.score = None;
            sink.summary.change("with several scores: none is taken, `--map score=scores.N.value` takes one");
        }
        sink.push(record, row)
    })
}
