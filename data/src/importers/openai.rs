//! Requests in the shapes of OpenAI and Anthropic with a score, one a line: chat completions, responses, messages.
//!
//! Lines of batch files are joined by their `custom_id`: the input file has the request, the output file the answer,
//! and any other file of objects with a `custom_id` may add fields such as the score. Lines of requests that failed,
//! that have no answer yet, and answers without their request are left out and counted.

use super::chat::{PLAIN, Shape};
use super::mapping::Mapping;
use super::messages::asked;
use super::record::Record;
use super::sink::Sink;
use super::{ImportError, ImportOptions, ImportSummary, Importer, records};
use crate::log::OutcomeRow;
use crate::schema;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "openai",
    title: "requests of OpenAI's and Anthropic's APIs with a score; batch files are joined by custom_id",
    log: "outcome log",
    run,
};

const SHAPE: Shape = Shape {
    model: &[
        "model",
        "body.model",
        "request.model",
        "request.body.model",
        "params.model",
        "response.body.model",
        "response.model",
        "result.message.model",
    ],
    cost_usd: &[
        "cost_usd",
        "cost",
        "response_cost",
        "usage.cost",
        "response.usage.cost",
        "response.body.usage.cost",
    ],
    input_tokens: &[
        "usage.prompt_tokens",
        "usage.input_tokens",
        "response.usage.prompt_tokens",
        "response.usage.input_tokens",
        "response.body.usage.prompt_tokens",
        "response.body.usage.input_tokens",
        "result.message.usage.input_tokens",
        "input_tokens",
    ],
    output_tokens: &[
        "usage.completion_tokens",
        "usage.output_tokens",
        "response.usage.completion_tokens",
        "response.usage.output_tokens",
        "response.body.usage.completion_tokens",
        "response.body.usage.output_tokens",
        "result.message.usage.output_tokens",
        "output_tokens",
    ],
    timestamp_ms: &[
        "timestamp_ms",
        "created",
        "timestamp",
        "response.body.created",
        "response.body.created_at",
    ],
    response: &["response.body", "response", "result.message", "choices", "output"],
    ..PLAIN
};

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    let mut mapping = Mapping::new(options, &schema::OUTCOME)?;
    let mut sink = Sink::<OutcomeRow>::of_requests(out, options)?;
    let mut batch = Batch::default();
    records::for_each(inputs, &mut |record| {
        sink.summary.records += 1;
        mapping.see(&record);
        match record.text("custom_id")? {
            Some(id) => batch.join(id, record),
            None => take(&record, &mapping, options, &mut sink)?,
        }
        Ok(())
    })?;
    for record in &batch.records {
        mapping.see(record);
        take(record, &mapping, options, &mut sink)?;
    }
    mapping.check()?;
    sink.finish(inputs)
}

/// Lines of batch files, joined.
#[derive(Debug, Default)]
struct Batch {
    places: HashMap<String, usize>,
    records: Vec<Record>,
}

impl Batch {
    /// Takes a line in; what it has is added to what an earlier line of the same id has.
    fn join(&mut self, id: String, record: Record) {
        match self.places.get(&id) {
            Some(&place) => {
                let fields = record.fields.into_iter().filter(|(_, value)| !value.is_null());
                self.records[place].fields.extend(fields);
            }
            None => {
                self.places.insert(id, self.records.len());
                self.records.push(record);
            }
        }
    }
}

/// Why a request has no answer, where it has none.
fn failure(record: &Record) -> Option<String> {
    let status = record.value("response.status_code").and_then(|status| status.as_u64());
    if let Some(status) = status.filter(|status| *status >= 400) {
        return Some(format!("that failed with status {status}"));
    }
    let ended = record.value("result.type").and_then(|kind| kind.as_str().map(str::to_owned));
    if let Some(kind) = ended.filter(|kind| kind != "succeeded") {
        return Some(format!("that ended as `{kind}`"));
    }
    let errors = ["error", "response.error", "response.body.error"];
    record.first(&errors).map(|_| "that failed".to_owned())
}

fn take(
    record: &Record,
    mapping: &Mapping<'_>,
    options: &ImportOptions,
    sink: &mut Sink<'_, OutcomeRow>,
) -> Result<(), ImportError> {
    if let Some(reason) = failure(record) {
        sink.skip(reason);
        return Ok(());
    }
    let is_batch = record.value("custom_id").is_some();
    let asked = asked(record, options.map.get("prompt")).map_err(|e| record.error(e.to_string()))?;
    let Some(asked) = asked else {
        if is_batch {
            sink.skip("of batches without their request; give the input file of the batch too");
            return Ok(());
        }
        let name = mapping.field("prompt", "messages");
        return Err(
            record.error(format!("`{name}` is missing or holds no request, expected a list of messages"))
        );
    };
    let Some(prompt) = sink.prompt(&asked) else {
        sink.skip("without text of a user");
        return Ok(());
    };
    let row = SHAPE.row(record, mapping, prompt)?;
    let is_answered = record.first(&["response", "result"]).is_some() || row.score.is_some();
    if is_batch && !is_answered {
        sink.skip("of batches without an answer");
        return Ok(());
    }
    sink.push(record, row)
}
