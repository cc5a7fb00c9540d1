//! RouterDC's training files (arXiv 2409.19886): a list of questions with a score a model.
//!
//! `cluster_id` is not kept: the method makes its own clusters. With `binarize` the score is 1 where the
//! file's is above 0 (what the authors' evaluation counts on multiple choice) and the file's own is
//! `soft_score`.

use super::mapping::Mapping;
use super::sink::Sink;
use super::{ImportError, ImportOptions, ImportSummary, Importer, records};
use crate::log::OutcomeRow;
use crate::schema;
use serde_json::Value;
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "routerdc",
    title: "RouterDC's JSON: a list of {question, scores, cluster_id}; source and split by file name",
    log: "outcome log",
    run,
};

/// Source and split as the file's name says: `gsm8k_train.json` is `gsm8k`, `train`.
fn named(stem: &str) -> (String, Option<String>) {
    for split in ["train", "valid", "test"] {
        if let Some(source) = stem.strip_suffix(&format!("_{split}")) {
            return (source.to_owned(), Some(split.to_owned()));
        }
    }
    (stem.to_owned(), None)
}

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    let mut mapping = Mapping::new(options, &schema::OUTCOME)?;
    let mut sink = Sink::<OutcomeRow>::create(out, options)?;
    records::for_each(inputs, &mut |record| {
        sink.summary.records += 1;
        mapping.see(&record);
        let stem = record.place.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (source, split) = named(&stem);
        let prompt = record.required_text(mapping.field("prompt", "question"))?;
        let reference = match record.value(mapping.field("reference", "answer")).as_deref() {
            Some(Value::String(text)) => Some(text.clone()),
            _ => None,
        };
        let Some(Value::Object(scores)) = record.value("scores").map(std::borrow::Cow::into_owned) else {
            return Err(record.error("`scores` is missing, expected an object of a score a model"));
        };
        for (model, score) in scores {
            let Some(score) = score.as_f64() else {
                return Err(record.error(format!("the score of `{model}` is `{score}`, expected a number")));
            };
            let row = OutcomeRow {
                query_id: format!("{stem}-{:06}", record.place.number),
                split: options.split.clone().or_else(|| split.clone()),
                source: options.source.clone().or_else(|| Some(source.clone())),
                prompt: prompt.clone(),
                model,
                score: Some(score as f32),
                reference: reference.clone(),
                ..OutcomeRow::default()
            };
            sink.push(&record, row)?;
        }
        Ok(())
    })?;
    mapping.check()?;
    sink.finish(inputs)
}
