//! Collects the queries of a log while its rows stream by: order of first appearance, one split each.

use super::{LogBatch, LogError, LogReader, TextColumn, TimeColumn};
use crate::Query;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The columns a query is read from.
pub(crate) const QUERY_COLUMNS: [&str; 5] = ["query_id", "split", "source", "prompt", "timestamp_ms"];

/// Queries seen so far, and which of them are in the split asked for.
#[derive(Debug, Default)]
pub(crate) struct QueryRows {
    /// Splits asked for; all where `None`.
    wanted: Option<Vec<String>>,
    by_id: HashMap<String, Seen>,
    splits: BTreeMap<String, u32>,
    /// Queries of the split asked for, in order of first appearance.
    pub(crate) queries: Vec<Query>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    split: Option<u32>,
    row: Option<usize>,
}

/// The query columns of one batch.
#[derive(Debug)]
pub(crate) struct QueryColumns<'a> {
    pub(crate) id: Option<TextColumn<'a>>,
    split: Option<TextColumn<'a>>,
    source: Option<TextColumn<'a>>,
    prompt: Option<TextColumn<'a>>,
    time: Option<TimeColumn>,
}

impl<'a> QueryColumns<'a> {
    pub(crate) fn new(batch: &'a LogBatch) -> Self {
        Self {
            id: batch.text("query_id"),
            split: batch.text("split"),
            source: batch.text("source"),
            prompt: batch.text("prompt"),
            time: batch.time("timestamp_ms"),
        }
    }
}

/// The text of a required cell.
pub(crate) fn required<'a>(
    batch: &LogBatch,
    column: Option<TextColumn<'a>>,
    name: &str,
    row: usize,
) -> Result<&'a str, LogError> {
    match column.and_then(|c| c.get(row)) {
        None => Err(batch.error(row, format!("`{name}` is null, expected a text"))),
        Some("") => Err(batch.error(row, format!("`{name}` is empty, expected a text"))),
        Some(text) => Ok(text),
    }
}

impl QueryRows {
    /// Collects the queries of the splits `wanted`, separated by commas, or all; errors early when the
    /// log assigns no splits.
    pub(crate) fn new(path: &Path, reader: &LogReader, wanted: Option<&str>) -> Result<Self, LogError> {
        if let Some(split) = wanted
            && !reader.columns_present().iter().any(|name| name == "split")
        {
            return Err(LogError::NoSplits { path: path.display().to_string(), split: split.to_owned() });
        }
        let names = |wanted: &str| wanted.split(',').map(|name| name.trim().to_owned()).collect();
        Ok(Self { wanted: wanted.map(names), ..Self::default() })
    }

    /// Takes a row in: whether its split is the one asked for, and its id, prompt and split are sound.
    ///
    /// `keep` says whether the row counts for the table (its model is asked for); a query none of whose
    /// rows counts is left out. Returns the number of the query where the row counts.
    pub(crate) fn add(
        &mut self,
        batch: &LogBatch,
        columns: &QueryColumns<'_>,
        row: usize,
        keep: bool,
    ) -> Result<Option<usize>, LogError> {
        let id = required(batch, columns.id, "query_id", row)?;
        let prompt = required(batch, columns.prompt, "prompt", row)?;
        let split = columns.split.and_then(|c| c.get(row));
        let split_number = split.map(|split| self.split_number(split));
        let is_wanted =
            |wanted: &[String]| split.is_some_and(|split| wanted.iter().any(|name| name == split));
        let keep = keep && self.wanted.as_deref().is_none_or(is_wanted);
        let known = self.by_id.get_mut(id);
        if let Some(seen) = &known {
            if seen.split != split_number {
                let name = split.unwrap_or("null");
                let reason = format!("query `{id}` has split `{name}`, but another split in an earlier row");
                return Err(batch.error(row, format!("{reason}; expected one split a query")));
            }
            if let Some(number) = seen.row
                && self.queries[number].prompt != prompt
            {
                let reason = format!("query `{id}` has another prompt than in an earlier row");
                return Err(batch.error(row, format!("{reason}; expected one prompt a query")));
            }
        }
        let row_number = known.as_ref().and_then(|seen| seen.row);
        if !keep || row_number.is_some() {
            if known.is_none() {
                self.by_id.insert(id.to_owned(), Seen { split: split_number, row: None });
            }
            return Ok(row_number.filter(|_| keep));
        }
        let number = self.queries.len();
        match known {
            Some(seen) => seen.row = Some(number),
            None => {
                self.by_id.insert(id.to_owned(), Seen { split: split_number, row: Some(number) });
            }
        }
        self.queries.push(Query {
            id: id.to_owned(),
            prompt: prompt.to_owned(),
            source: columns.source.and_then(|c| c.get(row)).map(str::to_owned),
            split: split.map(str::to_owned),
            timestamp_ms: columns.time.as_ref().and_then(|c| c.get(row)),
        });
        Ok(Some(number))
    }

    fn split_number(&mut self, split: &str) -> u32 {
        if let Some(number) = self.splits.get(split) {
            return *number;
        }
        let number = self.splits.len() as u32;
        self.splits.insert(split.to_owned(), number);
        number
    }

    /// The queries, once every row has been seen.
    pub(crate) fn finish(self, path: &Path) -> Result<Vec<Query>, LogError> {
        let mut wanted = self.wanted.into_iter().flatten();
        if let Some(split) = wanted.find(|split| !self.splits.contains_key(split)) {
            let path = path.display().to_string();
            let names: Vec<String> = self.splits.keys().map(|name| format!("`{name}`")).collect();
            let hint = if names.is_empty() {
                "its column `split` is null everywhere; assign splits with `routewright data split`"
                    .to_owned()
            } else {
                format!("the splits are {}", names.join(", "))
            };
            return Err(LogError::UnknownSplit { path, split, hint });
        }
        Ok(self.queries)
    }
}
