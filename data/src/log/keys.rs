//! The keys of rows: their cells, and a second row of the same key as it streams by.

use super::{LogBatch, LogError, NumberColumn, TextColumn};
use crate::schema::{ColumnType, LogSchema};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Arms whose rows are bits of one word a query; those of others are kept one by one.
const BITS: usize = 64;

/// The keys of rows seen so far: of each query, the arms that had a row. Queries are told apart by 64 bits of a hash.
#[derive(Debug, Default)]
pub(crate) struct RowKeys {
    arms: HashMap<String, usize>,
    seen: HashMap<u64, u64>,
    others: HashSet<(u64, usize)>,
}

impl RowKeys {
    /// Notes a row; whether it is the first of its query and arm.
    pub(crate) fn insert(&mut self, query: &str, arm: &str) -> bool {
        self.insert_of(query_hash(query), arm)
    }

    /// The same of a query by its [`query_hash`].
    pub(crate) fn insert_of(&mut self, query: u64, arm: &str) -> bool {
        let arm = match self.arms.get(arm) {
            Some(&number) => number,
            None => {
                let number = self.arms.len();
                self.arms.insert(arm.to_owned(), number);
                number
            }
        };
        let seen = self.seen.entry(query).or_default();
        if arm >= BITS {
            return self.others.insert((query, arm));
        }
        let is_first = *seen & (1 << arm) == 0;
        *seen |= 1 << arm;
        is_first
    }

    /// Notes an answer; whether it is the first of its query, arm and sample.
    pub(crate) fn insert_sample(&mut self, query: &str, arm: &str, sample: u32) -> bool {
        self.insert_sample_of(query_hash(query), arm, sample)
    }

    /// The same of a query by its [`query_hash`].
    pub(crate) fn insert_sample_of(&mut self, query: u64, arm: &str, sample: u32) -> bool {
        if sample == 0 {
            self.insert_of(query, arm)
        } else {
            self.insert_of(query, &format!("{arm}\n{sample}"))
        }
    }

    /// Different queries.
    pub(crate) fn n_queries(&self) -> usize {
        self.seen.len()
    }
}

/// The columns of a row's key. A number that is null or absent is 0, a text is empty.
#[derive(Debug)]
pub(crate) struct KeyColumns<'a> {
    names: &'static [&'static str],
    columns: Vec<KeyColumn<'a>>,
}

#[derive(Debug)]
enum KeyColumn<'a> {
    Text(Option<TextColumn<'a>>),
    Number(Option<NumberColumn>),
}

impl<'a> KeyColumns<'a> {
    pub(crate) fn new(batch: &'a LogBatch, schema: &LogSchema) -> Self {
        let is_text = |name: &str| schema.column(name).is_none_or(|column| column.dtype == ColumnType::Text);
        let column = |&name: &&str| match is_text(name) {
            true => KeyColumn::Text(batch.text(name)),
            false => KeyColumn::Number(batch.number(name)),
        };
        Self { names: schema.key, columns: schema.key.iter().map(column).collect() }
    }

    /// Whether the first column of the key has a value.
    pub(crate) fn is_known(&self, row: usize) -> bool {
        match self.columns.first() {
            Some(KeyColumn::Text(column)) => column.and_then(|c| c.get(row)).is_some(),
            Some(KeyColumn::Number(column)) => column.as_ref().and_then(|c| c.get(row)).is_some(),
            None => false,
        }
    }

    /// The cells of the key, in the order of the schema.
    pub(crate) fn cells(&self, row: usize) -> impl Iterator<Item = Cow<'a, str>> {
        self.columns.iter().map(move |column| match column {
            KeyColumn::Text(column) => Cow::Borrowed(column.and_then(|c| c.get(row)).unwrap_or("")),
            KeyColumn::Number(column) => {
                let number = column.as_ref().and_then(|c| c.get(row)).unwrap_or(0.0);
                if number == 0.0 { Cow::Borrowed("0") } else { Cow::Owned(number.to_string()) }
            }
        })
    }

    /// The key for messages: names and cells, without a number that is 0.
    pub(crate) fn named(&self, row: usize) -> String {
        let is_shown =
            |column: &KeyColumn<'_>, cell: &str| matches!(column, KeyColumn::Text(_)) || cell != "0";
        let cells = self.names.iter().zip(&self.columns).zip(self.cells(row));
        let shown = cells.filter(|((_, column), cell)| is_shown(column, cell));
        shown.map(|((name, _), cell)| format!("{name} `{cell}`")).collect::<Vec<_>>().join(", ")
    }
}

/// The number of an answer among those of its model: 0 when null or absent.
pub(crate) fn sample_of(
    batch: &LogBatch,
    column: Option<&NumberColumn>,
    row: usize,
) -> Result<u32, LogError> {
    let Some(number) = column.and_then(|c| c.get(row)) else { return Ok(0) };
    if number.fract() == 0.0 && (0.0..=f64::from(i32::MAX)).contains(&number) {
        return Ok(number as u32);
    }
    let reason = format!("sample `{number}` is not valid; expected a whole number from 0 to {}", i32::MAX);
    Err(batch.error(row, reason))
}

/// What distinguishes queries.
pub(crate) fn query_hash(text: &str) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_row_of_a_key_is_found_whatever_the_number_of_arms() {
        let mut keys = RowKeys::default();
        for arm in 0..150 {
            assert!(keys.insert("q", &format!("m{arm}")), "{arm}");
            assert!(keys.insert("r", &format!("m{arm}")), "{arm}");
        }
        assert!(!keys.insert("q", "m3") && !keys.insert("r", "m149"));
        assert!(keys.insert_sample("q", "m3", 1) && keys.insert_sample("q", "m3", 2));
        assert!(!keys.insert_sample("q", "m3", 0) && !keys.insert_sample("q", "m3", 2));
        assert_eq!(keys.n_queries(), 2);
    }
}
