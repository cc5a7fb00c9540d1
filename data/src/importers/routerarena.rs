//! RouterArena's cached results (arXiv 2510.00202): one record a query and model, with the price and the score of its
//! own evaluation. `data export --to routerarena` writes its predictions.

use super::mapping::Mapping;
use super::sink::Sink;
use super::{ImportError, ImportOptions, ImportSummary, Importer, records};
use crate::log::OutcomeRow;
use crate::schema;
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "routerarena",
    title: "RouterArena's cached_results: global_index, question, llm_selected, evaluation_result, token_usage",
    log: "outcome log",
    run,
};

/// The data set of a query: `AIME_112` is of `AIME`.
fn source(id: &str) -> Option<String> {
    id.rsplit_once('_').map(|(source, _)| source.to_owned())
}

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    let mut mapping = Mapping::new(options, &schema::OUTCOME)?;
    let mut sink = Sink::<OutcomeRow>::create(out, options)?;
    records::for_each(inputs, &mut |record| {
        sink.summary.records += 1;
        mapping.see(&record);
        // Older files spell the name of the query with a space.
        let id = match record.text(mapping.field("query_id", "global_index"))? {
            Some(id) => id,
            None => record.text("global index")?.unwrap_or_default(),
        };
        let field = |column: &'static str, usual: &'static str| mapping.field(column, usual);
        let has_failed = record.number("success")?.is_some_and(|success| success == 0.0);
        let failure = match has_failed {
            true => Some(record.text("error")?.unwrap_or_else(|| "the call failed".to_owned())),
            false => None,
        };
        let score = mapping.score(&record, field("score", "evaluation_result.score"))?;
        let (least, greatest) = (options.score_min as f32, options.score_max as f32);
        if score.is_some_and(|score| score < least || score > greatest) {
            sink.summary.change("with a score outside the range, which was clipped to it");
        }
        let score = score.map(|score| score.clamp(least, greatest));
        let row = OutcomeRow {
            source: source(&id),
            query_id: id,
            split: record.text(field("split", "split"))?,
            prompt: record.required_text(field("prompt", "question"))?,
            model: record.required_text(field("model", "llm_selected"))?,
            score: score.filter(|_| !has_failed),
            cost_usd: record.number(field("cost_usd", "evaluation_result.inference_cost"))?,
            input_tokens: record.count(field("input_tokens", "token_usage.input_tokens"))?,
            output_tokens: record.count(field("output_tokens", "token_usage.output_tokens"))?,
            response: record.text(field("response", "generated_answer"))?,
            reference: record.text(field("reference", "evaluation_result.ground_truth"))?,
            finish: has_failed.then(|| "error".to_owned()),
            failure,
            ..OutcomeRow::default()
        };
        sink.push(&record, row)
    })?;
    mapping.check()?;
    sink.finish(inputs)
}
