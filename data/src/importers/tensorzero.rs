//! TensorZero's inferences (`ChatInference`, `JsonInference`), joined with a metric's feedback as `value`.
//!
//! The variant is the model and the function the source. Parts of messages are read as the old gateway (`value`) and
//! the new one (`text`) store them.

use super::chat::{PLAIN, Shape, import, prompt};
use super::{ImportError, ImportOptions, ImportSummary, Importer};
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "tensorzero",
    title: "TensorZero inferences with feedback: variant_name, input, output, processing_time_ms, value",
    log: "outcome log",
    run,
};

const SHAPE: Shape = Shape {
    model: &["variant_name", "model_name"],
    source: &["source", "function_name"],
    score: &["score", "value"],
    cost_usd: &["cost_usd", "cost"],
    latency: &["processing_time_ms", "response_time_ms"],
    timestamp_ms: &["timestamp", "created_at"],
    response: &["output"],
    ..PLAIN
};

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    import(inputs, out, options, |record, mapping, sink| {
        let Some(prompt) = prompt(record, options, sink)? else {
            sink.skip("without text of a user in `input`");
            return Ok(());
        };
        let row = SHAPE.row(record, mapping, prompt)?;
        sink.push(record, row)
    })
}
