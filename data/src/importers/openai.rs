//! Requests in the OpenAI shape with a score: `{messages, model, score, usage, cost}`, one a line.
//!
//! Batch files are read too: messages in `body` or `request`, the answer in `response` or `response.body`.

use super::mapping::Mapping;
use super::messages::{answer, asked};
use super::sink::Sink;
use super::{ImportError, ImportOptions, ImportSummary, Importer, records};
use crate::log::OutcomeRow;
use crate::schema;
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "openai",
    title: "requests in the OpenAI shape with a score: messages, model, score, usage, cost (jsonl)",
    log: "outcome log",
    run,
};

/// The first of several fields that is there, as a field name.
fn pick<'a>(record: &super::record::Record, names: &[&'a str]) -> &'a str {
    names.iter().copied().find(|name| record.value(name).is_some()).unwrap_or(names[0])
}

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    let mut mapping = Mapping::new(options, &schema::OUTCOME)?;
    let mut sink = Sink::<OutcomeRow>::of_requests(out, options)?;
    records::for_each(inputs, &mut |record| {
        sink.summary.records += 1;
        mapping.see(&record);
        let field = |column: &'static str, names: &[&'static str]| {
            mapping.field(column, pick(&record, names)).to_owned()
        };
        let asked = asked(&record, options.map.get("prompt")).map_err(|e| record.error(e.to_string()))?;
        let Some(asked) = asked else {
            let name = mapping.field("prompt", "messages");
            return Err(
                record.error(format!("`{name}` is missing or holds no request, expected a list of messages"))
            );
        };
        let Some(prompt) = sink.prompt(&asked) else {
            sink.skip("without text of a user");
            return Ok(());
        };
        let model = field(
            "model",
            &["model", "body.model", "request.model", "response.body.model", "response.model"],
        );
        let score = field("score", &["score", "metadata.score"]);
        let cost = field("cost_usd", &["cost_usd", "cost", "response_cost", "usage.cost"]);
        let used = |name: &str| -> Vec<String> {
            ["usage", "response.usage", "response.body.usage"]
                .iter()
                .map(|at| format!("{at}.{name}"))
                .collect()
        };
        let count = |column: &'static str, name: &str| {
            let usual = used(name);
            let mapped = options.map.get(column).into_iter();
            let mut names = mapped.chain(&usual);
            let there = names.find(|name| record.value(name).is_some());
            there.map_or(Ok(None), |name| record.count(name))
        };
        let row = OutcomeRow {
            query_id: record.text(&field("query_id", &["query_id"]))?.unwrap_or_default(),
            split: record.text(&field("split", &["split", "metadata.split"]))?,
            source: record.text(&field("source", &["source", "metadata.source"]))?,
            prompt,
            model: record.required_text(&model)?,
            score: record.number(&score)?.map(|score| score as f32),
            soft_score: record.number(&field("soft_score", &["soft_score"]))?.map(|score| score as f32),
            cost_usd: record.number(&cost)?,
            input_tokens: count("input_tokens", "prompt_tokens")?,
            output_tokens: count("output_tokens", "completion_tokens")?,
            latency_ms: record.number(&field("latency_ms", &["latency_ms"]))?.map(|latency| latency as f32),
            timestamp_ms: record.time(&field("timestamp_ms", &["timestamp_ms", "created", "timestamp"]))?,
            response: record.first(&["response.body", "response", "choices"]).and_then(|found| {
                if found.is_array() {
                    answer(&serde_json::json!({ "choices": *found }))
                } else {
                    answer(&found)
                }
            }),
            reference: record.text(&field("reference", &["reference"]))?,
        };
        sink.push(&record, row)
    })?;
    mapping.check()?;
    sink.finish(inputs)
}
