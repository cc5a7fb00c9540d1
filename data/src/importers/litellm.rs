//! LiteLLM's spend logs (table `LiteLLM_SpendLogs`, its export or its API): what was asked and what it cost.
//!
//! They hold no scores: map one (`score=metadata.grade`, `score=request_tags.0`) or leave the cells missing.
//! Requests whose text was not stored (the proxy stores it only with `store_prompts_in_spend_logs`) and
//! failed requests are left out and counted.

use super::mapping::Mapping;
use super::messages::{answer, asked};
use super::sink::Sink;
use super::{ImportError, ImportOptions, ImportSummary, Importer, records};
use crate::log::OutcomeRow;
use crate::schema;
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "litellm",
    title: "LiteLLM spend logs: model, spend, tokens, startTime, endTime, messages, response",
    log: "outcome log",
    run,
};

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    let mut mapping = Mapping::new(options, &schema::OUTCOME)?;
    let mut sink = Sink::<OutcomeRow>::of_requests(out, options)?;
    records::for_each(inputs, &mut |record| {
        sink.summary.records += 1;
        mapping.see(&record);
        if record.text("status")?.is_some_and(|status| status == "failure") {
            sink.skip("failed");
            return Ok(());
        }
        // Where prompts are not stored, `messages` is `{}`; newer proxies keep the whole request beside it.
        let Ok(asked) = asked(&record, options.map.get("prompt")) else {
            sink.skip("with messages that cannot be read");
            return Ok(());
        };
        let Some(prompt) = asked.and_then(|asked| sink.prompt(&asked)) else {
            sink.skip("without a stored prompt");
            return Ok(());
        };
        let start = record.time(mapping.field("timestamp_ms", "startTime"))?;
        let end = record.time("endTime")?;
        let latency =
            start.zip(end).map(|(start, end)| (end - start) as f32).filter(|latency| *latency >= 0.0);
        let number = |column, usual| record.number(mapping.field(column, usual));
        let row = OutcomeRow {
            query_id: record.text(mapping.field("query_id", "query_id"))?.unwrap_or_default(),
            split: record.text(mapping.field("split", "split"))?,
            source: record.text(mapping.field("source", "source"))?,
            prompt,
            model: record.required_text(mapping.field("model", "model"))?,
            score: number("score", "score")?.map(|score| score as f32),
            soft_score: number("soft_score", "soft_score")?.map(|score| score as f32),
            cost_usd: number("cost_usd", "spend")?,
            input_tokens: record.count(mapping.field("input_tokens", "prompt_tokens"))?,
            output_tokens: record.count(mapping.field("output_tokens", "completion_tokens"))?,
            latency_ms: match options.map.get("latency_ms") {
                Some(field) => record.number(field)?.map(|latency| latency as f32),
                None => latency,
            },
            timestamp_ms: start,
            response: record.value(mapping.field("response", "response")).and_then(|found| answer(&found)),
            reference: record.text(mapping.field("reference", "reference"))?,
        };
        sink.push(&record, row)
    })?;
    mapping.check()?;
    sink.finish(inputs)
}
