//! The rule the prompts of a decision log were made by.

use crate::QueryText;
use crate::log::{LogError, LogReader};
use crate::schema;
use std::collections::BTreeSet;
use std::path::Path;

/// The one rule of all prompts made of requests; `None` where there are only plain texts or the log is older than
/// rules.
///
/// # Errors
/// If the log cannot be read, or its prompts were made by several rules or one this build does not know.
pub fn query_text_of_decisions(path: &Path) -> Result<Option<QueryText>, LogError> {
    let mut found = BTreeSet::new();
    for batch in LogReader::open(path, &schema::DECISION, &["query_text"])? {
        let batch = batch?;
        let Some(column) = batch.text("query_text") else { continue };
        for row in 0..batch.n_rows() {
            match column.get(row) {
                Some(name) if !found.contains(name) => found.insert(name.to_owned()),
                _ => continue,
            };
        }
    }
    let mut names = found.iter();
    match (names.next(), names.next()) {
        (None, _) => Ok(None),
        (Some(name), None) => name.parse().map(Some).map_err(|reason| {
            LogError::Options(format!(
                "cannot read `{}`: its prompts were made by an {reason}",
                path.display()
            ))
        }),
        _ => {
            let names: Vec<String> = found.iter().map(|name| format!("`{name}`")).collect();
            Err(LogError::Options(format!(
                "the prompts of `{}` were made by several rules ({}); expected the decisions of policies of one",
                path.display(),
                names.join(", ")
            )))
        }
    }
}
