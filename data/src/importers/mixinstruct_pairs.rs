//! MixInstruct's comparisons by ChatGPT, as preferences: one row a pair of models. Records without comparisons, which
//! are all but the test set's, are left out.

use super::mapping::Mapping;
use super::mixinstruct::{Instruction, side};
use super::sink::Sink;
use super::{ImportError, ImportOptions, ImportSummary, Importer, records};
use crate::Winner;
use crate::log::PairRow;
use crate::schema;
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "mixinstruct-pairs",
    title: "MixInstruct's cmp_results: ChatGPT's choice of each pair of answers",
    log: "pair log",
    run,
};

/// Who compared.
const JUDGE: &str = "chatgpt";

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    let mut mapping = Mapping::new(options, &schema::PAIR)?;
    let mut sink = Sink::<PairRow>::create(out, options)?;
    records::for_each(inputs, &mut |record| {
        sink.summary.records += 1;
        mapping.see(&record);
        let asked = Instruction::read(&record)?;
        let Some(comparisons) = asked.comparisons.as_ref().filter(|_| !asked.prompt.is_empty()) else {
            sink.skip("without comparisons or an instruction");
            return Ok(());
        };
        for (key, verdict) in comparisons {
            let (a, b) = asked.pair(&record, key)?;
            let (a, b) = (&asked.candidates[a], &asked.candidates[b]);
            let winner = match side(&record, key, verdict)? {
                1 => Winner::A,
                -1 => Winner::B,
                _ => Winner::Tie,
            };
            let row = PairRow {
                query_id: asked.id.clone(),
                split: record.text(mapping.field("split", "split"))?,
                source: asked.source.clone(),
                prompt: asked.prompt.clone(),
                model_a: a.model.clone(),
                model_b: b.model.clone(),
                winner,
                judge: Some(JUDGE.to_owned()),
                weight: None,
                timestamp_ms: None,
                response_a: a.text.clone(),
                response_b: b.text.clone(),
            };
            sink.push(&record, row)?;
        }
        Ok(())
    })?;
    mapping.check()?;
    sink.finish(inputs)
}
