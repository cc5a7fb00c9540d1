//! Our own long form: one record a query and model, under our column names or mapped ones.

use super::answer_columns::read_answer;
use super::mapping::Mapping;
use super::sink::Sink;
use super::{ImportError, ImportOptions, ImportSummary, Importer, records};
use crate::log::OutcomeRow;
use crate::schema;
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "long",
    title: "one record a query and model, in our column names; --map score=grade renames",
    log: "outcome log",
    run,
};

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    let mut mapping = Mapping::new(options, &schema::OUTCOME)?;
    let mut sink = Sink::<OutcomeRow>::create(out, options)?;
    records::for_each(inputs, &mut |record| {
        sink.summary.records += 1;
        mapping.see(&record);
        let field = |column: &'static str| mapping.field(column, column);
        let mut row = OutcomeRow {
            query_id: record.text(field("query_id"))?.unwrap_or_default(),
            split: record.text(field("split"))?,
            source: record.text(field("source"))?,
            prompt: record.required_text(field("prompt"))?,
            model: record.required_text(field("model"))?,
            score: mapping.score(&record, field("score"))?,
            soft_score: mapping.score(&record, field("soft_score"))?,
            cost_usd: record.number(field("cost_usd"))?,
            input_tokens: record.count(field("input_tokens"))?,
            output_tokens: record.count(field("output_tokens"))?,
            latency_ms: mapping.latency_ms(&record, field("latency_ms"), 1.0)?,
            timestamp_ms: record.time(field("timestamp_ms"))?,
            response: record.text(field("response"))?,
            reference: record.text(field("reference"))?,
            ..OutcomeRow::default()
        };
        read_answer(&mut row, &record, &mapping)?;
        if sink.summary.records == 1 && record.value(field("score")).is_none() {
            // The first record decides whether the column is there at all: a typo would lose every score.
            let name = field("score");
            if !name.is_empty() && !record.fields.contains_key(name) && !name.contains('.') {
                let hint = crate::suggest::near_names(name, record.names());
                return Err(record
                    .error(format!("there is no field `{name}`; {hint}; rename one with --map score=..")));
            }
        }
        sink.push(&record, row)
    })?;
    mapping.check()?;
    sink.summary.unread = mapping.unread(&schema::OUTCOME);
    sink.finish(inputs)
}
