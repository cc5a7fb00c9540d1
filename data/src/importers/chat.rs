//! Logged requests of any tool: a table of where it keeps our columns, one way to read a row of it, one loop over
//! records.

use super::answer_columns::{complete_answer, read_answer};
use super::mapping::Mapping;
use super::messages::{answer, asked};
use super::record::{Record, unreadable_type};
use super::sink::Sink;
use super::{ImportError, ImportOptions, ImportSummary, records};
use crate::log::OutcomeRow;
use crate::schema;
use std::path::{Path, PathBuf};

/// Names of fields for one column, in the order they are looked for.
pub(super) type Names = &'static [&'static str];

/// Where a format keeps our columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) query_id: Names,
    pub(super) split: Names,
    pub(super) source: Names,
    pub(super) model: Names,
    pub(super) score: Names,
    pub(super) soft_score: Names,
    pub(super) cost_usd: Names,
    pub(super) input_tokens: Names,
    pub(super) output_tokens: Names,
    /// A duration; where it is missing, the time from `timestamp_ms` to `end`.
    pub(super) latency: Names,
    /// Milliseconds of one unit of `latency`, where the user names none.
    pub(super) latency_unit_ms: f64,
    pub(super) timestamp_ms: Names,
    pub(super) end: Names,
    pub(super) response: Names,
    pub(super) reference: Names,
}

/// A shape with our own names only, for others to be made from.
pub(super) const PLAIN: Shape = Shape {
    query_id: &["query_id"],
    split: &["split", "metadata.split"],
    source: &["source", "metadata.source"],
    model: &["model"],
    score: &["score", "metadata.score"],
    soft_score: &["soft_score"],
    cost_usd: &["cost_usd"],
    input_tokens: &["input_tokens"],
    output_tokens: &["output_tokens"],
    latency: &["latency_ms"],
    latency_unit_ms: 1.0,
    timestamp_ms: &["timestamp_ms"],
    end: &[],
    response: &["response"],
    reference: &["reference"],
};

/// Imports a log with one request a record: `take` writes the row of a record into the sink, or leaves it out.
pub(super) fn import(
    inputs: &[PathBuf],
    out: &Path,
    options: &ImportOptions,
    mut take: impl FnMut(&Record, &Mapping<'_>, &mut Sink<'_, OutcomeRow>) -> Result<(), ImportError>,
) -> Result<ImportSummary, ImportError> {
    let mut mapping = Mapping::new(options, &schema::OUTCOME)?;
    let mut sink = Sink::of_requests(out, options)?;
    records::for_each(inputs, &mut |record| {
        sink.summary.records += 1;
        mapping.see(&record);
        take(&record, &mapping, &mut sink)
    })?;
    mapping.check()?;
    sink.finish(inputs)
}

/// The prompt of a logged request, by the rule of the import; `None` where it has no text of a user. All importers of
/// requests have this one way.
pub(super) fn prompt(
    record: &Record,
    options: &ImportOptions,
    sink: &Sink<'_, OutcomeRow>,
) -> Result<Option<String>, ImportError> {
    let mapped = options.map.get("prompt");
    if let Some((name, value)) = mapped.and_then(|name| Some((name, record.value(name)?)))
        && unreadable_type(&value).is_some()
    {
        return Err(record.wrong(name, &value, "a text or a list of messages"));
    }
    let asked = asked(record, mapped).map_err(|e| record.error(e.to_string()))?;
    Ok(asked.and_then(|asked| sink.prompt(&asked)))
}

impl Shape {
    /// The row of a record whose prompt is known.
    pub(super) fn row(
        &self,
        record: &Record,
        mapping: &Mapping<'_>,
        prompt: String,
    ) -> Result<OutcomeRow, ImportError> {
        let field = |column, names| mapping.field(column, pick(record, names));
        let text = |column, names| record.text(field(column, names));
        let count = |column, names| record.count(field(column, names));
        let start = record.time(field("timestamp_ms", self.timestamp_ms))?;
        let response = record.value(field("response", self.response));
        let mut row = OutcomeRow {
            query_id: text("query_id", self.query_id)?.unwrap_or_default(),
            split: text("split", self.split)?,
            source: text("source", self.source)?,
            prompt,
            model: record.required_text(field("model", self.model))?,
            score: mapping.score(record, field("score", self.score))?,
            soft_score: mapping.score(record, field("soft_score", self.soft_score))?,
            cost_usd: record.number(field("cost_usd", self.cost_usd))?,
            input_tokens: count("input_tokens", self.input_tokens)?,
            output_tokens: count("output_tokens", self.output_tokens)?,
            latency_ms: self.latency_ms(record, mapping, start)?,
            timestamp_ms: start,
            response: response.as_deref().and_then(answer),
            reference: text("reference", self.reference)?,
            ..OutcomeRow::default()
        };
        read_answer(&mut row, record, mapping)?;
        response.iter().for_each(|response| complete_answer(&mut row, response));
        Ok(row)
    }

    fn latency_ms(
        &self,
        record: &Record,
        mapping: &Mapping<'_>,
        start: Option<i64>,
    ) -> Result<Option<f32>, ImportError> {
        let field = mapping.field("latency_ms", pick(record, self.latency));
        let unit = if mapping.maps("latency_ms") { 1.0 } else { self.latency_unit_ms };
        if let Some(latency) = mapping.latency_ms(record, field, unit)? {
            return Ok(Some(latency));
        }
        let end = record.time(pick(record, self.end))?;
        let took = start.zip(end).map(|(start, end)| (end - start) as f32);
        Ok(took.filter(|took| *took >= 0.0 && !mapping.maps("latency_ms")))
    }
}

/// The first of several fields that is there, else the first.
fn pick(record: &Record, names: Names) -> &'static str {
    let there = names.iter().copied().find(|name| record.value(name).is_some());
    there.or(names.first().copied()).unwrap_or_default()
}
