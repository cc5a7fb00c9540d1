//! RouterEval (arXiv 2503.10657): one wide record a query with the score of each model of a pool, and an embedding.
//!
//! Its pickles are Python's; docs/importing.md has the ten lines that turn the pool of one of them into JSON lines or
//! Parquet of `prompt`, `split`, `source`, `models`, `scores` and `embedding`. The vector becomes the column
//! `embedding` of the log, which `--features column:embedding` reads.

use super::embedded::{EMBEDDING, EmbeddedRow};
use super::mapping::Mapping;
use super::messages::parsed;
use super::record::Record;
use super::sink::Sink;
use super::{ImportError, ImportOptions, ImportSummary, Importer, records};
use crate::log::OutcomeRow;
use crate::schema;
use serde_json::Value;
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "routereval",
    title: "RouterEval's score matrix: prompt, models, scores and embedding, lists a query",
    log: "outcome log",
    run,
};

/// A field that is a list.
fn list(record: &Record, name: &str) -> Result<Vec<Value>, ImportError> {
    match record.value(name).map(|value| parsed(&value).into_owned()) {
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(record.error(format!("`{name}` is `{other}`, expected a list"))),
        None => Err(record.error(format!("`{name}` is missing, expected a list"))),
    }
}

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    let mut mapping = Mapping::new(options, &schema::OUTCOME)?;
    let mut sink = Sink::<EmbeddedRow>::create(out, options)?;
    let mut dim = None;
    records::for_each(inputs, &mut |record| {
        sink.summary.records += 1;
        mapping.see(&record);
        let (models, scores) = (list(&record, "models")?, list(&record, "scores")?);
        if models.is_empty() || models.len() != scores.len() {
            let (n, m) = (models.len(), scores.len());
            return Err(record.error(format!("{n} `models` and {m} `scores`, expected as many of both")));
        }
        let embedding = record.numbers(EMBEDDING)?;
        if let Some(vector) = &embedding {
            let known = *dim.get_or_insert(vector.len());
            if vector.is_empty() || vector.len() != known {
                let found = vector.len();
                return Err(
                    record.error(format!("`embedding` has {found} numbers, expected {known} as before"))
                );
            }
        }
        let prompt = record.required_text(mapping.field("prompt", "prompt"))?;
        for (model, score) in models.iter().zip(&scores) {
            let Some(model) = model.as_str().filter(|model| !model.is_empty()) else {
                return Err(record.error(format!("`models` has `{model}`, expected names")));
            };
            let score = match score {
                Value::Null => None,
                Value::Bool(is_right) => Some(f32::from(u8::from(*is_right))),
                score => Some(score.as_f64().ok_or_else(|| {
                    record.error(format!("the score of `{model}` is `{score}`, expected a number"))
                })? as f32),
            };
            let row = OutcomeRow {
                query_id: record.text(mapping.field("query_id", "query_id"))?.unwrap_or_default(),
                split: record.text(mapping.field("split", "split"))?,
                source: record.text(mapping.field("source", "source"))?,
                prompt: prompt.clone(),
                model: model.to_owned(),
                score,
                ..OutcomeRow::default()
            };
            sink.push(&record, EmbeddedRow { row, embedding: embedding.clone() })?;
        }
        Ok(())
    })?;
    mapping.check()?;
    sink.finish(inputs)
}
