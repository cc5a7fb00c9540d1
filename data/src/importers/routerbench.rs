//! RouterBench (arXiv 2403.12031): one wide record a query with three fields a model.

use super::mapping::Mapping;
use super::messages::content;
use super::record::Record;
use super::sink::Sink;
use super::{ImportError, ImportOptions, ImportSummary, Importer, records};
use crate::log::OutcomeRow;
use crate::schema;
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "routerbench",
    title: "RouterBench's wide form: prompt, eval_name, and a model's score, |total_cost, |model_response",
    log: "outcome log",
    run,
};

/// Models are the fields that have a companion with one of these endings.
const ENDINGS: [&str; 2] = ["|total_cost", "|model_response"];

fn models(record: &Record) -> Vec<String> {
    let names = record.names().filter(|name| !name.contains('|'));
    let has_companion =
        |name: &&str| ENDINGS.iter().any(|end| record.fields.contains_key(&format!("{name}{end}")));
    names.filter(has_companion).map(str::to_owned).collect()
}

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    let mut mapping = Mapping::new(options, &schema::OUTCOME)?;
    let mut sink = Sink::<OutcomeRow>::create(out, options)?;
    records::for_each(inputs, &mut |record| {
        sink.summary.records += 1;
        mapping.see(&record);
        let query_id = record.text(mapping.field("query_id", "sample_id"))?.unwrap_or_default();
        let source = record.text(mapping.field("source", "eval_name"))?;
        let split = record.text(mapping.field("split", "split"))?;
        let prompt = record.required_text(mapping.field("prompt", "prompt"))?;
        let models = models(&record);
        if models.is_empty() {
            let reason =
                "no field has a companion `..|total_cost` or `..|model_response`, expected one a model";
            return Err(record.error(reason));
        }
        for model in models {
            let score = mapping.score(&record, &model)?;
            let cost_usd = record.number(&format!("{model}|total_cost"))?;
            // A published copy keeps the text in a list of one.
            let response = record.value(&format!("{model}|model_response")).as_deref().and_then(content);
            let (query_id, source, split) = (query_id.clone(), source.clone(), split.clone());
            let prompt = prompt.clone();
            let row = OutcomeRow {
                query_id,
                split,
                source,
                prompt,
                model,
                score,
                cost_usd,
                response,
                ..Default::default()
            };
            sink.push(&record, row)?;
        }
        Ok(())
    })?;
    mapping.check()?;
    sink.finish(inputs)
}
