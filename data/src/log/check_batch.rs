//! What one batch of a log holds and what is wrong with it, cell by cell; [`super::validate()`] adds the batches up.

use super::complaints::Complaints;
use super::hashes::{PARTITION_BITS, first_u64};
use super::keys::KeyColumns;
use super::{LogBatch, NumberColumn, TextColumn};
use crate::Winner;
use crate::answers::confidence as answers;
use crate::schema::{Column, ColumnType, LogSchema, Presence};
use crate::stats::Units;
use std::collections::HashMap;

/// Bits of the hash of a query's content that are kept; the rest of the 64 are bits of its id's hash.
pub(super) const CONTENT_BITS: u32 = 28;

/// What was found in one batch.
#[derive(Debug)]
pub(super) struct BatchCheck {
    pub(super) n_rows: u64,
    pub(super) complaints: Complaints,
    /// Models in the order they came, and their rows with a score.
    pub(super) models: Vec<(String, u64)>,
    /// Least and greatest valid score, and of all finite ones.
    pub(super) score_range: Option<(f64, f64)>,
    pub(super) any_score_range: Option<(f64, f64)>,
    pub(super) units: Units,
    /// Hashes of the keys of rows.
    pub(super) keys: Vec<u64>,
    /// Partition and hash of the contents of queries.
    pub(super) contents: Vec<(u64, u64)>,
}

/// The range of both.
pub(super) fn wider(a: Option<(f64, f64)>, b: Option<(f64, f64)>) -> Option<(f64, f64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}

impl BatchCheck {
    /// Checks a batch; at most so many complaints of each rule are kept word for word.
    pub(super) fn of(batch: &LogBatch, schema: &LogSchema, per_rule_max: u64) -> Self {
        let mut check = Self {
            n_rows: batch.n_rows() as u64,
            complaints: Complaints::new(per_rule_max),
            models: Vec::new(),
            score_range: None,
            any_score_range: None,
            units: Units::default(),
            keys: Vec::with_capacity(batch.n_rows()),
            contents: Vec::new(),
        };
        check.cells(batch, schema);
        check.keys_of(batch, schema);
        check
    }

    /// Checks every cell by itself.
    fn cells(&mut self, batch: &LogBatch, schema: &LogSchema) {
        for column in schema.columns {
            let Some(array) = batch.batch.column_by_name(column.name) else { continue };
            if column.need == Presence::Required {
                for row in 0..batch.n_rows() {
                    if array.is_null(row) {
                        let message = || format!("`{}` is null, expected a value", column.name);
                        self.complaints.at(batch, row, "null-cell", message);
                    }
                }
            }
            if let (ColumnType::Text, Presence::Required, Some(texts)) =
                (column.dtype, column.need, batch.text(column.name))
            {
                for row in (0..batch.n_rows()).filter(|&row| texts.get(row) == Some("")) {
                    let message = || format!("`{}` is empty, expected a text", column.name);
                    self.complaints.at(batch, row, "empty-text", message);
                }
            }
            if let (Some(range), Some(numbers)) = (column.range(), batch.number(column.name)) {
                self.numbers(batch, column, &numbers, range);
            }
        }
        if let Some(times) = batch.time("timestamp_ms") {
            (0..batch.n_rows())
                .filter_map(|row| times.get(row))
                .for_each(|time| self.units.timestamp_ms(time));
        }
        self.models_of(batch, schema);
        self.winners(batch);
        self.lists(batch);
    }

    fn numbers(
        &mut self,
        batch: &LogBatch,
        column: &Column,
        numbers: &NumberColumn,
        (low, high): (f64, f64),
    ) {
        let is_score = column.name == "score";
        let is_whole = matches!(column.dtype, ColumnType::Int32 | ColumnType::Int64);
        for row in 0..batch.n_rows() {
            let Some(value) = numbers.get(row) else { continue };
            if is_score && value.is_finite() {
                self.any_score_range = wider(self.any_score_range, Some((value, value)));
            }
            if column.name == "latency_ms" && value.is_finite() {
                self.units.latency_ms(value);
            }
            if is_whole && value.is_finite() && value.fract() != 0.0 {
                let message = || format!("{} `{value}` is not valid; expected a whole number", column.name);
                self.complaints.at(batch, row, "not-whole", message);
            } else if !value.is_finite() || value < low || value > high {
                let expected = match (low, high) {
                    (f64::NEG_INFINITY, _) => "finite and <= 0",
                    (_, f64::INFINITY) => "finite and >= 0",
                    _ => "in [0, 1]",
                };
                let message = || {
                    format!(
                        "{} `{value}` is not valid; expected a number {expected}, or null where unknown",
                        column.name
                    )
                };
                self.complaints.at(batch, row, "out-of-range", message);
            } else if is_score {
                self.score_range = wider(self.score_range, Some((value, value)));
            }
        }
    }

    fn models_of(&mut self, batch: &LogBatch, schema: &LogSchema) {
        let score = batch.number("score");
        // Only outcome logs have scores; elsewhere every row of a model counts.
        let all = schema.column("score").is_none();
        let mut places = HashMap::<&str, usize>::new();
        let columns = ["model", "model_a", "model_b"].map(|name| batch.text(name));
        for texts in columns.iter().flatten() {
            for row in 0..batch.n_rows() {
                let Some(model) = texts.get(row) else { continue };
                let scored = u64::from(all || score.as_ref().is_some_and(|c| c.get(row).is_some()));
                let place = *places.entry(model).or_insert_with(|| {
                    self.models.push((model.to_owned(), 0));
                    self.models.len() - 1
                });
                self.models[place].1 += scored;
            }
        }
    }

    /// Checks the lists of answers.
    fn lists(&mut self, batch: &LogBatch) {
        for (column, check) in &answers::LISTS {
            let Some(lists) = batch.vector(column) else { continue };
            for row in 0..batch.n_rows() {
                if let Some(Err(reason)) = lists.get(row).map(|list| check(&list)) {
                    self.complaints.at(batch, row, "bad-list", || reason);
                }
            }
        }
    }

    fn winners(&mut self, batch: &LogBatch) {
        let [Some(a), Some(b), Some(winner)] = ["model_a", "model_b", "winner"].map(|name| batch.text(name))
        else {
            return;
        };
        for row in 0..batch.n_rows() {
            if let (Some(a), Some(b)) = (a.get(row), b.get(row))
                && a == b
            {
                let message = || format!("`model_a` and `model_b` are both `{a}`, expected two models");
                self.complaints.at(batch, row, "same-model", message);
            }
            if let Some(word) = winner.get(row)
                && Winner::from_word(word).is_none()
            {
                let message = || format!("winner `{word}` is not known; expected `a`, `b` or `tie`");
                self.complaints.at(batch, row, "unknown-winner", message);
            }
        }
    }

    /// Hashes the keys of rows and the contents of queries.
    fn keys_of(&mut self, batch: &LogBatch, schema: &LogSchema) {
        let key = KeyColumns::new(batch, schema);
        let content = ContentColumns::new(batch);
        let mut last: Option<Content<'_>> = None;
        for row in 0..batch.n_rows() {
            if key.is_known(row) {
                self.keys.push(key_hash(&key, row));
            }
            let Some(cells) = content.get(row) else { continue };
            // Rows of one query mostly stand together: what was kept of the row above holds for this one.
            if last.as_ref() == Some(&cells) {
                continue;
            }
            let (partition, id) = cells.id_bits();
            self.contents.push((partition, (id << CONTENT_BITS) | cells.content_bits()));
            last = Some(cells);
        }
    }
}

pub(super) fn key_hash(key: &KeyColumns<'_>, row: usize) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for cell in key.cells(row) {
        hasher.update(&(cell.len() as u64).to_le_bytes());
        hasher.update(cell.as_bytes());
    }
    first_u64(&hasher.finalize())
}

/// The columns that must agree in all rows of a query.
#[derive(Debug)]
pub(super) struct ContentColumns<'a> {
    id: Option<TextColumn<'a>>,
    prompt: Option<TextColumn<'a>>,
    split: Option<TextColumn<'a>>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Content<'a> {
    pub(super) id: &'a str,
    pub(super) prompt: &'a str,
    pub(super) split: Option<&'a str>,
}

impl<'a> ContentColumns<'a> {
    pub(super) fn new(batch: &'a LogBatch) -> Self {
        Self { id: batch.text("query_id"), prompt: batch.text("prompt"), split: batch.text("split") }
    }

    pub(super) fn get(&self, row: usize) -> Option<Content<'a>> {
        let (id, prompt) = (self.id?.get(row)?, self.prompt?.get(row)?);
        Some(Content { id, prompt, split: self.split.and_then(|c| c.get(row)) })
    }
}

impl Content<'_> {
    /// Partition and lower bits of the hash of the id: 48 bits that stand for the query.
    pub(super) fn id_bits(&self) -> (u64, u64) {
        let hash = first_u64(&blake3::hash(self.id.as_bytes()));
        (hash >> (64 - PARTITION_BITS), hash & ((1 << (64 - CONTENT_BITS)) - 1))
    }

    fn content_bits(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.prompt.as_bytes());
        hasher.update(&[0, u8::from(self.split.is_some())]);
        hasher.update(self.split.unwrap_or("").as_bytes());
        first_u64(&hasher.finalize()) & ((1 << CONTENT_BITS) - 1)
    }
}
