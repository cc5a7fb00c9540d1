//! The answers of an outcome log, for policies that look at them.

use anyhow::Context as _;
use routewright_data::answers::AnswerTable;
use routewright_data::log::LogReader;
use routewright_data::{OutcomeTable, schema};
use routewright_trainer::MethodRow;
use routewright_trainer::compare::Answers;
use routewright_trainer::method::Reads;
use std::path::Path;

/// Columns of which a log of answers has one.
const TEXTS: [&str; 2] = ["response", "answer"];

/// Whether a log has the text of an answer.
pub(crate) fn are_in(log: &Path) -> anyhow::Result<bool> {
    for batch in LogReader::open(log, &schema::OUTCOME, &TEXTS)? {
        let batch = batch?;
        let has_text = |name: &&str| {
            batch.text(name).is_some_and(|texts| (0..batch.n_rows()).any(|row| texts.get(row).is_some()))
        };
        if TEXTS.iter().any(has_text) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The answers of a log to the queries of a table of it.
pub(crate) fn of(log: &Path, table: &OutcomeTable) -> anyhow::Result<AnswerTable> {
    AnswerTable::load(log, table).with_context(|| format!("cannot read the answers of `{}`", log.display()))
}

/// The answers of both sides of a comparison, where one of the methods reads them and the log has them.
pub(crate) fn of_sides<'a>(
    log: &Path,
    [train, test]: [&OutcomeTable; 2],
    methods: impl Iterator<Item = &'a MethodRow>,
) -> anyhow::Result<Option<Answers>> {
    let methods: Vec<&MethodRow> = methods.filter(|row| row.loads_answers()).collect();
    let without_texts = |row: &&MethodRow| row.reads(Reads::Calls) || row.reads(Reads::Samples);
    if methods.is_empty() || (!methods.iter().any(without_texts) && !are_in(log)?) {
        return Ok(None);
    }
    Ok(Some(Answers { train: of(log, train)?, test: of(log, test)? }))
}
